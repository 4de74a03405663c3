//! From a socket's bytes to verbs: hot ones are served here, control verbs wait for Python.

use crate::connection::Phase;
use crate::engine::Engine;
use crate::slab::Handle;
use crate::system::{Read, Ready, socket};
use imfast_session::{Encoding, Input, Session, frames};
use imfast_wire::frames::codes::Code;

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
                if matches!(socket::read(&connection.fd, &mut self.buffer), Read::Closed) {
                    self.io.kill(handle.slot);
                }
                return;
            }
            _ => {}
        }
        if connection.held_back() || connection.in_flight >= in_flight_max {
            self.io.set_reading(handle.slot, false);
            return;
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        let kept = std::mem::take(&mut connection.unparsed);
        let start = kept.len();
        buffer[..start].copy_from_slice(&kept);
        match socket::read(&connection.fd, &mut buffer[start..]) {
            Read::Bytes(count) => self.parse(handle, &mut buffer[..start + count]),
            Read::Empty => connection.unparsed = kept,
            Read::Closed => self.io.kill(handle.slot),
        }
        self.buffer = buffer;
    }

    /// Reads messages until the bytes end, or something holds the connection back.
    fn parse(&mut self, handle: Handle, bytes: &mut [u8]) {
        let in_flight_max = self.config.in_flight_max;
        let mut output = std::mem::take(&mut self.output);
        output.clear();
        let mut inflater = std::mem::take(&mut self.inflater);
        let mut session = Session::over();
        if let Some(connection) = self.io.connections.resolve_mut(handle) {
            connection.heard = true;
            std::mem::swap(&mut session, &mut connection.session);
        }
        let mut at = 0;
        let mut close = None;
        let mut finish = false;
        while at < bytes.len() {
            let Some(connection) = self.io.connections.resolve_mut(handle) else {
                break;
            };
            if !connection.open() || connection.held_back() || connection.in_flight >= in_flight_max
            {
                break;
            }
            let encoding = connection.encoding;
            let input = session.receive(&mut bytes[at..], &self.policy, &mut inflater, &mut output);
            if !output.is_empty() {
                self.io.push_bytes(handle.slot, &output);
                output.clear();
            }
            match input {
                Input::Incomplete { .. } => break,
                Input::Handled { consumed } => at += consumed,
                Input::Opened { consumed, encoding } => {
                    at += consumed;
                    if let Some(connection) = self.io.connections.resolve_mut(handle) {
                        connection.encoding = encoding;
                    }
                }
                Input::Message {
                    consumed,
                    bytes: payload,
                } => {
                    at += consumed;
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
            connection.unparsed = bytes.get(at..).unwrap_or(&[]).to_vec();
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
        while let Some(frame) = frames.next() {
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
        let encoding = connection.encoding;
        let payload = connection
            .rare
            .as_mut()
            .map(|r| std::mem::take(&mut r.payload))
            .unwrap_or_default();
        if !payload.is_empty() {
            match self.message(handle, encoding, &payload) {
                Flow::Next => {}
                Flow::Hold => return,
                Flow::Close(code) => {
                    let unit = self.unit();
                    self.io.close(handle.slot, code, unit);
                    return;
                }
            }
        }
        let Some(connection) = self.io.connections.resolve_mut(handle) else {
            return;
        };
        let mut unparsed = std::mem::take(&mut connection.unparsed);
        if !unparsed.is_empty() {
            self.parse(handle, &mut unparsed);
        }
        let in_flight_max = self.config.in_flight_max;
        let Some(connection) = self.io.connections.resolve(handle) else {
            return;
        };
        if connection.open() && !connection.held_back() && connection.in_flight < in_flight_max {
            self.io.set_reading(handle.slot, true);
        }
    }
}
