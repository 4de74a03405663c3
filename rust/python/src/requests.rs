//! A control verb as Python sees it.

use imfast_engine::ControlVerb;
use pyo3::prelude::*;

/// One request of one connection, held back until it is decided about.
///
/// Which fields are set depends on `verb`: `connect` has token and device, `refresh` has token,
/// user and tenant, the actions of `group` and the queries have user and conversation.
#[pyclass(frozen, get_all, module = "imfast._engine")]
pub(crate) struct Request {
    /// Names the connection in the engine's answers.
    connection: u64,
    /// The frame's id; 0 asks for no reply.
    frame: u64,
    /// `connect`, `refresh`, `group.create` …, `history`, `conversations`, `members`.
    verb: String,
    token: String,
    device: String,
    user: String,
    tenant: String,
    conversation: String,
    /// Users that an action of `group` names.
    users: usize,
}

impl From<imfast_engine::Request> for Request {
    fn from(request: imfast_engine::Request) -> Self {
        let mut out = Self {
            connection: request.connection,
            frame: request.frame,
            verb: String::new(),
            token: String::new(),
            device: String::new(),
            user: String::new(),
            tenant: String::new(),
            conversation: String::new(),
            users: 0,
        };
        match request.verb {
            ControlVerb::Connect { token, device } => {
                "connect".clone_into(&mut out.verb);
                (out.token, out.device) = (token, device);
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
