//! Counters of one worker. They only grow; readers take differences.

use crate::connection::{Connection, Phase};
use crate::slab::Slab;
use imfast_session::Encoding;

/// See each field; exported to Python as a dictionary of the same names.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Stats {
    /// Connections accepted.
    pub accepted: u64,
    /// Client frames decoded.
    pub frames_received: u64,
    /// Messages and events handed to connections.
    pub deliveries: u64,
    /// Bytes handed to the kernel for clients.
    pub bytes_sent: u64,
    /// `sendmsg` calls on queues.
    pub writes: u64,
    /// Error replies.
    pub errors: u64,
    /// Connections closed because they did not read.
    pub slow_consumers: u64,
    /// Ephemeral messages that a newer one replaced before a slow connection took them.
    pub ephemeral_replaced: u64,
    /// Ephemeral messages for which a slow connection's queue had no room.
    pub ephemeral_dropped: u64,
    /// Receipts and changes of presence handed to connections.
    pub notices: u64,
    /// Connections dropped because they were silent.
    pub timed_out: u64,
    /// Commands folded into batches here.
    pub commands: u64,
    /// Batches committed here.
    pub commits: u64,
    /// Frames received on links.
    pub link_frames: u64,
    /// Links broken for a gap, a stale epoch, an overflow or silence.
    pub link_breaks: u64,
    /// Catch-up pages served here.
    pub pages: u64,
    /// Times a listener rested because no descriptor was left.
    pub accept_pauses: u64,
    /// Requests refused for the rate of their connection or its user.
    pub rate_limited: u64,
    /// Connections refused for a rate of their address or of all.
    pub arrivals_refused: u64,
    /// TLS handshakes in full, with a ticket, and such as failed.
    pub tls_handshakes: u64,
    pub tls_resumed: u64,
    pub tls_failures: u64,
}

impl Stats {
    /// Grows whenever a client or a partition makes work.
    pub(crate) fn activity(&self) -> u64 {
        self.accepted
            + self.frames_received
            + self.deliveries
            + self.commands
            + self.commits
            + self.pages
            + self.link_breaks
    }

    /// Names and values.
    pub(crate) fn fields(&self) -> [(&'static str, u64); 22] {
        [
            ("accepted", self.accepted),
            ("frames_received", self.frames_received),
            ("deliveries", self.deliveries),
            ("bytes_sent", self.bytes_sent),
            ("writes", self.writes),
            ("errors", self.errors),
            ("slow_consumers", self.slow_consumers),
            ("ephemeral_replaced", self.ephemeral_replaced),
            ("ephemeral_dropped", self.ephemeral_dropped),
            ("notices", self.notices),
            ("timed_out", self.timed_out),
            ("commands", self.commands),
            ("commits", self.commits),
            ("link_frames", self.link_frames),
            ("link_breaks", self.link_breaks),
            ("pages", self.pages),
            ("accept_pauses", self.accept_pauses),
            ("rate_limited", self.rate_limited),
            ("arrivals_refused", self.arrivals_refused),
            ("tls_handshakes", self.tls_handshakes),
            ("tls_resumed", self.tls_resumed),
            ("tls_failures", self.tls_failures),
        ]
    }
}

/// Sessions by what they speak, connections whose HTTP requests need none, and those that have none
/// (yet, or any more). Counted when somebody
/// asks: a walk over all connections.
pub(crate) fn by_transport(connections: &Slab<Connection>) -> [(&'static str, u64); 10] {
    let mut sessions = [0; Encoding::COUNT];
    let mut others = 0;
    for (_, connection) in connections.iter() {
        if connection.phase == Phase::Connected {
            sessions[connection.encoding as usize] += 1;
        } else {
            others += 1;
        }
    }
    let of = |encoding: Encoding| sessions[encoding as usize];
    [
        ("websocket_json", of(Encoding::WebSocketJson)),
        ("websocket_proto", of(Encoding::WebSocketProto)),
        ("websocket_json_deflate", of(Encoding::WebSocketJsonDeflate)),
        (
            "websocket_proto_deflate",
            of(Encoding::WebSocketProtoDeflate),
        ),
        ("tcp", of(Encoding::Tcp)),
        ("events", of(Encoding::Events)),
        ("http2_events", of(Encoding::Http2Events)),
        ("http", of(Encoding::Http)),
        ("http2", of(Encoding::Http2)),
        ("without_session", others),
    ]
}
