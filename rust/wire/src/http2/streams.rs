//! The streams of a connection: their states and windows.

/// What a window is before anybody says otherwise (RFC 9113 section 6.9.2), and what ours stay at.
pub(super) const WINDOW: i64 = 65_535;
/// What no window may exceed.
pub(super) const WINDOW_MAX: i64 = 0x7fff_ffff;
/// Streams that are remembered after their end, so that what was on its way is told from a violation.
const REMEMBERED: usize = 16;

/// One stream that is not closed.
#[derive(Debug)]
pub(super) struct Stream {
    pub id: u32,
    /// What the caller knows it by; [`UNBOUND`] until it says.
    pub tag: u64,
    /// Bytes that we may still send.
    pub window: i64,
    /// Bytes that the peer may still send, and those it gets back.
    pub receive: i64,
    pub owed: u32,
    /// The peer has ended its side. When we end ours the stream is closed.
    pub peer_ended: bool,
    /// Bytes of the body to come, where the head said how many.
    pub left: Option<u64>,
}

/// No connection's handle.
pub(super) const UNBOUND: u64 = u64::MAX;

/// A stream that is not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Absent {
    /// It was never used.
    Idle,
    /// It ended on both sides, or the peer gave it up.
    Closed,
    /// We gave it up; the peer may not know yet.
    GivenUp,
    /// It is over for long, or was skipped.
    Forgotten,
}

/// See the module's text.
#[derive(Debug, Default)]
pub(super) struct Streams {
    /// By number.
    open: Vec<Stream>,
    /// The highest number that the peer has used.
    pub last: u32,
    recent: [(u32, bool); REMEMBERED],
    next: u8,
}

impl Streams {
    pub(super) fn len(&self) -> usize {
        self.open.len()
    }

    pub(super) fn get(&self, id: u32) -> Option<&Stream> {
        let at = self.open.binary_search_by_key(&id, |s| s.id).ok()?;
        self.open.get(at)
    }

    pub(super) fn get_mut(&mut self, id: u32) -> Option<&mut Stream> {
        let at = self.open.binary_search_by_key(&id, |s| s.id).ok()?;
        self.open.get_mut(at)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Stream> {
        self.open.iter()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Stream> {
        self.open.iter_mut()
    }

    /// Adds the stream with the highest number.
    pub(super) fn insert(&mut self, stream: Stream) {
        debug_assert!(self.open.last().is_none_or(|last| last.id < stream.id));
        self.open.push(stream);
    }

    /// Closes a stream; `given_up`: by us, before its end.
    pub(super) fn remove(&mut self, id: u32, given_up: bool) -> Option<Stream> {
        let at = self.open.binary_search_by_key(&id, |s| s.id).ok()?;
        self.remember(id, given_up);
        let stream = self.open.remove(at);
        if self.open.is_empty() {
            // Most connections have one stream or none.
            self.open.shrink_to(1);
        }
        Some(stream)
    }

    /// Remembers a stream that was refused before it was one.
    pub(super) fn remember(&mut self, id: u32, given_up: bool) {
        if let Some(place) = self.recent.get_mut(usize::from(self.next)) {
            *place = (id, given_up);
        }
        self.next = (self.next + 1) % REMEMBERED as u8;
    }

    /// Why there is no stream of this number.
    pub(super) fn absent(&self, id: u32) -> Absent {
        if id > self.last {
            return Absent::Idle;
        }
        match self.recent.iter().find(|(recent, _)| *recent == id) {
            Some((_, true)) => Absent::GivenUp,
            Some((_, false)) => Absent::Closed,
            None => Absent::Forgotten,
        }
    }
}
