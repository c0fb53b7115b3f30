//! Caches of built-in types, without the way through their methods: what a hit loads, and
//! ([`save`]) what a miss saves.

mod save;
mod uses;
mod wanted;

use crate::py::once::intern;
use pyo3::exceptions::PyException;
use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::engine::digest::{Hash, Hex};
use crate::engine::pickle;
use crate::py::digest::{Scheme, hash_of_text, to_digest};
use crate::py::errors::is_missing;
use crate::py::names::Imported;
use crate::py::storage::{self, Backend, SqliteStore, SqliteValues};

pub use save::PlainCall;
pub use uses::Uses;
pub use wanted::Wanted;

static CACHE: Imported = Imported::new("fleche.caches", "Cache");
static SIZE_LIMITED: Imported = Imported::new("fleche.caches", "SizeLimitedCache");
static BOUNDED: Imported = Imported::new("fleche.caches", "BoundedCache");
static SQL: Imported = Imported::new("fleche.storage.sql", "Sql");
static STACK: Imported = Imported::new("fleche.caches", "CacheStack");
static TIERED: Imported = Imported::new("fleche.caches", "TieredCache");
static READ_ONLY: Imported = Imported::new("fleche.caches", "ReadOnlyCache");

/// The result that a cache holds for a call; `None` for a miss, which a record without its value
/// is, too.
pub fn load_result<'py>(
    cache: &Bound<'py, PyAny>,
    wanted: &Wanted<'_, 'py>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    let py = cache.py();
    let class = cache.get_type();
    let is = |name: &'static Imported| -> PyResult<bool> {
        Ok(name.if_loaded(py)?.is_some_and(|known| class.is(known)))
    };
    if is(&CACHE)? || is(&SIZE_LIMITED)? {
        return missing_is_none(py, from_pair(cache, wanted));
    }
    if is(&BOUNDED)? {
        let result = missing_is_none(py, from_pair(cache, wanted))?;
        if result.is_some() {
            uses::note(cache, wanted.key)?;
        }
        return Ok(result);
    }
    if is(&READ_ONLY)? {
        return load_result(&cache.getattr(intern!(py, "cache"))?, wanted);
    }
    if is(&STACK)? || is(&TIERED)? {
        return from_stack(cache, wanted);
    }
    let load = || -> PyResult<Option<Bound<'py, PyAny>>> {
        // Of a cache that is far away: record and result take one way instead of two.
        if let Some(load_result) = cache.getattr_opt(intern!(py, "_load_result"))? {
            let result = load_result.call1((to_digest(py, wanted.key)?,))?;
            return Ok((!result.is_none()).then_some(result));
        }
        let call = cache.call_method1(intern!(py, "load"), (to_digest(py, wanted.key)?,))?;
        // As it is stored: `None` and exceptions are results, too.
        let result = match call.getattr_opt(intern!(py, "_stored_result"))? {
            Some(stored) => stored.call0()?,
            None => call.getattr(intern!(py, "result"))?,
        };
        Ok((!result.is_none()).then_some(result))
    };
    missing_is_none(py, load())
}

/// Whether a cache may hold calls under keys of this scheme.
pub fn may_hold(cache: &Bound<'_, PyAny>, scheme: Scheme) -> PyResult<bool> {
    let py = cache.py();
    let class = cache.get_type();
    let is = |name: &'static Imported| -> PyResult<bool> {
        Ok(name.if_loaded(py)?.is_some_and(|known| class.is(known)))
    };
    if is(&READ_ONLY)? {
        return may_hold(&cache.getattr(intern!(py, "cache"))?, scheme);
    }
    if is(&CACHE)? || is(&SIZE_LIMITED)? || is(&BOUNDED)? {
        let calls = cache.getattr(intern!(py, "calls"))?;
        if let Some(store) = sqlite_of(&calls)? {
            return store.get().may_hold(py, scheme);
        }
        if let Backend::File(files) = Backend::of(&calls)? {
            return Ok(files.get().may_hold(py, scheme));
        }
    }
    let Some(ask) = cache.getattr_opt(intern!(py, "_may_hold"))? else {
        return Ok(false);
    };
    ask.call1((scheme.name(),))?.is_truthy()
}

/// The database of a storage that is handled natively.
fn sqlite_of<'py>(calls: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, SqliteStore>>> {
    let py = calls.py();
    if !SQL
        .if_loaded(py)?
        .is_some_and(|known| calls.get_type().is(known))
    {
        return Ok(None);
    }
    let store = calls.getattr(intern!(py, "_store"))?;
    Ok(store.cast_into::<SqliteStore>().ok())
}

