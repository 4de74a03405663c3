//! The owner's half: batches of the partitions that this worker owns, from inbox to log to
//! answers and deliveries.

use crate::delivery::Arrival;
use crate::engine::Engine;
use crate::origin::{Origin, Sender};
use crate::query::Query;
use imfast_log::{AppendError, Batch, BatchReader, Durability, Log, LogError, OpenOptions, RetryKind, StdFs, Writer};
use imfast_partition::{
    Audience, Delivery, Disagreement, EphemeralTarget, Incoming, Limits, Outcome, Partition, PartitionConfig,
    Refused, ReplayError, RowKind, Target, Who,
};
use imfast_wire::frames::codes::{self, Code};
use imfast_wire::frames::row::write_row_prefix;
use imfast_wire::frames::server::{List, ServerBody};
use imfast_wire::protobuf::{Reader, Value};
use std::borrow::Cow;
use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;

/// What the log of a partition is doing.
enum Storage {
    /// Commands of former lives are folded again.
    Replaying { log: Log, batches: BatchReader },
    Serving(Writer),
    /// The outcome of a write is not known; nothing is taken until it is opened again.
    Poisoned,
}

/// A partition that this worker owns.
pub(crate) struct Owned {
    pub(crate) epoch: u64,
    pub(crate) partition: Partition<Origin>,
    storage: Storage,
    inbox: VecDeque<Incoming<Origin>>,
    inbox_bytes: usize,
    /// Commands taken so far, and those whose outcome is known: a query waits for the commands
    /// before it.
    enqueued: u64,
    finished: u64,
    waiting: VecDeque<(u64, Query, Origin)>,
    in_flight: bool,
    spare: Vec<u8>,
}

impl Owned {
    pub(crate) fn wants_batch(&self) -> bool {
        !self.in_flight && !self.inbox.is_empty() && matches!(self.storage, Storage::Serving(_))
    }

    /// Nothing queued, nothing in flight.
    pub(crate) fn quiet(&self) -> bool {
        !self.in_flight && self.inbox.is_empty()
    }

    fn settled(&self) -> bool {
        self.enqueued == self.finished
    }
}

/// Why a partition could not be opened or replayed.
#[derive(Debug)]
pub enum OpenError {
    Log(LogError),
    Replay(ReplayError),
    Thread(std::io::Error),
}

impl OpenError {
    /// What is on the disk cannot be used as it is.
    pub fn is_damage(&self) -> bool {
        matches!(self, Self::Replay(_) | Self::Log(LogError::Damaged(_) | LogError::Missing { .. }))
    }

    /// What is on the disk was written by a newer version, or for another layout.
    pub fn is_foreign(&self) -> bool {
        matches!(self, Self::Log(LogError::NewerFormat { .. } | LogError::Foreign { .. }))
    }
}

impl std::fmt::Display for OpenError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Log(error) => error.fmt(f),
            Self::Replay(error) => error.fmt(f),
            Self::Thread(error) => write!(f, "the log's thread cannot be started: {error}"),
        }
    }
}

impl std::error::Error for OpenError {}

/// How one append ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    pub partition: u16,
    pub failure: Option<AppendError>,
    /// Nanoseconds that the write and the sync took.
    pub write_ns: u64,
    pub sync_ns: u64,
}

impl Engine {
    /// Opens an owned partition's log. Replay follows.
    ///
    /// # Errors
    /// The lock is held, the disk refuses, or the log is damaged or of a newer format.
    pub fn open_partition(&mut self, partition: u16, dir: &Path, fsync: bool) -> Result<(u64, u64), OpenError> {
        // A poisoned predecessor holds the lock until it is dropped.
        self.owned[partition as usize] = None;
        let mut options = OpenOptions::new(u32::from(partition), u64::from(self.config.layout_generation));
        options.durability = if fsync { Durability::Fsync } else { Durability::Os };
        let opened = Log::open(Arc::new(StdFs), dir, options).map_err(OpenError::Log)?;
        let batches = opened.log.read_from(1).map_err(OpenError::Log)?;
        let limits = Limits {
            content_bytes_max: self.config.limits.frame_bytes as usize,
            users_per_command_max: self.config.limits.members_per_call as usize,
            group_members_max: self.config.group_members_max,
            ..Limits::default()
        };
        let state = Partition::new(PartitionConfig {
            partition,
            count: self.partitions(),
            layout_generation: self.config.layout_generation,
            hash_secret: self.config.hash_secret,
            limits,
        });
        self.owned[partition as usize] = Some(Box::new(Owned {
            epoch: opened.epoch,
            partition: state,
            storage: Storage::Replaying { log: opened.log, batches },
            inbox: VecDeque::new(),
            inbox_bytes: 0,
            enqueued: 0,
            finished: 0,
            waiting: VecDeque::new(),
            in_flight: false,
            spare: Vec::new(),
        }));
        Ok((opened.epoch, opened.last_position))
    }

