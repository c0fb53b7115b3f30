//! What becomes of calls, counted where it happens: `fleche.statistics` collects the numbers and
//! writes them down, `fleche.events` tells those who listen.
//!
//! A hit adds to one number of one object, which the function keeps at hand for the caches that it
//! last looked into.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use pyo3::exceptions::PyException;
use pyo3::prelude::*;
use pyo3::types::PyWeakrefReference;
use smallvec::SmallVec;

use crate::engine::disk::written::{self, Written};
use crate::engine::fork::generation;
use crate::engine::system::coarse_milliseconds;
use crate::py::logs::DebugLogger;
use crate::py::names::Imported;

static TALLY_OF: Imported = Imported::new("fleche.statistics.tallies", "tally_of");
static WRITE: Imported = Imported::new("fleche.statistics.flushing", "write");
static LOGGER: DebugLogger = DebugLogger::new("fleche.statistics");

/// Whether anybody subscribed to events.
static LISTENING: AtomicBool = AtomicBool::new(false);

/// Has the core say what happens, or not any longer.
#[pyfunction]
pub fn set_listening(listening: bool) {
    LISTENING.store(listening, Ordering::Relaxed);
}

#[pyfunction]
pub fn is_listening() -> bool {
    LISTENING.load(Ordering::Relaxed)
}

/// When what was counted is to be written down, by the coarse clock.
static DUE: AtomicU64 = AtomicU64::new(NEVER);

const NEVER: u64 = u64::MAX;

/// Has what was counted written down by the call that comes so many seconds from now, or later.
#[pyfunction]
pub fn write_statistics_in(seconds: f64) {
    let left = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX);
    let left = u64::try_from(left.as_millis()).unwrap_or(NEVER);
    DUE.store(
        coarse_milliseconds().saturating_add(left),
        Ordering::Relaxed,
    );
}

/// Whether what was counted is to be written down now, by who asks: others are told `false` until
/// it is said when the next time is.
#[pyfunction]
pub fn are_statistics_due() -> bool {
    let due = DUE.load(Ordering::Relaxed);
    due != NEVER
        && coarse_milliseconds() >= due
        && DUE
            .compare_exchange(due, NEVER, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok()
}

/// How many bytes this thread has written into stores, and how many values it pickled that their
/// serializer could not hold.
#[pyfunction]
pub fn written_so_far() -> (u64, u64) {
    let Written { bytes, pickled } = written::so_far();
    (bytes, pickled)
}

/// What became of the calls of a function in a store, since it was last collected.
#[pyclass(frozen, module = "fleche._core")]
#[derive(Default)]
pub struct Tally {
    hits: AtomicU64,
    misses: AtomicU64,
    computed: AtomicU64,
    failed: AtomicU64,
    nanoseconds: AtomicU64,
    bytes: AtomicU64,
    pickled: AtomicU64,
}

/// Hits, misses, computed and failed calls, the seconds that computing took, bytes written, and
/// values pickled.
type Counts = (u64, u64, u64, u64, f64, u64, u64);

#[pymethods]
impl Tally {
    #[new]
    fn new() -> Self {
        Self::default()
    }

    /// Adds to the numbers.
    #[pyo3(signature = (
        *, hits = 0, misses = 0, computed = 0, failed = 0, seconds = 0.0, bytes = 0, pickled = 0
    ))]
    #[expect(clippy::too_many_arguments, reason = "each by its name")]
    fn add(
        &self,
        hits: u64,
        misses: u64,
        computed: u64,
        failed: u64,
        seconds: f64,
        bytes: u64,
        pickled: u64,
    ) {
        let took = Duration::try_from_secs_f64(seconds).unwrap_or_default();
        add(&self.hits, hits);
        add(&self.misses, misses);
        add(&self.computed, computed);
        add(&self.failed, failed);
        add(&self.nanoseconds, nanoseconds(took));
        add(&self.bytes, bytes);
        add(&self.pickled, pickled);
    }

    /// The numbers, which are zero from now on.
    #[expect(clippy::cast_precision_loss, reason = "exact for a hundred days")]
    fn take(&self) -> Counts {
        let take = |number: &AtomicU64| number.swap(0, Ordering::Relaxed);
        (
            take(&self.hits),
            take(&self.misses),
            take(&self.computed),
            take(&self.failed),
            take(&self.nanoseconds) as f64 / 1e9,
            take(&self.bytes),
            take(&self.pickled),
        )
    }
}

impl Tally {
    pub fn hit(&self) {
        add(&self.hits, 1);
    }

