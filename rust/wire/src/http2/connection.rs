//! One connection: from frames to what happens on its streams.

use super::answer::framed;
use super::calm::Calm;
use super::error::{Code, Fault};
use super::frame::{FRAME_BYTES, FRAME_HEADER_BYTES, Header, flag, kind, unpadded, write_frame};
use super::head::{Head, Wrong};
use super::hpack::{Decoder, Malformed, write_status};
use super::streams::{Absent, Stream, Streams, UNBOUND, WINDOW};
use crate::http;

/// What all streams of a connection may send before we take note of it.
const CONNECTION_WINDOW: i64 = 1 << 20;
/// Frames in which a header block goes on.
const CONTINUATIONS: u32 = 8;
/// A block is read, to be refused, up to so many times the limit of a head; a longer one ends the
/// connection.
const BLOCK_HEADS: usize = 4;

/// How much a peer may ask at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    pub head: http::Limits,
    /// Streams that are open at one time.
    pub streams: usize,
}

/// What a frame meant.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// Call again once there are at least so many bytes from the start of this input.
    Incomplete { needed: usize },
    /// Protocol business, done.
    Handled,
    /// A request: [`Connection::bind`] or [`Connection::reset`] the stream. `head` is absent where it
    /// is above a limit; `ended`: no body follows.
    Begun {
        stream: u32,
        head: Option<Box<Head>>,
        ended: bool,
    },
    /// Bytes of a stream; what of them is done with is told by [`Connection::credit`].
    Data {
        tag: u64,
        bytes: &'a mut [u8],
        ended: bool,
    },
    /// A stream is gone.
    Reset { tag: u64 },
    /// A stream may send more; all of them, where none is named.
    Window { tag: Option<u64> },
    /// The connection is over; its last frame was written.
    Failed,
}

/// What came of a frame, before its bytes are lent.
pub(super) enum Step {
    Handled,
    Begun {
        stream: u32,
        head: Option<Box<Head>>,
        ended: bool,
    },
    Data {
        tag: u64,
        ended: bool,
    },
    Reset(u64),
    Window(Option<u64>),
}

/// A header block that goes on.
#[derive(Debug)]
struct Block {
    stream: u32,
    ended: bool,
    /// The stream is to depend on itself.
    circular: bool,
    bytes: Vec<u8>,
    frames: u32,
}

/// See the module's text.
#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts about a connection"
)]
pub struct Connection {
    decoder: Decoder,
    pub(super) streams: Streams,
    pub(super) calm: Calm,
    block: Option<Box<Block>>,
    /// Bytes that we may still send, and what a new stream may.
    pub(super) window: i64,
    pub(super) initial: i64,
    /// Bytes that the peer may still send, and those it gets back.
    receive: i64,
    owed: u32,
    /// The peer's settings came.
    begun: bool,
    /// No further stream is taken.
    leaving: bool,
    pub(super) pinged: bool,
    /// Streams wait for room in the connection's queue.
    waiting: bool,
    /// Where the next round of sending begins.
    turn: usize,
}

impl Connection {
    /// A connection whose preface was read; appends what we say first.
    pub fn new(limits: &Limits, out: &mut Vec<u8>) -> Self {
        super::control::write_settings(limits, out);
        let more = CONNECTION_WINDOW - WINDOW;
        write_frame(out, kind::WINDOW_UPDATE, 0, 0, &(more as u32).to_be_bytes());
        Self {
            decoder: Decoder::default(),
            streams: Streams::default(),
            calm: Calm::default(),
            block: None,
            window: WINDOW,
            initial: WINDOW,
            receive: CONNECTION_WINDOW,
            owed: 0,
            begun: false,
            leaving: false,
            pinged: false,
            waiting: false,
            turn: 0,
        }
    }