    /// Reads the next batch of the log for numbering. Returns its time and how many records it
    /// has, or none at the end: then the partition serves.
    ///
    /// # Errors
    /// The log is damaged, or holds what the fold does not accept.
    pub fn replay_next(&mut self, partition: u16) -> Result<Option<(u64, usize)>, OpenError> {
        let completions = Arc::clone(&self.completions);
        let Some(owned) = self.owned[partition as usize].as_mut() else { return Ok(None) };
        let Storage::Replaying { batches, .. } = &mut owned.storage else { return Ok(None) };
        if let Some(batch) = batches.next_batch().map_err(OpenError::Log)? {
            owned.partition.replay_begin(batch.time_ms, batch.commands()).map_err(OpenError::Replay)?;
            let count = owned.partition.records().len();
            return Ok(Some((batch.time_ms, count)));
        }
        let storage = std::mem::replace(&mut owned.storage, Storage::Poisoned);
        if let Storage::Replaying { log, .. } = storage {
            owned.storage = Storage::Serving(log.start(completions).map_err(OpenError::Thread)?);
        }
        let (epoch, position) = (owned.epoch, owned.partition.position());
        self.routes.publish_epoch(partition as usize, epoch);
        self.routes.publish_committed(partition as usize, position);
        self.break_owner_links();
        self.redeliver(partition);
        Ok(None)
    }

    /// Takes the numbering of a replayed batch.
    ///
    /// # Errors
    /// The log and the fold disagree.
    pub fn replay_commit(&mut self, partition: u16) -> Result<(), OpenError> {
        let Some(owned) = self.owned[partition as usize].as_mut() else { return Ok(()) };
        owned.partition.replay_finish_commit().map_err(OpenError::Replay)
    }

    /// After a reopening: rows whose commit was not known to live sessions here.
    fn redeliver(&mut self, partition: u16) {
        let mut from = self.watermarks[partition as usize];
        while let Some(owned) = self.owned[partition as usize].as_ref() {
            if self.io.connections.is_empty() {
                break;
            }
            let page = owned.partition.deliveries_after(from, 1 << 20);
            for delivery in &page.deliveries {
                with_arrival(partition, delivery, |arrival| self.arrive(arrival, None));
            }
            from = page.through;
            if page.complete {
                break;
            }
        }
        if let Some(owned) = self.owned[partition as usize].as_ref() {
            let position = owned.partition.position();
            self.advance_watermark(partition, position);
        }
    }

    /// Queues a command for the next batch, or answers why not.
    pub(crate) fn enqueue(&mut self, partition: u16, incoming: Incoming<Origin>) {
        let (inbox_bytes, rows_bytes) = (self.config.inbox_bytes, self.config.rows_bytes);
        let Some(owned) = self.owned[partition as usize].as_mut() else { return };
        let refusal = if matches!(owned.storage, Storage::Poisoned) {
            Some(&codes::PARTITION_UNAVAILABLE)
        } else if owned.inbox_bytes > inbox_bytes {
            Some(&codes::OVERLOADED)
        } else if owned.partition.row_bytes() > rows_bytes {
            Some(&codes::STORAGE_FULL)
        } else {
            None
        };
        if let Some(code) = refusal {
            return self.answer(partition, incoming.origin, ServerBody::error(code, 0, ""));
        }
        owned.inbox_bytes += incoming.command.len();
        owned.enqueued += 1;
        owned.inbox.push_back(incoming);
    }

    /// Partitions that have commands and no batch in flight.
    pub fn wanting_batches(&self) -> Vec<u16> {
        let wanting = self.owned.iter().enumerate().filter(|(_, owned)| {
            owned.as_ref().is_some_and(|owned| owned.wants_batch())
        });
        wanting.map(|(partition, _)| partition as u16).collect()
    }

