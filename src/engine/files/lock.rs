//! Locks that exclude writers of one key from each other, across threads and processes.
//!
//! The keys of a root share a few lock files, so that these do not pile up. Each is held only
//! while a finished file is moved to its place, never while one is written. The operating system
//! frees the locks of a process that dies.

use std::fs::OpenOptions;
use std::io::{self, ErrorKind};
use std::mem::ManuallyDrop;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::engine::digest::{Hash, Hex};
use crate::engine::disk::{self, File};
use crate::engine::error::{Error, Result};
use crate::engine::fork;
use crate::engine::system::{file_identity, has_no_locks};
use crate::engine::wait::{Pause, Wait};

/// The folder of the lock files, inside the root. No dot-file is ever a key.
pub const DIRECTORY: &str = ".locks";

/// The lock file of collections of garbage: as many bytes long as they left marks.
const COLLECTION: &str = "collection";

/// There, and locked, while a collection waits for those who save: others let it go first.
const QUEUE: &str = "collection.queue";

/// For no longer than this, as it may wait for who lets it go first.
const COURTESY: Duration = Duration::from_secs(1);

/// The locks of one root.
#[derive(Debug)]
pub struct Locks {
    directory: PathBuf,
    timeout: Duration,
    /// Set once the file system turned out to have no locks.
    unsupported: AtomicBool,
}

/// Whom a lock keeps out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Everybody.
    Exclusive,
    /// Those who want it for themselves.
    Shared,
}

/// A lock, until it is dropped; `None` where the file system has none.
#[derive(Debug)]
pub struct Held(Option<LockFile>);

/// How trying to lock ended.
enum Outcome {
    Held(Held),
    /// The file system has no locks.
    Unsupported(io::Error),
}

impl Held {
    /// Whether there is a lock at all.
    pub fn is_locked(&self) -> bool {
        self.0.is_some()
    }

    /// The length of the file that is locked, in bytes.
    pub fn length(&self) -> u64 {
        let file = self.0.as_ref().and_then(LockFile::file);
        file.and_then(|file| file.metadata().ok())
            .map_or(0, |file| file.len())
    }

    /// Whether the file that is locked is the one at `path`.
    fn is_at(&self, path: &Path) -> bool {
        let Some(file) = self.0.as_ref().and_then(LockFile::file) else {
            return true;
        };
        match (file.metadata(), disk::metadata(path)) {
            (Ok(held), Ok(there)) => file_identity(&held) == file_identity(&there),
            (Ok(_), Err(_)) => false,
            (Err(_), _) => true,
        }
    }
}

/// An open lock file. A forked child has a copy of it, by which it would hold the lock for as long
/// as it lives, and, if it gave it up, would give up its parent's: the child closes it at once.
#[derive(Debug)]
struct LockFile {
    file: ManuallyDrop<File>,
    generation: u32,
}

/// The numbers of all open lock files.
#[cfg(unix)]
static OPEN: fork::Lock<Vec<std::os::fd::RawFd>> = fork::Lock::new(Vec::new());

/// In a forked child: closes the lock files that its parent had open.
#[cfg(unix)]
pub fn leave_to_parent() {
    // A fork that was not to be put off may have found it in use.
    if let Some(mut open) = OPEN.try_lock() {
        for number in open.drain(..) {
            // SAFETY: the number is that of a `LockFile` of the parent, open here as well; it is of
            // an earlier generation, and so never used or closed by its owner any more.
            unsafe { rustix::io::close(number) };
        }
    }
}

#[cfg(not(unix))]
pub fn leave_to_parent() {}

impl LockFile {
    fn open(path: &Path, options: &OpenOptions) -> io::Result<Self> {
        // No fork comes between: the child would not know that the file is a lock.
        let _no_fork = fork::NoFork::enter();
        let file = File::open_with(path, options)?;
        #[cfg(unix)]
        OPEN.lock().push(file.number());
        Ok(Self {
            file: ManuallyDrop::new(file),
            generation: fork::generation(),
        })
    }

    /// The file; `None` in a child of the process that opened it.
    fn file(&self) -> Option<&File> {
        (self.generation == fork::generation()).then_some(&*self.file)
    }
}

impl Drop for LockFile {
    fn drop(&mut self) {
        let no_fork = fork::NoFork::enter();
        if self.generation != fork::generation() {
            return;
        }
        // Said outright: a process that was started meanwhile may have a copy of the file.
        let unlocked = self.file.unlock();
        #[cfg(unix)]
        {
            let (mut open, number) = (OPEN.lock(), self.file.number());
            if let Some(place) = open.iter().position(|known| *known == number) {
                open.swap_remove(place);
            }
        }
        // SAFETY: it is dropped once, here, and not used afterwards.
        unsafe { ManuallyDrop::drop(&mut self.file) };
        drop(no_fork);
        if let Err(error) = unlocked {
            log::debug!(target: "fleche.storage", "Cannot unlock: {error}");
        }
    }
}

