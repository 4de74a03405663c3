//! The archive on disk: trees of rows and state, files of places and keys, and the flip that makes
//! a chunk count.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use imfast_partition::archive::{Archive, ArchivedKey, ArchivedRow, Reached, Settled, StateKey};
use lsm_tree::{Cache, DescriptorTable};

use crate::append_files::AppendFiles;
use crate::codec::{self, META_KEY, Meta, row_key};
use crate::error::damaged;
use crate::home::{Home, TREES};
use crate::memory::{check_order, stored};
use crate::places::Place;
use crate::tree::{Order, Shared, Tree};
use crate::{keys, places};

/// Runs of level 0 above which rows are compacted before more come: reads look into each of them.
const UNSORTED_RUNS_MAX: usize = 24;

/// How an archive on disk is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenOptions {
    /// Bytes of blocks kept in memory.
    pub cache_bytes: u64,
    /// Files of the trees kept open.
    pub files_open_max: usize,
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self {
            cache_bytes: 16 << 20,
            files_open_max: 128,
        }
    }
}

/// The archive of one partition in a directory of its own.
pub struct FjallArchive {
    home: Home,
    options: OpenOptions,
    view: RwLock<Arc<View>>,
    writer: Mutex<Writer>,
}

/// What readers see; replaced as a whole by a flip.
struct View {
    trees: Arc<Trees>,
    places: AppendFiles,
    reached: Reached,
}

struct Trees {
    rows: Tree,
    state: Tree,
}

struct Writer {
    keys: AppendFiles,
    /// A change has begun and not ended well: what is on disk is looked at anew before the next.
    unsure: bool,
}

impl FjallArchive {
    /// Opens the archive in `dir`, or makes an empty one there.
    ///
    /// # Errors
    /// `WouldBlock`: another opener holds it. `InvalidData`: it is damaged; move the directory
    /// aside and rebuild. Any other kind: the system's answer.
    pub fn open(dir: &Path) -> io::Result<Self> {
        Self::open_with(dir, OpenOptions::default())
    }

    /// The same, with options.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_with(dir: &Path, options: OpenOptions) -> io::Result<Self> {
        let home = Home::lock(dir)?;
        if !home.is_made()? {
            for name in TREES {
                Tree::create(&home.dir().join(name), &shared(options))?;
            }
            home.made()?;
        }
        let (view, keys) = load(&home, options)?;
        Ok(Self {
            home,
            options,
            view: RwLock::new(Arc::new(view)),
            writer: Mutex::new(Writer {
                keys,
                unsure: false,
            }),
        })
    }

    /// Readers and writers replace what these locks guard as a whole: poisoned ones guard whole data.
    fn view(&self) -> Arc<View> {
        Arc::clone(&self.view.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn show(&self, view: View) {
        *self.view.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(view);
    }

    /// The writing side, sure of what is on disk.
    fn writer(&self) -> io::Result<MutexGuard<'_, Writer>> {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        if writer.unsure {
            let (view, keys) = load(&self.home, self.options)?;
            self.show(view);
            *writer = Writer {
                keys,
                unsure: false,
            };
        }
        Ok(writer)
    }

    fn read_rows(
        &self,
        conversation: u32,
        seqs: &Range<u64>,
        order: Order,
        each: &mut dyn FnMut(ArchivedRow) -> bool,
    ) -> io::Result<()> {
        let view = self.view();
        let range = row_key(conversation, seqs.start)..row_key(conversation, seqs.end);
        view.trees.rows.range(range, order, |key, value| {
            let row = self.decode_row(key, value)?;
            // Rows above belong to a chunk that is being written. They are the newest.
            if row.position <= view.reached.position {
                Ok(each(row))
            } else {
                Ok(order == Order::Descending)
            }
        })
    }

    fn decode_row(&self, key: &[u8], value: &[u8]) -> io::Result<ArchivedRow> {
        codec::row(key, value).ok_or_else(|| damaged(self.home.dir(), "an entry is not a row"))
    }
}

impl Archive for FjallArchive {
    fn reached(&self) -> Reached {
        self.view().reached
    }

    fn apply(&self, chunk: &Settled) -> io::Result<()> {
        let mut writer = self.writer()?;
        let view = self.view();
        check_order(&view.reached, chunk)?;
        writer.unsure = true;
        while view.trees.rows.unsorted_runs() > UNSORTED_RUNS_MAX && view.trees.rows.compact()? {}
        // Places come first: they tell which rows a chunk that is not flipped may leave.
        let mut places = view.places.clone();
        places::append(&mut places, &chunk.places)?;
        view.trees.write_rows(chunk)?;
        keys::append(&mut writer.keys, &chunk.keys)?;
        writer.keys.forget_before(chunk.reached.keys_from);
        let meta = Meta {
            reached: chunk.reached,
            places: places.parts().to_vec(),
            keys: writer.keys.parts().to_vec(),
        };
        view.trees.flip(chunk, &meta)?;
        self.show(View {
            trees: Arc::clone(&view.trees),
            places,
            reached: chunk.reached,
        });
        writer.unsure = false;
        // The chunk is in. Files that could not be removed now are removed at the next opening.
        let _ = writer.keys.remove_others();
        Ok(())
    }

