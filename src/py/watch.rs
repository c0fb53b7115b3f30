//! What tests in Python hang before every system call of the engine; debug builds alone have it.

use std::io;
use std::path::Path;
use std::sync::Arc;

use pyo3::prelude::*;

use crate::engine::disk::watch;

/// Has `hook(name, path)` called before every system call of the engine on files, until it is
/// called with `None`. A number that the hook returns is the `errno` that the call fails with,
/// unmade. With `sqlite` before those of SQLite, too.
#[pyfunction]
#[pyo3(signature = (hook, sqlite = false))]
pub fn watch_system_calls(hook: Option<Py<PyAny>>, sqlite: bool) {
    #[cfg(target_os = "linux")]
    crate::engine::sqlite::watch::watch(sqlite);
    #[cfg(not(target_os = "linux"))]
    let _ = sqlite;
    watch::set(hook.map(|hook| {
        let call = move |name: &'static str, path: &Path| {
            Python::attach(|py| {
                let outcome = hook.bind(py).call1((name, path));
                match outcome.and_then(|outcome| outcome.extract::<Option<i32>>()) {
                    Ok(None) => Ok(()),
                    Ok(Some(number)) => Err(io::Error::from_raw_os_error(number)),
                    Err(error) => Err(io::Error::other(error)),
                }
            })
        };
        Arc::new(call) as watch::Hook
    }));
}
