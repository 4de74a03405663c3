//! What writes an archive, without a thread: chunks are taken when the world's seed says so.

use super::World;
use crate::archiving::LogBehind;
use imfast_partition::archive::{Archive, Chunk, Reached, Settled};
use imfast_warm::Source;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// One step in so many looks is taken. Between two steps of one chunk its worker may be killed.
const LOOKS: usize = 4;

/// The chunks that were handed over. Those not taken yet are lost with it, as with a process.
pub(crate) struct Archiver {
    world: World,
    archive: Arc<dyn Archive>,
    log: LogBehind,
    wake: Rc<Cell<bool>>,
    chunks: RefCell<VecDeque<Chunk>>,
    hand: RefCell<Hand>,
}

/// What becomes of the chunk that was taken last.
#[derive(Default)]
enum Hand {
    #[default]
    Empty,
    /// Tried again until it is in; an error is told once.
    Trying { chunk: Settled, told: bool },
    /// The archive has it; the log behind it and the engine do not know yet.
    Applied(Reached),
    /// The log has shed what it could.
    Shed(Reached),
}

impl Archiver {
    pub(super) fn new(
        world: World,
        archive: Arc<dyn Archive>,
        log: LogBehind,
        wake: Rc<Cell<bool>>,
    ) -> Self {
        Self {
            world,
            archive,
            log,
            wake,
            chunks: RefCell::default(),
            hand: RefCell::default(),
        }
    }

    pub(crate) fn submit(&self, chunk: Chunk) {
        self.chunks.borrow_mut().push_back(chunk);
        self.wake.set(true);
    }

    pub(crate) fn pending(&self) -> usize {
        let busy = !matches!(*self.hand.borrow(), Hand::Empty);
        self.chunks.borrow().len() + usize::from(busy)
    }

    pub(crate) fn take_finished(&self) -> Vec<io::Result<Reached>> {
        if self.pending() == 0 {
            return Vec::new();
        }
        let taken = self.world.state_mut().random.below(LOOKS) == 0;
        let finished = if taken { self.step() } else { None };
        self.wake.set(self.pending() > 0);
        finished.into_iter().collect()
    }

    /// Takes chunks until fewer than `count` wait, or one cannot be taken.
    pub(crate) fn wait_below(&self, count: usize, _patience: Duration) -> Vec<io::Result<Reached>> {
        let mut finished = Vec::new();
        while self.pending() >= count {
            let outcome = self.step();
            finished.extend(outcome);
            let stuck = matches!(*self.hand.borrow(), Hand::Trying { .. });
            if stuck {
                break;
            }
        }
        finished
    }

    fn step(&self) -> Option<io::Result<Reached>> {
        let mut hand = self.hand.borrow_mut();
        match std::mem::take(&mut *hand) {
            Hand::Empty => {
                let chunk = self.chunks.borrow_mut().pop_front()?.settle();
                self.try_to_apply(&mut hand, chunk, false)
            }
            Hand::Trying { chunk, told } => self.try_to_apply(&mut hand, chunk, told),
            Hand::Applied(reached) => {
                self.log.archived(reached.position);
                *hand = Hand::Shed(reached);
                None
            }
            Hand::Shed(reached) => Some(Ok(reached)),
        }
    }

    fn try_to_apply(
        &self,
        hand: &mut Hand,
        chunk: Settled,
        told: bool,
    ) -> Option<io::Result<Reached>> {
        let applied = self
            .log
            .make_durable()
            .and_then(|()| self.archive.apply(&chunk));
        match applied {
            Ok(()) => {
                *hand = Hand::Applied(chunk.reached);
                None
            }
            Err(error) => {
                *hand = Hand::Trying { chunk, told: true };
                (!told).then_some(Err(error))
            }
        }
    }
}
