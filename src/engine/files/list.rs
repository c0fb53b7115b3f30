//! What a root holds: entries are the files named by a key, everything else is not looked at.

use std::fs::{DirEntry, FileType};
use std::io::{self, ErrorKind};
use std::path::Path;

use super::temporary;
use crate::engine::digest::{Hash, parse_hex};
use crate::engine::disk;

/// Calls `found` with the entries of a root until it says to stop, and sweeps what dead writers
/// left. A root that does not exist holds nothing.
pub fn entries(
    root: &Path,
    mut found: impl FnMut(Hash, &DirEntry) -> io::Result<bool>,
) -> io::Result<()> {
    let directory = match disk::read_dir(root) {
        Ok(directory) => directory,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    // Only afterwards: removing files while the folder is read may hide others.
    let mut temporaries = Vec::new();
    for entry in directory {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.as_encoded_bytes();
        if let Some(key) = parse_hex(name) {
            if is_file(&entry)? && !found(key, &entry)? {
                break;
            }
        } else if temporary::is_temporary(name) {
            temporaries.push(entry.path());
        }
    }
    for path in &temporaries {
        temporary::sweep(path);
    }
    Ok(())
}

fn is_file(entry: &DirEntry) -> io::Result<bool> {
    match disk::file_type(entry) {
        Ok(kind) if kind.is_symlink() => {
            // Whatever is wrong with where it leads to, the other entries are listed.
            Ok(disk::metadata(&entry.path()).is_ok_and(|target| target.is_file()))
        }
        kind => kind.as_ref().map(FileType::is_file).or_else(gone),
    }
}

/// An entry that was evicted since the folder was read is no error.
fn gone(error: &io::Error) -> io::Result<bool> {
    match error.kind() {
        ErrorKind::NotFound => Ok(false),
        kind => Err(kind.into()),
    }
}
