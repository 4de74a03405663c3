//! A client's end of a stream: JSON frames in and out, whatever the transport says.

use imfast_wire::frames::{json, proto};
use imfast_wire::http::{self, ClientHandshake, ClientParsed};
use imfast_wire::tcp;
use imfast_wire::websocket::{self, Decoded, Decoder, Event, Opcode, Role};

/// Transports of clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Transport {
    WebSocketJson,
    WebSocketProto,
    Tcp,
}

/// One client connection's protocol state.
pub(super) struct Peer {
    transport: Transport,
    decoder: Decoder,
    opened: bool,
    over: bool,
    pub(super) buffer: Vec<u8>,
}

const MESSAGE_BYTES_MAX: usize = 1 << 20;
/// A mask must be there; what it is does not matter here.
const MASK: [u8; 4] = [0; 4];

fn handshake(transport: Transport) -> ClientHandshake<'static> {
    ClientHandshake {
        host: "localhost",
        path: "/v1/ws",
        nonce: [7; 16],
        subprotocol: Some(match transport {
            Transport::WebSocketProto => "imfast.v1.proto",
            _ => "imfast.v1.json",
        }),
    }
}

impl Peer {
    /// A new connection, and the bytes that it begins with.
    pub(super) fn new(transport: Transport) -> (Self, Vec<u8>) {
        let mut first = Vec::new();
        if transport != Transport::Tcp {
            http::write_client_handshake(&mut first, &handshake(transport), &[]);
        }
        let peer = Self {
            transport,
            decoder: Decoder::new(Role::Client, MESSAGE_BYTES_MAX),
            opened: transport == Transport::Tcp,
            over: false,
            buffer: Vec::new(),
        };
        (peer, first)
    }

    /// The bytes of one client frame, given as JSON.
    pub(super) fn encode(&self, frame: &[u8]) -> Result<Vec<u8>, String> {
        let mut out = Vec::new();
        if self.transport == Transport::WebSocketJson {
            websocket::masked_frame(Opcode::Text, frame, MASK, &mut out);
            return Ok(out);
        }
        let frame = json::decode_client(frame).map_err(|error| error.message.into_owned())?;
        let mut payload = Vec::new();
        if self.transport == Transport::Tcp {
            tcp::frame_with(&mut out, |out| proto::encode_client(&frame, out));
        } else {
            imfast_wire::protobuf::put_delimited(&mut payload, |out| {
                proto::encode_client(&frame, out);
            });
            websocket::masked_frame(Opcode::Binary, &payload, MASK, &mut out);
        }
        Ok(out)
    }

    /// Takes the complete frames off the buffer; each is appended to `out` as JSON behind a comma.
    /// False once the server ended the protocol.
    pub(super) fn decode(&mut self, out: &mut Vec<u8>) -> Result<bool, String> {
        let mut buffer = std::mem::take(&mut self.buffer);
        let mut at = 0;
        let result = self.decode_all(&mut buffer, &mut at, out);
        buffer.drain(..at);
        self.buffer = buffer;
        result?;
        Ok(!self.over)
    }

    fn decode_all(
        &mut self,
        buffer: &mut [u8],
        at: &mut usize,
        out: &mut Vec<u8>,
    ) -> Result<(), String> {
        if !self.opened {
            let limits = http::Limits::default();
            match http::parse_client_response(buffer, &handshake(self.transport), &limits) {
                Ok(ClientParsed::Incomplete) => return Ok(()),
                Ok(ClientParsed::Accepted { consumed, .. }) => {
                    *at = consumed;
                    self.opened = true;
                }
                Err(error) => return Err(format!("no handshake: {error}")),
            }
        }
        let mut inflater = websocket::deflate::Inflater::default();
        while !self.over && *at < buffer.len() {
            let rest = &mut buffer[*at..];
            if self.transport == Transport::Tcp {
                match tcp::decode(rest, MESSAGE_BYTES_MAX).map_err(|e| e.to_string())? {
                    tcp::Decoded::Incomplete { .. } => return Ok(()),
                    tcp::Decoded::Frame { consumed, payload } => {
                        translate(payload, out)?;
                        *at += consumed;
                    }
                }
                continue;
            }
            match self
                .decoder
                .decode(rest, &mut inflater)
                .map_err(|e| e.to_string())?
            {
                Decoded::Incomplete { .. } => return Ok(()),
                Decoded::Fragment { consumed } => *at += consumed,
                Decoded::Frame { consumed, event } => {
                    match event {
                        Event::Text(text) => {
                            out.push(b',');
                            out.extend_from_slice(text.as_bytes());
                        }
                        Event::Binary(bytes) => {
                            for frame in proto::frames(bytes) {
                                translate(frame.map_err(|e| format!("{e:?}"))?, out)?;
                            }
                        }
                        Event::Close { .. } => self.over = true,
                        Event::Ping(_) | Event::Pong(_) => {}
                    }
                    *at += consumed;
                }
            }
        }
        Ok(())
    }
}

fn translate(payload: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
    let frame = proto::decode_server(payload).map_err(|error| error.message.into_owned())?;
    out.push(b',');
    json::encode_server(&frame, out).map_err(|error| format!("{error:?}"))
}