    /// Starts a partition's next batch: judges its commands. Returns the batch's time and how
    /// many records are to be numbered, or none where there is nothing to do.
    pub fn begin(&mut self, partition: u16) -> Option<(u64, usize)> {
        let time_ms = self.wall_ms;
        let (commands, bytes) = (self.config.batch_commands, self.config.batch_bytes);
        let owned = self.owned.get_mut(partition as usize)?.as_mut()?;
        if !owned.wants_batch() {
            return None;
        }
        let taken = owned.partition.begin(time_ms, &mut owned.inbox, commands, bytes);
        owned.in_flight = true;
        if owned.inbox.is_empty() {
            owned.inbox_bytes = 0;
        }
        self.io.stats.commands += taken as u64;
        Some((time_ms, owned.partition.records().len()))
    }

    /// The records of the batch in flight, to be numbered in place.
    pub fn records_mut(&mut self, partition: u16) -> Option<&mut [u8]> {
        let owned = self.owned.get_mut(partition as usize)?.as_mut()?;
        Some(owned.partition.records_mut().0)
    }

    /// Gives a numbered batch to the log. False where nothing needs to be logged: then
    /// [`Engine::deliver`] may follow at once.
    ///
    /// # Errors
    /// The numbering is not acceptable: a fault of this program.
    pub fn append(&mut self, partition: u16) -> Result<bool, Disagreement> {
        let Some(Some(owned)) = self.owned.get_mut(partition as usize) else { return Ok(false) };
        let batch = owned.partition.finish()?;
        if batch.count == 0 {
            return Ok(false);
        }
        let Storage::Serving(writer) = &owned.storage else { return Ok(false) };
        let batch = Batch {
            first_position: batch.first_position,
            time_ms: batch.time_ms,
            fold_version: batch.fold_version,
            count: batch.count,
            payload: batch.payload,
        };
        writer.append(batch, owned.enqueued);
        Ok(true)
    }

    /// Appends that ended since the last call, in order.
    pub fn take_finished(&mut self) -> Vec<Finished> {
        let completed = std::mem::take(&mut self.completed);
        let finished = |completion: imfast_log::Completion| {
            let partition = completion.partition as u16;
            if let Some(Some(owned)) = self.owned.get_mut(partition as usize) {
                owned.spare = completion.payload;
            }
            match completion.result {
                Ok(durable) => Finished {
                    partition,
                    failure: None,
                    write_ns: durable.write_ns,
                    sync_ns: durable.sync_ns,
                },
                Err(error) => Finished { partition, failure: Some(error), write_ns: 0, sync_ns: 0 },
            }
        };
        completed.into_iter().map(finished).collect()
    }

    /// The batch in flight is durable: its commands are answered, its rows delivered.
    pub fn deliver(&mut self, partition: u16) {
        let Some(Some(owned)) = self.owned.get_mut(partition as usize) else { return };
        let committed = owned.partition.commit();
        owned.in_flight = false;
        owned.finished += committed.outcomes.len() as u64;
        let position = owned.partition.position();
        self.io.stats.commits += 1;
        // First the position, then the routes: whoever routes after this reads a position that
        // includes these rows (`publish_committed` and `workers` are sequentially consistent).
        self.routes.publish_committed(partition as usize, position);
        for (origin, outcome) in &committed.outcomes {
            self.answer(partition, *origin, outcome_body(partition, outcome));
        }
        for delivery in &committed.deliveries {
            self.route(partition, delivery);
        }
        self.advance_watermark(partition, position);
        self.links_committed(partition, position);
        self.serve_waiting(partition);
    }

    /// The batch in flight did not become durable: nothing of it happened, as far as is known, and
    /// what is queued behind it is failed too, for it may depend on it.
    pub fn fail(&mut self, partition: u16, error: &AppendError) {
        let code = match error {
            AppendError::Retryable { kind: RetryKind::StorageFull, .. } => &codes::STORAGE_FULL,
            _ => &codes::OUTCOME_UNKNOWN,
        };
        let lost = is_lost(error);
        let Some(Some(owned)) = self.owned.get_mut(partition as usize) else { return };
        let mut failed = owned.partition.rollback();
        failed.extend(owned.inbox.drain(..));
        owned.inbox_bytes = 0;
        owned.in_flight = false;
        owned.finished += failed.len() as u64;
        if lost {
            owned.storage = Storage::Poisoned;
        }
        for Incoming { origin, .. } in failed {
            self.answer(partition, origin, ServerBody::error(code, 0, ""));
        }
        self.serve_waiting(partition);
    }

