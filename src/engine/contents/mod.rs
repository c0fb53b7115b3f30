//! What is in files and folders, as digests.
//!
//! `reading` reads a file, `folder` walks a folder, and `remembered` knows the digests of files that
//! did not change since: by what the system says of them (`stamp`), in this process and, in the
//! `table`, in the next ones.

mod folder;
mod reading;
mod remembered;
mod stamp;
mod table;
#[cfg(test)]
mod tests;

use std::fs::{self, Metadata};
use std::io;
use std::path::Path;

use crate::engine::digest::Hash;
use crate::engine::digest::exact::{Encoder, Tag};
use crate::engine::error::{Error, Result};
use crate::engine::system;
use crate::engine::wait::Looks;
use folder::Walk;
use stamp::Stamp;

/// How often something that changes while it is read is read.
const TRIES: usize = 3;

/// Reading less than this takes no longer than remembering it.
const SMALL: u64 = 16 * 1024;

/// The digest of what is in a file or folder, whatever its name.
pub fn digest(path: &Path) -> Result<Hash> {
    let metadata = fs::metadata(path).map_err(Error::io("read", path))?;
    if !metadata.is_dir() {
        return file(path, &metadata, &mut Looks::default());
    }
    for _ in 0..TRIES {
        if let Some(hash) = Walk::default().digest(path)? {
            return Ok(hash);
        }
    }
    Err(refused(path, "it keeps changing while it is read"))
}

/// The digest of what is in a file. What is no file is refused before it is opened: that may wait,
/// or do something.
fn file(path: &Path, metadata: &Metadata, looks: &mut Looks) -> Result<Hash> {
    if !metadata.is_file() {
        return Err(refused(path, system::special_kind(metadata)));
    }
    if looks.interrupted() {
        return Err(Error::Interrupted);
    }
    // Opened even if its digest is known: on a network that has the system ask what is true now.
    let file = system::open_to_read(path).map_err(Error::io("read", path))?;
    let look = || {
        let metadata = file.metadata().map_err(Error::io("read", path))?;
        if metadata.is_file() {
            Ok((Stamp::of(&metadata), metadata.len()))
        } else {
            Err(refused(path, system::special_kind(&metadata)))
        }
    };
    let (mut before, mut size) = look()?;
    for _ in 0..TRIES {
        if let Some(hash) = remembered::find(&before, size) {
            return Ok(hash);
        }
        let keeping = remembered::keeping(&file, &before, size);
        let content = reading::content(&file, size).map_err(|error| match error {
            reading::Failure::Interrupted => Error::Interrupted,
            reading::Failure::Io(error) => Error::io("read", path)(error),
        })?;
        let (after, size_after) = look()?;
        if let Some(content) = content
            && after == before
            && size_after == size
        {
            let mut encoder = Encoder::new(Tag::File);
            encoder.child(&content);
            let hash = encoder.finish();
            remembered::keep(&before, &hash, keeping);
            return Ok(hash);
        }
        (before, size) = (after, size_after);
    }
    Err(refused(path, "it keeps changing while it is read"))
}

/// Something that has no content, or none that can be told.
fn refused(path: &Path, why: &'static str) -> Error {
    Error::io("read", path)(io::Error::other(why))
}
