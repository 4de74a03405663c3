//! A control verb as Python sees it.

use imfast_engine::ControlVerb;
use pyo3::prelude::*;

/// One request of one connection, held back until it is decided about.
///
/// Which fields are set depends on `verb`: `connect` has token or certificate, and device, `redeem` has
/// the ticket as its token, `ticket` has user, tenant, `expires_at_ms` and credential, `refresh` has
/// token, user and tenant, the actions of `group` and the queries have user and conversation, `control`
/// has what its request says.
#[pyclass(frozen, get_all, module = "imfast._engine")]
pub(crate) struct Request {
    /// Names the connection in the engine's answers.
    connection: u64,
    /// The frame's id; 0 asks for no reply.
    frame: u64,
    /// `connect`, `redeem`, `ticket`, `refresh`, `group.create` …, `history`, `conversations`, `members`.
    verb: String,
    token: String,
    /// DER of the client's certificate; empty without one, and where there is a token.
    certificate: Vec<u8>,
    device: String,
    user: String,
    tenant: String,
    conversation: String,
    /// Users that an action of `group` names.
    users: usize,
    /// When the token ends that asks, in milliseconds since 1970.
    expires_at_ms: u64,
    /// What names that token.
    credential: u64,
    /// Of `control`, a request over HTTP: its method, path, `Host` and `Origin`, idempotency key and body.
    method: String,
    path: String,
    host: String,
    origin: String,
    key: String,
    body: Vec<u8>,
}

impl From<imfast_engine::Request> for Request {
    fn from(request: imfast_engine::Request) -> Self {
        let mut out = Self {
            connection: request.connection,
            frame: request.frame,
            verb: String::new(),
            token: String::new(),
            certificate: Vec::new(),
            device: String::new(),
            user: String::new(),
            tenant: String::new(),
            conversation: String::new(),
            users: 0,
            expires_at_ms: 0,
            credential: 0,
            method: String::new(),
            path: String::new(),
            host: String::new(),
            origin: String::new(),
            key: String::new(),
            body: Vec::new(),
        };
        match request.verb {
            ControlVerb::Connect {
                token,
                device,
                certificate,
            } => {
                "connect".clone_into(&mut out.verb);
                (out.token, out.device, out.certificate) = (token, device, certificate);
            }
            ControlVerb::Redeem { ticket } => {
                "redeem".clone_into(&mut out.verb);
                out.token = ticket;
            }
            ControlVerb::Ticket {
                user,
                tenant,
                expires_at_ms,
                credential,
            } => {
                "ticket".clone_into(&mut out.verb);
                (out.user, out.tenant) = (user, tenant);
                (out.expires_at_ms, out.credential) = (expires_at_ms, credential);
            }
            ControlVerb::Control {
                method,
                path,
                host,
                origin,
                token,
                key,
                body,
            } => {
                "control".clone_into(&mut out.verb);
                (out.method, out.path, out.host, out.origin) = (method, path, host, origin);
                (out.token, out.key, out.body) = (token, key, body);
            }
            ControlVerb::Refresh {
                token,
                user,
                tenant,
            } => {
                "refresh".clone_into(&mut out.verb);
                (out.token, out.user, out.tenant) = (token, user, tenant);
            }
            ControlVerb::Group {
                action,
                user,
                conversation,
                users,
            } => {
                out.verb = format!("group.{action}");
                (out.user, out.conversation, out.users) = (user, conversation, users);
            }
            ControlVerb::Query {
                name,
                user,
                conversation,
            } => {
                name.clone_into(&mut out.verb);
                (out.user, out.conversation) = (user, conversation);
            }
        }
        out
    }
}
