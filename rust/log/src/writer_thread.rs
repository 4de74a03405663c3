//! A thread around `SegmentWriter`, one per partition, and the queue its outcomes arrive in.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};

use crate::batch::Batch;
use crate::error::AppendError;
use crate::log::Log;
use crate::reader::LogReader;
use crate::readers::Readers;
use crate::writer::{Durable, SegmentWriter};

/// The outcome of one append.
#[derive(Debug)]
pub struct Completion {
    /// The partition it belongs to.
    pub partition: u32,
    /// As given to [`Writer::append`].
    pub ticket: u64,
    /// Durable, or why not.
    pub result: Result<Durable, AppendError>,
    /// The batch's payload, given back for reuse; not cleared.
    pub payload: Vec<u8>,
}

/// Outcomes of all writers of one worker, in the order in which they came.
pub struct Completions {
    queue: Mutex<Vec<Completion>>,
    wake: Box<dyn Fn() + Send + Sync>,
}

impl Completions {
    /// `wake` is called from a writer's thread whenever the queue gets its first entry since it was drained.
    pub fn new(wake: impl Fn() + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self {
            queue: Mutex::default(),
            wake: Box::new(wake),
        })
    }

    /// Moves all outcomes to the end of `into`. Never waits for a disk.
    pub fn drain(&self, into: &mut Vec<Completion>) {
        into.append(&mut lock(&self.queue));
    }

    /// Whether outcomes are there, as far as can be told without waiting.
    pub fn waiting(&self) -> bool {
        let queue = self.queue.try_lock();
        queue.is_ok_and(|queue| !queue.is_empty())
    }

    fn push(&self, completion: Completion) {
        let mut queue = lock(&self.queue);
        queue.push(completion);
        let first = queue.len() == 1;
        drop(queue);
        if first {
            (self.wake)();
        }
    }
}

/// The writing side of a log on its own thread. Dropping it waits for the batch in flight and frees the lock.
pub struct Writer {
    shared: Arc<Shared>,
    reader: LogReader,
    readers: Arc<Readers>,
    thread: Option<JoinHandle<SegmentWriter>>,
}

struct Shared {
    mailbox: Mutex<Mailbox>,
    arrived: Condvar,
    in_flight: AtomicBool,
}

#[derive(Default)]
struct Mailbox {
    job: Option<(Batch, u64)>,
    stop: bool,
    /// The thread sleeps; only then is it woken, for a wake-up is a system call.
    asleep: bool,
}

impl Writer {
    pub(crate) fn start(log: Log, completions: Arc<Completions>) -> std::io::Result<Self> {
        let (writer, reader, readers) = log.into_parts();
        let shared = Arc::new(Shared {
            mailbox: Mutex::default(),
            arrived: Condvar::new(),
            in_flight: AtomicBool::new(false),
        });
        let theirs = Arc::clone(&shared);
        let thread = Builder::new()
            .name(format!("log-{}", writer.partition()))
            .spawn(move || run(writer, &theirs, &completions))?;
        Ok(Self {
            shared,
            reader,
            readers,
            thread: Some(thread),
        })
    }

    /// Hands a batch over and returns at once; its outcome arrives in the completions with this ticket.
    ///
    /// # Panics
    /// When a batch is in flight: one unsynced batch per partition at a time.
    pub fn append(&self, batch: Batch, ticket: u64) {
        let busy = self.shared.in_flight.swap(true, Ordering::AcqRel);
        assert!(!busy, "a batch is in flight");
        self.post(|mailbox| mailbox.job = Some((batch, ticket)));
    }

    /// Whether a batch is on its way to the disk.
    pub fn in_flight(&self) -> bool {
        self.shared.in_flight.load(Ordering::Acquire)
    }

    /// A reader of what is durable.
    pub fn reader(&self) -> LogReader {
        self.reader.clone()
    }

    /// Waits for the batch in flight, ends the thread and gives the log back. `None` if the thread panicked
    /// outside of an append.
    pub fn stop(mut self) -> Option<Log> {
        let writer = self.join()?;
        Some(Log::new(
            writer,
            self.reader.clone(),
            Arc::clone(&self.readers),
        ))
    }

    fn join(&mut self) -> Option<SegmentWriter> {
        let thread = self.thread.take()?;
        self.post(|mailbox| mailbox.stop = true);
        thread.join().ok()
    }

    fn post(&self, change: impl FnOnce(&mut Mailbox)) {
        let mut mailbox = lock(&self.shared.mailbox);
        change(&mut mailbox);
        let asleep = mailbox.asleep;
        drop(mailbox);
        if asleep {
            self.shared.arrived.notify_one();
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.join();
    }
}

fn run(mut writer: SegmentWriter, shared: &Shared, completions: &Completions) -> SegmentWriter {
    while let Some((batch, ticket)) = next_job(shared) {
        // A panic here would leave the partition waiting for ever: it becomes an outcome instead.
        let result = catch_unwind(AssertUnwindSafe(|| writer.append_now(&batch)))
            .unwrap_or_else(|_| Err(writer.poison_for("the log's thread panicked")));
        shared.in_flight.store(false, Ordering::Release);
        completions.push(Completion {
            partition: writer.partition(),
            ticket,
            result,
            payload: batch.payload,
        });
    }
    writer
}

/// The next batch, or `None` when the thread shall end and nothing is left.
fn next_job(shared: &Shared) -> Option<(Batch, u64)> {
    let mut mailbox = lock(&shared.mailbox);
    loop {
        if let Some(job) = mailbox.job.take() {
            return Some(job);
        }
        if mailbox.stop {
            return None;
        }
        mailbox.asleep = true;
        mailbox = shared
            .arrived
            .wait(mailbox)
            .unwrap_or_else(PoisonError::into_inner);
        mailbox.asleep = false;
    }
}

/// Nothing that runs under these locks can panic half-way, so a poisoned one is still whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
