//! Loads from caches of built-in types, without the way through their methods.

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::engine::digest::Hash;
use crate::py::digest::{hash_of_text, to_digest};
use crate::py::names::Imported;
use crate::py::storage::{self, Backend};
use crate::py::wrapper::is_missing;

static CACHE: Imported = Imported::new("fleche.caches", "Cache");
static SIZE_LIMITED: Imported = Imported::new("fleche.caches", "SizeLimitedCache");
static READ_ONLY: Imported = Imported::new("fleche.caches", "ReadOnlyCache");

/// The result that a cache holds for a key; `None` for a miss, which a record without its value
/// is, too.
pub fn load_result<'py>(
    cache: &Bound<'py, PyAny>,
    key: &Hash,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    let py = cache.py();
    let class = cache.get_type();
    let is = |name: &'static Imported| -> PyResult<bool> {
        Ok(name.if_loaded(py)?.is_some_and(|known| class.is(known)))
    };
    if is(&CACHE)? || is(&SIZE_LIMITED)? {
        return missing_is_none(py, from_pair(cache, key));
    }
    if is(&READ_ONLY)? {
        return load_result(&cache.getattr(intern!(py, "cache"))?, key);
    }
    let load = || -> PyResult<Option<Bound<'py, PyAny>>> {
        let call = cache.call_method1(intern!(py, "load"), (to_digest(py, key)?,))?;
        let result = call.getattr(intern!(py, "result"))?;
        Ok((!result.is_none()).then_some(result))
    };
    missing_is_none(py, load())
}

fn missing_is_none<T>(py: Python<'_>, result: PyResult<Option<T>>) -> PyResult<Option<T>> {
    match result {
        Err(error) if is_missing(py, &error) => Ok(None),
        other => other,
    }
}

/// From a plain pair of storages.
fn from_pair<'py>(cache: &Bound<'py, PyAny>, key: &Hash) -> PyResult<Option<Bound<'py, PyAny>>> {
    let py = cache.py();
    let calls = cache.getattr(intern!(py, "calls"))?;
    let record = match Backend::of(&calls)? {
        Backend::Python(calls) => {
            calls.call_method1(intern!(py, "load"), (to_digest(py, key)?,))?
        }
        backend => backend.get(py, key)?,
    };
    let digest = record.getattr(intern!(py, "result"))?;
    if digest.is_none() {
        return Ok(None);
    }
    let values = cache.getattr(intern!(py, "values"))?;
    let hash = digest.cast::<PyString>().ok().and_then(hash_of_text);
    match (Backend::of(&values)?, hash) {
        (Backend::Python(values), _) => values
            .call_method1(intern!(py, "load"), (digest,))
            .map(Some),
        (_, None) => Ok(None),
        (_, Some(hash)) => storage::load(&values, &hash).map(Some),
    }
}
