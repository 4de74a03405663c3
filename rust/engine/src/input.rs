//! From a socket's bytes to verbs: hot ones are served here, control verbs wait for Python.

use crate::connection::Phase;
use crate::engine::Engine;
use crate::faults::{self, Fault};
use crate::slab::Handle;
use crate::system::{Read, Ready, socket};
use imfast_session::{Encoding, Input, Session, frames};
use imfast_wire::frames::codes::Code;
use imfast_wire::websocket::deflate::Inflater;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// What becomes of a connection's further frames.
pub(crate) enum Flow {
    Next,
    /// They wait for Python's word.
    Hold,
    Close(&'static Code),
}

impl Engine {
    pub(crate) fn connection_ready(&mut self, handle: Handle, event: Ready) {
        let Some(connection) = self.io.connections.resolve(handle) else {
            return;
        };
        let reading = connection.reading;
        if event.writable {
            self.io.flush(handle.slot);
        }
        if event.readable || (event.hang_up && reading) {
            self.read(handle);
        } else if event.hang_up {
            self.io.kill(handle.slot);
        }
    }

    fn read(&mut self, handle: Handle) {
        let in_flight_max = self.config.in_flight_max;
        let Some(connection) = self.io.connections.resolve_mut(handle) else {
            return;
        };
        match connection.phase {
            Phase::Dead => return,
            Phase::Closing => {
                if let Some(fd) = &connection.fd
                    && matches!(socket::read(fd, &mut self.buffer), Read::Closed)
                {
                    self.io.kill(handle.slot);
                }
                return;
            }
            _ => {}
        }
        if connection.waits(in_flight_max) {
            self.io.set_reading(handle.slot, false);
            return;
        }
        if connection.layer.is_some() {
            return self.read_layered(handle);
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        let kept = std::mem::take(&mut connection.unparsed);
        let start = kept.len();
        buffer[..start].copy_from_slice(&kept);
        let fd = connection.fd.as_ref();
        match fd.map_or(Read::Closed, |fd| socket::read(fd, &mut buffer[start..])) {
            Read::Bytes(count) => self.parse(handle, &mut buffer[..start + count]),
            Read::Empty => connection.unparsed = kept,
            Read::Closed => self.io.kill(handle.slot),
        }
        self.buffer = buffer;
    }

    /// Runs `work` for one connection. A panic in what is that connection's alone (see
    /// [`Engine::decoding`]) closes it; any other goes on, for what it left half done is shared.
    pub(crate) fn for_connection(&mut self, handle: Handle, work: impl FnOnce(&mut Self)) {
        self.burst.end();
        let Err(panic) = catch_unwind(AssertUnwindSafe(|| work(self))) else {
            return;
        };
        if !std::mem::take(&mut self.decoding) {
            resume_unwind(panic);
        }
        // The connection's session and these buffers were being worked with.
        self.inflater = Inflater::default();
        self.output = Vec::new();
        faults::count(&mut self.faults, Fault::Decoding, self.now_ms);
        self.io.kill(handle.slot);
    }

    /// Reads messages until the bytes end, or something holds the connection back.
    pub(crate) fn parse(&mut self, handle: Handle, bytes: &mut [u8]) {
        self.for_connection(handle, |engine| engine.parse_contained(handle, bytes));
    }

    pub(crate) fn parse_contained(&mut self, handle: Handle, bytes: &mut [u8]) {
        let in_flight_max = self.config.in_flight_max;
        let mut session = Session::over();
        if let Some(connection) = self.io.connections.resolve_mut(handle) {
            if connection.encoding == Encoding::Http2 {
                return self.carry(handle, bytes);
            }
            connection.heard = true;
            std::mem::swap(&mut session, &mut connection.session);
            if let Some(stream) = connection.stream_mut() {
                stream.needed = 0;
            }
        }
        let mut output = std::mem::take(&mut self.output);
        output.clear();
        let mut inflater = std::mem::take(&mut self.inflater);
        let mut at = 0;
        let mut end = bytes.len();
        let mut close = None;
        let mut finish = false;
        let mut carried = None;
        while at < bytes.len() || session.is_due() {
            let Some(connection) = self.io.connections.resolve_mut(handle) else {
                break;
            };
            if !connection.open() || connection.waits(in_flight_max) {
                break;
            }
            let encoding = connection.encoding;
            self.decoding = true;
            let input = session.receive(&mut bytes[at..], &self.policy, &mut inflater, &mut output);
            self.decoding = false;
            if !output.is_empty() {
                self.io.push_bytes(handle.slot, &output);
                output.clear();
            }
            match input {
                Input::Incomplete { needed } => {
                    self.wait_for_bytes(handle, needed);
                    break;
                }
                Input::Partial { kept } => {
                    end = at + kept;
                    break;
                }
                Input::Request { consumed, asked } => {
                    at += consumed;
                    let last = asked.answering.last;
                    if let Some(client) = asked.client
                        && self
                            .seat_behind_proxy(handle, client, || Some(Box::new(asked.put_aside())))
                    {
                        break;
                    }
                    self.lone_request(handle, &asked);
                    if last {
                        break;
                    }
                }
                Input::Handled { consumed } => at += consumed,
                Input::Opened {
                    consumed,
                    encoding,
                    client,
                } => {
                    at += consumed;
                    self.upgraded(handle, encoding);
                    if let Some(client) = client {
                        self.seat_behind_proxy(handle, client, || None);
                    }
                }
                Input::Multiplexed { consumed } => {
                    carried = Some(at + consumed);
                    break;
                }
                Input::Message {
                    consumed,
                    bytes: payload,
                } => {
                    at += consumed;
                    self.burst.more = at < end;
                    match self.message(handle, encoding, payload) {
                        Flow::Next => {}
                        Flow::Hold => break,
                        Flow::Close(code) => {
                            close = Some(code);
                            break;
                        }
                    }
                }
                Input::Ended(_) => {
                    finish = true;
                    break;
                }
            }
        }
        self.output = output;
        self.inflater = inflater;
        if let Some(connection) = self.io.connections.resolve_mut(handle) {
            std::mem::swap(&mut session, &mut connection.session);
            if let Some(at) = carried {
                connection.encoding = Encoding::Http2;
                return self.carry(handle, bytes.get_mut(at..).unwrap_or(&mut []));
            }
            connection.unparsed = bytes.get(at..end).unwrap_or(&[]).to_vec();
            if connection.encoding == Encoding::Http {
                finish |= self.between_requests(handle);
            }
        }
        let unit = self.unit();
        if let Some(code) = close {
            self.io.close(handle.slot, code, unit);
        } else if finish {
            self.io.finish(handle.slot, unit);
        }
    }

    /// Serves the client frames of one message.
    fn message(&mut self, handle: Handle, encoding: Encoding, payload: &[u8]) -> Flow {
        let mut frames = frames(encoding, payload);
        loop {
            self.decoding = true;
            let next = frames.next();
            #[cfg(all(test, not(feature = "simulation")))]
            tests::panic_if_told_to(payload);
            self.decoding = false;
            let Some(frame) = next else { break };
            self.io.stats.frames_received += 1;
            let flow = match frame {
                Ok(frame) => match self.admit_request(handle) {
                    Ok(()) => self.verb(handle, frame),
                    Err(retry_after_ms) => self.rate_limited(handle, frame.id, retry_after_ms),
                },
                Err(error) => {
                    if error.id != 0 || error.code.close.is_some() {
                        self.io
                            .push_error(handle.slot, error.id, error.code, &error.message);
                    }
                    if error.code.close.is_some() {
                        Flow::Close(error.code)
                    } else {
                        Flow::Next
                    }
                }
            };
            match flow {
                Flow::Next => {}
                Flow::Hold => {
                    let rest = frames.rest().to_vec();
                    if let Some(connection) = self.io.connections.resolve_mut(handle) {
                        connection.rare.get_or_insert_default().payload = rest;
                    }
                    return Flow::Hold;
                }
                Flow::Close(code) => return Flow::Close(code),
            }
        }
        Flow::Next
    }

    /// Lets a connection's waiting frames through, after Python's word or as its window opened.
    pub(crate) fn resume(&mut self, handle: Handle) {
        let Some(connection) = self.io.connections.resolve_mut(handle) else {
            return;
        };
        if connection.held_back() {
            return;
        }
        if connection.last && connection.in_flight == 0 {
            let unit = self.unit();
            return self.io.finish(handle.slot, unit);
        }
        let encoding = connection.encoding;
        let payload = connection
            .rare
            .as_mut()
            .map(|r| std::mem::take(&mut r.payload))
            .unwrap_or_default();
        if !payload.is_empty() {
            let mut flow = None;
            self.for_connection(handle, |engine| {
                flow = Some(engine.message(handle, encoding, &payload));
            });
            match flow {
                Some(Flow::Next) => {}
                Some(Flow::Hold) | None => return,
                Some(Flow::Close(code)) => {
                    let unit = self.unit();
                    self.io.close(handle.slot, code, unit);
                    return;
                }
            }
        }
        let Some(connection) = self.io.connections.resolve_mut(handle) else {
            return;
        };
        let unparsed = std::mem::take(&mut connection.unparsed);
        if !unparsed.is_empty() {
            self.parse_held(handle, unparsed);
        }
        let in_flight_max = self.config.in_flight_max;
        let Some(connection) = self.io.connections.resolve(handle) else {
            return;
        };
        if connection.open() && !connection.waits(in_flight_max) {
            self.io.set_reading(handle.slot, true);
            self.io.credit(handle);
        }
    }
}

#[cfg(all(test, not(feature = "simulation")))]
mod tests {
    use super::*;
    use crate::accept::Speaks;
    use crate::config::EngineConfig;
    use crate::system::System;
    use imfast_routes::RouteTable;
    use std::cell::Cell;
    use std::io::{ErrorKind, Read as _, Write as _};
    use std::net::{TcpListener, TcpStream};
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    /// Text that has the decoder panic: only a test's build contains this.
    const PANIC: &[u8] = b"{\"panic\"";

