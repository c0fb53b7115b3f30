//! What changes in a root, noted for those who keep an account of its entries: the keys of entries
//! that are about to be written or removed, 32 bytes each, one after the other.
//!
//! The file is made by who keeps the account; where it is not there, nothing is noted.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write as _};
use std::sync::atomic::Ordering;

use super::Store;
use crate::engine::digest::Hash;
use crate::engine::disk::File;
use crate::engine::error::{Error, Result};

const NAME: &str = ".fleche-changes";

impl Store {
    /// To be called before an entry is moved to its place or removed: who finds the note and no
    /// entry looks again.
    pub(super) fn note_change(&self, key: &Hash) -> Result<()> {
        if self.values.load(Ordering::Relaxed) {
            return Ok(());
        }
        let path = self.root().join(NAME);
        let mut file = match File::open_with(&path, OpenOptions::new().append(true)) {
            Ok(file) => file,
            // Whoever may not note it may not write an entry, either.
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(Error::io("open", &path)(error)),
        };
        file.write_all(key).map_err(Error::io("write", &path))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_changes_is_noted_where_somebody_asked_for_it() {
        let root = tempfile::tempdir().unwrap();
        let store = Store::new(root.path().to_owned(), Duration::from_secs(1));
        let notes = root.path().join(NAME);
        store.write(&[1; 32], b"one").unwrap();
        assert!(!notes.exists());
        fs::write(&notes, b"").unwrap();
        store.write(&[2; 32], b"two").unwrap();
        store.evict(&[1; 32]).unwrap();
        // What is not there does not change.
        store.evict(&[3; 32]).unwrap();
        assert_eq!(fs::read(&notes).unwrap(), [[2; 32], [1; 32]].concat());
        assert_eq!(store.list().unwrap(), [[2; 32]]);
    }
}
