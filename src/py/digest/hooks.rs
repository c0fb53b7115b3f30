//! Hooks: functions that users register to digest the instances of a class.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use pyo3::prelude::*;
use pyo3::types::PyList;

/// A registered hook: the `Hook` object, its `type` and its `digest`.
struct Registered {
    hook: Py<PyAny>,
    class: Py<PyAny>,
    function: Py<PyAny>,
}

impl Registered {
    fn new(hook: &Bound<'_, PyAny>) -> PyResult<Self> {
        Ok(Self {
            hook: hook.clone().unbind(),
            class: hook.getattr("type")?.unbind(),
            function: hook.getattr("digest")?.unbind(),
        })
    }
}

#[derive(Default)]
struct Hooks {
    manual: Vec<Registered>,
    entry_points: Vec<Registered>,
}

static HOOKS: Mutex<Hooks> = Mutex::new(Hooks {
    manual: Vec::new(),
    entry_points: Vec::new(),
});

/// Whether there is any hook: the walks take built-in types directly while there is none.
static ANY: AtomicBool = AtomicBool::new(false);

fn with_hooks<T>(work: impl FnOnce(&mut Hooks) -> T) -> T {
    let mut hooks = HOOKS.lock().unwrap_or_else(PoisonError::into_inner);
    let result = work(&mut hooks);
    let any = !(hooks.manual.is_empty() && hooks.entry_points.is_empty());
    ANY.store(any, Ordering::Release);
    result
}

/// Registers a `Hook`; newer ones win.
#[pyfunction]
pub fn add_hook(hook: &Bound<'_, PyAny>) -> PyResult<()> {
    let registered = Registered::new(hook)?;
    with_hooks(|hooks| hooks.manual.insert(0, registered));
    Ok(())
}

/// Replaces the hooks that come from entry points.
#[pyfunction]
pub fn set_entry_point_hooks(hooks: Vec<Bound<'_, PyAny>>) -> PyResult<()> {
    let registered = all(&hooks)?;
    // The old ones are dropped outside of the lock: that may run Python code.
    let old = with_hooks(|all| std::mem::replace(&mut all.entry_points, registered));
    drop(old);
    Ok(())
}

/// Replaces the hooks that were registered one by one; the first wins.
#[pyfunction]
pub fn set_manual_hooks(hooks: Vec<Bound<'_, PyAny>>) -> PyResult<()> {
    let registered = all(&hooks)?;
    let old = with_hooks(|all| std::mem::replace(&mut all.manual, registered));
    drop(old);
    Ok(())
}

fn all(hooks: &[Bound<'_, PyAny>]) -> PyResult<Vec<Registered>> {
    hooks.iter().map(Registered::new).collect()
}

/// Every hook, in the order in which they are tried.
#[pyfunction]
pub fn get_hooks(py: Python<'_>) -> PyResult<Bound<'_, PyList>> {
    let hooks = with_hooks(|all| {
        let both = all.manual.iter().chain(&all.entry_points);
        both.map(|registered| registered.hook.clone_ref(py))
            .collect::<Vec<_>>()
    });
    PyList::new(py, hooks)
}

/// The hooks that were registered one by one.
#[pyfunction]
pub fn manual_hooks(py: Python<'_>) -> PyResult<Bound<'_, PyList>> {
    let hooks = with_hooks(|all| {
        let manual = all.manual.iter();
        manual
            .map(|registered| registered.hook.clone_ref(py))
            .collect::<Vec<_>>()
    });
    PyList::new(py, hooks)
}

pub fn any() -> bool {
    ANY.load(Ordering::Acquire)
}

/// What the first hook that applies makes of `value`.
pub fn apply<'py>(value: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
    match hook_for(value)? {
        Some(function) => function.call1((value,)).map(Some),
        None => Ok(None),
    }
}

/// Whether a hook decides the digest of `value`.
pub fn apply_to(value: &Bound<'_, PyAny>) -> PyResult<bool> {
    Ok(any() && hook_for(value)?.is_some())
}

/// The function of the first hook that applies.
fn hook_for<'py>(value: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
    let py = value.py();
    // Copied: a hook's `isinstance` and its function may call back into this module.
    let hooks = with_hooks(|all| {
        let both = all.manual.iter().chain(&all.entry_points);
        both.map(|hook| (hook.class.clone_ref(py), hook.function.clone_ref(py)))
            .collect::<Vec<_>>()
    });
    for (class, function) in hooks {
        if value.is_instance(class.bind(py))? {
            return Ok(Some(function.into_bound(py)));
        }
    }
    Ok(None)
}
