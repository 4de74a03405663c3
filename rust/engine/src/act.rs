//! Verbs that Python carries out for somebody who has no connection here: a user on whose behalf a
//! backend acts, or the backend itself. Their answers are Python's to take.

use crate::commands::Actor;
use crate::connection::Gather;
use crate::engine::Engine;
use crate::ephemeral::Ephemeral;
use crate::links::Kind;
use crate::origin::{Origin, Sender, Waiter};
use crate::query::{Query, QueryKind};
use crate::slab::Handle;
use imfast_wire::frames::check::{self, Refusal};
use imfast_wire::frames::client::{Group, Send, Target, Verb};
use imfast_wire::frames::codes;
use imfast_wire::frames::server::ServerBody;
use imfast_wire::frames::{id, json};
use std::borrow::Cow;

/// Who acts, with which verb.
#[derive(Debug, Clone, Copy)]
pub struct Act<'a> {
    pub tenant: &'a str,
    pub user: &'a str,
    pub device: &'a str,
    /// The backend acts itself: rights are not asked for.
    pub by_server: bool,
    pub verb: &'a str,
    /// The verb's fields as JSON.
    pub body: &'a [u8],
}

/// What came of an act.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acted {
    /// What [`Engine::act`] returned.
    pub number: u64,
    /// Of the catalogue; 0: it was done.
    pub code: u16,
    pub retry_after_ms: u64,
    /// The answer as JSON, or the error's message.
    pub content: Vec<u8>,
}

/// A connection that there is not: nobody is left out of what an act sends.
const NOBODY: Handle = Handle {
    slot: u32::MAX,
    generation: u32::MAX,
};

impl Engine {
    /// Begins an act; [`Engine::take_acted`] has the answer some time, under the number returned.
    pub fn act(&mut self, act: &Act<'_>) -> u64 {
        self.acts += 1;
        let number = self.acts;
        if let Err((code, message)) = self.begin_act(number, act) {
            self.acted_with(number, &ServerBody::error(code, 0, &*message));
        }
        number
    }

    /// Answers that came since the last call.
    pub fn take_acted(&mut self) -> Vec<Acted> {
        std::mem::take(&mut self.acted)
    }

    fn begin_act(&mut self, number: u64, act: &Act<'_>) -> Result<(), Refusal> {
        let verb = json::decode_verb(act.verb, act.body)
            .map_err(|error| (error.code, Cow::Owned(error.message.into_owned())))?;
        check::verb(&verb, &self.config.limits)?;
        let waiter = Waiter::Act { number };
        match verb {
            Verb::Send(send) => self.act_send(act, &send, waiter),
            Verb::Ack { conversation, seq } => {
                self.act_cursor(act, &conversation, waiter, |actor| {
                    actor.ack(act.device, seq)
                });
                Ok(())
            }
            Verb::Read { conversation, seq } => {
                self.act_cursor(act, &conversation, waiter, |actor| actor.read(seq));
                Ok(())
            }
            Verb::History {
                conversation,
                before,
                after,
                limit,
            } => {
                let conversation = conversation.into_owned();
                let partition = self.partition_for(act, &conversation);
                let kind = QueryKind::History {
                    conversation,
                    before,
                    after,
                    limit: limit.unwrap_or(self.config.page_items_default),
                };
                self.ask(partition, &query(act, kind), waiter);
                Ok(())
            }
            Verb::Conversations { after, limit } => {
                let kind = QueryKind::Conversations {
                    device: act.device.to_owned(),
                    after: String::new(),
                    limit: u32::MAX,
                };
                let gather = Gather {
                    frame: number,
                    limit: limit.unwrap_or(self.config.page_items_default),
                    after: after.into_owned(),
                    missing: usize::from(self.partitions()),
                    parts: Vec::new(),
                };
                self.act_gathers.insert(number, gather);
                for partition in 0..self.partitions() {
                    let query = query(act, kind.clone());
                    self.ask(partition, &query, Waiter::ActPart { number });
                }
                Ok(())
            }
            Verb::Group(Group::Members {
                conversation,
                after,
                limit,
            }) => {
                let conversation = conversation.into_owned();
                let partition = self.partition_for(act, &conversation);
                let kind = QueryKind::Members {
                    conversation,
                    after: after.into_owned(),
                    limit: limit.unwrap_or(self.config.page_items_default),
                };
                self.ask(partition, &query(act, kind), waiter);
                Ok(())
            }
            Verb::Group(group) => {
                let (partition, command, _) =
                    self.group_command(act.tenant, act.user, act.by_server, &group);
                self.submit(partition, command, waiter);
                Ok(())
            }
            _ => Err((&codes::UNSUPPORTED, Cow::Borrowed(""))),
        }
    }

