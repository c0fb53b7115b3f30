//! Misses in plain caches, with no other metadata than `Runtime`: the way of most calls, without
//! the detour through Python (`fleche.wrapper.misses`) that everything else takes.

use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::py::once::Once;
use crate::py::once::intern;
use pyo3::exceptions::{PyBaseException, PyException};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use super::{CachedFunction, Identity};
use crate::engine::disk::written::{self, Written};
use crate::engine::system::{ProcessorSeconds, processor_seconds};
use crate::py::caches::PlainCall;
use crate::py::files::check_files;
use crate::py::logs::DebugLogger;
use crate::py::names::Imported;
use crate::py::tally::{Tally, is_listening};

static DIGESTED_CALL: Imported = Imported::new("fleche.call", "DigestedCall");
static RUNTIME: Imported = Imported::new("fleche.metadata", "Runtime");
static GET_METADATA: Imported = Imported::new("fleche.state", "get_metadata");
static FUTURE: Imported = Imported::new("concurrent.futures._base", "Future");
pub static LOGGER: DebugLogger = DebugLogger::new("fleche");
static STORAGE_LOGGER: DebugLogger = DebugLogger::new("fleche.storage");

/// How a function's misses are treated.
pub struct Misses {
    /// Whether every miss is Python's: it runs in a directory of its own, or is awaited.
    pub in_python: bool,
    /// Metadata that the function was decorated with.
    pub metadata: Py<PyTuple>,
    /// Futures whose results are to be saved.
    pub pending: Py<PyDict>,
    pub on_unusual: Py<PyAny>,
    pub on_unsaved: Py<PyAny>,
    /// What a call raised may be kept.
    pub on_raised: Py<PyAny>,
    /// Whether errors of the cache are raised, and arguments must stay as they are.
    pub is_strict: Py<PyAny>,
    pub strict: Once<bool>,
}

impl Misses {
    fn strict(&self, py: Python<'_>) -> PyResult<bool> {
        let strict = self
            .strict
            .get_or_try_init(py, || self.is_strict.bind(py).call0()?.extract::<bool>())?;
        Ok(*strict)
    }
}

/// A call that is not in the cache.
pub struct Missed<'py> {
    pub identity: Arc<Identity>,
    pub cache: Bound<'py, PyAny>,
    pub key: Bound<'py, PyAny>,
    pub arguments: Bound<'py, PyDict>,
    pub digests: Bound<'py, PyDict>,
    /// The names of those arguments that hold files.
    pub with_files: Bound<'py, PyTuple>,
    /// As the function takes them.
    pub args: Bound<'py, PyTuple>,
    pub kwargs: Bound<'py, PyDict>,
    /// Why the cache failed, if it did.
    pub failure: Option<Py<PyBaseException>>,
}

/// A call that the core runs, from its admission on.
struct Begun<'py> {
    plain: PlainCall,
    metadata: Metadata<'py>,
    /// What was written for its arguments.
    written: Written,
    started: Instant,
}

impl CachedFunction {
    /// The result of a miss in a plain cache, computed and saved; `None`, and nothing was run, if
    /// anything about it is out of the ordinary.
    pub fn run_plain<'py>(&self, call: &Missed<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let py = call.key.py();
        let Some(begun) = self.begin_plain(call)? else {
            return Ok(None);
        };
        let outcome = self.function.bind(py).call(&call.args, Some(&call.kwargs));
        self.end_plain(call, begun, outcome).map(Some)
    }

    fn begin_plain<'py>(&self, call: &Missed<'py>) -> PyResult<Option<Begun<'py>>> {
        let py = call.key.py();
        let misses = &self.misses;
        if misses.in_python
            || misses.strict(py)?
            || !misses.pending.bind(py).is_empty()
            || are_told(py)?
            || is_listening()
            || call
                .cache
                .getattr(intern!(py, "_once"))
                .is_ok_and(|once| once.is_truthy().unwrap_or(true))
        {
            return Ok(None);
        }
        let Some(metadata) = Plan::of(misses.metadata.bind(py))? else {
            return Ok(None);
        };
        let already = written::so_far();
        let key = call.key.cast()?;
        let plain = match PlainCall::admit(&call.cache, key, &call.arguments, &call.digests) {
            Ok(Some((plain, failed))) if failed.is_empty() => plain,
            Ok(_) => return Ok(None),
            // What fails here fails there again, and is said; what is no `Exception` (an
            // interrupt) passes.
            Err(error) if error.is_instance_of::<PyException>(py) => return Ok(None),
            Err(error) => return Err(error),
        };
        let Some(metadata) = metadata.begin() else {
            return Ok(None);
        };
        Ok(Some(Begun {
            plain,
            metadata,
            written: written::so_far().since(already),
            started: Instant::now(),
        }))
    }

    fn end_plain<'py>(
        &self,
        call: &Missed<'py>,
        begun: Begun<'py>,
        outcome: PyResult<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = call.key.py();
        let took = begun.started.elapsed();
        let misses = &self.misses;
        let Missed {
            identity,
            cache,
            key,
            arguments,
            digests,
            with_files,
            ..
        } = call;
        let of = (&identity.name, &identity.module);
        let count = |count: &dyn Fn(&Tally)| self.tallies.count(cache, of, count);
        let Begun {
            plain,
            metadata,
            written: before,
            ..
        } = begun;
        let code = identity.code_digest.bind(py);
        let result = match outcome {
            Ok(result) => result,
            Err(error) if error.is_instance_of::<PyException>(py) => {
                count(&|tally| tally.ran(took, true))?;
                let recorded = metadata.before(py)?;
                let plain = Bound::new(py, plain)?;
                let raised = error.clone_ref(py).into_value(py);
                let call = (
                    cache, key, arguments, digests, plain, recorded, raised, code, with_files,
                );
                misses.on_raised.bind(py).call1(call)?;
                self.tallies.count_last(cache, of, |_| ())?;
                return Err(error);
            }
            Err(error) => return Err(error),
        };
        count(&|tally| tally.ran(took, false))?;
        if result.is_none() || is_future(&result)? {
            let recorded = metadata.before(py)?;
            let plain = Bound::new(py, plain)?;
            let call = (
                cache, key, arguments, digests, plain, recorded, &result, code, with_files,
            );
            misses.on_unusual.bind(py).call1(call)?;
            return Ok(result);
        }
        let already = written::so_far();
        let saved = metadata.end(py).and_then(|metadata| {
            if !with_files.is_empty() {
                check_files(arguments, digests, with_files.extract()?, self.typed)?;
            }
            let record = identity.record(digests, &metadata)?;
            plain.commit_new(cache, &record, &result, arguments)
        });
        match saved {
            Ok(()) => {
                let written = written::so_far().since(already).and(before);
                self.tallies
                    .count_last(cache, of, |tally| tally.saved(written))?;
                Ok(result)
            }
            Err(error) if error.is_instance_of::<PyException>(py) => {
                misses.on_unsaved.bind(py).call1((key, error, cache))?;
                Ok(result)
            }
            Err(error) => Err(error),
        }
    }
}