    fn serve_waiting(&mut self, partition: u16) {
        while let Some(Some(owned)) = self.owned.get_mut(partition as usize) {
            let Some((after, ..)) = owned.waiting.front() else { break };
            if *after > owned.finished {
                break;
            }
            if let Some((_, query, origin)) = owned.waiting.pop_front() {
                self.answer_query(partition, &query, origin);
            }
        }
    }

    /// Answers a query once the commands that came before it have an outcome.
    pub(crate) fn serve_query(&mut self, partition: u16, query: &Query, origin: Origin) {
        let Some(Some(owned)) = self.owned.get_mut(partition as usize) else { return };
        let ordered = !matches!(query.kind, crate::query::QueryKind::CatchUp { .. });
        if ordered && !owned.settled() {
            owned.waiting.push_back((owned.enqueued, query.clone(), origin));
        } else {
            self.answer_query(partition, query, origin);
        }
    }

    /// Sends a committed row to the workers that it concerns.
    fn route(&mut self, partition: u16, delivery: &Delivery) {
        let mask = self.mask_of(delivery);
        with_arrival(partition, delivery, |arrival| self.send_to_workers(mask, arrival));
    }

    fn send_to_workers(&mut self, mask: u64, arrival: &Arrival<'_>) {
        let here = 1u64 << self.config.worker;
        if mask & here != 0 {
            self.arrive(arrival, None);
        }
        if mask & !here != 0 {
            self.deliver_over_links(mask & !here, arrival);
        }
    }

    /// Serves a message that is neither stored nor numbered: `command` is an encoded send.
    pub(crate) fn send_ephemeral(&mut self, partition: u16, command: &[u8], sender: Sender, origin: Origin) {
        let Some(Some(owned)) = self.owned.get(partition as usize) else { return };
        let parts = SendParts::parse(command);
        let who = Who { tenant: parts.tenant, user: parts.user };
        let target = if parts.peer.is_empty() {
            Target::Conversation(parts.conversation)
        } else {
            Target::Peer(parts.peer)
        };
        let EphemeralTarget { conversation, audience } = match owned.partition.may_send(who, target) {
            Ok(found) => found,
            Err(refused) => {
                let (code, message) = refusal(refused);
                return self.answer(partition, origin, ServerBody::error(code, 0, message));
            }
        };
        let timestamp_ms = self.wall_ms;
        let mut row = Vec::with_capacity(96 + parts.content.len());
        write_row_prefix(&mut row, &conversation, 0, 0, parts.user, timestamp_ms);
        row.extend_from_slice(parts.content);
        let (mask, direct) = match &audience {
            Audience::Direct { a, b } => (
                self.routes.workers(self.routes.user_key(parts.tenant, a.as_bytes())).0
                    | self.routes.workers(self.routes.user_key(parts.tenant, b.as_bytes())).0,
                Some((&**a, &**b)),
            ),
            Audience::Group => {
                let key = self.routes.group_key(parts.tenant, conversation.as_bytes());
                (self.routes.workers(key).0, None)
            }
        };
        let arrival = Arrival {
            partition,
            tenant: std::str::from_utf8(parts.tenant).unwrap_or(""),
            conversation: &conversation,
            row: &row,
            direct,
            ..Arrival::default()
        };
        let here = 1u64 << self.config.worker;
        if mask & here != 0 {
            let exclude = (sender.worker == self.config.worker).then_some(sender.handle);
            self.arrive(&arrival, exclude);
        }
        self.ephemeral_over_links(mask & !here, &arrival, sender);
        let body = ServerBody::Sent {
            conversation: Cow::Borrowed(&conversation),
            seq: 0,
            message_id: 0,
            partition,
            position: 0,
            timestamp_ms,
            duplicate: false,
        };
        self.answer(partition, origin, body);
    }

