//! Millions of keys, each with something: kept apart by the first byte of the keys, so that each
//! part fits into a processor's cache, and several are put in order at once.

use std::cmp::Ordering;
use std::sync::Mutex;
use std::thread;

use crate::engine::digest::Hash;

const PARTS: usize = 256;

/// Fewer than these are put in order sooner than a thread starts.
const FEW: usize = 1 << 14;

/// More threads than this wait for each other.
const MOST_THREADS: usize = 8;

/// Keys with something each.
#[derive(Clone, Debug)]
pub struct ByKey<T> {
    parts: Vec<Vec<(Hash, T)>>,
    length: usize,
}

impl<T> Default for ByKey<T> {
    fn default() -> Self {
        let parts = (0..PARTS).map(|_| Vec::new()).collect();
        Self { parts, length: 0 }
    }
}

impl<T: Copy + Ord + Send> ByKey<T> {
    pub fn push(&mut self, key: Hash, held: T) {
        self.parts[usize::from(key[0])].push((key, held));
        self.length += 1;
    }

    /// Adds all of another one.
    pub fn append(&mut self, mut other: Self) {
        for (part, more) in self.parts.iter_mut().zip(&mut other.parts) {
            if part.is_empty() {
                *part = std::mem::take(more);
            } else {
                part.append(more);
            }
        }
        self.length += other.length;
    }

    pub fn length(&self) -> usize {
        self.length
    }

    /// Changes what belongs to each key.
    pub fn change(&mut self, change: impl Fn(&mut T)) {
        for (_, held) in self.parts.iter_mut().flatten() {
            change(held);
        }
    }

    /// Puts all in the order of their keys; of those that are `same` the first one stays.
    pub fn settle(&mut self, same: impl Fn(&(Hash, T), &(Hash, T)) -> bool + Sync) {
        let parts = Mutex::new(self.parts.iter_mut());
        let next = || parts.lock().ok().and_then(|mut parts| parts.next());
        let run = || {
            while let Some(part) = next() {
                part.sort_unstable_by(order);
                part.dedup_by(|later, first| same(first, later));
            }
        };
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let threads = cores.min(MOST_THREADS).min(self.length / FEW + 1);
        thread::scope(|scope| {
            for _ in 1..threads {
                // Without it the work is done here.
                let _ = thread::Builder::new().spawn_scoped(scope, run);
            }
            run();
        });
        self.length = self.parts.iter().map(Vec::len).sum();
    }

    /// All, in the order in which they were put.
    pub fn iter(&self) -> impl Iterator<Item = &(Hash, T)> {
        self.parts.iter().flatten()
    }

    /// What belongs to a key, once they are in order; any, if there are several.
    pub fn get(&self, key: &Hash) -> Option<T> {
        let part = &self.parts[usize::from(key[0])];
        let found = part.binary_search_by_key(key, |(key, _)| *key);
        found.ok().map(|place| part[place].1)
    }
}

/// The beginnings of digests nearly always differ.
fn order<T: Ord>(one: &(Hash, T), other: &(Hash, T)) -> Ordering {
    let first = |key: &Hash| key.first_chunk().map(|first| u64::from_be_bytes(*first));
    first(&one.0)
        .cmp(&first(&other.0))
        .then_with(|| one.cmp(other))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_a_sorted_list(
            one in prop::collection::vec((prop::array::uniform32(0_u8..3), 0_u32..3), 0..99),
            other in prop::collection::vec((prop::array::uniform32(0_u8..2), 0_u32..3), 0..99),
        ) {
            let fill = |pairs: &[(Hash, u32)]| {
                let mut found = ByKey::default();
                for (key, held) in pairs {
                    found.push(*key, *held);
                }
                found
            };
            let mut found = fill(&one);
            found.append(fill(&other));
            prop_assert_eq!(found.length(), one.len() + other.len());
            found.settle(|one, other| one == other);
            let mut expected = [one, other].concat();
            expected.sort_unstable();
            expected.dedup();
            prop_assert_eq!(found.length(), expected.len());
            for (key, _) in &expected {
                let held = found.get(key).unwrap();
                prop_assert!(expected.contains(&(*key, held)));
            }
            prop_assert_eq!(found.get(&[9; 32]), None);
            prop_assert_eq!(found.iter().copied().collect::<Vec<_>>(), expected);
        }
    }

    #[test]
    fn many_are_put_in_order_by_several_threads() {
        let mut found = ByKey::default();
        let mut keys: Vec<Hash> = (0..40_000_u64)
            .map(|number| *blake3::hash(&number.to_le_bytes()).as_bytes())
            .collect();
        for key in &keys {
            found.push(*key, 0_u8);
        }
        found.settle(|one, other| one.0 == other.0);
        keys.sort_unstable();
        assert!(found.iter().map(|(key, _)| *key).eq(keys));
    }
}
