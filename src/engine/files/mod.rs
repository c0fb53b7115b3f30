//! A folder of entries, one file a key, that many processes read and write at once.
//!
//! A reader sees an entry as it was or as it is, never a part of it, and waits for nobody: writers
//! fill a temporary file and move it to its place. See `docs/design.md` for every name in a root.

mod ages;
mod aside;
mod changes;
mod index;
mod list;
mod lock;
mod mentions;
mod rights;
mod schemes;
mod temporary;
mod users;

use std::fs::{DirEntry, Metadata};
use std::io::{self, ErrorKind, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use super::digest::{Hash, Hex};
use super::disk::{self, File};
use super::error::{Error, Result};
use super::system;
use ages::Ages;
use index::{Index, Moment};
use lock::Locks;
pub use lock::{Held, Mode, is_locked, leave_to_parent, lock_file};
use temporary::Temporary;
pub use users::Users;

/// How many entries the first write of a store passes in search of what dead writers left; the
/// rest is searched whenever the root is listed.
const FIRST_SWEEP: usize = 4096;

/// How often a write starts anew when somebody removed its temporary file or the whole root.
const TRIES: usize = 3;

/// How much newer an entry is made than another one: what every file system can tell apart.
const STEP: Duration = Duration::from_millis(1);

/// A root and how it is locked.
#[derive(Debug)]
pub struct Store {
    root: PathBuf,
    locks: Locks,
    swept: AtomicBool,
    index: Index,
    ages: Ages,
    /// Whether the entries are values.
    values: AtomicBool,
}

/// An entry that was found.
#[derive(Debug)]
pub struct Entry {
    file: File,
    path: PathBuf,
    length: u64,
}

impl Store {
    /// Nothing is touched before the first operation.
    pub fn new(root: PathBuf, lock_timeout: Duration) -> Self {
        Self {
            locks: Locks::new(&root, lock_timeout),
            root,
            swept: AtomicBool::new(false),
            index: Index::default(),
            ages: Ages::default(),
            values: AtomicBool::new(false),
        }
    }

    /// Says that the entries are values, which records somewhere else need.
    pub fn keeps_values(&self) {
        self.values.store(true, Ordering::Relaxed);
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    pub fn path(&self, key: &Hash) -> PathBuf {
        self.root.join(Hex::of(key).as_str())
    }

    /// How long a writer waits for another one of the same key.
    pub fn lock_timeout(&self) -> Duration {
        self.locks.timeout()
    }

    /// Takes the lock that keeps collections of garbage from those who save.
    pub fn pass_collection(&self, mode: Mode, timeout: Duration) -> Result<Held> {
        self.locks.take_collection(mode, timeout)
    }

    /// The marks that collections left so far.
    pub fn collection_mark(&self) -> u64 {
        self.locks.collection_mark()
    }

    /// Leaves one or two marks more.
    pub fn leave_collection_mark(&self, held: &mut Held, count: u64) -> Result<()> {
        self.locks.leave_collection_mark(held, count)
    }

    /// Opens an entry for reading; `None` if there is none.
    pub fn open(&self, key: &Hash) -> Result<Option<Entry>> {
        let path = self.path(key);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if is_absent(&error) => return Ok(None),
            Err(error) => return Err(Error::io("open", &path)(error)),
        };
        let metadata = file.metadata().map_err(Error::io("read", &path))?;
        let length = metadata.len();
        Ok(Some(Entry { file, path, length }))
    }

    /// The bytes of an entry; `None` if there is none.
    pub fn read(&self, key: &Hash) -> Result<Option<Vec<u8>>> {
        self.open(key)?.map(Entry::read).transpose()
    }

    pub fn contains(&self, key: &Hash) -> Result<bool> {
        self.length(key).map(|length| length.is_some())
    }

    /// How many bytes an entry has; `None` if there is none.
    pub fn length(&self, key: &Hash) -> Result<Option<u64>> {
        let path = self.path(key);
        match disk::metadata(&path) {
            Ok(metadata) => Ok(metadata.is_file().then_some(metadata.len())),
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) => Err(Error::io("look at", &path)(error)),
        }
    }

    /// Writes an entry, replacing the one that is there.
    pub fn write(&self, key: &Hash, bytes: &[u8]) -> Result<()> {
        self.write_with(key, |file| file.write_all(bytes))
    }

    /// Writes an entry that `produce` writes; it may be called again.
    pub fn write_with(
        &self,
        key: &Hash,
        produce: impl FnMut(&mut File) -> io::Result<()>,
    ) -> Result<()> {
        self.write_within(key, self.locks.timeout(), produce)
    }

    /// As `write_with`, waiting for other writers no longer than `timeout`.
    pub fn write_within(
        &self,
        key: &Hash,
        timeout: Duration,
        mut produce: impl FnMut(&mut File) -> io::Result<()>,
    ) -> Result<()> {
        self.sweep_first();
        let path = self.path(key);
        let mut tries = 1;
        loop {
            let (temporary, mut file) = self.create(key)?;
            produce(&mut file).map_err(Error::io("write", &path))?;
            // To the nanosecond: the kernel's own stamps are the same for milliseconds on end, and
            // the age of entries decides which is evicted first. Where it cannot be, it is not.
            let _ = file.set_modified(SystemTime::now());
            file.close().map_err(Error::io("write", &path))?;
            let held = self.locks.take_within(key, timeout)?;
            self.note_change(key)?;
            match temporary.move_to(&path) {
                Err(error) if error.kind() == ErrorKind::NotFound && tries < TRIES => tries += 1,
                moved => return moved.map_err(Error::io("write", &path)),
            }
            drop(held);
        }
    }

    /// As `write_within`; an entry that has these bytes already only gets the time of a new one.
    pub fn write_unless_equal(&self, key: &Hash, timeout: Duration, bytes: &[u8]) -> Result<()> {
        match self.open(key) {
            Ok(Some(entry)) if entry.renew_if(bytes).unwrap_or(false) => Ok(()),
            _ => self.write_within(key, timeout, |file| file.write_all(bytes)),
        }
    }

    fn create(&self, key: &Hash) -> Result<(Temporary, File)> {
        Temporary::create(&self.root, key).map_err(Error::io("create a file in", &self.root))
    }

    /// A path for a file that somebody else writes, to be given to `commit` or `discard`.
    pub fn temporary(&self, key: &Hash) -> Result<PathBuf> {
        self.sweep_first();
        disk::create_dir_all(&self.root).map_err(Error::io("create", &self.root))?;
        Ok(Temporary::name(&self.root, key))
    }

    /// Moves a finished file to `place`, which is where the entry of `key` is kept.
    pub fn commit(&self, temporary: PathBuf, key: &Hash, place: &Path) -> Result<()> {
        let length = disk::metadata(&temporary).map_or(0, |metadata| metadata.len());
        let temporary = Temporary::at(temporary);
        let _held = self.locks.take(key)?;
        self.note_change(key)?;
        temporary
            .move_to(place)
            .map_err(Error::io("write", place))?;
        disk::written::count(usize::try_from(length).unwrap_or(0));
        Ok(())
    }

    /// Removes a file that did not get finished.
    pub fn discard(temporary: PathBuf) {
        drop(Temporary::at(temporary));
    }

    /// Removes an entry; it may be absent.
    pub fn evict(&self, key: &Hash) -> Result<()> {
        self.evict_at(key, &self.path(key))
    }

    /// Removes the entry of `key`, which is kept at `place`.
    pub fn evict_at(&self, key: &Hash, place: &Path) -> Result<()> {
        match disk::metadata(place) {
            Err(error) if is_absent(&error) => return Ok(()),
            Err(error) => return Err(Error::io("look at", place)(error)),
            Ok(_) => {}
        }
        let _held = self.locks.take_to_remove(key)?;
        // Where it cannot be noted, as on a full disk, an account counts what is gone.
        let _ = self.note_change(key);
        match disk::remove_file(place) {
            Err(error) if !is_absent(&error) => Err(Error::io("remove", place)(error)),
            _ => Ok(()),
        }
    }

    /// Every key, in no particular order.
    pub fn list(&self) -> Result<Vec<Hash>> {
        let moment = Moment::now(&self.root);
        let mut keys = Vec::new();
        self.entries(|key, _| {
            keys.push(key);
            Ok(true)
        })?;
        self.index.remember(&moment, &keys);
        Ok(keys)
    }

    /// The keys whose text starts with `prefix`.
    pub fn candidates(&self, prefix: &str) -> Result<Vec<Hash>> {
        if let Some(known) = self.index.candidates(&self.root, prefix) {
            return Ok(known);
        }
        let mut keys = self.list()?;
        keys.retain(|key| Hex::of(key).as_str().starts_with(prefix));
        Ok(keys)
    }

    /// The keys that were written longest ago, as many as there are more than `keep`.
    pub fn overflow(&self, keep: usize) -> Result<Vec<Hash>> {
        let keys = self.list()?;
        let Some(count) = keys.len().checked_sub(keep).filter(|count| *count > 0) else {
            return Ok(Vec::new());
        };
        let written = |key: &Hash| disk::metadata(&self.path(key))?.modified();
        let oldest = self.ages.oldest(&keys, count, written);
        oldest.map_err(Error::io("list", &self.root))
    }

    /// Has an entry that was just written count as the newest, whatever the clocks say by which the
    /// others were; to be called after `overflow`.
    pub fn make_newest(&self, key: &Hash) -> Result<()> {
        let mut newest = self.ages.newest_but(key);
        if newest.is_none() {
            let entries = self.list_with_times()?;
            let others = entries.iter().filter(|(other, _)| other != key);
            newest = others.map(|(_, time)| *time).max();
        }
        let path = self.path(key);
        let renewed = disk::metadata(&path).and_then(|entry| {
            let written = entry.modified()?;
            match newest.filter(|newest| *newest >= written) {
                Some(newest) => {
                    let later = newest.checked_add(STEP).unwrap_or(newest);
                    File::open(&path)?.set_modified(later)
                }
                None => Ok(()),
            }
        });
        renewed.map_err(Error::io("renew", &path))
    }

    /// Every key with the time of its last write.
    pub fn list_with_times(&self) -> Result<Vec<(Hash, SystemTime)>> {
        let mut keys = Vec::new();
        self.entries(|key, entry| {
            match disk::entry_metadata(entry).and_then(|metadata| metadata.modified()) {
                Ok(written) => keys.push((key, written)),
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
            Ok(true)
        })?;
        Ok(keys)
    }

    /// Rewrites the entries for which `convert` gives new bytes, each at once, keeping the time of
    /// its last write. One that somebody else writes meanwhile is converted anew. Calls `failed`
    /// for those that cannot be read or converted, and goes on.
    pub fn rewrite_all(
        &self,
        convert: impl Fn(&[u8]) -> io::Result<Option<Vec<u8>>>,
        mut failed: impl FnMut(&Error),
    ) -> Result<()> {
        for key in self.list()? {
            match self.rewrite(&key, &convert) {
                Err(Error::Interrupted) => return Err(Error::Interrupted),
                Err(error) => failed(&error),
                Ok(()) => {}
            }
        }
        Ok(())
    }

    fn rewrite(
        &self,
        key: &Hash,
        convert: impl Fn(&[u8]) -> io::Result<Option<Vec<u8>>>,
    ) -> Result<()> {
        let path = self.path(key);
        for _ in 0..TRIES {
            let Some(entry) = self.open(key)? else {
                return Ok(());
            };
            let read = entry.file.metadata().map_err(Error::io("read", &path))?;
            let bytes = entry.read()?;
            let Some(bytes) = convert(&bytes).map_err(Error::io("convert", &path))? else {
                return Ok(());
            };
            let create = Temporary::create(&self.root, key);
            let (temporary, mut file) =
                create.map_err(Error::io("create a file in", &self.root))?;
            let written = file.write_all(&bytes).and_then(|()| {
                file.set_permissions(&read.permissions())?;
                file.set_modified(read.modified()?)?;
                file.close()
            });
            written.map_err(Error::io("write", &path))?;
            let _held = self.locks.take(key)?;
            match disk::metadata(&path) {
                Ok(now) if is_same(&read, &now) => {
                    return temporary.move_to(&path).map_err(Error::io("write", &path));
                }
                Ok(_) => {}
                Err(error) if is_absent(&error) => return Ok(()),
                Err(error) => return Err(Error::io("look at", &path)(error)),
            }
        }
        Ok(())
    }

    fn entries(&self, found: impl FnMut(Hash, &DirEntry) -> io::Result<bool>) -> Result<()> {
        self.swept.store(true, Ordering::Relaxed);
        list::entries(&self.root, found).map_err(Error::io("list", &self.root))
    }

    fn sweep_first(&self) {
        if self.swept.load(Ordering::Relaxed) {
            return;
        }
        let mut left = FIRST_SWEEP;
        // Whatever is wrong with the root, the write itself will say.
        let _swept = self.entries(|_, _| {
            left -= 1;
            Ok(left > 0)
        });
    }
}

impl Entry {
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How many bytes it has.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// The file, at its beginning.
    pub fn file(&mut self) -> &mut File {
        &mut self.file
    }

    /// Its first bytes, as far as there are any; the file stays at its beginning.
    pub fn peek(&mut self, start: &mut [u8]) -> Result<()> {
        let read = self.file.read(start).and_then(|_| self.file.rewind());
        read.map_err(Error::io("read", &self.path))
    }

    /// Its next bytes, as many as fit.
    pub fn read_exact(&mut self, bytes: &mut [u8]) -> Result<()> {
        let read = self.file.read_exact(bytes);
        read.map_err(Error::io("read", &self.path))
    }

    /// Gives an entry of just these bytes the time of a new one; false if it has others.
    fn renew_if(&self, expected: &[u8]) -> io::Result<bool> {
        if usize::try_from(self.length) != Ok(expected.len()) {
            return Ok(false);
        }
        let mut bytes = Vec::with_capacity(expected.len());
        self.file.read_up_to(self.length, &mut bytes)?;
        if bytes != expected {
            return Ok(false);
        }
        self.file.set_modified(SystemTime::now())?;
        Ok(true)
    }

    /// All of it. The memory is asked for as a whole, and its lack is an error, not an abort.
    pub fn read(self) -> Result<Vec<u8>> {
        let Self { file, path, length } = self;
        let mut bytes = Vec::new();
        let room = usize::try_from(length).is_ok_and(|all| bytes.try_reserve_exact(all).is_ok());
        if !room {
            let error = ErrorKind::OutOfMemory.into();
            return Err(Error::io("read", &path)(error));
        }
        let read = file.read_up_to(length, &mut bytes);
        read.map_err(Error::io("read", &path))?;
        Ok(bytes)
    }
}

/// Whether there is no file, or no folder that could hold it, or none could have this name.
fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::InvalidFilename
    )
}

/// Whether nobody replaced a file between two looks at it.
fn is_same(before: &Metadata, now: &Metadata) -> bool {
    let identity = |file: &Metadata| {
        (
            system::file_identity(file),
            file.modified().ok(),
            file.len(),
        )
    };
    identity(before) == identity(now)
}

#[cfg(test)]
mod tests;