    /// Brings an answer to whoever asked, here or over a link.
    pub(crate) fn answer(&mut self, partition: u16, origin: Origin, body: ServerBody<'_>) {
        match origin {
            Origin::Here(waiter) => self.answered(waiter, body),
            Origin::Link { link, request } => self.reply(partition, link, request, &body),
        }
    }
}

/// Calls `then` with the delivery as links and sessions take it.
pub(crate) fn with_arrival<R>(
    partition: u16,
    delivery: &Delivery,
    then: impl FnOnce(&Arrival<'_>) -> R,
) -> R {
    let change = delivery.change.as_deref();
    let arrival = Arrival {
        partition,
        position: delivery.position,
        // Tenants are made from text; other bytes never get into a command.
        tenant: std::str::from_utf8(&delivery.tenant).unwrap_or(""),
        conversation: &delivery.conversation,
        event: delivery.kind == RowKind::Event,
        row: &delivery.row,
        direct: match &delivery.audience {
            Audience::Direct { a, b } => Some((a, b)),
            Audience::Group => None,
        },
        joined: change.map(|c| c.joined.iter().map(|u| &**u).collect()).unwrap_or_default(),
        left: change.map(|c| c.left.iter().map(|u| &**u).collect()).unwrap_or_default(),
    };
    then(&arrival)
}

/// The parts of an encoded send that an ephemeral message needs.
#[derive(Default)]
struct SendParts<'a> {
    tenant: &'a [u8],
    user: &'a str,
    conversation: &'a str,
    peer: &'a str,
    content: &'a [u8],
}

impl<'a> SendParts<'a> {
    fn parse(command: &'a [u8]) -> Self {
        let text = |bytes: &'a [u8]| std::str::from_utf8(bytes).unwrap_or("");
        let mut parts = Self::default();
        let mut reader = Reader::new(command);
        while let Ok(Some((number, Value::Bytes(bytes)))) = reader.field() {
            match number {
                1 => parts.tenant = bytes,
                2 => parts.user = text(bytes),
                4 => parts.conversation = text(bytes),
                8 => {
                    let mut inner = Reader::new(bytes);
                    while let Ok(Some((number, Value::Bytes(bytes)))) = inner.field() {
                        match number {
                            1 => parts.peer = text(bytes),
                            2 => parts.content = bytes,
                            _ => {}
                        }
                    }
                }
                _ => {}
            }
        }
        parts
    }
}

fn outcome_body(partition: u16, outcome: &Outcome) -> ServerBody<'_> {
    match outcome {
        Outcome::Sent { conversation, seq, message_id, position, time_ms, duplicate } => ServerBody::Sent {
            conversation: Cow::Borrowed(conversation),
            seq: *seq,
            message_id: *message_id,
            partition,
            position: *position,
            timestamp_ms: *time_ms,
            duplicate: *duplicate,
        },
        Outcome::Group { conversation, seq } => ServerBody::Group {
            conversation: Cow::Borrowed(conversation),
            seq: *seq,
            members: List::default(),
            more: false,
        },
        Outcome::Acked => ServerBody::Acked,
        Outcome::Refused(refused) => {
            let (code, message) = refusal(*refused);
            ServerBody::error(code, 0, message)
        }
    }
}

/// The catalogue's code for a refusal of the fold, and a message where it says more.
pub(crate) fn refusal(refused: Refused) -> (&'static Code, &'static str) {
    match refused {
        Refused::NotAMember => (&codes::NOT_A_MEMBER, ""),
        Refused::NotAllowed => (&codes::NOT_ALLOWED, ""),
        Refused::Malformed => (&codes::INVALID_ARGUMENT, "not possible for this conversation"),
        // The same answer as for a stranger: it must not tell which ids exist.
        Refused::WrongConversation | Refused::WrongPartition => (&codes::NOT_A_MEMBER, ""),
        Refused::Conflict => (&codes::KEY_CONFLICT, ""),
        Refused::TooLarge => (&codes::BODY_TOO_LARGE, ""),
        Refused::GroupFull => (&codes::GROUP_FULL, ""),
    }
}

/// Whether a partition must be opened again after this failure.
pub fn is_lost(error: &AppendError) -> bool {
    matches!(error, AppendError::Poisoned { .. } | AppendError::Fenced { .. })
}