    /// Reads the next frame of `input`; the number of bytes it took comes first.
    pub fn receive<'a>(
        &mut self,
        input: &'a mut [u8],
        limits: &Limits,
        now_ms: u64,
        out: &mut Vec<u8>,
    ) -> (usize, Event<'a>) {
        let incomplete = |needed| (0, Event::Incomplete { needed });
        let Some(header) = Header::read(input) else {
            return incomplete(FRAME_HEADER_BYTES);
        };
        if header.length > FRAME_BYTES {
            return (input.len(), self.fail(Code::FrameSize, out));
        }
        let end = FRAME_HEADER_BYTES + header.length;
        let Some(payload) = input.get_mut(FRAME_HEADER_BYTES..end) else {
            return incomplete(end);
        };
        let event = match self.frame(header, payload, limits, now_ms, out) {
            Ok(Step::Handled) => Event::Handled,
            Ok(Step::Begun {
                stream,
                head,
                ended,
            }) => Event::Begun {
                stream,
                head,
                ended,
            },
            Ok(Step::Data { tag, ended }) => Event::Data {
                tag,
                bytes: data_of(header, payload),
                ended,
            },
            Ok(Step::Reset(tag)) => gone(tag),
            Ok(Step::Window(tag)) => Event::Window { tag },
            Err(Fault::Connection(code)) => self.fail(code, out),
            // Making us end streams is a nuisance too.
            Err(Fault::Stream(_)) if !self.calm.bears(2, now_ms) => {
                self.fail(Code::EnhanceYourCalm, out)
            }
            Err(Fault::Stream(code)) => {
                let tag = self.streams.get(header.stream).map_or(UNBOUND, |s| s.tag);
                self.reset(header.stream, code, out);
                gone(tag)
            }
        };
        (end, event)
    }

    fn fail(&mut self, code: Code, out: &mut Vec<u8>) -> Event<'static> {
        self.leave(code, out);
        Event::Failed
    }

    fn frame(
        &mut self,
        header: Header,
        payload: &[u8],
        limits: &Limits,
        now_ms: u64,
        out: &mut Vec<u8>,
    ) -> Result<Step, Fault> {
        if !self.begun {
            // RFC 9113 section 3.4: the preface's second half.
            if header.kind != kind::SETTINGS || header.has(flag::ACK) {
                return Err(Fault::Connection(Code::Protocol));
            }
            self.begun = true;
        }
        if let Some(block) = &self.block
            && (header.kind != kind::CONTINUATION || header.stream != block.stream)
        {
            return Err(Fault::Connection(Code::Protocol));
        }
        match header.kind {
            kind::DATA => self.data(header, payload, now_ms, out),
            kind::HEADERS => self.headers(header, payload, limits, out),
            kind::CONTINUATION => self.continuation(header, payload, limits, out),
            _ => self.control(header, payload, now_ms, out),
        }
    }

    fn data(
        &mut self,
        header: Header,
        payload: &[u8],
        now_ms: u64,
        out: &mut Vec<u8>,
    ) -> Result<Step, Fault> {
        if header.stream == 0 {
            return Err(Fault::Connection(Code::Protocol));
        }
        let bytes = header.length as i64;
        self.receive -= bytes;
        if self.receive < 0 {
            return Err(Fault::Connection(Code::FlowControl));
        }
        self.owed += header.length as u32;
        if i64::from(self.owed) >= CONNECTION_WINDOW / 2 {
            write_frame(out, kind::WINDOW_UPDATE, 0, 0, &self.owed.to_be_bytes());
            self.receive += i64::from(std::mem::take(&mut self.owed));
        }
        let Some(content) = unpadded(header, payload) else {
            return Err(Fault::Connection(Code::Protocol));
        };
        let Some(stream) = self.streams.get_mut(header.stream) else {
            return match self.streams.absent(header.stream) {
                Absent::Idle => Err(Fault::Connection(Code::Protocol)),
                Absent::GivenUp => Ok(Step::Handled),
                Absent::Closed | Absent::Forgotten => Err(Fault::Stream(Code::StreamClosed)),
            };
        };
        if stream.peer_ended {
            return Err(Fault::Stream(Code::StreamClosed));
        }
        stream.receive -= bytes;
        if stream.receive < 0 {
            return Err(Fault::Stream(Code::FlowControl));
        }
        stream.owed += header.length as u32;
        let ended = header.has(flag::END_STREAM);
        if let Some(left) = &mut stream.left {
            let rest = left.checked_sub(content.len() as u64);
            *left = rest.ok_or(Fault::Stream(Code::Protocol))?;
            if ended && *left > 0 {
                return Err(Fault::Stream(Code::Protocol));
            }
        }
        stream.peer_ended = ended;
        let tag = stream.tag;
        if content.is_empty() && !ended {
            self.calm_or_fail(1, now_ms)?;
        }
        Ok(Step::Data { tag, ended })
    }

    pub(super) fn calm_or_fail(&mut self, cost: u32, now_ms: u64) -> Result<(), Fault> {
        if self.calm.bears(cost, now_ms) {
            Ok(())
        } else {
            Err(Fault::Connection(Code::EnhanceYourCalm))
        }
    }

    fn headers(
        &mut self,
        header: Header,
        payload: &[u8],
        limits: &Limits,
        out: &mut Vec<u8>,
    ) -> Result<Step, Fault> {
        const PROTOCOL: Fault = Fault::Connection(Code::Protocol);
        if header.stream.is_multiple_of(2) {
            return Err(PROTOCOL);
        }
        let mut fragment = unpadded(header, payload).ok_or(PROTOCOL)?;
        let mut circular = false;
        if header.has(flag::PRIORITY) {
            let (priority, rest) = fragment
                .split_first_chunk::<5>()
                .ok_or(Fault::Connection(Code::FrameSize))?;
            circular = super::control::depends_on(*priority) == header.stream;
            fragment = rest;
        }
        let block = Block {
            stream: header.stream,
            ended: header.has(flag::END_STREAM),
            circular,
            bytes: Vec::new(),
            frames: 0,
        };
        if header.has(flag::END_HEADERS) {
            return self.block_ended(&block, fragment, limits, out);
        }
        let bytes = fragment.to_vec();
        self.block = Some(Box::new(Block { bytes, ..block }));
        Ok(Step::Handled)
    }

    fn continuation(
        &mut self,
        header: Header,
        payload: &[u8],
        limits: &Limits,
        out: &mut Vec<u8>,
    ) -> Result<Step, Fault> {
        let Some(mut block) = self.block.take() else {
            return Err(Fault::Connection(Code::Protocol));
        };
        block.frames += 1;
        let bytes = block.bytes.len() + payload.len();
        if block.frames > CONTINUATIONS || bytes > BLOCK_HEADS * limits.head.header_bytes {
            return Err(Fault::Connection(Code::EnhanceYourCalm));
        }
        block.bytes.extend_from_slice(payload);
        if header.has(flag::END_HEADERS) {
            let bytes = std::mem::take(&mut block.bytes);
            return self.block_ended(&block, &bytes, limits, out);
        }
        self.block = Some(block);
        Ok(Step::Handled)
    }

    /// A header block is complete. Whatever becomes of it, it is decoded: later ones refer to it.
    fn block_ended(
        &mut self,
        block: &Block,
        bytes: &[u8],
        limits: &Limits,
        out: &mut Vec<u8>,
    ) -> Result<Step, Fault> {
        const COMPRESSION: Fault = Fault::Connection(Code::Compression);
        let malformed = |Malformed| COMPRESSION;
        let id = block.stream;
        let absent = match self.streams.get(id) {
            Some(_) => {
                let right = Head::decode_trailers(&mut self.decoder, bytes).map_err(malformed)?;
                return self.trailers(id, block.ended, right.is_ok());
            }
            None => self.streams.absent(id),
        };
        match absent {
            Absent::Idle => self.streams.last = id,
            Absent::GivenUp => {
                let _ = Head::decode_trailers(&mut self.decoder, bytes).map_err(malformed)?;
                return Ok(Step::Handled);
            }
            Absent::Closed => return Err(Fault::Connection(Code::StreamClosed)),
            Absent::Forgotten => return Err(Fault::Connection(Code::Protocol)),
        }
        let head = Head::decode(&mut self.decoder, bytes, &limits.head).map_err(malformed)?;
        if block.circular || head == Err(Wrong::Malformed) {
            return Err(Fault::Stream(Code::Protocol));
        }
        if self.leaving || self.streams.len() >= limits.streams {
            return Err(Fault::Stream(Code::RefusedStream));
        }
        let head = head.ok().map(Box::new);
        let left = head.as_ref().and_then(|head| head.content_length());
        if block.ended && left.is_some_and(|left| left > 0) {
            return Err(Fault::Stream(Code::Protocol));
        }
        if !block.ended && head.as_ref().is_some_and(|head| head.expects_continue()) {
            let start = out.len();
            framed(out, |out| write_status(out, 100));
            place_head(out.get_mut(start..).unwrap_or(&mut []), id, false);
        }
        self.streams.insert(Stream {
            id,
            tag: UNBOUND,
            window: self.initial,
            receive: WINDOW,
            owed: 0,
            peer_ended: block.ended,
            left,
        });
        Ok(Step::Begun {
            stream: id,
            head,
            ended: block.ended,
        })
    }

    /// Fields behind a body end it.
    fn trailers(&mut self, id: u32, ended: bool, right: bool) -> Result<Step, Fault> {
        let Some(stream) = self.streams.get_mut(id) else {
            return Ok(Step::Handled);
        };
        if stream.peer_ended {
            return Err(Fault::Stream(Code::StreamClosed));
        }
        if !ended || !right || stream.left.is_some_and(|left| left > 0) {
            return Err(Fault::Stream(Code::Protocol));
        }
        stream.peer_ended = true;
        let tag = stream.tag;
        Ok(Step::Data { tag, ended })
    }

    /// Names what a stream that began is known by from now on.
    pub fn bind(&mut self, stream: u32, tag: u64) {
        if let Some(stream) = self.streams.get_mut(stream) {
            stream.tag = tag;
        }
    }

    /// Ends a stream on both sides, whatever is under way on it.
    pub fn reset(&mut self, stream: u32, code: Code, out: &mut Vec<u8>) {
        if self.streams.remove(stream, true).is_none() {
            self.streams.remember(stream, true);
        }
        let code = (code as u32).to_be_bytes();
        write_frame(out, kind::RST_STREAM, 0, stream, &code);
    }

    /// Gives a stream up unless it is closed already.
    pub fn give_up(&mut self, stream: u32, out: &mut Vec<u8>) {
        if self.streams.get(stream).is_some() {
            self.reset(stream, Code::Cancel, out);
        }
    }

    /// Our last frame of a stream is on its way. What the peer still had to say nobody waits for.
    pub fn end(&mut self, stream: u32, out: &mut Vec<u8>) {
        match self.streams.get(stream).map(|stream| stream.peer_ended) {
            Some(true) => drop(self.streams.remove(stream, false)),
            Some(false) => self.reset(stream, Code::NoError, out),
            None => {}
        }
    }

    /// Bytes that `stream` may send in one frame now.
    pub fn window(&self, stream: u32) -> usize {
        let own = self.streams.get(stream).map_or(0, |stream| stream.window);
        own.min(self.window).clamp(0, FRAME_BYTES as i64) as usize
    }

    /// A frame of so many bytes was sent.
    pub fn sent(&mut self, stream: u32, bytes: usize) {
        self.window -= bytes as i64;
        if let Some(stream) = self.streams.get_mut(stream) {
            stream.window -= bytes as i64;
        }
        self.calm.earn();
    }

    /// What `stream` received is done with: the peer may send as much again.
    pub fn credit(&mut self, stream: u32, out: &mut Vec<u8>) {
        if let Some(entry) = self.streams.get_mut(stream)
            && !entry.peer_ended
            && i64::from(entry.owed) >= WINDOW / 2
        {
            let owed = std::mem::take(&mut entry.owed);
            entry.receive += i64::from(owed);
            write_frame(out, kind::WINDOW_UPDATE, 0, stream, &owed.to_be_bytes());
        }
    }

    /// Says that no further stream is taken, and why.
    pub fn leave(&mut self, code: Code, out: &mut Vec<u8>) {
        self.leaving = true;
        super::control::write_go_away(self.streams.last, code, out);
    }

    /// Asks whether the peer lives; false: it did not answer the last time.
    pub fn ping(&mut self, out: &mut Vec<u8>) -> bool {
        if self.pinged {
            return false;
        }
        self.pinged = true;
        write_frame(out, kind::PING, 0, 0, &[0; 8]);
        true
    }

    /// Whether a header block has begun of which the rest has to come.
    pub fn in_block(&self) -> bool {
        self.block.is_some()
    }

    /// Whether no stream is open.
    pub fn is_idle(&self) -> bool {
        self.streams.len() == 0
    }

    /// Whether we said that no further stream is taken.
    pub fn is_leaving(&self) -> bool {
        self.leaving
    }

    /// What the open streams are known by.
    pub fn tags(&self) -> impl Iterator<Item = u64> + '_ {
        let tags = self.streams.iter().map(|stream| stream.tag);
        tags.filter(|tag| *tag != UNBOUND)
    }

    /// As [`Self::tags`], each time beginning with another one, so that each is first at some time.
    pub fn tags_in_turn(&mut self) -> Vec<u64> {
        let mut tags: Vec<u64> = self.tags().collect();
        if !tags.is_empty() {
            self.turn = (self.turn + 1) % tags.len();
            tags.rotate_left(self.turn);
        }
        tags
    }

    /// A stream has to wait until what is queued for the connection was sent.
    pub fn wait(&mut self) {
        self.waiting = true;
    }

    /// Whether streams waited since the last call.
    pub fn take_waiting(&mut self) -> bool {
        std::mem::take(&mut self.waiting)
    }
}

