//! New connections between accept and admission: those whose addresses have a rate wait here
//! until the caller has judged them, all of a tick at once. One that is refused costs a read, a
//! write and a close, and no slot.

use crate::accept::Speaks;
use crate::connection::HeldRequest;
use crate::engine::Engine;
use crate::slab::Handle;
use crate::system::{Read, Socket, socket};
use imfast_session::PutAside;
use imfast_wire::frames::codes::{self, Code};
use imfast_wire::frames::proto;
use imfast_wire::frames::server::{ServerBody, ServerFrame};
use imfast_wire::{http, tcp};
use std::net::IpAddr;

/// A block of addresses, as a prefix of IPv6 ones; IPv4 addresses are mapped into those.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    pub address: u128,
    /// Bits that count, at most 128.
    pub prefix: u8,
}

impl Network {
    fn holds(self, address: u128) -> bool {
        let beside = 128 - u32::from(self.prefix.min(128));
        (self.address ^ address).checked_shr(beside).unwrap_or(0) == 0
    }
}

/// A connection that waits for a verdict.
pub(crate) struct Arrival {
    at: At,
    key: u64,
}

/// Where it waits.
enum At {
    /// At the door.
    Door(Socket, Speaks),
    /// In its slot: it came through a proxy.
    Seat(Handle),
}

