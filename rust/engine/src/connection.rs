//! One client connection as the engine holds it. While idle it owns nothing on the heap but its
//! list of groups: no buffers, no timers, no Python object.

use crate::attach::Identity;
use crate::layer::{Layer, Stream};
use crate::query::Query;
use crate::send_queue::SendQueue;
use crate::system::Socket;
use imfast_session::{Encoding, PutAside, Session};
use imfast_wire::rate::Bucket;
use std::net::IpAddr;

/// No user, no group, no session.
pub(crate) const NONE: u32 = u32::MAX;

/// A subscription to a group: which one, and where in the group's array this connection stands.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Subscription {
    pub group: u32,
    pub index: u32,
}

/// How far a connection has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Bytes arrive, no identity yet.
    Stranger,
    /// A token is being checked.
    Connecting,
    /// Verbs are served.
    Connected,
    /// Our last bytes are queued; what the peer still sends is thrown away.
    Closing,
    /// Gone; the slot is freed at the end of the tick.
    Dead,
}

/// A slot of the engine's slab.
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts about a socket"
)]
pub(crate) struct Connection {
    /// None: its bytes are carried by another connection, which its layer names.
    pub fd: Option<Socket>,
    pub session: Session,
    pub phase: Phase,
    pub encoding: Encoding,
    /// Whether epoll reports input; false while a control verb or too many sends hold it back.
    pub reading: bool,
    /// Whether epoll reports that the socket takes more.
    pub writing: bool,
    /// Whether the slot is on the list of those to be flushed.
    pub dirty: bool,
    /// Whether a checkpoint should follow what was delivered.
    pub checkpoint_due: bool,
    /// Input came since the last time-out sweep.
    pub heard: bool,
    /// It is counted among those who have not said who they are.
    pub stranger: bool,
    /// Its client says that nobody looks.
    pub away: bool,
    /// It ends with the answer to its present HTTP request.
    pub last: bool,
    /// Part of an HTTP request is here, and a deadline for the rest is set.
    pub hurried: bool,
    /// The peer is a proxy of ours: what it says of where its clients are counts.
    pub behind_proxy: bool,
    /// Sends that wait for their commit.
    pub in_flight: u16,
    /// Index of the user on this worker.
    pub user: u32,
    /// What it has asked of late.
    pub asked: Bucket,
    /// When the session took its seat, milliseconds since 1970; 0: it has none.
    pub seated_ms: u64,
    /// When the token expires, in seconds since 1970; 0 without one.
    pub expires_s: u32,
    /// Names the token that it stands on, so that it ends with it; 0: none does.
    pub credential: u64,
    pub queue: Option<Box<SendQueue>>,
    /// Bytes of an incomplete frame, or of frames held back.
    pub unparsed: Vec<u8>,
    pub subscriptions: Vec<Subscription>,
    pub rare: Option<Box<Rare>>,
    pub device: Box<str>,
    /// What its bytes go through; none: they are plaintext.
    pub layer: Option<Box<Layer>>,
}

/// State that few connections have at one time.
#[derive(Default)]
pub(crate) struct Rare {
    /// A control verb that Python is deciding about.
    pub held: Option<Held>,
    /// The rest of a message of several frames behind that verb.
    pub payload: Vec<u8>,
    /// Catch-up in progress.
    pub attach: Option<Attach>,
    /// Requests that several partitions answer.
    pub gathers: Vec<Gather>,
    /// Users whose presence it watches, each with the tenant.
    pub watching: Vec<Box<str>>,
    /// The token of its latest HTTP request, which its user was found by.
    pub credential: Box<str>,
    /// The client whose address was judged last, behind a proxy.
    pub client: Option<IpAddr>,
}

/// Answers of several partitions to one request.
pub(crate) struct Gather {
    pub frame: u64,
    pub limit: u32,
    /// Only conversations behind this id are wanted.
    pub after: String,
    /// Answers still to come.
    pub missing: usize,
    /// Encoded answers.
    pub parts: Vec<Vec<u8>>,
}

/// A request that waits for Python's word.
pub(crate) struct Held {
    pub frame: u64,
    pub request: HeldRequest,
}

