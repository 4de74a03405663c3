//! The thread that brings chunks to an archive, and the queue its outcomes arrive in.

use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use imfast_partition::archive::{Archive, Chunk, Reached, Settled};

/// The log that chunks come from, as the archive's thread sees it.
pub trait Source: Send {
    /// Makes everything durable that chunks hold so far: an archive is never ahead of its log.
    ///
    /// # Errors
    /// The chunk at hand is not applied, and tried again like one that the archive did not take.
    fn make_durable(&self) -> io::Result<()>;

    /// The archive has everything up to `position`, durably. What fails here is the log's to count.
    fn archived(&self, position: u64);
}

/// No log: chunks come from elsewhere.
impl Source for () {
    fn make_durable(&self) -> io::Result<()> {
        Ok(())
    }

    fn archived(&self, _position: u64) {}
}

const BACK_OFF: Duration = Duration::from_secs(1);
const BACK_OFF_MAX: Duration = Duration::from_secs(30);

/// Applies chunks in the order in which they came, each until it is in. Dropping it waits for what
/// the thread does at the moment; chunks behind it, and one that waits to be tried again, are given
/// up: the log has them.
pub struct Applier {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    desk: Mutex<Desk>,
    arrived: Condvar,
    /// Something was finished.
    ended: Condvar,
    wake: Box<dyn Fn() + Send + Sync>,
}

#[derive(Default)]
struct Desk {
    waiting: VecDeque<Chunk>,
    /// The thread has a chunk in hand.
    busy: bool,
    finished: Vec<io::Result<Reached>>,
    stop: bool,
}

impl Applier {
    /// Starts the thread `warm-<partition>`. `wake` is called from it whenever the queue of outcomes
    /// gets its first entry since it was taken.
    ///
    /// # Errors
    /// The system has no thread left.
    pub fn start(
        partition: u32,
        archive: Arc<dyn Archive>,
        source: impl Source + 'static,
        wake: impl Fn() + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            desk: Mutex::default(),
            arrived: Condvar::new(),
            ended: Condvar::new(),
            wake: Box::new(wake),
        });
        let theirs = Arc::clone(&shared);
        let thread = Builder::new()
            .name(format!("warm-{partition}"))
            .spawn(move || Work::new(archive.as_ref(), &source, &theirs).run())?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// Hands a chunk over and returns at once.
    pub fn submit(&self, chunk: Chunk) {
        self.shared.desk().waiting.push_back(chunk);
        self.shared.arrived.notify_one();
    }

    /// Chunks that are not in yet, the one at hand among them.
    pub fn pending(&self) -> usize {
        let desk = self.shared.desk();
        desk.waiting.len() + usize::from(desk.busy)
    }

    /// Outcomes since the last call: how far the archive has come, chunk by chunk, and errors. An
    /// error is no end: the thread tries again, and tells the same kind of error once only.
    pub fn take_finished(&self) -> Vec<io::Result<Reached>> {
        std::mem::take(&mut self.shared.desk().finished)
    }

    /// Waits until fewer than `count` chunks are pending, or something failed, or `patience` is
    /// over; returns outcomes like [`Self::take_finished`].
    pub fn wait_below(&self, count: usize, patience: Duration) -> Vec<io::Result<Reached>> {
        let behind = |desk: &mut Desk| {
            desk.waiting.len() + usize::from(desk.busy) >= count
                && desk.finished.iter().all(Result::is_ok)
        };
        let (mut desk, _) = self
            .shared
            .ended
            .wait_timeout_while(self.shared.desk(), patience, behind)
            .unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut desk.finished)
    }
}

impl Drop for Applier {
    fn drop(&mut self) {
        self.shared.desk().stop = true;
        self.shared.arrived.notify_one();
        if let Some(thread) = self.thread.take() {
            // A panic was reported as an outcome where it happened.
            let _ = thread.join();
        }
    }
}

impl Shared {
    /// Nothing that runs under this lock can panic half-way, so a poisoned one is still whole.
    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn finish(&self, outcome: io::Result<Reached>) {
        let mut desk = self.desk();
        desk.busy &= outcome.is_err();
        desk.finished.push(outcome);
        let first = desk.finished.len() == 1;
        drop(desk);
        self.ended.notify_one();
        if first {
            (self.wake)();
        }
    }

    /// Waits until a chunk is there and takes it; none when the thread shall end.
    fn next_chunk(&self) -> Option<Chunk> {
        let mut desk = self.desk();
        loop {
            if desk.stop {
                return None;
            }
            if let Some(chunk) = desk.waiting.pop_front() {
                desk.busy = true;
                return Some(chunk);
            }
            desk = self
                .arrived
                .wait(desk)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Waits for `time`; false when the thread shall end.
    fn pause(&self, time: Duration) -> bool {
        let (desk, _) = self
            .arrived
            .wait_timeout_while(self.desk(), time, |desk| !desk.stop)
            .unwrap_or_else(PoisonError::into_inner);
        !desk.stop
    }

    fn is_idle(&self) -> bool {
        let desk = self.desk();
        !desk.stop && desk.waiting.is_empty()
    }
}

/// What the thread does.
struct Work<'a> {
    archive: &'a dyn Archive,
    source: &'a dyn Source,
    shared: &'a Shared,
    /// The error told last, until something succeeds.
    told: Option<io::ErrorKind>,
}

impl<'a> Work<'a> {
    fn new(archive: &'a dyn Archive, source: &'a dyn Source, shared: &'a Shared) -> Self {
        Self {
            archive,
            source,
            shared,
            told: None,
        }
    }

    fn run(mut self) {
        while let Some(chunk) = self.shared.next_chunk() {
            let settled = match caught(|| Ok(chunk.settle())) {
                Ok(settled) => settled,
                // Chunks behind a lost one would never follow: the partition is opened again.
                Err(error) => return self.shared.finish(Err(error)),
            };
            if !self.apply(&settled) {
                return;
            }
            let position = settled.reached.position;
            drop(settled);
            // Whatever goes wrong there, the chunk is in.
            let _ = caught(|| {
                self.source.archived(position);
                Ok(())
            });
            self.tidy();
        }
    }

    /// Brings the chunk in, however often that has to be tried; false when the thread shall end.
    fn apply(&mut self, chunk: &Settled) -> bool {
        let mut back_off = BACK_OFF;
        loop {
            let applied = caught(|| {
                self.source.make_durable()?;
                self.archive.apply(chunk)
            });
            match applied {
                Ok(()) => {
                    self.told = None;
                    self.shared.finish(Ok(chunk.reached));
                    return true;
                }
                Err(error) => self.tell(error),
            }
            if !self.shared.pause(back_off) {
                return false;
            }
            back_off = (back_off * 2).min(BACK_OFF_MAX);
        }
    }

    /// Puts the archive in order while nobody waits. What fails here fails again with the next chunk
    /// if it matters.
    fn tidy(&mut self) {
        while self.shared.is_idle() {
            match caught(|| self.archive.tidy()) {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => return self.tell(error),
            }
        }
    }

    fn tell(&mut self, error: io::Error) {
        if self.told != Some(error.kind()) {
            self.told = Some(error.kind());
            self.shared.finish(Err(error));
        }
    }
}

/// A panic becomes an error, or a partition would wait for ever.
fn caught<T>(call: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    catch_unwind(AssertUnwindSafe(call))
        .unwrap_or_else(|_| Err(io::Error::other("the archive's thread panicked")))
}