    thread_local! {
        static ARMED: Cell<bool> = const { Cell::new(false) };
    }

    pub(super) fn panic_if_told_to(payload: &[u8]) {
        assert!(!(ARMED.get() && payload.starts_with(PANIC)), "told to");
    }

    fn engine() -> Engine {
        let config = EngineConfig::example(1);
        let routes = RouteTable::heap(1 << 8).expect("a table");
        Engine::new(config, Arc::new(routes), System).expect("an engine")
    }

    fn client(listener: &TcpListener) -> TcpStream {
        let address = listener.local_addr().expect("an address");
        let client = TcpStream::connect(address).expect("a connection");
        client.set_nonblocking(true).expect("a socket");
        client
    }

    /// A frame of the TCP transport.
    fn framed(payload: &[u8]) -> Vec<u8> {
        let mut out = (payload.len() as u32).to_be_bytes().to_vec();
        out.extend_from_slice(payload);
        out
    }

    fn tick(engine: &mut Engine) {
        engine.poll().expect("epoll");
        engine.flush();
    }

    fn tick_until(engine: &mut Engine, what: &str, mut done: impl FnMut(&Engine) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while !done(engine) {
            assert!(Instant::now() < deadline, "{what}");
            tick(engine);
        }
    }

    fn is_open(mut client: &TcpStream) -> bool {
        let mut buffer = [0; 64];
        match client.read(&mut buffer) {
            Ok(count) => count > 0,
            Err(error) => error.kind() == ErrorKind::WouldBlock,
        }
    }

