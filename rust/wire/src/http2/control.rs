//! Frames about the connection and its streams that carry nothing of a request.

use super::connection::{Connection, Limits, Step};
use super::error::{Code, Fault};
use super::frame::{FRAME_BYTES, Header, flag, kind, write_frame};
use super::streams::{Absent, UNBOUND, WINDOW_MAX};

mod setting {
    pub(super) const ENABLE_PUSH: u16 = 2;
    pub(super) const MAX_CONCURRENT_STREAMS: u16 = 3;
    pub(super) const INITIAL_WINDOW_SIZE: u16 = 4;
    pub(super) const MAX_FRAME_SIZE: u16 = 5;
    pub(super) const MAX_HEADER_LIST_SIZE: u16 = 6;
    /// RFC 8441 section 3.
    pub(super) const ENABLE_CONNECT_PROTOCOL: u16 = 8;
}

const PROTOCOL: Fault = Fault::Connection(Code::Protocol);
const FRAME_SIZE: Fault = Fault::Connection(Code::FrameSize);

/// Appends our settings.
pub(super) fn write_settings(limits: &Limits, out: &mut Vec<u8>) {
    let settings = [
        (setting::MAX_CONCURRENT_STREAMS, limits.streams as u32),
        (
            setting::MAX_HEADER_LIST_SIZE,
            limits.head.header_bytes as u32,
        ),
        (setting::ENABLE_CONNECT_PROTOCOL, 1),
    ];
    let mut payload = Vec::new();
    for (name, value) in settings {
        payload.extend_from_slice(&u16::to_be_bytes(name));
        payload.extend_from_slice(&u32::to_be_bytes(value));
    }
    write_frame(out, kind::SETTINGS, 0, 0, &payload);
}

/// Appends GOAWAY: streams above `last` were not looked at.
pub(super) fn write_go_away(last: u32, code: Code, out: &mut Vec<u8>) {
    let mut payload = last.to_be_bytes().to_vec();
    payload.extend_from_slice(&(code as u32).to_be_bytes());
    write_frame(out, kind::GOAWAY, 0, 0, &payload);
}

/// The stream that a priority names.
pub(super) fn depends_on(priority: [u8; 5]) -> u32 {
    let [s0, s1, s2, s3, _] = priority;
    u32::from_be_bytes([s0, s1, s2, s3]) & 0x7fff_ffff
}

/// Four bytes that are all there is of a payload.
fn number(payload: &[u8]) -> Result<u32, Fault> {
    let bytes: [u8; 4] = payload.try_into().map_err(|_| FRAME_SIZE)?;
    Ok(u32::from_be_bytes(bytes))
}

impl Connection {
    /// Frames that are counted: each costs its sender less than us.
    pub(super) fn control(
        &mut self,
        header: Header,
        payload: &[u8],
        now_ms: u64,
        out: &mut Vec<u8>,
    ) -> Result<Step, Fault> {
        match header.kind {
            kind::WINDOW_UPDATE => return self.window_update(header, payload, now_ms),
            kind::RST_STREAM => return self.rst_stream(header, payload, now_ms),
            _ => {}
        }
        self.calm_or_fail(1 + payload.len() as u32 / 128, now_ms)?;
        match header.kind {
            kind::SETTINGS => self.settings(header, payload, out),
            kind::PING => self.pinged(header, payload, out),
            kind::PRIORITY => {
                let priority = payload.try_into().map_err(|_| FRAME_SIZE)?;
                if header.stream == 0 {
                    return Err(PROTOCOL);
                }
                // Nothing is made of it, but RFC 7540 section 5.3.1 has this one forbidden.
                if depends_on(priority) == header.stream {
                    return Err(PROTOCOL);
                }
                Ok(Step::Handled)
            }
            kind::GOAWAY if header.stream != 0 => Err(PROTOCOL),
            kind::GOAWAY if payload.len() < 8 => Err(FRAME_SIZE),
            // A client opens no stream for us.
            kind::PUSH_PROMISE => Err(PROTOCOL),
            _ => Ok(Step::Handled),
        }
    }

