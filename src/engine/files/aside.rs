//! Values that no known record needs, in a root that may have users which nobody noted: they are
//! not removed but set aside, and come back when somebody reads them.

use std::path::PathBuf;
use std::sync::atomic::Ordering;

use super::lock::create_directory;
use super::{Store, is_absent, list};
use crate::engine::digest::{Hash, Hex};
use crate::engine::disk;
use crate::engine::error::{Error, Result};

const DIRECTORY: &str = ".fleche-aside";

impl Store {
    fn aside(&self, key: &Hash) -> PathBuf {
        self.root().join(DIRECTORY).join(Hex::of(key).as_str())
    }

    /// Sets an entry aside; gives its length in bytes. It may be absent.
    pub fn set_aside(&self, key: &Hash) -> Result<u64> {
        let (path, aside) = (self.path(key), self.aside(key));
        let length = match disk::metadata(&path) {
            Err(error) if is_absent(&error) => return Ok(0),
            found => found.map_err(Error::io("look at", &path))?.len(),
        };
        let directory = self.root().join(DIRECTORY);
        // Who may remove entries may bring them back.
        create_directory(&directory).map_err(Error::io("create", &directory))?;
        let _held = self.locks.take(key)?;
        match disk::rename(&path, &aside) {
            Err(error) if !is_absent(&error) => Err(Error::io("move", &path)(error)),
            _ => Ok(length),
        }
    }

    /// Brings an entry back that was set aside; whether there was one.
    pub fn bring_back(&self, key: &Hash) -> bool {
        let aside = self.aside(key);
        if !self.values.load(Ordering::Relaxed) || disk::metadata(&aside).is_err() {
            return false;
        }
        let Ok(_held) = self.locks.take(key) else {
            return false;
        };
        // Nobody wrote it anew: who looks for it did not find it.
        disk::rename(&aside, &self.path(key)).is_ok()
    }

    /// The keys of what was set aside.
    pub fn list_aside(&self) -> Result<Vec<Hash>> {
        let directory = self.root().join(DIRECTORY);
        let mut keys = Vec::new();
        let listed = list::entries(&directory, |key, _| {
            keys.push(key);
            Ok(true)
        });
        listed.map_err(Error::io("list", &directory))?;
        Ok(keys)
    }

    /// Removes what was set aside under a key; it may be absent.
    pub fn evict_aside(&self, key: &Hash) -> Result<()> {
        let aside = self.aside(key);
        match disk::remove_file(&aside) {
            Err(error) if !is_absent(&error) => Err(Error::io("remove", &aside)(error)),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const KEY: Hash = [7; 32];

    #[test]
    fn what_is_set_aside_comes_back_once() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path().to_owned(), Duration::from_secs(1));
        store.keeps_values();
        assert_eq!(store.set_aside(&KEY).unwrap(), 0);
        assert_eq!(store.list_aside().unwrap(), [[0; 32]; 0]);
        store.write(&KEY, b"value").unwrap();
        assert_eq!(store.set_aside(&KEY).unwrap(), 5);
        assert!(!store.contains(&KEY).unwrap());
        assert_eq!(store.list().unwrap(), [[0; 32]; 0]);
        assert_eq!(store.list_aside().unwrap(), [KEY]);
        assert!(store.bring_back(&KEY));
        assert_eq!(store.read(&KEY).unwrap().as_deref(), Some(&b"value"[..]));
        assert!(!store.bring_back(&KEY));
    }

    #[test]
    fn what_is_set_aside_can_be_removed() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path().to_owned(), Duration::from_secs(1));
        store.evict_aside(&KEY).unwrap();
        store.write(&KEY, b"value").unwrap();
        store.set_aside(&KEY).unwrap();
        store.evict_aside(&KEY).unwrap();
        assert!(!store.bring_back(&KEY));
    }
}
