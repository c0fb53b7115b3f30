//! Which calls of a cache were hits, and in which order, as long as nobody writes it down.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::{Mutex, PoisonError};

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};

use crate::engine::digest::Hash;
use crate::engine::fork::generation;
use crate::py::digest::hash_of_text;
use crate::py::once::intern;

/// Of so many calls at most, each in some 64 bytes; of what is used beyond, nothing is known.
const MOST: usize = 1 << 18;

/// The hits of a process in a cache, since they were last collected.
#[pyclass(frozen, module = "fleche._core")]
#[derive(Default)]
pub struct Uses {
    /// Only ever tried: nobody waits, and what a fork leaves locked is gone without.
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    generation: u32,
    hits: u64,
    /// How often, and at which of the hits for the last time.
    calls: HashMap<Hash, (u64, u64), BuildHasherDefault<Beginning>>,
}

/// Keys are digests: their first bytes are as good as any hash.
#[derive(Default)]
struct Beginning(u64);

impl Hasher for Beginning {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        if let Some(first) = bytes.first_chunk() {
            self.0 = u64::from_le_bytes(*first);
        }
    }
}

#[pymethods]
impl Uses {
    #[new]
    fn new() -> Self {
        Self::default()
    }

    /// Notes a hit.
    fn note(&self, key: &Bound<'_, PyString>) {
        if let Some(key) = hash_of_text(key) {
            self.hit(&key);
        }
    }

    /// The keys of calls that were hits, the one used longest ago first, and how often; none of
    /// them is known from now on.
    fn take<'py>(&self, py: Python<'py>) -> Vec<(Bound<'py, PyBytes>, u64)> {
        let calls = {
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            seen.begin();
            std::mem::take(&mut seen.calls)
        };
        let mut calls: Vec<_> = calls.into_iter().collect();
        calls.sort_unstable_by_key(|(_, (_, last))| *last);
        let taken = calls.into_iter();
        taken
            .map(|(key, (count, _))| (PyBytes::new(py, &key), count))
            .collect()
    }
}

impl Uses {
    fn hit(&self, key: &Hash) {
        let Ok(mut seen) = self.seen.try_lock() else {
            return;
        };
        seen.begin();
        seen.hits += 1;
        let (now, is_full) = (seen.hits, seen.calls.len() >= MOST);
        if let Some(known) = seen.calls.get_mut(key) {
            *known = (known.0 + 1, now);
        } else if !is_full {
            seen.calls.insert(*key, (1, now));
        }
    }
}

impl Seen {
    /// A forked child leaves to its parent what that knew.
    fn begin(&mut self) {
        let now = generation();
        if self.generation != now {
            *self = Self {
                generation: now,
                ..Self::default()
            };
        }
    }
}

/// Notes a hit, where the cache wants to know.
pub(super) fn note(cache: &Bound<'_, PyAny>, key: &Hash) -> PyResult<()> {
    let uses = cache.getattr(intern!(cache.py(), "_uses"))?;
    if let Ok(uses) = uses.cast::<Uses>() {
        uses.get().hit(key);
    }
    Ok(())
}