fn missing_is_none<T>(py: Python<'_>, result: PyResult<Option<T>>) -> PyResult<Option<T>> {
    match result {
        Err(error) if is_missing(py, &error) => Ok(None),
        other => other,
    }
}

/// From the first cache of a stack; else from a later one, which files it in the first.
fn from_stack<'py>(
    cache: &Bound<'py, PyAny>,
    wanted: &Wanted<'_, 'py>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    let py = cache.py();
    let stack = cache.getattr(intern!(py, "stack"))?;
    let begin = match stack
        .get_item(0)
        .and_then(|first| load_result(&first, wanted))
    {
        Ok(Some(result)) => return Ok(Some(result)),
        Ok(None) => 1,
        // What is wrong with it is said when it is asked again.
        Err(error) if error.is_instance_of::<PyException>(py) => 0,
        Err(error) => return Err(error),
    };
    let load = || -> PyResult<Option<Bound<'py, PyAny>>> {
        let arguments = (to_digest(py, wanted.key)?, begin);
        let result = cache.call_method1(intern!(py, "_result_from"), arguments)?;
        Ok((!result.is_none()).then_some(result))
    };
    missing_is_none(py, load())
}

/// From a plain pair of storages.
fn from_pair<'py>(
    cache: &Bound<'py, PyAny>,
    wanted: &Wanted<'_, 'py>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    let py = cache.py();
    let calls = cache.getattr(intern!(py, "calls"))?;
    let values = cache.getattr(intern!(py, "values"))?;
    let backend = Backend::of(&values)?;
    if let Backend::Sqlite(database) = &backend
        && let Some(records) = sqlite_of(&calls)?
        && database.get().is_beside(records.get())
    {
        let Some((result, stored)) = SqliteValues::load_hit(database, wanted.key)? else {
            return Ok(None);
        };
        return storage::load_found(&values, backend, || result, stored).map(Some);
    }
    if let Backend::Memory(held) = &backend
        && let Backend::Memory(records) = Backend::of(&calls)?
    {
        // The text in the record is the key of the value: it need not be made once more.
        let Some(record) = records.get_item(PyString::new(py, Hex::of(wanted.key).as_str()))?
        else {
            return Ok(None);
        };
        let result = record.getattr(intern!(py, "result"))?;
        let Ok(text) = result.cast::<PyString>() else {
            return Ok(None);
        };
        let Some(stored) = held.get_item(text)? else {
            return Ok(None);
        };
        let hash = || hash_of_text(text).unwrap_or_default();
        return storage::load_found(&values, backend, hash, stored).map(Some);
    }
    let Some(result) = result_digest(&calls, wanted)? else {
        return Ok(None);
    };
    match backend {
        Backend::Python(values) => values
            .call_method1(intern!(py, "load"), (to_digest(py, &result)?,))
            .map(Some),
        backend => storage::load_from(&values, backend, &result).map(Some),
    }
}

/// The digest of the result in the record of a call: all that a hit needs of it.
fn result_digest<'py>(
    calls: &Bound<'py, PyAny>,
    wanted: &Wanted<'_, 'py>,
) -> PyResult<Option<Hash>> {
    let py = calls.py();
    if let Some(store) = sqlite_of(calls)? {
        return store.get().load_result(py, wanted.key);
    }
    let record = match Backend::of(calls)? {
        Backend::File(files) => {
            let Some(payload) = files.get().read(py, wanted.key)? else {
                return Ok(None);
            };
            match pickle::read_record(&payload) {
                Ok(record) if wanted.is_in(py, &record)? => return Ok(record.result),
                Ok(_) => return Ok(None),
                // Pickled in another way: its own serialiser reads it.
                Err(pickle::Unreadable) => files.get().get(py, wanted.key)?,
            }
        }
        Backend::Python(calls) => {
            calls.call_method1(intern!(py, "load"), (to_digest(py, wanted.key)?,))?
        }
        backend @ (Backend::Memory(_) | Backend::Sqlite(_)) => {
            // Nobody but this process reaches it.
            return result_in(&backend.get(py, wanted.key)?);
        }
    };
    if !wanted.is_record(&record)? {
        return Ok(None);
    }
    result_in(&record)
}

fn result_in(record: &Bound<'_, PyAny>) -> PyResult<Option<Hash>> {
    let py = record.py();
    let result = record.getattr(intern!(py, "result"))?;
    Ok(result.cast::<PyString>().ok().and_then(hash_of_text))
}