/// Bytes of the frame with a head that [`super::write_answer`] wrote.
pub fn head_bytes(frame: &[u8]) -> usize {
    Header::read(frame).map_or(0, |header| FRAME_HEADER_BYTES + header.length)
}

/// Gives such a frame its stream; `last`: no body follows.
pub fn place_head(frame: &mut [u8], stream: u32, last: bool) {
    let Some(header) = Header::read(frame) else {
        return;
    };
    let placed = Header {
        stream,
        flags: header.flags | if last { flag::END_STREAM } else { 0 },
        ..header
    };
    let mut bytes = Vec::with_capacity(FRAME_HEADER_BYTES);
    placed.write(&mut bytes);
    for (place, byte) in frame.iter_mut().zip(bytes) {
        *place = byte;
    }
}

fn gone(tag: u64) -> Event<'static> {
    if tag == UNBOUND {
        Event::Handled
    } else {
        Event::Reset { tag }
    }
}

/// The bytes of a DATA frame without its padding; none of another frame.
fn data_of(header: Header, payload: &mut [u8]) -> &mut [u8] {
    if header.kind != kind::DATA {
        return &mut [];
    }
    let content = unpadded(header, payload).map_or(0, <[u8]>::len);
    let start = usize::from(header.has(flag::PADDED));
    payload.get_mut(start..start + content).unwrap_or(&mut [])
}
