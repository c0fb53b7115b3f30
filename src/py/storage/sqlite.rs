//! Call records in SQLite, as Python sees them.

use std::path::PathBuf;
use std::sync::Arc;

use crate::py::once::intern;
use pyo3::exceptions::{PyOSError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyString};

use super::filter::{FilterParts, filter_of};
use super::root::seconds;
use super::waiting::waiting_for;
use crate::engine::digest::{Hash, Hex, parse_hex};
use crate::engine::mounts::network_file_system;
use crate::engine::record::Row;
use crate::engine::sqlite::{self, Database, Echo, Error, Journal};
use crate::engine::survey::Survey;
use crate::py::digest::{self, Scheme, hash_of_text, is_digest, to_digest};
use crate::py::errors::{self, Log};
use crate::py::interrupt;
use crate::py::keys::shorten_digests;
use crate::py::names::{DIGEST, Imported};

static DIGESTED_CALL: Imported = Imported::new("fleche.call", "DigestedCall");
static DUMPS: Imported = Imported::new("json", "dumps");
static LOADS: Imported = Imported::new("json", "loads");

impl From<Error> for PyErr {
    fn from(error: Error) -> Self {
        match error {
            Error::Interrupted => interrupt::raised(),
            error => PyOSError::new_err(error.to_string()),
        }
    }
}

impl SqliteStore {
    /// What its records are of.
    pub fn survey(&self, py: Python<'_>, needs: bool) -> PyResult<Survey> {
        Ok(py.detach(|| self.database.survey(needs))?)
    }
}

/// A database of call records.
#[pyclass(frozen, module = "fleche._core")]
pub struct SqliteStore {
    database: Database,
}

#[pymethods]
impl SqliteStore {
    /// The database in the file `path`, or a private one in memory; nothing is touched yet. `echo`
    /// is called with every statement; others are waited for `lock_timeout` seconds at most.
    #[new]
    #[pyo3(signature = (path, lock_timeout, echo = None))]
    fn new(path: Option<PathBuf>, lock_timeout: f64, echo: Option<Py<PyAny>>) -> PyResult<Self> {
        let echo = echo.map(|callable| -> Echo {
            Arc::new(move |statement| {
                Python::attach(|py| {
                    if let Err(error) = callable.bind(py).call1((statement,)) {
                        errors::report(py, error);
                    }
                });
            })
        });
        let database = database_at(path, lock_timeout, echo)?;
        Ok(Self { database })
    }

    /// Creates the file, its folders and its tables as needed.
    fn open(&self, py: Python<'_>) -> PyResult<()> {
        Ok(py.detach(|| self.database.open())?)
    }

    /// Stores a record under `key`, replacing the one that is there.
    fn save(&self, py: Python<'_>, record: &Bound<'_, PyAny>, key: String) -> PyResult<()> {
        let row = row_of(record, key)?;
        let scheme = digest::active_scheme(py)?;
        let values = waiting_for(&self.database);
        Ok(py.detach(|| self.database.save_call(&row, scheme, &values))?)
    }

    /// Whether there may be calls under keys of this digest scheme.
    #[pyo3(name = "may_hold")]
    fn may_hold_named(&self, py: Python<'_>, scheme: &str) -> PyResult<bool> {
        let scheme = digest::scheme_named(scheme, "the argument `scheme`")?;
        self.may_hold(py, scheme)
    }

    /// Notes that every call is under a key of the scheme in force.
    fn hold_only_scheme(&self, py: Python<'_>) -> PyResult<()> {
        let scheme = digest::active_scheme(py)?;
        Ok(py.detach(|| self.database.hold_only(scheme))?)
    }