    fn tidy(&self) -> io::Result<bool> {
        let mut writer = self.writer()?;
        let trees = Arc::clone(&self.view().trees);
        writer.unsure = true;
        let did = trees.rows.compact()? || trees.state.compact()?;
        writer.unsure = false;
        Ok(did)
    }

    fn row(&self, conversation: u32, seq: u64) -> io::Result<Option<ArchivedRow>> {
        let view = self.view();
        let key = row_key(conversation, seq);
        let Some(value) = view.trees.rows.get(&key)? else {
            return Ok(None);
        };
        let row = self.decode_row(&key, &value)?;
        Ok((row.position <= view.reached.position).then_some(row))
    }

    fn rows(
        &self,
        conversation: u32,
        seqs: Range<u64>,
        each: &mut dyn FnMut(ArchivedRow) -> bool,
    ) -> io::Result<()> {
        self.read_rows(conversation, &seqs, Order::Ascending, each)
    }

    fn rows_back(
        &self,
        conversation: u32,
        seqs: Range<u64>,
        each: &mut dyn FnMut(ArchivedRow) -> bool,
    ) -> io::Result<()> {
        self.read_rows(conversation, &seqs, Order::Descending, each)
    }

    fn places(
        &self,
        positions: Range<u64>,
        each: &mut dyn FnMut(u64, u32, u64) -> bool,
    ) -> io::Result<()> {
        places::read(&self.view().places, positions, each)
    }

    fn state(&self, each: &mut dyn FnMut(StateKey, &[u8])) -> io::Result<()> {
        // From tag 1 on; no tag is as high as the end.
        let range = StateKey::new(1, 0, 0, 0).0..[u8::MAX; 13];
        let view = self.view();
        view.trees
            .state
            .range(range, Order::Ascending, |key, value| {
                let key = codec::state_key(key)
                    .ok_or_else(|| damaged(self.home.dir(), "an entry is not a piece of state"))?;
                each(key, value);
                Ok(true)
            })
    }

    fn keys(&self) -> io::Result<Vec<ArchivedKey>> {
        let writer = self.writer()?;
        keys::read(&writer.keys, self.view().reached.keys_from)
    }
}

impl fmt::Debug for FjallArchive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FjallArchive")
            .field("dir", &self.home.dir())
            .field("reached", &self.view().reached)
            .finish_non_exhaustive()
    }
}

impl Trees {
    fn write_rows(&self, chunk: &Settled) -> io::Result<()> {
        self.rows.ingest(|writing| {
            let mut value = Vec::new();
            for row in &chunk.rows {
                codec::put_row(&mut value, row);
                writing.put(&row_key(row.conversation, row.seq), &value)?;
            }
            Ok(())
        })
    }

    /// The state and, in the same change, how far everything now goes.
    fn flip(&self, chunk: &Settled, meta: &Meta) -> io::Result<()> {
        self.state.ingest(|writing| {
            writing.put(&META_KEY, &meta.encode())?;
            for (key, value) in &chunk.state {
                match stored(value) {
                    Some(bytes) => writing.put(&key.0, &bytes)?,
                    None => writing.remove(&key.0)?,
                }
            }
            Ok(())
        })
    }

    /// Removes the rows of a chunk that came to no flip.
    fn remove_rows(&self, places: &[Place]) -> io::Result<()> {
        if places.is_empty() {
            return Ok(());
        }
        let key = |&(_, conversation, seq): &Place| row_key(conversation, seq);
        let keys: BTreeSet<[u8; 12]> = places.iter().map(key).collect();
        self.rows
            .ingest(|writing| keys.iter().try_for_each(|key| writing.remove(key)))
    }
}

/// Opens what is on disk and brings it back to the last flip.
fn load(home: &Home, options: OpenOptions) -> io::Result<(View, AppendFiles)> {
    let shared = shared(options);
    let [rows, state] = TREES.map(|name| Tree::open(&home.dir().join(name), &shared));
    let trees = Trees {
        rows: rows?,
        state: state?,
    };
    let meta = match trees.state.get(&META_KEY)? {
        Some(bytes) => Meta::decode(&bytes)
            .ok_or_else(|| damaged(home.dir(), "the entry of the last flip cannot be read"))?,
        None => Meta::default(),
    };
    let places = places::files(home.dir(), meta.places);
    let keys = keys::files(home.dir(), meta.keys);
    trees.remove_rows(&places::parse(&places.behind()?))?;
    places.settle()?;
    keys.settle()?;
    let view = View {
        trees: Arc::new(trees),
        places,
        reached: meta.reached,
    };
    Ok((view, keys))
}

fn shared(options: OpenOptions) -> Shared {
    Shared {
        cache: Arc::new(Cache::with_capacity_bytes(options.cache_bytes)),
        descriptors: Arc::new(DescriptorTable::new(options.files_open_max)),
    }
}
