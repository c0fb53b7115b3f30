//! What a miss saves in a plain pair of built-in storages: arguments, result and record.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::py::once::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyString};

use super::{CACHE, SQL, sqlite_of};
use crate::engine::sqlite::NewValue;
use crate::py::digest::{self, hash_of_text, is_digest, to_digest};
use crate::py::names::Imported;
use crate::py::storage::key_locks::KeyLocks;
use crate::py::storage::{
    self, Backend, Collection, Flight, SqliteValues, independent_copy, put_newest,
};

static STORE_AGAIN: Imported = Imported::new("fleche.call", "store_again");
static SAVE_ERROR: Imported = Imported::new("fleche.storage.base", "SaveError");

/// A call that a `Cache` of built-in storages admitted: as `fleche.call.PreparedCall`, for the
/// decorator alone.
#[pyclass(frozen, module = "fleche._core")]
pub struct PlainCall {
    values: Py<PyAny>,
    calls: Py<PyAny>,
    key: Py<PyString>,
    /// What is stored of the arguments together with the record.
    staged: Mutex<Vec<NewValue>>,
    /// Who is noted as a user of the values: a name and a description.
    user: Option<(Py<PyString>, Py<PyBytes>)>,
    /// Until the record is stored, or the call given up.
    flight: Mutex<Option<Flight>>,
}

#[pymethods]
impl PlainCall {
    /// Stores the arguments of a call; gives the admitted call and the names of those that could
    /// not be stored. `None` if the cache is of another kind.
    #[staticmethod]
    pub fn admit<'py>(
        cache: &Bound<'py, PyAny>,
        key: &Bound<'py, PyString>,
        arguments: &Bound<'py, PyDict>,
        digests: &Bound<'py, PyDict>,
    ) -> PyResult<Option<(Self, Vec<Bound<'py, PyAny>>)>> {
        let py = cache.py();
        if !CACHE
            .if_loaded(py)?
            .is_some_and(|known| cache.get_type().is(known))
        {
            return Ok(None);
        }
        let values = cache.getattr(intern!(py, "values"))?;
        let calls = cache.getattr(intern!(py, "calls"))?;
        let backend = Backend::of(&values)?;
        if matches!(backend, Backend::Python(_))
            || matches!(Backend::of(&calls)?, Backend::Python(_)) && !is_sql(&calls)?
        {
            return Ok(None);
        }
        let depth = remaining_depth(&values)?;
        let flight = match values
            .getattr(intern!(py, "_collection"))?
            .cast::<Collection>()
        {
            Ok(collection) => collection.get().begin(
                digests
                    .values()
                    .iter()
                    .filter_map(|digest| digest.cast_into::<PyString>().ok())
                    .collect(),
            )?,
            Err(_) => return Ok(None),
        };
        let (mut failed, mut staged) = (Vec::new(), Vec::new());
        for ((name, value), digest) in arguments.iter().zip(digests.values()) {
            if is_digest(&value)? {
                continue;
            }
            let hash = digest::storage_key(digest.cast()?)?;
            // Never over what is there: an equal argument, or the very content that the key
            // names, whereas an argument may have its digest by a rule of its own.
            let saved = if let Backend::Sqlite(database) = &backend {
                let entries = storage::entries_of(&values, &backend, &value, &hash, depth);
                entries.and_then(|entries| {
                    staged.extend(SqliteValues::stage_new(database, entries)?);
                    Ok(())
                })
            } else if backend.contains(py, &hash)? {
                continue;
            } else {
                storage::save(&values, &backend, &value, &hash, depth)
            };
            match saved {
                Err(error)
                    if error
                        .matches(py, SAVE_ERROR.get(py)?)
                        .map_err(PyErr::from)? =>
                {
                    failed.push(name);
                }
                saved => saved?,
            }
        }
        let admitted = Self {
            values: values.unbind(),
            calls: calls.unbind(),
            key: key.clone().unbind(),
            staged: Mutex::new(staged),
            user: cache.getattr(intern!(py, "_user"))?.extract()?,
            flight: Mutex::new(Some(flight)),
        };
        Ok(Some((admitted, failed)))
    }

    /// Stores the result, and the record with the result's digest. `arguments`: as the body left
    /// them.
    fn commit(
        &self,
        record: &Bound<'_, PyAny>,
        result: &Bound<'_, PyAny>,
        arguments: &Bound<'_, PyDict>,
    ) -> PyResult<()> {
        self.store(record, result, arguments, independent_copy)
    }

    /// The call is over: nothing keeps its arguments from being collected any longer.
    fn release(&self) {
        drop(self.flight().take());
    }
}

