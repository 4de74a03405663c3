//! Control verbs on their way to Python, which decides about them.

/// One verb of one connection. Until Python answers, the connection's later frames wait.
#[derive(Debug)]
pub struct Request {
    /// The connection's handle as one number.
    pub connection: u64,
    /// The frame's id; 0 asks for no reply.
    pub frame: u64,
    pub verb: ControlVerb,
}

/// A request over HTTP, put aside while its token is looked at.
#[derive(Debug)]
pub(crate) struct Lone {
    pub token: Box<str>,
    pub verb: Box<str>,
    pub key: Box<str>,
    pub device: Box<str>,
    pub body: Box<[u8]>,
}

/// What is asked. Only what a policy could want to know is shown; the engine keeps the rest.
#[derive(Debug)]
pub enum ControlVerb {
    Connect {
        token: String,
        device: String,
        /// DER of the client's certificate, verified; empty: it has none, or it does not count for a
        /// token is there.
        certificate: Vec<u8>,
    },
    /// A one-use ticket, in the place of a token.
    Redeem { ticket: String },
    /// A ticket is asked for.
    Ticket {
        user: String,
        tenant: String,
        /// When the token ends that asks for it, in milliseconds since 1970.
        expires_at_ms: u64,
        /// What names that token.
        credential: u64,
    },
    Refresh {
        token: String,
        user: String,
        tenant: String,
    },
    /// An action of `group`: create, join, leave, add, remove.
    Group {
        action: &'static str,
        user: String,
        conversation: String,
        users: usize,
    },
    /// A request over HTTP that Python answers.
    Control {
        method: String,
        path: String,
        host: String,
        origin: String,
        token: String,
        /// The idempotency key.
        key: String,
        body: Vec<u8>,
    },
    /// history, conversations, members.
    Query {
        name: &'static str,
        user: String,
        conversation: String,
    },
}
