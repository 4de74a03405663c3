//! What writes an archive, without a thread: chunks are taken when the world's seed says so.

use super::World;
use imfast_partition::archive::{Archive, Chunk, Reached};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// One chunk in so many looks is taken.
const LOOKS: usize = 4;

/// The chunks that were handed over. Those not taken yet are lost with it, as with a process.
pub(crate) struct Archiver {
    world: World,
    archive: Arc<dyn Archive>,
    wake: Rc<Cell<bool>>,
    chunks: RefCell<VecDeque<Chunk>>,
}

impl Archiver {
    pub(super) fn new(world: World, archive: Arc<dyn Archive>, wake: Rc<Cell<bool>>) -> Self {
        Self {
            world,
            archive,
            wake,
            chunks: RefCell::default(),
        }
    }

    pub(crate) fn submit(&self, chunk: Chunk) {
        self.chunks.borrow_mut().push_back(chunk);
        self.wake.set(true);
    }

    pub(crate) fn pending(&self) -> usize {
        self.chunks.borrow().len()
    }

    pub(crate) fn take_finished(&self) -> Vec<io::Result<Reached>> {
        let mut chunks = self.chunks.borrow_mut();
        if chunks.is_empty() {
            return Vec::new();
        }
        let taken = self.world.state_mut().random.below(LOOKS) == 0;
        let chunk = if taken { chunks.pop_front() } else { None };
        self.wake.set(!chunks.is_empty());
        chunk.map_or_else(Vec::new, |chunk| vec![self.take(chunk)])
    }

    /// Takes chunks until fewer than `count` wait.
    pub(crate) fn wait_below(&self, count: usize, _patience: Duration) -> Vec<io::Result<Reached>> {
        let mut chunks = self.chunks.borrow_mut();
        let mut finished = Vec::new();
        while chunks.len() >= count {
            if let Some(chunk) = chunks.pop_front() {
                finished.push(self.take(chunk));
            }
        }
        finished
    }

    fn take(&self, chunk: Chunk) -> io::Result<Reached> {
        let settled = chunk.settle();
        self.archive.apply(&settled).map(|()| settled.reached)
    }
}