/// What is done when Python lets it through.
pub(crate) enum HeldRequest {
    Connect {
        sync: String,
    },
    /// A connect or a stream of events, accepted, that waits for its seat.
    Seat(Box<(Held, Identity)>),
    Refresh,
    /// The client's address is judged before anything that it says is served: its request, or what
    /// is still unread.
    Admission(Option<Box<PutAside>>),
    /// A request that stands alone, whose token is looked at.
    Request(crate::requests::Lone),
    /// A stream of events, whose token or ticket is looked at.
    Events {
        sync: String,
    },
    /// A ticket is made.
    Ticket,
    /// What Python answers by itself.
    Control,
    Command {
        partition: u16,
        command: Vec<u8>,
    },
    /// `partition` is absent where every partition answers a part.
    Query {
        partition: Option<u16>,
        query: Query,
    },
}

/// Catch-up of one session: per partition from where it goes on, until it is live.
pub(crate) struct Attach {
    /// By partition; `None` once live.
    pub cursors: Vec<Option<Cursor>>,
    /// Whether `caughtUp` is still owed (a later re-attach of one partition owes none).
    pub announce: bool,
    /// When the catch-up began, in engine milliseconds.
    pub since_ms: u64,
}

/// Where a catch-up of one partition stands.
pub(crate) struct Cursor {
    /// Opaque to everybody but the partition's owner.
    pub from: Vec<u8>,
    /// The position that `from` stands for, for tokens made before it is live.
    pub position: u64,
    /// A page was asked for and has not come.
    pub asked: bool,
    /// State of the routes when it was asked: groups routed later need another page.
    pub route_clock: u64,
    /// Groups whose route this attach holds.
    pub groups: Vec<u32>,
}

impl Connection {
    pub(crate) fn new(fd: Option<Socket>, session: Session) -> Self {
        let encoding = session.encoding();
        Self {
            fd,
            session,
            phase: Phase::Stranger,
            encoding,
            reading: true,
            writing: false,
            dirty: false,
            checkpoint_due: false,
            heard: false,
            stranger: false,
            away: false,
            last: false,
            hurried: false,
            behind_proxy: false,
            in_flight: 0,
            user: NONE,
            asked: Bucket::default(),
            seated_ms: 0,
            expires_s: 0,
            credential: 0,
            queue: None,
            unparsed: Vec::new(),
            subscriptions: Vec::new(),
            rare: None,
            device: Box::default(),
            layer: None,
        }
    }

    /// The stream that it is, if it is one.
    pub(crate) fn stream(&self) -> Option<&Stream> {
        match self.layer.as_deref()? {
            Layer::Stream(stream) => Some(stream),
            _ => None,
        }
    }

    pub(crate) fn stream_mut(&mut self) -> Option<&mut Stream> {
        match self.layer.as_deref_mut()? {
            Layer::Stream(stream) => Some(stream),
            _ => None,
        }
    }

    /// Whether pushes and replies may still be queued.
    pub(crate) fn open(&self) -> bool {
        matches!(
            self.phase,
            Phase::Stranger | Phase::Connecting | Phase::Connected
        )
    }

    /// Holds back what follows until the client's address has been judged.
    pub(crate) fn await_verdict(&mut self, request: Option<Box<PutAside>>) {
        self.rare.get_or_insert_default().held = Some(Held {
            frame: 0,
            request: HeldRequest::Admission(request),
        });
    }

    pub(crate) fn attach(&self) -> Option<&Attach> {
        self.rare.as_ref()?.attach.as_ref()
    }

    pub(crate) fn attach_mut(&mut self) -> Option<&mut Attach> {
        self.rare.as_mut()?.attach.as_mut()
    }

    /// Whether live messages of `partition` reach this session; else its catch-up brings them.
    pub(crate) fn live_in(&self, partition: u16) -> bool {
        self.phase == Phase::Connected
            && self.attach().is_none_or(|a| {
                a.cursors
                    .get(partition as usize)
                    .is_none_or(Option::is_none)
            })
    }

    /// Whether later requests wait for the answers of earlier ones: over HTTP, for each.
    pub(crate) fn waits(&self, in_flight_max: u16) -> bool {
        let many = self.in_flight >= in_flight_max;
        many || (self.in_flight > 0 && self.encoding == Encoding::Http) || self.held_back()
    }

    /// Whether a control verb holds back what follows it.
    pub(crate) fn held_back(&self) -> bool {
        self.rare.as_ref().is_some_and(|r| r.held.is_some())
    }
}