impl Locks {
    pub fn new(root: &Path, timeout: Duration) -> Self {
        Self {
            directory: root.join(DIRECTORY),
            timeout,
            unsupported: AtomicBool::new(false),
        }
    }

    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// The file that stands for the lock of a key: the one named by the key's first character.
    pub fn path(&self, key: &Hash) -> PathBuf {
        self.directory.join(&Hex::of(key).as_str()[..1])
    }

    /// Takes the lock of a key, waiting for as long as this root's timeout allows.
    pub fn take(&self, key: &Hash) -> Result<Held> {
        self.take_within(key, self.timeout)
    }

    /// Takes the lock of a key, waiting no longer than `timeout`.
    pub fn take_within(&self, key: &Hash, timeout: Duration) -> Result<Held> {
        if self.unsupported.load(Ordering::Relaxed) {
            return Ok(Held(None));
        }
        let path = self.path(key);
        let file = match self.open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                return Ok(self.go_without(&error));
            }
            Err(error) => return Err(Error::io("open the lock file", &path)(error)),
        };
        match wait_for(file, &path, Mode::Exclusive, timeout)? {
            Outcome::Held(held) => Ok(held),
            Outcome::Unsupported(error) => Ok(self.go_without(&error)),
        }
    }

    /// As `take`, to remove an entry: on a full disk that is what makes room for the lock file.
    pub fn take_to_remove(&self, key: &Hash) -> Result<Held> {
        match self.take(key) {
            Err(Error::Io { source, .. }) if is_full(&source) => Ok(Held(None)),
            taken => taken,
        }
    }

    /// Takes the lock that keeps collections of garbage from those who save.
    pub fn take_collection(&self, mode: Mode, timeout: Duration) -> Result<Held> {
        let path = self.directory.join(COLLECTION);
        if self.unsupported.load(Ordering::Relaxed) {
            return Ok(Held(None));
        }
        let file = match self.open(&path) {
            Ok(file) => file,
            // Where there is no room for a lock file, nobody saves.
            Err(error) if is_read_only(&error) || is_full(&error) => return Ok(Held(None)),
            Err(error) => return Err(Error::io("open the lock file", &path)(error)),
        };
        let since = Instant::now();
        let _queued = match mode {
            Mode::Exclusive => self.queue(),
            Mode::Shared => {
                self.let_go_first(&path, timeout)?;
                None
            }
        };
        let left = timeout.saturating_sub(since.elapsed());
        match wait_for(file, &path, mode, left)? {
            Outcome::Held(held) => Ok(held),
            Outcome::Unsupported(error) => Ok(self.go_without(&error)),
        }
    }

    /// Has those who come to save wait until what is given is dropped.
    fn queue(&self) -> Option<Queued> {
        let path = self.directory.join(QUEUE);
        let lock = self.open(&path).ok()?;
        // Of several collections one is enough.
        let locked = lock.file.try_lock(true).unwrap_or(false);
        locked.then_some(Queued { path, _lock: lock })
    }

    fn let_go_first(&self, gate: &Path, timeout: Duration) -> Result<()> {
        let path = self.directory.join(QUEUE);
        let mut wait: Option<Wait> = None;
        while disk::metadata(&path).is_ok() && is_locked(&path) {
            let wait = wait.get_or_insert_with(|| Wait::new(timeout.min(COURTESY)));
            match wait.pause() {
                Pause::Over => {}
                Pause::TimedOut if timeout.is_zero() => {
                    return Err(Error::Locked {
                        lock: gate.to_owned(),
                        waited: timeout,
                    });
                }
                Pause::TimedOut => break,
                Pause::Interrupted => return Err(Error::Interrupted),
            }
        }
        Ok(())
    }

    /// The lock file of collections of garbage.
    pub fn collection(&self) -> PathBuf {
        self.directory.join(COLLECTION)
    }

    /// The marks that collections left.
    pub fn collection_mark(&self) -> u64 {
        disk::metadata(&self.directory.join(COLLECTION)).map_or(0, |file| file.len())
    }

    /// Leaves marks behind those that there are.
    pub fn leave_collection_mark(&self, held: &mut Held, count: u64) -> Result<()> {
        let Some(lock) = held.0.as_mut().filter(|lock| lock.file().is_some()) else {
            return Ok(());
        };
        let file = &*lock.file;
        // Not written: on a full disk a collection is what frees space.
        let longer = file.metadata().map(|file| file.len().saturating_add(count));
        let left = longer.and_then(|length| file.set_length(length));
        left.map_err(Error::io("write", &self.directory.join(COLLECTION)))
    }

    fn open(&self, path: &Path) -> io::Result<LockFile> {
        let open = || {
            let mut options = OpenOptions::new();
            options.read(true).write(true).create(true).truncate(false);
            LockFile::open(path, &options)
        };
        match open() {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                create_directory(&self.directory)?;
                open()
            }
            // A colleague's lock file: where it can be read it can be locked.
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                LockFile::open(path, OpenOptions::new().read(true))
            }
            opened => opened,
        }
    }

    fn go_without(&self, error: &io::Error) -> Held {
        if !self.unsupported.swap(true, Ordering::Relaxed) {
            let directory = self.directory.display();
            log::warn!(
                target: "fleche.storage",
                "Files cannot be locked in {directory} ({error}): going on without locks. \
                 Every write still replaces its file at once."
            );
        }
        Held(None)
    }
}

