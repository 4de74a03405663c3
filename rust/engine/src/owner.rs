//! The owner's half: batches of the partitions that this worker owns, from inbox to log to
//! answers and deliveries.

use crate::archiving::Archiving;
use crate::crash::{self, Event};
use crate::delivery::Arrival;
use crate::engine::Engine;
use crate::faults::{self, contained};
use crate::origin::Origin;
use crate::query::Query;
use crate::refusals::{outcome_body, refusal};
use crate::system::Writer;
use imfast_faults::{Fault, on};
use imfast_log::{AppendError, Batch, BatchReader, Log, RetryKind};
use imfast_partition::{Audience, Delivery, Disagreement, Incoming, Partition, RowKind};
use imfast_wire::frames::codes;
use imfast_wire::frames::row::row_time_ms;
use imfast_wire::frames::server::ServerBody;
use std::collections::VecDeque;
use std::time::Instant;

/// What the log of a partition is doing.
pub(crate) enum Storage {
    /// Commands of former lives are folded again.
    Replaying {
        log: Box<Log>,
        batches: BatchReader,
    },
    Serving(Writer),
    /// The outcome of a write is not known; nothing is taken until it is opened again.
    Poisoned,
}

/// A partition that this worker owns.
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts about a partition"
)]
pub(crate) struct Owned {
    pub(crate) epoch: u64,
    pub(crate) partition: Partition<Origin>,
    pub(crate) storage: Storage,
    inbox: VecDeque<Incoming<Origin>>,
    inbox_bytes: usize,
    /// Commands taken so far, and those whose outcome is known: a query waits for the commands
    /// before it.
    enqueued: u64,
    finished: u64,
    waiting: VecDeque<(u64, Query, Origin)>,
    /// Rows of a commit are being handed out: this worker's own sessions are behind the committed
    /// state, and their catch-up pages wait, or they would get those rows twice.
    handing_out: bool,
    pages: Vec<(Query, Origin)>,
    /// Cursors that wait for the commands before them, as queries do.
    early: VecDeque<(u64, Vec<u8>, Origin)>,
    /// The last attempt to log cursors failed.
    pub(crate) cursors_failed: bool,
    /// When senders are told next, in engine milliseconds.
    pub(crate) receipts_at_ms: u64,
    in_flight: bool,
    /// When the batch in flight was given to the log.
    appended: Option<Instant>,
    pub(crate) archiving: Archiving,
    /// Memory for rows is used up by those that the archive does not have yet.
    pub(crate) rows_full: bool,
}

impl Owned {
    /// A partition whose log was opened and is to be replayed.
    pub(crate) fn new(
        epoch: u64,
        partition: Partition<Origin>,
        storage: Storage,
        archiving: Archiving,
    ) -> Self {
        Self {
            epoch,
            partition,
            storage,
            inbox: VecDeque::new(),
            inbox_bytes: 0,
            enqueued: 0,
            finished: 0,
            waiting: VecDeque::new(),
            handing_out: false,
            pages: Vec::new(),
            early: VecDeque::new(),
            cursors_failed: false,
            receipts_at_ms: 0,
            in_flight: false,
            appended: None,
            archiving,
            rows_full: false,
        }
    }

    pub(crate) fn wants_batch(&self) -> bool {
        !self.in_flight
            && !self.rows_full
            && !self.inbox.is_empty()
            && matches!(self.storage, Storage::Serving(_))
    }

    /// Nothing queued, nothing in flight, and no cursor that could be logged.
    pub(crate) fn quiet(&self) -> bool {
        let cursors = self.partition.cursors_waiting() > 0 && !self.cursors_failed;
        let logs = matches!(self.storage, Storage::Serving(_));
        !self.in_flight && self.inbox.is_empty() && !(cursors && logs)
    }

    pub(crate) fn inbox_bytes(&self) -> usize {
        self.inbox_bytes
    }

    pub(crate) fn settled(&self) -> bool {
        self.enqueued == self.finished
    }

    /// Puts a cursor aside until the commands that came before it have an outcome.
    pub(crate) fn await_outcomes(&mut self, command: Vec<u8>, origin: Origin) {
        self.early.push_back((self.enqueued, command, origin));
    }
}

/// A partition's fold cannot go on: a fault of this program. [`Engine::abandon`] has to follow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FoldFault {
    Panicked,
    /// The numbering is not acceptable.
    Disagreement(Disagreement),
}