    #[test]
    fn a_panic_of_the_decoder_closes_the_connection_that_sent_the_bytes_and_no_other() {
        let mut engine = engine();
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let fd = listener.try_clone().expect("a descriptor").into();
        engine.listen(fd, Speaks::Tcp).expect("listening");
        let (victim, bystander) = (client(&listener), client(&listener));
        tick_until(&mut engine, "two connections", |engine| {
            engine.io.connections.len() == 2
        });

        ARMED.set(true);
        (&victim).write_all(&framed(PANIC)).expect("room");
        tick_until(&mut engine, "one connection", |engine| {
            engine.io.connections.len() == 1
        });
        ARMED.set(false);
        assert!(!is_open(&victim));
        assert!(is_open(&bystander));
        assert_eq!(engine.take_faults(), [("decoding_panics", 1)]);
        assert!(!engine.decoding);

        // Buffers that were in use are there again: the other one is served.
        (&bystander).write_all(&framed(PANIC)).expect("room");
        tick_until(&mut engine, "a frame read", |engine| {
            engine.io.stats.frames_received > 0
        });
        assert!(engine.take_faults().len() == 1, "nothing new");
    }

    #[test]
    fn a_panic_outside_of_the_decoder_is_not_swallowed() {
        let mut engine = engine();
        let handle = Handle::from_bits(0);
        let caught = catch_unwind(AssertUnwindSafe(|| {
            engine.for_connection(handle, |_| panic!("of shared state"));
        }));
        assert!(caught.is_err());
    }
}
