//! When the entries of a root were written, remembered, so that the oldest is found without looking
//! at every file each time.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::io::{self, ErrorKind};
use std::time::SystemTime;

use crate::engine::digest::Hash;
use crate::engine::fork::Lock;

/// The times of the entries that were looked at.
#[derive(Debug, Default)]
pub struct Ages(Lock<Known>);

#[derive(Debug, Default)]
struct Known {
    written: HashMap<Hash, SystemTime>,
    by_age: BTreeSet<(SystemTime, Hash)>,
}

impl Ages {
    /// The `count` entries of `keys`, which are all, that were written longest ago.
    pub fn oldest(
        &self,
        keys: &[Hash],
        count: usize,
        written: impl Fn(&Hash) -> io::Result<SystemTime>,
    ) -> io::Result<Vec<Hash>> {
        let mut known = self.0.lock();
        known.forget_all_but(keys);
        for key in keys {
            if !known.written.contains_key(key) {
                known.look_at(*key, &written)?;
            }
        }
        let mut oldest = Vec::with_capacity(count);
        while oldest.len() < count
            && let Some((time, key)) = known.by_age.first().copied()
        {
            // Written again since, it is no longer the oldest.
            known.forget(&key);
            match written(&key) {
                Ok(now) if now == time => oldest.push(key),
                Ok(now) => known.remember(key, now),
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(oldest)
    }

    /// When the newest of the entries but one was written, as far as they were looked at.
    pub fn newest_but(&self, key: &Hash) -> Option<SystemTime> {
        let known = self.0.lock();
        let (newest, _) = known.by_age.iter().rev().find(|(_, other)| other != key)?;
        Some(*newest)
    }
}

impl Known {
    fn look_at(
        &mut self,
        key: Hash,
        written: impl Fn(&Hash) -> io::Result<SystemTime>,
    ) -> io::Result<()> {
        match written(&key) {
            Ok(time) => self.remember(key, time),
            // Evicted since it was listed.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn remember(&mut self, key: Hash, time: SystemTime) {
        self.written.insert(key, time);
        self.by_age.insert((time, key));
    }

    fn forget(&mut self, key: &Hash) {
        if let Some(time) = self.written.remove(key) {
            self.by_age.remove(&(time, *key));
        }
    }

    fn forget_all_but(&mut self, keys: &[Hash]) {
        let listed: HashSet<_> = keys.iter().collect();
        let gone: Vec<_> = self.written.keys().copied().collect();
        for key in gone.iter().filter(|key| !listed.contains(key)) {
            self.forget(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, UNIX_EPOCH};

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn the_oldest_come_first_and_are_looked_at_once_more() {
        let ages = Ages::default();
        let keys = [[1; 32], [2; 32], [3; 32]];
        let first = |key: &Hash| Ok(at(u64::from(key[0])));
        assert_eq!(ages.oldest(&keys, 1, first).unwrap(), [[1; 32]]);
        // The second was written again, by another process, and the fourth is new.
        let later = |key: &Hash| Ok(at(if key[0] == 2 { 9 } else { key[0].into() }));
        let keys = [[2; 32], [3; 32], [4; 32]];
        assert_eq!(ages.oldest(&keys, 2, later).unwrap(), [[3; 32], [4; 32]]);
        // What was named but stayed is named again; what is gone is not.
        let keys = [[2; 32], [4; 32]];
        assert_eq!(ages.oldest(&keys, 3, later).unwrap(), [[4; 32], [2; 32]]);
    }

    #[test]
    fn the_newest_of_the_others() {
        let ages = Ages::default();
        let keys = [[1; 32], [2; 32], [3; 32]];
        assert_eq!(ages.newest_but(&[3; 32]), None);
        let written = |key: &Hash| Ok(at(if key[0] == 2 { 9 } else { key[0].into() }));
        ages.oldest(&keys, 0, written).unwrap();
        assert_eq!(ages.newest_but(&[3; 32]), Some(at(9)));
        assert_eq!(ages.newest_but(&[2; 32]), Some(at(3)));
    }

    #[test]
    fn entries_that_vanish_are_passed_over() {
        let ages = Ages::default();
        let gone = |key: &Hash| match key[0] {
            1 => Err(ErrorKind::NotFound.into()),
            other => Ok(at(other.into())),
        };
        let keys = [[1; 32], [2; 32]];
        assert_eq!(ages.oldest(&keys, 1, gone).unwrap(), [[2; 32]]);
    }
}
