//! The archive on disk: trees of rows and state, files of places and keys, and the flip that makes
//! a chunk count.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use imfast_partition::archive::{
    Archive, ArchivedKey, ArchivedRow, KeyFound, Reached, Settled, StateKey, StateValue,
};
use lsm_tree::{Cache, DescriptorTable};

use crate::append_files::AppendFiles;
use crate::codec::{self, META_KEY, Meta, row_key};
use crate::error::damaged;
use crate::home::{Home, TREES};
use crate::keys::{KeyBudget, Keys};
use crate::memory::{check_order, stored};
use crate::places;
use crate::places::Place;
use crate::tree::{Order, Shared, Tree};

/// Runs of level 0 above which rows are compacted before more come: reads look into each of them.
const UNSORTED_RUNS_MAX: usize = 24;

/// How an archive on disk is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenOptions {
    /// Bytes of blocks kept in memory.
    pub cache_bytes: u64,
    /// Files of the trees kept open.
    pub files_open_max: usize,
    /// Keys that the sequencer has forgotten.
    pub keys: KeyBudget,
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self {
            cache_bytes: 16 << 20,
            files_open_max: 128,
            keys: KeyBudget::default(),
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

/// Held by who changes the archive.
struct Writer {
    /// A change has begun and not ended well: what is on disk is looked at anew before the next.
    unsure: bool,
}

/// What readers see; replaced as a whole by a flip.
struct View {
    trees: Arc<Trees>,
    places: AppendFiles,
    keys: Keys,
    reached: Reached,
}

pub(crate) struct Trees {
    pub(crate) rows: Tree,
    pub(crate) state: Tree,
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
        let view = load(&home, options)?;
        Ok(Self {
            home,
            options,
            view: RwLock::new(Arc::new(view)),
            writer: Mutex::new(Writer { unsure: false }),
        })
    }

    /// Every key that is known, by position.
    ///
    /// # Errors
    /// As [`Archive::keys`].
    pub fn all_keys(&self) -> io::Result<Vec<ArchivedKey>> {
        let _writer = self.writer();
        self.view().keys.read(0)
    }

    /// The latest time that a forgotten key says it was made, and the time of the last batch with
    /// one; 0 while none is forgotten.
    pub fn forgotten(&self) -> (u64, u64) {
        let forgotten = self.view().keys.forgotten;
        (forgotten.expired_until_ms, forgotten.last_ms)
    }

    /// Takes over what another archive has forgotten, durably.
    ///
    /// # Errors
    /// As [`Archive::apply`].
    pub fn note_forgotten(&self, expired_until_ms: u64, last_ms: u64) -> io::Result<()> {
        let mut writer = self.writer();
        self.look_anew(&mut writer)?;
        let view = self.view();
        writer.unsure = true;
        let mut keys = view.keys.clone();
        keys.forgotten.expired_until_ms = keys.forgotten.expired_until_ms.max(expired_until_ms);
        keys.forgotten.last_ms = keys.forgotten.last_ms.max(last_ms);
        let meta = Meta {
            reached: view.reached,
            places: view.places.parts().to_vec(),
            keys: keys.parts(),
            forgotten: keys.forgotten,
        };
        view.trees.flip(&BTreeMap::new(), &meta)?;
        self.show(View {
            trees: Arc::clone(&view.trees),
            places: view.places.clone(),
            keys,
            reached: view.reached,
        });
        writer.unsure = false;
        Ok(())
    }

    /// Readers and writers replace what these locks guard as a whole: poisoned ones guard whole data.
    fn view(&self) -> Arc<View> {
        Arc::clone(&self.view.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn show(&self, view: View) {
        *self.view.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(view);
    }

    fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shows what is on disk, if that is not sure. Returns whether it was not.
    fn look_anew(&self, writer: &mut Writer) -> io::Result<bool> {
        if !writer.unsure {
            return Ok(false);
        }
        self.show(load(&self.home, self.options)?);
        writer.unsure = false;
        Ok(true)
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
        let mut writer = self.writer();
        let looked_anew = self.look_anew(&mut writer)?;
        let view = self.view();
        if looked_anew && view.reached == chunk.reached {
            // The flip had come about, and only its last sync had failed.
            return Ok(());
        }
        check_order(&view.reached, chunk)?;
        writer.unsure = true;
        while view.trees.rows.unsorted_runs() > UNSORTED_RUNS_MAX && view.trees.rows.compact()? {}
        // Places come first: they tell which rows a chunk that is not flipped may leave.
        let mut places = view.places.clone();
        places::append(&mut places, &chunk.places)?;
        view.trees.write_rows(chunk)?;
        let mut keys = view.keys.clone();
        keys.add(&chunk.keys, &chunk.reached, self.options.keys)?;
        self.home.sync()?;
        let meta = Meta {
            reached: chunk.reached,
            places: places.parts().to_vec(),
            keys: keys.parts(),
            forgotten: keys.forgotten,
        };
        view.trees.flip(&chunk.state, &meta)?;
        // Files that cannot be removed now are removed at the next opening.
        let _ = keys.remove_others();
        self.show(View {
            trees: Arc::clone(&view.trees),
            places,
            keys,
            reached: chunk.reached,
        });
        writer.unsure = false;
        Ok(())
    }

    fn tidy(&self) -> io::Result<bool> {
        let mut writer = self.writer();
        self.look_anew(&mut writer)?;
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

    fn piece(&self, key: StateKey) -> io::Result<Option<Box<[u8]>>> {
        let found = self.view().trees.state.get(&key.0)?;
        Ok(found.map(|value| Box::from(&*value)))
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
        // Nobody removes files meanwhile.
        let _writer = self.writer();
        let view = self.view();
        view.keys.read(view.reached.keys_from)
    }

    fn find_key(&self, key: (u64, u64), made_ms: u64, before: u64) -> io::Result<KeyFound> {
        self.view().keys.find(key, made_ms, before)
    }

    fn old_keys_made_ms(&self, before: u64) -> Option<u64> {
        self.view().keys.made_max_ms(before)
    }

    fn keys_forgotten_ms(&self) -> u64 {
        self.view().keys.forgotten.last_ms
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
    /// What the last flip said; `dir` is for the message.
    pub(crate) fn meta(&self, dir: &Path) -> io::Result<Meta> {
        match self.state.get(&META_KEY)? {
            Some(bytes) => Meta::decode(&bytes)
                .ok_or_else(|| damaged(dir, "the entry of the last flip cannot be read")),
            None => Ok(Meta::default()),
        }
    }

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
    fn flip(&self, state: &BTreeMap<StateKey, StateValue>, meta: &Meta) -> io::Result<()> {
        self.state.ingest(|writing| {
            writing.put(&META_KEY, &meta.encode())?;
            for (key, value) in state {
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
fn load(home: &Home, options: OpenOptions) -> io::Result<View> {
    let shared = shared(options);
    let [rows, state] = TREES.map(|name| Tree::open(&home.dir().join(name), &shared));
    let trees = Trees {
        rows: rows?,
        state: state?,
    };
    let meta = trees.meta(home.dir())?;
    let places = places::files(home.dir(), meta.places);
    let keys = Keys::open(home.dir(), &meta.keys, meta.forgotten)?;
    trees.remove_rows(&places::parse(&places.behind()?))?;
    places.settle()?;
    keys.remove_others()?;
    Ok(View {
        trees: Arc::new(trees),
        places,
        keys,
        reached: meta.reached,
    })
}

pub(crate) fn shared(options: OpenOptions) -> Shared {
    Shared {
        cache: Arc::new(Cache::with_capacity_bytes(options.cache_bytes)),
        descriptors: Arc::new(DescriptorTable::new(options.files_open_max)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use imfast_partition::archive::Chunk;

    fn chunk(after: u64, position: u64) -> Settled {
        let chunk = Chunk {
            after,
            reached: Reached {
                position,
                ..Reached::default()
            },
            ..Chunk::default()
        };
        chunk.settle()
    }

    #[test]
    fn chunk_whose_flip_only_seemed_to_fail_is_in_when_it_comes_again() {
        let dir = tempfile::tempdir().unwrap();
        let archive = FjallArchive::open(dir.path()).unwrap();
        archive.apply(&chunk(0, 5)).unwrap();
        assert!(archive.apply(&chunk(0, 5)).is_err());
        archive.writer().unsure = true;
        archive.apply(&chunk(0, 5)).unwrap();
        archive.apply(&chunk(5, 6)).unwrap();
        assert_eq!(archive.reached().position, 6);
    }
}