/// Takes the lock that one file is; who wants it for themselves creates it, for others to find it
/// there, too. Where it can be neither created nor locked, or is not there to be shared, nothing is
/// held: who only reads leaves nothing behind.
pub fn lock_file(path: &Path, mode: Mode, timeout: Duration) -> Result<Held> {
    let since = Instant::now();
    loop {
        let mut options = OpenOptions::new();
        options.read(true).write(true).truncate(false);
        options.create(mode == Mode::Exclusive);
        let opened = match LockFile::open(path, &options) {
            Err(error) if is_read_only(&error) => {
                LockFile::open(path, OpenOptions::new().read(true))
            }
            opened => opened,
        };
        let file = match opened {
            Ok(file) => file,
            Err(error) if is_read_only(&error) || error.kind() == ErrorKind::NotFound => {
                return Ok(Held(None));
            }
            Err(error) => return Err(Error::io("open the lock file", path)(error)),
        };
        let left = timeout.saturating_sub(since.elapsed());
        let held = match wait_for(file, path, mode, left)? {
            Outcome::Held(held) => held,
            Outcome::Unsupported(error) => {
                log::warn!(
                    target: "fleche.storage",
                    "{} cannot be locked ({error}): going on without a lock. Do not write to this \
                     folder from several processes at once.",
                    path.display()
                );
                return Ok(Held(None));
            }
        };
        // Some clients remove their lock files: what was locked may be no longer what others find.
        if held.is_at(path) {
            return Ok(held);
        }
    }
}

/// A collection that waits for those who save.
struct Queued {
    path: PathBuf,
    _lock: LockFile,
}

impl Drop for Queued {
    fn drop(&mut self) {
        // One that is left behind is locked by nobody.
        drop(disk::remove_file(&self.path));
    }
}

/// Whether somebody has the lock that a file is.
pub fn is_locked(path: &Path) -> bool {
    let lock = LockFile::open(path, OpenOptions::new().read(true));
    lock.is_ok_and(|lock| lock.file.try_lock(false).is_ok_and(|free| !free))
}

fn is_read_only(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem
    )
}

fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded
    )
}

fn wait_for(lock: LockFile, path: &Path, mode: Mode, timeout: Duration) -> Result<Outcome> {
    let mut waiting: Option<Wait> = None;
    loop {
        match lock.file.try_lock(mode == Mode::Exclusive) {
            Ok(true) => return Ok(Outcome::Held(Held(Some(lock)))),
            Ok(false) => match waiting.get_or_insert_with(|| Wait::new(timeout)).pause() {
                Pause::Over => {}
                Pause::TimedOut => {
                    return Err(Error::Locked {
                        lock: path.to_owned(),
                        waited: timeout,
                    });
                }
                Pause::Interrupted => return Err(Error::Interrupted),
            },
            Err(error) if has_no_locks(&error) => return Ok(Outcome::Unsupported(error)),
            Err(error) => return Err(Error::io("lock", path)(error)),
        }
    }
}

/// Creates the folder with the root's own permissions: who may write there may lock there.
pub(super) fn create_directory(directory: &Path) -> io::Result<()> {
    let root = directory.parent().unwrap_or(directory);
    disk::create_dir_all(root)?;
    match disk::create_dir(directory) {
        Ok(()) => disk::set_permissions(directory, &disk::metadata(root)?.permissions()),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests;