    /// The record under `key`, or `None`.
    fn load<'py>(&self, py: Python<'py>, key: &str) -> PyResult<Option<Bound<'py, PyAny>>> {
        let row = py.detach(|| self.database.load(key))?;
        match row {
            Some(row) => readable_record_of(py, row),
            None => Ok(None),
        }
    }

    fn contains(&self, py: Python<'_>, key: &str) -> PyResult<bool> {
        Ok(py.detach(|| self.database.contains(key))?)
    }

    /// Whether each of these keys is here.
    fn contains_many(&self, py: Python<'_>, keys: Vec<String>) -> PyResult<Vec<bool>> {
        Ok(py.detach(|| self.database.contains_many(&keys))?)
    }

    fn evict(&self, py: Python<'_>, key: &str) -> PyResult<()> {
        Ok(py.detach(|| self.database.evict(key))?)
    }

    /// All keys, in their order.
    fn list<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let keys = py.detach(|| self.database.list())?;
        digests(py, keys)
    }

    /// All keys, the one saved longest ago first.
    fn list_by_age<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let keys = py.detach(|| self.database.list_by_age())?;
        digests(py, keys)
    }

    /// Every key, and how many bytes of text its record has.
    fn sizes(&self, py: Python<'_>) -> PyResult<Vec<(String, u64)>> {
        Ok(py.detach(|| self.database.sizes())?)
    }

    /// The keys saved longest ago, as many as there are more than `keep`.
    fn overflow<'py>(&self, py: Python<'py>, keep: usize) -> PyResult<Bound<'py, PyList>> {
        let keys = py.detach(|| self.database.overflow(keep))?;
        digests(py, keys)
    }

    /// The rows from this number on, with their keys.
    fn since(&self, py: Python<'_>, row: i64) -> PyResult<Vec<(i64, String)>> {
        Ok(py.detach(|| self.database.since(row))?)
    }

    /// The row that was saved last, with its key.
    fn newest(&self, py: Python<'_>) -> PyResult<Option<(i64, String)>> {
        Ok(py.detach(|| self.database.newest())?)
    }

    /// How many calls there are.
    fn count(&self, py: Python<'_>) -> PyResult<u64> {
        Ok(py.detach(|| self.database.count())?)
    }

    /// The keys that begin with `prefix`.
    fn candidates<'py>(&self, py: Python<'py>, prefix: &str) -> PyResult<Bound<'py, PyList>> {
        let keys = py.detach(|| self.database.candidates(prefix))?;
        digests(py, keys)
    }

    /// The shortest unambiguous prefix of each key; `None` for one that is not here.
    fn shorten<'py>(
        &self,
        py: Python<'py>,
        keys: Vec<Bound<'py, PyString>>,
    ) -> PyResult<Vec<Option<Bound<'py, PyAny>>>> {
        let list = || {
            let keys = self.database.list()?;
            let keys = keys.iter().filter_map(|key| parse_hex(key.as_bytes()));
            Ok(keys.collect())
        };
        shorten_digests(py, &keys, list)
    }

    /// A page of the records that pass a filter, and the key to ask for the next one with.
    fn query<'py>(
        &self,
        py: Python<'py>,
        filter: FilterParts<'py>,
        after: &str,
    ) -> PyResult<(Vec<Bound<'py, PyAny>>, Option<String>)> {
        let filter = filter_of(filter)?;
        let page = py.detach(|| self.database.query(&filter, after))?;
        let records = page
            .records
            .into_iter()
            .filter_map(|row| readable_record_of(py, row).transpose());
        Ok((records.collect::<PyResult<_>>()?, page.after))
    }

    /// What SQLite finds to be wrong with the file; nothing if all is well.
    fn check(&self, py: Python<'_>) -> PyResult<Vec<String>> {
        Ok(py.detach(|| self.database.check())?)
    }

    /// Copies the database, as it is at one moment, to a new file.
    fn copy_to(&self, py: Python<'_>, path: &str) -> PyResult<()> {
        Ok(py.detach(|| self.database.copy_to(path))?)
    }

    /// Closes the connections that are not in use.
    fn close(&self, py: Python<'_>) {
        py.detach(|| self.database.close());
    }
}

/// Closes the connections to databases that are not in use.
#[pyfunction]
pub fn close_databases(py: Python<'_>) {
    py.detach(sqlite::close_all);
}

/// A database in a file, or in memory; nothing is touched yet.
pub fn database_at(
    path: Option<PathBuf>,
    lock_timeout: f64,
    echo: Option<Echo>,
) -> PyResult<Database> {
    let timeout = seconds(lock_timeout)?;
    let network = path.as_deref().and_then(network_file_system);
    let journal = if network.is_some() {
        Journal::Rollback
    } else {
        Journal::WriteAhead
    };
    if let (Some(kind), Some(path)) = (&network, &path) {
        log::warn!(
            target: "fleche.storage",
            "The database {} lies on a network file system ({kind}): its journal is one that \
             needs no shared memory, so that writers and readers wait for each other",
            path.display()
        );
    }
    Ok(Database::new(path, journal, echo, timeout))
}

impl SqliteStore {
    pub fn database(&self) -> &Database {
        &self.database
    }

    /// Whether there may be calls under keys of this scheme.
    pub fn may_hold(&self, py: Python<'_>, scheme: Scheme) -> PyResult<bool> {
        match self.database.may_hold_at_once(scheme) {
            Some(held) => Ok(held),
            None => Ok(py.detach(|| self.database.may_hold(scheme))?),
        }
    }