    fn partition_for(&self, act: &Act<'_>, conversation: &str) -> u16 {
        id::partition_of(act.tenant, conversation, self.partitions())
    }

    fn act_cursor(
        &mut self,
        act: &Act<'_>,
        conversation: &str,
        waiter: Waiter,
        command: impl FnOnce(&Actor<'_>) -> Vec<u8>,
    ) {
        let command = command(&Actor {
            tenant: act.tenant,
            user: act.user,
            key: &[],
            conversation,
            by_server: act.by_server,
        });
        let partition = self.partition_for(act, conversation);
        self.submit(partition, command, waiter);
    }

    fn act_send(&mut self, act: &Act<'_>, send: &Send<'_>, waiter: Waiter) -> Result<(), Refusal> {
        if let Some(made_ms) = id::key_made_ms(send.key.as_bytes())
            && made_ms + self.config.dedupe_window_ms < self.wall_ms
        {
            return Err((&codes::KEY_EXPIRED, Cow::Borrowed("")));
        }
        let (conversation, peer) = match &send.to {
            Target::User(peer) => {
                let conversation = id::direct_conversation(act.tenant, act.user, peer);
                (Cow::Owned(conversation), peer.as_ref())
            }
            Target::Group(id) | Target::Conversation(id) => (Cow::Borrowed(id.as_ref()), ""),
        };
        let partition = self.partition_for(act, &conversation);
        let here = self.owns(partition);
        if send.ephemeral && here {
            let mut content = self.io.pool.take();
            send.write_content(&mut content);
            let message = Ephemeral {
                tenant: act.tenant.as_bytes(),
                user: act.user,
                conversation: &conversation,
                peer,
                content: &content,
                routes: None,
            };
            let sender = Sender {
                worker: self.config.worker,
                handle: NOBODY,
            };
            self.send_ephemeral(partition, &message, sender, Origin::Here(waiter));
            self.io.pool.give(content);
            return Ok(());
        }
        let made;
        let key = if send.key.is_empty() && !here && !send.ephemeral {
            made = self.fresh_key();
            &made[..]
        } else {
            send.key.as_bytes()
        };
        let command = Actor {
            tenant: act.tenant,
            user: act.user,
            key,
            conversation: &conversation,
            by_server: act.by_server,
        }
        .send(peer, send);
        if send.ephemeral {
            let mut payload = NOBODY.to_bits().to_le_bytes().to_vec();
            payload.extend_from_slice(&command);
            self.request(partition, Kind::Ephemeral, payload, waiter);
        } else {
            self.submit(partition, command, waiter);
        }
        Ok(())
    }

    /// An act has its answer.
    pub(crate) fn acted_with(&mut self, number: u64, body: &ServerBody<'_>) {
        let mut content = Vec::new();
        let (code, retry_after_ms) = match body {
            ServerBody::Error {
                code,
                retry_after_ms,
                message,
                ..
            } => {
                content.extend_from_slice(message.as_bytes());
                (*code as u16, *retry_after_ms)
            }
            body => {
                let written = json::encode_answer(body, &mut content);
                debug_assert!(written.is_ok(), "unreadable row: {written:?}");
                if content.is_empty() {
                    content.extend_from_slice(b"{}");
                }
                (0, 0)
            }
        };
        self.acted.push(Acted {
            number,
            code,
            retry_after_ms,
            content,
        });
    }

    /// A partition answered its part of an act.
    pub(crate) fn acted_in_part(&mut self, number: u64, body: &ServerBody<'_>) {
        let Some(gather) = self.act_gathers.get_mut(&number) else {
            return;
        };
        if !gather.add(body) {
            return;
        }
        let Some(gather) = self.act_gathers.remove(&number) else {
            return;
        };
        if matches!(body, ServerBody::Error { .. }) {
            return self.acted_with(number, body);
        }
        gather.together(|body| self.acted_with(number, &body));
    }
}

fn query(act: &Act<'_>, kind: QueryKind) -> Query {
    Query {
        tenant: act.tenant.to_owned(),
        user: act.user.to_owned(),
        by_server: act.by_server,
        kind,
    }
}