    /// A miss, whose call was run to its end.
    pub fn ran(&self, took: Duration, failed: bool) {
        add(&self.misses, 1);
        if failed {
            add(&self.failed, 1);
        } else {
            add(&self.computed, 1);
            add(&self.nanoseconds, nanoseconds(took));
        }
    }

    pub fn saved(&self, written: Written) {
        add(&self.bytes, written.bytes);
        add(&self.pickled, written.pickled);
    }
}

fn add(number: &AtomicU64, more: u64) {
    number.fetch_add(more, Ordering::Relaxed);
}

fn nanoseconds(took: Duration) -> u64 {
    u64::try_from(took.as_nanos()).unwrap_or(u64::MAX)
}

/// A cache, and where calls that are looked up there count; nowhere if nothing is to be counted.
type Kept = (Py<PyWeakrefReference>, Option<Py<Tally>>);

/// What a function keeps at hand, since which fork.
#[derive(Default)]
struct Recent {
    kept: SmallVec<[Kept; KEPT]>,
    generation: u32,
}

/// So many caches, those of the last calls, have their tally at hand.
const KEPT: usize = 4;

/// The tallies of a function.
#[derive(Default)]
pub struct Tallies {
    /// Only ever tried: nobody waits, and what a fork leaves locked is gone without.
    recent: Mutex<Recent>,
}

impl Tallies {
    /// Counts something that happened in a cache; what fails on the way disturbs nobody.
    pub fn count(
        &self,
        cache: &Bound<'_, PyAny>,
        (name, module): (&Py<PyAny>, &Py<PyAny>),
        count: impl FnOnce(&Tally),
    ) -> PyResult<()> {
        let py = cache.py();
        // A forked child asks again: it writes down what it counts, as its parent does.
        if let Ok(recent) = self.recent.try_lock()
            && recent.generation == generation()
        {
            for (reference, tally) in &recent.kept {
                if reference
                    .bind(py)
                    .upgrade()
                    .is_some_and(|held| held.is(cache))
                {
                    if let Some(tally) = tally {
                        count(tally.get());
                    }
                    return Ok(());
                }
            }
        }
        let found = TALLY_OF
            .get(py)
            .and_then(|ask| ask.call1((cache, name, module)))
            .and_then(|found| Ok(found.extract::<Option<Py<Tally>>>()?));
        match found {
            Ok(tally) => {
                if let Some(tally) = &tally {
                    count(tally.get());
                }
                self.keep(cache, tally);
                Ok(())
            }
            Err(error) if error.is_instance_of::<PyException>(py) => {
                let error = error.value(py).clone().into_any();
                LOGGER.debug(py, "%s is not counted: %r", name.bind(py).clone(), error)
            }
            Err(error) => Err(error),
        }
    }

    /// As `count`, where a call ends: what was counted is written down, if that is due.
    pub fn count_last(
        &self,
        cache: &Bound<'_, PyAny>,
        function: (&Py<PyAny>, &Py<PyAny>),
        count: impl FnOnce(&Tally),
    ) -> PyResult<()> {
        self.count(cache, function, count)?;
        if are_statistics_due() {
            let py = cache.py();
            match WRITE.get(py).and_then(|write| write.call1((cache,))) {
                Err(error) if !error.is_instance_of::<PyException>(py) => return Err(error),
                // It says so itself.
                Ok(_) | Err(_) => {}
            }
        }
        Ok(())
    }

    fn keep(&self, cache: &Bound<'_, PyAny>, tally: Option<Py<Tally>>) {
        // What cannot be referred to weakly is asked for each time.
        let Ok(reference) = PyWeakrefReference::new(cache) else {
            return;
        };
        let Ok(mut recent) = self.recent.try_lock() else {
            return;
        };
        let mut out = Vec::new();
        if recent.generation != generation() {
            recent.generation = generation();
            out.extend(recent.kept.drain(..));
        }
        let is_dead = |(held, _): &Kept| held.bind(cache.py()).upgrade().is_none();
        if let Some(place) = recent.kept.iter().position(is_dead) {
            out.push(recent.kept.remove(place));
        } else if recent.kept.len() == KEPT {
            out.push(recent.kept.remove(0));
        }
        recent.kept.push((reference.unbind(), tally));
        // What ends with them ends when nothing is locked.
        drop(recent);
        drop(out);
    }
}

/// How long a look-up took so far, where somebody wants to know.
pub struct Watch(Option<Instant>);

impl Watch {
    pub fn start() -> Self {
        Self(is_listening().then(Instant::now))
    }

    pub fn seconds(&self) -> Option<f64> {
        self.0.map(|started| started.elapsed().as_secs_f64())
    }
}