impl std::fmt::Display for FoldFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Panicked => f.write_str("the fold panicked"),
            Self::Disagreement(disagreement) => disagreement.fmt(f),
        }
    }
}

impl std::error::Error for FoldFault {}

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
    /// Queues a command for the next batch, or answers why not.
    pub(crate) fn enqueue(&mut self, partition: u16, incoming: Incoming<Origin>) {
        let inbox_bytes = self.config.inbox_bytes;
        let Some(owned) = self.owned[partition as usize].as_mut() else {
            return self.unavailable(partition, incoming.origin);
        };
        let refusal = if matches!(owned.storage, Storage::Poisoned) {
            Some(&codes::PARTITION_UNAVAILABLE)
        } else if owned.inbox_bytes > inbox_bytes {
            Some(&codes::OVERLOADED)
        } else if owned.rows_full && owned.archiving.failing {
            Some(&codes::STORAGE_FULL)
        } else {
            None
        };
        if let Some(code) = refusal {
            match code.number {
                number if number == codes::OVERLOADED.number => {
                    faults::count(&mut self.faults, faults::Fault::InboxFull, self.now_ms);
                }
                number if number == codes::STORAGE_FULL.number => {
                    faults::count(&mut self.faults, faults::Fault::RowsFull, self.now_ms);
                }
                _ => {}
            }
            return self.answer(partition, incoming.origin, ServerBody::error(code, 0, ""));
        }
        owned.inbox_bytes += incoming.command.len();
        owned.enqueued += 1;
        owned.inbox.push_back(incoming);
    }

    /// Whether a partition is this worker's to own, open or not.
    pub(crate) fn owns(&self, partition: u16) -> bool {
        self.config.owners.get(partition as usize) == Some(&self.config.worker)
    }

    pub(crate) fn unavailable(&mut self, partition: u16, origin: Origin) {
        let body = ServerBody::error(&codes::PARTITION_UNAVAILABLE, 0, "");
        self.answer(partition, origin, body);
    }

    /// Partitions that have commands and no batch in flight.
    pub fn wanting_batches(&self) -> Vec<u16> {
        let wanting = self
            .owned
            .iter()
            .enumerate()
            .filter(|(_, owned)| owned.as_ref().is_some_and(|owned| owned.wants_batch()));
        wanting.map(|(partition, _)| partition as u16).collect()
    }

    /// Starts a partition's next batch: judges its commands. Returns the batch's time and how
    /// many records are to be numbered, or none where there is nothing to do.
    ///
    /// # Errors
    /// The fold panicked.
    pub fn begin(&mut self, partition: u16) -> Result<Option<(u64, usize)>, FoldFault> {
        let time_ms = self.wall_ms;
        let (commands, bytes) = (self.config.batch_commands, self.config.batch_bytes);
        let Some(Some(owned)) = self.owned.get_mut(partition as usize) else {
            return Ok(None);
        };
        if !owned.wants_batch() {
            return Ok(None);
        }
        owned.in_flight = true;
        let folded = contained(|| {
            owned
                .partition
                .begin(time_ms, &mut owned.inbox, commands, bytes)
        });
        let Some(taken) = folded else {
            return Err(self.fold_panicked());
        };
        crash::note(
            Event::BatchBegun,
            self.now_ms,
            u64::from(partition),
            taken as u64,
        );
        // Under load the inbox never runs empty: what is taken has to be taken off each time.
        owned.inbox_bytes -= owned.partition.batch_bytes();
        self.io.stats.commands += taken as u64;
        Ok(Some((time_ms, owned.partition.records().len())))
    }

    fn fold_panicked(&mut self) -> FoldFault {
        faults::count(&mut self.faults, faults::Fault::Fold, self.now_ms);
        FoldFault::Panicked
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
    /// The fold panicked, or the numbering is not acceptable.
    pub fn append(&mut self, partition: u16) -> Result<bool, FoldFault> {
        let Some(Some(owned)) = self.owned.get_mut(partition as usize) else {
            return Ok(false);
        };
        let Some(batch) = contained(|| owned.partition.finish()) else {
            return Err(self.fold_panicked());
        };
        let batch = batch.map_err(FoldFault::Disagreement)?;
        if batch.count == 0 {
            return Ok(false);
        }
        let Storage::Serving(writer) = &owned.storage else {
            return Ok(false);
        };
        let batch = Batch {
            first_position: batch.first_position,
            time_ms: batch.time_ms,
            fold_version: batch.fold_version,
            count: batch.count,
            payload: batch.payload,
        };
        crash::note(
            Event::BatchAppended,
            self.now_ms,
            u64::from(partition),
            batch.first_position,
        );
        writer.append(batch, owned.enqueued);
        owned.appended = Some(Instant::now());
        Ok(!on(Fault::DeliverBeforeCommit))
    }

    /// Appends that ended since the last call, in order.
    pub fn take_finished(&mut self) -> Vec<Finished> {
        let mut completed = std::mem::take(&mut self.completed);
        if on(Fault::DeliverBeforeCommit) {
            completed.retain(|completion| completion.result.is_err());
        }
        let (owned, commit_times) = (&mut self.owned, &mut self.commit_times);
        let finished = |completion: imfast_log::Completion| {
            let partition = completion.partition as u16;
            let owned = owned.get_mut(partition as usize).and_then(Option::as_mut);
            if let Some(appended) = owned.and_then(|owned| owned.appended.take())
                && completion.result.is_ok()
            {
                commit_times.record(appended.elapsed().as_micros() as u64, 1);
            }
            match completion.result {
                Ok(durable) => Finished {
                    partition,
                    failure: None,
                    write_ns: durable.write_ns,
                    sync_ns: durable.sync_ns,
                },
                Err(error) => Finished {
                    partition,
                    failure: Some(error),
                    write_ns: 0,
                    sync_ns: 0,
                },
            }
        };
        completed.into_iter().map(finished).collect()
    }

    /// The batch in flight is durable: its commands are answered, its rows delivered. `keys_from`
    /// is the position of the oldest key that the sequencer has now. Returns what the archive has:
    /// keys up to there may be forgotten.
    ///
    /// # Errors
    /// The fold panicked.
    pub fn deliver(&mut self, partition: u16, keys_from: u64) -> Result<u64, FoldFault> {
        let (budget, now_ms) = (self.archive_budget(), self.wall_ms);
        let Some(Some(owned)) = self.owned.get_mut(partition as usize) else {
            return Ok(0);
        };
        let Some(committed) = contained(|| owned.partition.commit_at(now_ms)) else {
            return Err(self.fold_panicked());
        };
        owned.in_flight = false;
        owned.finished += committed.outcomes.len() as u64;
        let position = owned.partition.position();
        crash::note(
            Event::BatchDelivered,
            self.now_ms,
            u64::from(partition),
            position,
        );
        self.io.stats.commits += 1;
        self.committed = true;
        // First the position, then the routes: whoever routes after this reads a position that
        // includes these rows (`publish_committed` and `workers` are sequentially consistent).
        self.routes.publish_committed(partition as usize, position);
        for (origin, outcome) in &committed.outcomes {
            self.answer(partition, *origin, outcome_body(partition, outcome));
        }
        let born_ms = committed
            .deliveries
            .first()
            .map(|first| row_time_ms(&first.row));
        self.begin_deliveries(born_ms.unwrap_or(0));
        self.hand_out(partition, &committed.deliveries, Self::route);
        self.end_deliveries();
        self.advance_watermark(partition, position);
        self.links_committed(partition, position);
        self.serve_waiting(partition);
        // Last: nobody waits for it.
        if let Some(Some(owned)) = self.owned.get_mut(partition as usize) {
            owned.archive_step(keys_from, budget);
        }
        Ok(self.archived_position(partition))
    }

    /// The last position that a partition's archive is known to have.
    pub(crate) fn archived_position(&self, partition: u16) -> u64 {
        let owned = self.owned.get(partition as usize).and_then(Option::as_ref);
        owned.map_or(0, |owned| owned.partition.archived_position())
    }

    /// Closes a partition whose fold cannot go on; opening it again makes its state from the log.
    /// Everybody who waits for it is answered: the outcome of the batch in flight is not known.
    pub fn abandon(&mut self, partition: u16) {
        let Some(owned) = self.owned.get_mut(partition as usize) else {
            return;
        };
        let Some(mut owned) = owned.take() else {
            return;
        };
        crash::note(Event::PartitionClosed, self.now_ms, u64::from(partition), 0);
        for origin in owned.partition.abandon() {
            self.answer(
                partition,
                origin,
                ServerBody::error(&codes::INTERNAL, 0, ""),
            );
        }
        let queued = owned.inbox.into_iter().map(|incoming| incoming.origin);
        let asked = owned.waiting.into_iter().map(|(_, _, origin)| origin);
        let pages = owned.pages.into_iter().map(|(_, origin)| origin);
        let early = owned.early.into_iter().map(|(_, _, origin)| origin);
        for origin in queued.chain(asked).chain(pages).chain(early) {
            self.unavailable(partition, origin);
        }
    }

    /// The batch in flight did not become durable: nothing of it happened, as far as is known, and
    /// what is queued behind it is failed too, for it may depend on it.
    pub fn fail(&mut self, partition: u16, error: &AppendError) {
        let code = match error {
            AppendError::Retryable {
                kind: RetryKind::StorageFull,
                ..
            } => &codes::STORAGE_FULL,
            _ => &codes::OUTCOME_UNKNOWN,
        };
        let lost = is_lost(error);
        crash::note(Event::BatchFailed, self.now_ms, u64::from(partition), 0);
        let Some(Some(owned)) = self.owned.get_mut(partition as usize) else {
            return;
        };
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
        while let Some(Some(owned)) = self.owned.get_mut(partition as usize)
            && owned
                .early
                .front()
                .is_some_and(|(after, ..)| *after <= owned.finished)
            && let Some((_, command, origin)) = owned.early.pop_front()
        {
            let noted = owned.partition.note_cursor(&command);
            let body = noted.map_or_else(refusal, |_| ServerBody::Acked);
            self.answer(partition, origin, body);
        }
        while let Some(Some(owned)) = self.owned.get_mut(partition as usize) {
            let Some((after, ..)) = owned.waiting.front() else {
                break;
            };
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
        let Some(Some(owned)) = self.owned.get_mut(partition as usize) else {
            return self.unavailable(partition, origin);
        };
        let ordered = !matches!(query.kind, crate::query::QueryKind::CatchUp { .. });
        if ordered && !owned.settled() {
            owned
                .waiting
                .push_back((owned.enqueued, query.clone(), origin));
        } else {
            self.answer_query(partition, query, origin);
        }
    }

    /// Calls `each` with every delivery, and then serves the catch-up pages asked for meanwhile.
    pub(crate) fn hand_out(
        &mut self,
        partition: u16,
        deliveries: &[Delivery],
        each: impl Fn(&mut Self, u16, &Delivery),
    ) {
        if let Some(Some(owned)) = self.owned.get_mut(partition as usize) {
            owned.handing_out = true;
        }
        for delivery in deliveries {
            each(self, partition, delivery);
        }
        let Some(Some(owned)) = self.owned.get_mut(partition as usize) else {
            return;
        };
        owned.handing_out = false;
        for (query, origin) in std::mem::take(&mut owned.pages) {
            self.answer_query(partition, &query, origin);
        }
    }

    /// Whether a catch-up page must wait for the rows that are being handed out.
    pub(crate) fn defer_for_rows(&mut self, partition: u16, query: &Query, origin: Origin) -> bool {
        let Some(Some(owned)) = self.owned.get_mut(partition as usize) else {
            return false;
        };
        if owned.handing_out {
            owned.pages.push((query.clone(), origin));
        }
        owned.handing_out
    }

    /// Sends a committed row to the workers that it concerns.
    fn route(&mut self, partition: u16, delivery: &Delivery) {
        let mask = self.mask_of(delivery);
        with_arrival(partition, delivery, |arrival| {
            self.send_to_workers(mask, arrival);
        });
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

    /// Brings an answer to whoever asked, here or over a link.
    pub(crate) fn answer(&mut self, partition: u16, origin: Origin, body: ServerBody<'_>) {
        match origin {
            Origin::Here(waiter) => self.answered(waiter, body),
            Origin::Cursors => {
                let failed = matches!(body, ServerBody::Error { .. });
                self.cursors_answered(partition, failed);
            }
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
        joined: change
            .map(|c| c.joined.iter().map(|u| &**u).collect())
            .unwrap_or_default(),
        left: change
            .map(|c| c.left.iter().map(|u| &**u).collect())
            .unwrap_or_default(),
    };
    then(&arrival)
}

/// Whether a partition must be opened again after this failure.
pub fn is_lost(error: &AppendError) -> bool {
    matches!(
        error,
        AppendError::Poisoned { .. } | AppendError::Fenced { .. }
    )
}