    /// The result's digest in the record under `key`; `None` without such a record or result.
    pub fn load_result(&self, py: Python<'_>, key: &Hash) -> PyResult<Option<Hash>> {
        let key = Hex::of(key);
        // A read of microseconds is not worth the wait to get the GIL back.
        let found = match self.database.load_result_at_once(key.as_str()) {
            Some(found) => found?,
            None => py.detach(|| self.database.load_result(key.as_str()))?,
        };
        let text = found.flatten();
        Ok(text.and_then(|text| parse_hex(text.as_bytes())))
    }
}

fn digests(py: Python<'_>, keys: Vec<String>) -> PyResult<Bound<'_, PyList>> {
    let class = DIGEST.get(py)?;
    let keys = keys
        .into_iter()
        .map(|key| class.call1((key,)))
        .collect::<PyResult<Vec<_>>>()?;
    PyList::new(py, keys)
}

fn json(value: &Bound<'_, PyAny>, what: impl FnOnce() -> String) -> PyResult<String> {
    let text = DUMPS.get(value.py())?.call1((value,));
    text.and_then(|text| text.extract()).map_err(|error| {
        if !errors::is_exception(value.py(), &error) {
            return error;
        }
        PyValueError::new_err(format!(
            "{} is no JSON: {}",
            what(),
            error.value(value.py())
        ))
    })
}

pub fn row_of(record: &Bound<'_, PyAny>, key: String) -> PyResult<Row> {
    let py = record.py();
    let version = record.getattr(intern!(py, "version"))?;
    let mut row = Row {
        key,
        name: record.getattr(intern!(py, "name"))?.extract()?,
        module: record.getattr(intern!(py, "module"))?.extract()?,
        version: if version.is_none() {
            None
        } else {
            Some(json(&version, || "its version".into())?)
        },
        code_digest: record.getattr(intern!(py, "code_digest"))?.extract()?,
        ..Row::default()
    };
    let result = record.getattr(intern!(py, "result"))?;
    if !result.is_none() {
        row.result = Some(text_of(&result, true)?);
    }
    let arguments = record.getattr(intern!(py, "arguments"))?;
    for (name, value) in arguments.cast::<PyDict>()?.iter() {
        row.arguments
            .push((name.extract()?, text_of(&value, false)?));
    }
    let metadata = record.getattr(intern!(py, "metadata"))?;
    for (name, data) in metadata.cast::<PyDict>()?.iter() {
        let data = json(&data, || format!("metadata '{name}'"))?;
        row.metadata.push((name.extract()?, data));
    }
    Ok(row)
}

/// A digest as text; of a live value, its digest.
fn text_of(value: &Bound<'_, PyAny>, typed: bool) -> PyResult<String> {
    if is_digest(value)? {
        return value.extract();
    }
    let scheme = digest::active_scheme(value.py())?;
    let digest = digest::outcome_with(scheme, value, typed)?;
    Ok(digest.text().into_owned())
}

/// The record of a row; `None`, and said so, for one that is damaged.
fn readable_record_of(py: Python<'_>, row: Row) -> PyResult<Option<Bound<'_, PyAny>>> {
    let key = row.key.clone();
    match record_of(py, row) {
        Err(error) if error.is_instance_of::<PyValueError>(py) => {
            let reason = error.value(py);
            Log::Storage.error(
                py,
                &format!("The record of call {key} is damaged: {reason}"),
            );
            Ok(None)
        }
        other => other.map(Some),
    }
}

fn record_of(py: Python<'_>, row: Row) -> PyResult<Bound<'_, PyAny>> {
    let arguments = PyDict::new(py);
    for (name, value) in row.arguments {
        arguments.set_item(name, as_digest(py, &value)?)?;
    }
    let metadata = PyDict::new(py);
    for (name, data) in row.metadata {
        metadata.set_item(name, LOADS.get(py)?.call1((data,))?)?;
    }
    let version = match row.version {
        None => py.None().into_bound(py),
        Some(version) => LOADS.get(py)?.call1((version,))?,
    };
    let optional = |text: Option<String>| text.map(|text| as_digest(py, &text)).transpose();
    let fields = (
        row.name,
        arguments,
        optional(row.result)?,
        metadata,
        row.module,
        version,
        optional(row.code_digest)?,
    );
    DIGESTED_CALL.get(py)?.call1(fields)
}

fn as_digest<'py>(py: Python<'py>, text: &str) -> PyResult<Bound<'py, PyAny>> {
    let text = PyString::new(py, text);
    match hash_of_text(&text) {
        Some(hash) => to_digest(py, &hash),
        None => DIGEST.get(py)?.call1((text,)),
    }
}
