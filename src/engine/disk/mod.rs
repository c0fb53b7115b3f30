//! Every system call on the files of a store: all of them pass here, so that a test can watch each
//! one, make it fail, or end the process just before it.
//!
//! Without debug assertions nothing is left of that. A call that a signal interrupted is made again.

#[cfg(debug_assertions)]
pub mod watch;
pub mod written;

#[cfg(debug_assertions)]
use watch::{Watched, check};

use std::fs::{self, DirEntry, FileType, Metadata, OpenOptions, Permissions, TryLockError};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::SystemTime;

use crate::engine::system::{self, Memory};

/// Where a call stands for, in messages of tests; nothing otherwise.
#[cfg(not(debug_assertions))]
#[derive(Debug)]
struct Watched;

#[cfg(not(debug_assertions))]
impl Watched {
    #[inline]
    fn new(_: &Path) -> Self {
        Self
    }
}

#[cfg(not(debug_assertions))]
impl std::ops::Deref for Watched {
    type Target = Path;

    #[inline]
    fn deref(&self) -> &Path {
        Path::new("")
    }
}

#[cfg(not(debug_assertions))]
#[inline]
fn check(_: &'static str, _: &Path) -> io::Result<()> {
    Ok(())
}

/// A place where tests stop threads and end processes, beside the system calls.
#[inline]
pub fn reach(name: &'static str, path: &Path) {
    // Nothing can fail here.
    let _ = check(name, path);
}

/// Makes a call, again and again while signals interrupt it.
#[inline]
fn call<T>(
    name: &'static str,
    path: &Path,
    mut work: impl FnMut() -> io::Result<T>,
) -> io::Result<T> {
    loop {
        match check(name, path).and_then(|()| work()) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

pub fn metadata(path: &Path) -> io::Result<Metadata> {
    call("stat", path, || fs::metadata(path))
}

/// The metadata of a file, without following a link.
pub fn link_metadata(path: &Path) -> io::Result<Metadata> {
    call("lstat", path, || fs::symlink_metadata(path))
}

pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    call("rename", to, || fs::rename(from, to))
}

pub fn remove_file(path: &Path) -> io::Result<()> {
    call("unlink", path, || fs::remove_file(path))
}

pub fn create_dir(path: &Path) -> io::Result<()> {
    call("mkdir", path, || fs::create_dir(path))
}

/// Creates a folder and those above it, as far as they are missing.
pub fn create_dir_all(path: &Path) -> io::Result<()> {
    call("mkdir", path, || fs::create_dir_all(path))
}

pub fn set_permissions(path: &Path, permissions: &Permissions) -> io::Result<()> {
    call("chmod", path, || {
        fs::set_permissions(path, permissions.clone())
    })
}

/// The entries of a folder, in no particular order.
pub fn read_dir(path: &Path) -> io::Result<impl Iterator<Item = io::Result<DirEntry>>> {
    let folder = Watched::new(path);
    let mut entries = call("opendir", path, || fs::read_dir(path))?;
    Ok(std::iter::from_fn(move || {
        // Not made again: after an error of its own the reading of a folder is over.
        match call("readdir", &folder, || Ok(entries.next())) {
            Ok(next) => next,
            Err(error) => Some(Err(error)),
        }
    }))
}

/// What kind of file an entry is, without following a link.
pub fn file_type(entry: &DirEntry) -> io::Result<FileType> {
    // Known since the folder was read, on nearly all file systems.
    entry.file_type()
}

/// The metadata of an entry, without following a link.
pub fn entry_metadata(entry: &DirEntry) -> io::Result<Metadata> {
    #[cfg(debug_assertions)]
    let path = entry.path();
    #[cfg(not(debug_assertions))]
    let path = Path::new("");
    call("lstat", path.as_ref(), || entry.metadata())
}

/// An open file.
#[derive(Debug)]
pub struct File {
    file: fs::File,
    path: Watched,
}

impl File {
    /// Opens a file for reading.
    pub fn open(path: &Path) -> io::Result<Self> {
        Self::open_with(path, OpenOptions::new().read(true))
    }

    pub fn open_with(path: &Path, options: &OpenOptions) -> io::Result<Self> {
        let file = call("open", path, || options.open(path))?;
        let path = Watched::new(path);
        Ok(Self { file, path })
    }

    /// The number by which the system knows it.
    #[cfg(unix)]
    pub fn number(&self) -> std::os::fd::RawFd {
        std::os::fd::AsRawFd::as_raw_fd(&self.file)
    }

    pub fn metadata(&self) -> io::Result<Metadata> {
        call("fstat", &self.path, || self.file.metadata())
    }

    /// A part of the file in memory that is private: what is written to it stays there. The file
    /// must have that part.
    pub fn map(&self, start: u64, length: usize) -> io::Result<Memory> {
        call("mmap", &self.path, || {
            Memory::of_file(&self.file, start, length)
        })
    }

    /// Whether it lies on a disk of this machine, as far as that can be told.
    pub fn is_local(&self) -> bool {
        system::is_local(&self.file)
    }

    /// Reads up to `length` bytes, all that there are, behind those that `bytes` has.
    pub fn read_up_to(&self, length: u64, bytes: &mut Vec<u8>) -> io::Result<()> {
        let read = || (&self.file).take(length).read_to_end(bytes).map(drop);
        call("read", &self.path, read)
    }

    pub fn set_permissions(&self, permissions: &Permissions) -> io::Result<()> {
        let set = || self.file.set_permissions(permissions.clone());
        call("fchmod", &self.path, set)
    }

    /// Makes a file longer, by nothing that would need room on the disk.
    pub fn set_length(&self, length: u64) -> io::Result<()> {
        call("ftruncate", &self.path, || self.file.set_len(length))
    }

    pub fn set_modified(&self, time: SystemTime) -> io::Result<()> {
        call("utimens", &self.path, || self.file.set_modified(time))
    }

    /// Whether the lock could be taken; it is not waited for.
    pub fn try_lock(&self, exclusive: bool) -> io::Result<bool> {
        let lock = || {
            let tried = if exclusive {
                self.file.try_lock()
            } else {
                self.file.try_lock_shared()
            };
            match tried {
                Ok(()) => Ok(true),
                Err(TryLockError::WouldBlock) => Ok(false),
                Err(TryLockError::Error(error)) => Err(error),
            }
        };
        call("flock", &self.path, lock)
    }

    pub fn unlock(&self) -> io::Result<()> {
        call("unlock", &self.path, || self.file.unlock())
    }

    /// Closes the file, and says if that fails: some file systems write only now, and a full disk
    /// shows here.
    pub fn close(self) -> io::Result<()> {
        // Never made twice: a number that was closed may be another file's by now.
        match check("close", &self.path) {
            Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        system::close(self.file)
    }
}

impl Read for File {
    #[inline]
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        call("read", &self.path, || self.file.read(bytes))
    }
}

impl Write for File {
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = call("write", &self.path, || self.file.write(bytes))?;
        written::count(length);
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Seek for File {
    fn seek(&mut self, place: SeekFrom) -> io::Result<u64> {
        call("seek", &self.path, || self.file.seek(place))
    }
}

#[cfg(test)]
mod tests;
