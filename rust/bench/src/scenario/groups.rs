//! Making groups before a run.

use imfast_wire::frames::client::{ClientFrame, Group, Verb};
use imfast_wire::frames::limits::MEMBERS_PER_CALL;
use imfast_wire::frames::server::ServerBody;

use crate::failure::Failure;
use crate::measure::now_ns;
use crate::poller::Ready;
use crate::pool::Pool;
use crate::transport::Transport;

const PATIENCE_NS: u64 = 30_000_000_000;

/// Connection `creator` creates a group of itself and `members`; returns its conversation once
/// every member is in it.
pub(super) fn create<T: Transport>(
    transport: T,
    pool: &mut Pool<T>,
    creator: usize,
    members: &[&str],
) -> Result<String, Failure> {
    let mut group = String::new();
    for (call, chunk) in members
        .chunks(MEMBERS_PER_CALL.default as usize)
        .enumerate()
    {
        let key = format!("bench-{:x}", now_ns()).into();
        let users = chunk.iter().map(|name| (*name).into()).collect();
        let action = if call == 0 {
            Group::Create {
                key,
                title: "".into(),
                members: users,
                open: false,
            }
        } else {
            let conversation = group.clone().into();
            Group::Add {
                conversation,
                key,
                users,
            }
        };
        let id = call as u64 + 1;
        let verb = Verb::Group(action);
        pool.send(creator, &ClientFrame { id, verb })?;
        group = answer(transport, pool, creator)?;
    }
    Ok(group)
}

fn answer<T: Transport>(
    transport: T,
    pool: &mut Pool<T>,
    creator: usize,
) -> Result<String, Failure> {
    let give_up_ns = now_ns() + PATIENCE_NS;
    let mut events: Vec<Ready> = Vec::new();
    let mut answer = None;
    while now_ns() < give_up_ns {
        pool.wait(give_up_ns, &mut events)?;
        for event in &events {
            pool.handle(*event, |bytes| {
                if event.index != Some(creator) {
                    return;
                }
                let mut rows = Vec::new();
                match transport.decode(bytes, &mut rows) {
                    // It is the only request under way.
                    Ok(frame) if frame.id != 0 => {
                        answer = Some(match frame.body {
                            ServerBody::Group { conversation, .. } => Ok(conversation.into_owned()),
                            other => Err(format!("group was answered with {other:?}")),
                        });
                    }
                    Ok(_) => {}
                    Err(error) => answer = Some(Err(error)),
                }
            })?;
        }
        if let Some(answer) = answer {
            return answer.map_err(Failure::Said);
        }
    }
    Err(Failure::Said("no answer to group".into()))
}
