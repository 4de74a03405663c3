//! A plain WebSocket endpoint on the same codec that sends every message back, for conformance
//! suites: any path, no subprotocol, compressed wherever the client offers that.

use imfast_wire::http::{self, OriginPolicy};
use imfast_wire::websocket::deflate::{Agreement, Deflater, Inflater};
use imfast_wire::websocket::{self, Decoded, Decoder, Event, Opcode, Role};

/// Bytes of the largest message that is sent back; what suites send has up to 16 MiB.
const MESSAGE_BYTES_MAX: usize = 32 << 20;

/// One connection of the endpoint.
pub struct Echo {
    stage: Stage,
    deflate: Option<Agreement>,
    inflater: Inflater,
    deflater: Deflater,
}

enum Stage {
    Http,
    Open(Decoder),
    Over,
}

/// What became of received bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Echoed {
    /// More bytes are needed.
    Incomplete,
    /// So many were read; there may be more to do.
    Consumed(usize),
    /// Nothing more is to be read; flush and close.
    Ended,
}

impl Default for Echo {
    fn default() -> Self {
        Self {
            stage: Stage::Http,
            deflate: None,
            inflater: Inflater::default(),
            deflater: Deflater::default(),
        }
    }
}

impl Echo {
    /// Reads the next unit from `input`, and appends what is to be sent to `out`.
    pub fn receive(&mut self, input: &mut [u8], out: &mut Vec<u8>) -> Echoed {
        let echoed = match &mut self.stage {
            Stage::Http => self.handshake(input, out),
            Stage::Open(decoder) => match decoder.decode(input, &mut self.inflater) {
                Ok(Decoded::Incomplete { .. }) => Echoed::Incomplete,
                Ok(Decoded::Fragment { consumed }) => Echoed::Consumed(consumed),
                Ok(Decoded::Frame { consumed, event }) => {
                    let over = matches!(event, Event::Close { .. });
                    answer(&event, self.deflate, &mut self.deflater, out);
                    if over {
                        Echoed::Ended
                    } else {
                        Echoed::Consumed(consumed)
                    }
                }
                Err(error) => {
                    websocket::close_frame(error.close_code(), &error.to_string(), out);
                    Echoed::Ended
                }
            },
            Stage::Over => Echoed::Ended,
        };
        if echoed == Echoed::Ended {
            self.stage = Stage::Over;
        }
        echoed
    }

    fn handshake(&mut self, input: &[u8], out: &mut Vec<u8>) -> Echoed {
        let (consumed, request) = match http::parse(input, &http::Limits::default()) {
            Ok(http::Parsed::Incomplete) => return Echoed::Incomplete,
            Ok(http::Parsed::Request { consumed, request }) => (consumed, request),
            Err(error) => {
                let body = error.to_string();
                http::write_error(out, error.status(), error.reason(), &[], body.as_bytes());
                return Echoed::Ended;
            }
        };
        let accept = http::websocket_upgrade(&request, &[], &OriginPolicy::Any);
        match accept.and_then(|mut accept| accept.agree_on_deflate(&request).map(|()| accept)) {
            Ok(accept) => {
                http::write_switching_protocols(out, &accept);
                let decoder = Decoder::new(Role::Server, MESSAGE_BYTES_MAX);
                self.deflate = accept.deflate;
                self.stage = Stage::Open(if accept.deflate.is_some() {
                    decoder.with_deflate()
                } else {
                    decoder
                });
                Echoed::Consumed(consumed)
            }
            Err(rejection) => {
                rejection.write(out);
                Echoed::Ended
            }
        }
    }
}

/// Messages come back, compressed however short where that was agreed on; a ping gets its pong, a
/// close its code.
fn answer(
    event: &Event<'_>,
    deflate: Option<Agreement>,
    deflater: &mut Deflater,
    out: &mut Vec<u8>,
) {
    let (opcode, message) = match event {
        Event::Text(text) => (Opcode::Text, text.as_bytes()),
        Event::Binary(bytes) => (Opcode::Binary, *bytes),
        Event::Ping(payload) => return websocket::frame(Opcode::Pong, payload, out),
        Event::Pong(_) => return,
        Event::Close {
            code: Some(code), ..
        } => return websocket::close_frame(*code, "", out),
        Event::Close { code: None, .. } => return websocket::frame(Opcode::Close, &[], out),
    };
    match deflate {
        Some(agreement) => {
            let window_bits = agreement.server_window_bits;
            websocket::deflated_frame(opcode, window_bits, message, deflater, out);
        }
        None => websocket::frame(opcode, message, out),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(extensions: &[(&str, &str)]) -> Echo {
        let mut request = Vec::new();
        let handshake = http::ClientHandshake {
            host: "localhost",
            path: "/anything?case=1",
            nonce: [1; 16],
            subprotocol: None,
        };
        http::write_client_handshake(&mut request, &handshake, extensions);
        let mut echo = Echo::default();
        let mut out = Vec::new();
        let length = request.len();
        let opened = echo.receive(&mut request, &mut out);
        assert_eq!(opened, Echoed::Consumed(length));
        assert!(out.starts_with(b"HTTP/1.1 101 "));
        echo
    }

    fn sent(echo: &mut Echo, opcode: Opcode, payload: &[u8]) -> (Echoed, Vec<u8>) {
        let mut input = Vec::new();
        websocket::masked_frame(opcode, payload, [1, 2, 3, 4], &mut input);
        let mut out = Vec::new();
        (echo.receive(&mut input, &mut out), out)
    }

    #[test]
    fn text_and_binary_come_back_and_a_ping_gets_its_pong() {
        let mut echo = opened(&[]);
        for (opcode, first) in [
            (Opcode::Text, 0x81),
            (Opcode::Binary, 0x82),
            (Opcode::Ping, 0x8a),
        ] {
            let (echoed, out) = sent(&mut echo, opcode, b"hi");
            assert_eq!(echoed, Echoed::Consumed(8));
            assert_eq!(out, [first, 2, b'h', b'i']);
        }
        let (_, out) = sent(&mut echo, Opcode::Pong, b"unasked");
        assert!(out.is_empty());
    }

    #[test]
    fn a_close_comes_back_with_its_code_and_ends_the_connection() {
        let mut echo = opened(&[]);
        let (echoed, out) = sent(&mut echo, Opcode::Close, &[0x03, 0xe8, b'x']);
        assert_eq!((echoed, &out[..]), (Echoed::Ended, &[0x88, 2, 3, 0xe8][..]));
        let (echoed, out) = sent(&mut echo, Opcode::Text, b"late");
        assert_eq!((echoed, out.len()), (Echoed::Ended, 0));
    }

    #[test]
    fn where_compression_was_agreed_on_even_short_messages_are_compressed() {
        let mut echo = opened(&[("Sec-WebSocket-Extensions", "permessage-deflate")]);
        let (_, out) = sent(&mut echo, Opcode::Text, b"Hello");
        assert_eq!(out[0], 0xc1);
        let (_, out) = sent(&mut echo, Opcode::Text, b"");
        assert_eq!(out[0], 0xc1);
    }
}
