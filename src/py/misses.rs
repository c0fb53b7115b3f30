//! Misses in plain caches, with no other metadata than `Runtime`: the way of most calls, without
//! the detour through Python (`fleche._misses`) that everything else takes.

use std::time::{SystemTime, UNIX_EPOCH};

use nix::sys::resource::{Usage, UsageWho, getrusage};
use nix::sys::time::TimeVal;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyTuple};

use crate::py::names::Imported;

static RUNTIME: Imported = Imported::new("fleche.metadata", "Runtime");
static GET_METADATA: Imported = Imported::new("fleche.state", "get_metadata");
static FUTURE: Imported = Imported::new("concurrent.futures._base", "Future");
static LOGGER: Imported = Imported::new("fleche._misses", "logger");
static STORAGE_LOGGER: Imported = Imported::new("fleche._misses", "storage_logger");

/// Whether every step is to be logged: through the methods that do that, then.
pub fn are_told(py: Python<'_>) -> PyResult<bool> {
    const DEBUG: i32 = 10;
    for logger in [&LOGGER, &STORAGE_LOGGER] {
        let told = logger
            .get(py)?
            .call_method1(intern!(py, "isEnabledFor"), (DEBUG,))?;
        if !told.cast::<PyBool>().is_ok_and(|told| !told.is_true()) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether a function returned something whose result is still to come.
pub fn is_future(result: &Bound<'_, PyAny>) -> PyResult<bool> {
    FUTURE.is_instance(result)
}

/// What `fleche.metadata.Runtime` records before a body runs.
pub struct Runtime<'py> {
    name: Bound<'py, PyAny>,
    started: f64,
    cpu: (f64, f64),
}

/// The metadata of a call.
pub struct Metadata<'py>(Option<Runtime<'py>>);

impl<'py> Metadata<'py> {
    /// Begins what is active and what the function adds; `None` if that is more than `Runtime`.
    pub fn begin(more: &Bound<'py, PyTuple>) -> PyResult<Option<Self>> {
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
        let name = item.getattr(intern!(py, "name"))?;
        let Some(cpu) = cpu_seconds() else {
            return Ok(None);
        };
        let started = now();
        Ok(Some(Self(Some(Runtime { name, started, cpu }))))
    }

    /// What `pre` would have given, by the metadata's name.
    pub fn before(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let recorded = PyDict::new(py);
        if let Some(runtime) = &self.0 {
            let held = PyDict::new(py);
            held.set_item(intern!(py, "timestart"), runtime.started)?;
            held.set_item(intern!(py, "cputime"), runtime.cpu.0)?;
            held.set_item(intern!(py, "systime"), runtime.cpu.1)?;
            recorded.set_item(&runtime.name, held)?;
        }
        Ok(recorded)
    }

    /// All of it, after the body has run.
    pub fn end(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let recorded = PyDict::new(py);
        if let Some(runtime) = &self.0 {
            let stopped = now();
            let (cpu, system) = cpu_seconds().unwrap_or(runtime.cpu);
            let held = PyDict::new(py);
            held.set_item(intern!(py, "timestart"), runtime.started)?;
            held.set_item(intern!(py, "cputime"), cpu - runtime.cpu.0)?;
            held.set_item(intern!(py, "systime"), system - runtime.cpu.1)?;
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

/// CPU and system seconds of this process and its finished children.
fn cpu_seconds() -> Option<(f64, f64)> {
    let own = getrusage(UsageWho::RUSAGE_SELF).ok()?;
    let children = getrusage(UsageWho::RUSAGE_CHILDREN).ok()?;
    let sum = |part: fn(&Usage) -> TimeVal| seconds(part(&own)) + seconds(part(&children));
    Some((sum(Usage::user_time), sum(Usage::system_time)))
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^53 seconds")]
fn seconds(time: TimeVal) -> f64 {
    time.tv_sec() as f64 + time.tv_usec() as f64 * 1e-6
}