    fn pinged(&mut self, header: Header, payload: &[u8], out: &mut Vec<u8>) -> Result<Step, Fault> {
        if header.stream != 0 {
            return Err(PROTOCOL);
        }
        if payload.len() != 8 {
            return Err(FRAME_SIZE);
        }
        if header.has(flag::ACK) {
            self.pinged = false;
        } else {
            write_frame(out, kind::PING, flag::ACK, 0, payload);
        }
        Ok(Step::Handled)
    }

    fn settings(
        &mut self,
        header: Header,
        payload: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<Step, Fault> {
        if header.stream != 0 {
            return Err(PROTOCOL);
        }
        if header.has(flag::ACK) {
            let empty = payload.is_empty();
            return if empty {
                Ok(Step::Handled)
            } else {
                Err(FRAME_SIZE)
            };
        }
        let (settings, rest) = payload.as_chunks::<6>();
        if !rest.is_empty() {
            return Err(FRAME_SIZE);
        }
        let mut step = Step::Handled;
        for &[n0, n1, v0, v1, v2, v3] in settings {
            let value = u32::from_be_bytes([v0, v1, v2, v3]);
            match u16::from_be_bytes([n0, n1]) {
                setting::ENABLE_PUSH | setting::ENABLE_CONNECT_PROTOCOL if value > 1 => {
                    return Err(PROTOCOL);
                }
                setting::INITIAL_WINDOW_SIZE => {
                    self.initial_window(i64::from(value))?;
                    step = Step::Window(None);
                }
                setting::MAX_FRAME_SIZE if !(FRAME_BYTES as u32..1 << 24).contains(&value) => {
                    return Err(PROTOCOL);
                }
                // The others allow what we do not make use of.
                _ => {}
            }
        }
        write_frame(out, kind::SETTINGS, flag::ACK, 0, &[]);
        Ok(step)
    }

    fn initial_window(&mut self, value: i64) -> Result<(), Fault> {
        const TOO_LARGE: Fault = Fault::Connection(Code::FlowControl);
        if value > WINDOW_MAX {
            return Err(TOO_LARGE);
        }
        let change = value - self.initial;
        self.initial = value;
        for stream in self.streams.iter_mut() {
            stream.window += change;
            if stream.window > WINDOW_MAX {
                return Err(TOO_LARGE);
            }
        }
        Ok(())
    }

    fn window_update(
        &mut self,
        header: Header,
        payload: &[u8],
        now_ms: u64,
    ) -> Result<Step, Fault> {
        let more = i64::from(number(payload)? & 0x7fff_ffff);
        if !self.calm.bears_window(now_ms) {
            return Err(Fault::Connection(Code::EnhanceYourCalm));
        }
        if header.stream == 0 {
            self.window += more;
            return match self.window {
                _ if more == 0 => Err(PROTOCOL),
                ..=WINDOW_MAX => Ok(Step::Window(None)),
                _ => Err(Fault::Connection(Code::FlowControl)),
            };
        }
        let Some(stream) = self.streams.get_mut(header.stream) else {
            return match self.streams.absent(header.stream) {
                Absent::Idle => Err(PROTOCOL),
                _ => Ok(Step::Handled),
            };
        };
        if more == 0 {
            return Err(Fault::Stream(Code::Protocol));
        }
        stream.window += more;
        if stream.window > WINDOW_MAX {
            return Err(Fault::Stream(Code::FlowControl));
        }
        let tag = Some(stream.tag).filter(|tag| *tag != UNBOUND);
        Ok(tag.map_or(Step::Handled, |tag| Step::Window(Some(tag))))
    }

    fn rst_stream(&mut self, header: Header, payload: &[u8], now_ms: u64) -> Result<Step, Fault> {
        number(payload)?;
        if header.stream == 0 || self.streams.absent(header.stream) == Absent::Idle {
            return Err(PROTOCOL);
        }
        self.calm_or_fail(2, now_ms)?;
        let tag = self.streams.remove(header.stream, false).map(|s| s.tag);
        Ok(tag
            .filter(|tag| *tag != UNBOUND)
            .map_or(Step::Handled, Step::Reset))
    }
}