impl PlainCall {
    /// As `commit`, under the cache's lock of the key, for a record that nobody else has.
    pub fn commit_new(
        &self,
        cache: &Bound<'_, PyAny>,
        record: &Bound<'_, PyAny>,
        result: &Bound<'_, PyAny>,
        arguments: &Bound<'_, PyDict>,
    ) -> PyResult<()> {
        let py = cache.py();
        let key = self.key.bind(py);
        let locks = if let Some(locks) = cache.getattr_opt(intern!(py, "_key_locks"))? {
            locks
        } else {
            cache.call_method1(intern!(py, "_get_key_lock"), (key,))?;
            cache.getattr(intern!(py, "_key_locks"))?
        };
        let _held = locks.cast::<KeyLocks>()?.get().hold(py, key.to_str()?)?;
        self.store(record, result, arguments, |record| Ok(record.clone()))
    }

    fn store<'py>(
        &self,
        record: &Bound<'py, PyAny>,
        result: &Bound<'py, PyAny>,
        arguments: &Bound<'py, PyDict>,
        own: impl Fn(&Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>>,
    ) -> PyResult<()> {
        let py = record.py();
        let values = self.values.bind(py);
        let flight = self.flight().take();
        let passage = flight.as_ref().map(|flight| flight.land(py)).transpose()?;
        if let (Some(flight), Some(passage)) = (&flight, &passage)
            && flight.is_disturbed(passage)
        {
            let digests = record.getattr(intern!(py, "arguments"))?;
            STORE_AGAIN.get(py)?.call1((values, arguments, digests))?;
        }
        if let Some((name, text)) = &self.user {
            let collection = values.getattr(intern!(py, "_collection"))?;
            let collection = collection.cast::<Collection>()?.get();
            collection.note_user(py, name.bind(py).to_str()?, text.as_bytes(py))?;
        }
        let backend = Backend::of(values)?;
        let calls = self.calls.bind(py);
        let key = self.key.bind(py);
        if let Backend::Sqlite(database) = &backend {
            let depth = remaining_depth(values)?;
            let (hash, entries) = storage::result_entries(values, &backend, result, depth)?;
            let mut staged = std::mem::take(&mut *locked(&self.staged));
            staged.extend(SqliteValues::stage(database, entries)?);
            record.setattr(intern!(py, "result"), to_digest(py, &hash)?)?;
            if let (Some(records), Some(key)) = (sqlite_of(calls)?, hash_of_text(key))
                && database.get().is_beside(records.get())
            {
                return database.get().save_call(record, &key, &staged);
            }
            database.get().save(py, &staged)?;
            return self.save_record(record, own);
        }
        let hash = storage::save_result(values, &backend, result, remaining_depth(values)?)?;
        record.setattr(intern!(py, "result"), to_digest(py, &hash)?)?;
        self.save_record(record, own)
    }

    fn save_record<'py>(
        &self,
        record: &Bound<'py, PyAny>,
        own: impl Fn(&Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>>,
    ) -> PyResult<()> {
        let py = record.py();
        let calls = self.calls.bind(py);
        let key = self.key.bind(py);
        match (Backend::of(calls)?, hash_of_text(key)) {
            (Backend::Memory(entries), _) => {
                calls.call_method0(intern!(py, "_note_scheme"))?;
                put_newest(&entries, key, &own(record)?)
            }
            (Backend::File(files), Some(hash)) => {
                let files = files.get();
                files.note_scheme(py, digest::active_scheme(py)?);
                files.put(py, &hash, record)
            }
            _ => calls.call_method1(intern!(py, "save"), (record,)).map(drop),
        }
    }

    fn flight(&self) -> MutexGuard<'_, Option<Flight>> {
        locked(&self.flight)
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn is_sql(calls: &Bound<'_, PyAny>) -> PyResult<bool> {
    Ok(SQL
        .if_loaded(calls.py())?
        .is_some_and(|known| calls.get_type().is(known)))
}

fn remaining_depth(values: &Bound<'_, PyAny>) -> PyResult<i64> {
    values
        .getattr(intern!(values.py(), "remaining_depth"))?
        .extract()
}