impl Identity {
    /// The record of a call, its result still pending.
    fn record<'py>(
        &self,
        arguments: &Bound<'py, PyDict>,
        metadata: &Bound<'py, PyDict>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = arguments.py();
        let class = DIGESTED_CALL.get(py)?;
        // A class of ours, which does nothing but set these: half the time of its `__init__`.
        let record = class.call_method1(intern!(py, "__new__"), (class,))?;
        record.setattr(intern!(py, "name"), &self.name)?;
        record.setattr(intern!(py, "arguments"), arguments)?;
        record.setattr(intern!(py, "result"), py.None())?;
        record.setattr(intern!(py, "metadata"), metadata)?;
        record.setattr(intern!(py, "module"), &self.module)?;
        record.setattr(intern!(py, "version"), &self.version)?;
        record.setattr(intern!(py, "code_digest"), &self.code_digest)?;
        Ok(record)
    }
}

/// Whether every step is to be logged: through the methods that do that, then.
fn are_told(py: Python<'_>) -> PyResult<bool> {
    Ok(LOGGER.listens(py)? || STORAGE_LOGGER.listens(py)?)
}

/// Whether a function returned something whose result is still to come.
fn is_future(result: &Bound<'_, PyAny>) -> PyResult<bool> {
    FUTURE.is_instance(result)
}

/// What `fleche.metadata.Runtime` records before a body runs.
struct Runtime<'py> {
    name: Bound<'py, PyAny>,
    started: f64,
    cpu: ProcessorSeconds,
}

/// The metadata of a call.
struct Metadata<'py>(Option<Runtime<'py>>);

/// The metadata that a call is going to have: the name of a `Runtime`, or nothing.
struct Plan<'py>(Option<Bound<'py, PyAny>>);

impl<'py> Plan<'py> {
    /// What is active, and what the function adds; `None` if that is more than `Runtime`.
    fn of(more: &Bound<'py, PyTuple>) -> PyResult<Option<Self>> {
        let py = more.py();
        let active = GET_METADATA.get(py)?.call0()?;
        let Ok(active) = active.cast_into::<PyTuple>() else {
            return Ok(None);
        };
        let item = match (active.len(), more.len()) {
            (0, 0) => return Ok(Some(Self(None))),
            (1, 0) => active.get_item(0)?,
            (0, 1) => more.get_item(0)?,
            _ => return Ok(None),
        };
        if !item.get_type().is(RUNTIME.get(py)?) {
            return Ok(None);
        }
        Ok(Some(Self(Some(item.getattr(intern!(py, "name"))?))))
    }

    /// To be called right before the body runs; `None` if the system does not tell the time used.
    fn begin(self) -> Option<Metadata<'py>> {
        let Some(name) = self.0 else {
            return Some(Metadata(None));
        };
        let cpu = processor_seconds()?;
        let started = now();
        Some(Metadata(Some(Runtime { name, started, cpu })))
    }
}

impl<'py> Metadata<'py> {
    /// What `pre` would have given, by the metadata's name.
    fn before(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let recorded = PyDict::new(py);
        if let Some(runtime) = &self.0 {
            let held = PyDict::new(py);
            held.set_item(intern!(py, "timestart"), runtime.started)?;
            held.set_item(intern!(py, "cputime"), runtime.cpu.user)?;
            held.set_item(intern!(py, "systime"), runtime.cpu.system)?;
            recorded.set_item(&runtime.name, held)?;
        }
        Ok(recorded)
    }

    /// All of it, after the body has run.
    fn end(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let recorded = PyDict::new(py);
        if let Some(runtime) = &self.0 {
            let stopped = now();
            let cpu = processor_seconds().unwrap_or(runtime.cpu);
            let held = PyDict::new(py);
            held.set_item(intern!(py, "timestart"), runtime.started)?;
            held.set_item(intern!(py, "cputime"), cpu.user - runtime.cpu.user)?;
            held.set_item(intern!(py, "systime"), cpu.system - runtime.cpu.system)?;
            held.set_item(intern!(py, "timestop"), stopped)?;
            held.set_item(intern!(py, "walltime"), stopped - runtime.started)?;
            recorded.set_item(&runtime.name, held)?;
        }
        Ok(recorded)
    }
}

/// Seconds since 1970.
fn now() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or_default().as_secs_f64()
}