/// An address in IPv6's form.
fn mapped(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// What counts as one address: with IPv6 a network of 64 bits, all of which one host may use.
fn key_of(address: u128) -> u64 {
    const MAPPED: u64 = 0xffff;
    if address >> 32 == u128::from(MAPPED) {
        address as u64
    } else {
        (address >> 64) as u64
    }
}

impl Engine {
    /// Takes an accepted connection: in at once, unless its address has a rate.
    pub(crate) fn arrived(&mut self, fd: Socket, peer: Option<IpAddr>, speaks: Speaks) {
        let peer = peer.map(mapped);
        if self.is_proxy(peer) {
            // Its clients are judged, not itself.
            return self.let_in(fd, speaks, true);
        }
        match peer.filter(|address| self.is_judged(*address)) {
            Some(address) => self.arrivals.push(Arrival {
                at: At::Door(fd, speaks),
                key: key_of(address),
            }),
            None => self.let_in(fd, speaks, false),
        }
    }

    fn is_judged(&self, address: u128) -> bool {
        let trusted = &self.config.address_trusted;
        self.config.judge_addresses && !trusted.iter().any(|network| network.holds(address))
    }

    /// Whether a peer is believed where its clients are; one without an address is a Unix socket's.
    fn is_proxy(&self, peer: Option<u128>) -> bool {
        match peer {
            None => self.config.proxy_trusts_unix,
            Some(address) => {
                let proxies = &self.config.proxy_trusted;
                proxies.iter().any(|network| network.holds(address))
            }
        }
    }

    /// A client that came through a proxy is at `client`; whether that is to be judged.
    pub(crate) fn seat(&mut self, handle: Handle, client: IpAddr) -> bool {
        let address = mapped(client);
        let judged = self.is_judged(address);
        if judged {
            self.arrivals.push(Arrival {
                at: At::Seat(handle),
                key: key_of(address),
            });
        }
        judged
    }

    /// A request says where its client is. Another client than that of the request before is judged
    /// first; whether that is so. `request` puts aside what waits for it.
    #[cold]
    pub(crate) fn seat_behind_proxy(
        &mut self,
        handle: Handle,
        client: IpAddr,
        request: impl FnOnce() -> Option<Box<PutAside>>,
    ) -> bool {
        let Some(connection) = self.io.connections.resolve_mut(handle) else {
            return false;
        };
        if !connection.behind_proxy {
            return false;
        }
        let rare = connection.rare.get_or_insert_default();
        if rare.client.replace(client) == Some(client) || !self.seat(handle, client) {
            return false;
        }
        if let Some(connection) = self.io.connections.resolve_mut(handle) {
            connection.await_verdict(request());
        }
        true
    }

    /// The addresses of connections that wait for a verdict, in their order.
    pub fn arrivals(&self) -> impl ExactSizeIterator<Item = u64> + '_ {
        self.arrivals.iter().map(|arrival| arrival.key)
    }

    /// Lets arrivals in, in their order: those for which `waits` has 0. Others are told to come
    /// again after so many milliseconds, those without a verdict go on waiting.
    pub fn judge_arrivals(&mut self, waits: &[u32]) {
        let judged = waits.len().min(self.arrivals.len());
        let mut arrivals = std::mem::take(&mut self.arrivals);
        for (Arrival { at, .. }, wait_ms) in arrivals.drain(..judged).zip(waits) {
            match at {
                At::Door(fd, speaks) if *wait_ms == 0 => self.let_in(fd, speaks, false),
                At::Door(fd, speaks) => {
                    self.turn_away(&fd, speaks, &codes::RATE_LIMITED, *wait_ms);
                }
                At::Seat(handle) => self.judge_seated(handle, *wait_ms),
            }
        }
        // Those that come to be judged by what the others are let do wait for the next tick.
        arrivals.append(&mut self.arrivals);
        self.arrivals = arrivals;
    }

    fn judge_seated(&mut self, handle: Handle, wait_ms: u32) {
        let Some(connection) = self.io.connections.resolve_mut(handle) else {
            return;
        };
        let held = connection.rare.as_mut().and_then(|rare| {
            rare.held
                .take_if(|held| matches!(held.request, HeldRequest::Admission(_)))
        });
        let Some(HeldRequest::Admission(request)) = held.map(|held| held.request) else {
            return;
        };
        if wait_ms == 0 {
            if let Some(request) = request {
                self.for_connection(handle, |engine| {
                    engine.lone_request(handle, &request.asked());
                });
            }
            return self.resume(handle);
        }
        self.io.stats.arrivals_refused += 1;
        let unit = self.unit();
        let code = &codes::RATE_LIMITED;
        match request {
            Some(request) => {
                let frame = request.asked().answering.to_bits();
                self.answer_error(handle, frame, code, wait_ms.into(), "");
                self.io.finish(handle.slot, unit);
            }
            None => self.io.close(handle.slot, code, unit),
        }
    }

    /// The last gate: how many connections a second this worker takes in all.
    fn let_in(&mut self, fd: Socket, speaks: Speaks, proxied: bool) {
        let now_ns = self.now_ms * 1_000_000;
        let rate = self.config.rates.accept;
        match rate.map_or(Ok(()), |rate| rate.take(&mut self.admitted, now_ns, 1)) {
            Ok(()) => self.admit(fd, speaks, proxied),
            Err(wait_ms) => {
                self.turn_away(&fd, speaks, &codes::TOO_MANY_CONNECTIONS, wait_ms);
            }
        }
    }

    /// Says why where somebody listens: over TCP always, over HTTP once there is a request.
    fn turn_away(&mut self, fd: &Socket, speaks: Speaks, code: &'static Code, wait_ms: u32) {
        self.io.stats.arrivals_refused += 1;
        let mut words = std::mem::take(&mut self.output);
        words.clear();
        match speaks {
            Speaks::Tcp => {
                let body = ServerBody::error(code, wait_ms.into(), "");
                let frame = ServerFrame::push(body);
                tcp::frame_with(&mut words, |out| proto::encode_server(&frame, out));
            }
            // Unread bytes would make the kernel reset the connection instead of closing it.
            Speaks::Http if matches!(socket::read(fd, &mut self.buffer), Read::Bytes(_)) => {
                let seconds = wait_ms.div_ceil(1000).to_string();
                let headers = [("Retry-After", seconds.as_str())];
                let reason = match code.http {
                    429 => "Too Many Requests",
                    _ => "Service Unavailable",
                };
                http::write_error(
                    &mut words,
                    code.http,
                    reason,
                    &headers,
                    code.message.as_bytes(),
                );
            }
            // Over TLS nothing can be said before the handshake, which is what is to be spared.
            Speaks::Http | Speaks::Tls => {}
        }
        if !words.is_empty() {
            // As far as the socket takes it at once; then our side ends.
            let _ = socket::send(fd, &words);
            socket::half_close(fd);
        }
        self.output = words;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> u128 {
        mapped(text.parse().expect("an address"))
    }

    #[test]
    fn a_network_holds_its_own_addresses() {
        let network = |text: &str, prefix| Network {
            address: address(text),
            prefix,
        };
        let loopback = network("127.0.0.0", 96 + 8);
        assert!(loopback.holds(address("127.255.0.9")));
        assert!(loopback.holds(address("::ffff:127.0.0.1")));
        assert!(!loopback.holds(address("128.0.0.1")));
        assert!(!loopback.holds(address("::1")));
        let host = network("2001:db8::1", 128);
        assert!(host.holds(address("2001:db8::1")) && !host.holds(address("2001:db8::2")));
        assert!(network("::", 0).holds(address("1.2.3.4")));
    }

    #[test]
    fn one_address_is_one_host() {
        let key = |text: &str| key_of(address(text));
        assert_eq!(key("10.0.0.1"), key("::ffff:10.0.0.1"));
        assert_ne!(key("10.0.0.1"), key("10.0.0.2"));
        assert_eq!(key("2001:db8::1"), key("2001:db8::ffff:1"));
        assert_ne!(key("2001:db8::1"), key("2001:db8:0:1::1"));
    }
}
