//! Where a storage of a built-in type keeps its entries, without the way through its methods.

use crate::py::once::intern;
use pyo3::exceptions::PyKeyError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

use super::entry::{Entry, pickled};
use super::file::FileStore;
use super::memory::{independent, independent_copy};
use super::pieces::holds_digests_only;
use super::serialised::Serialised;
use super::sqlite_values::SqliteValues;
use crate::engine::digest::{Hash, Hex};
use crate::py::digest::to_digest;
use crate::py::names::Imported;

static VALUE_MEMORY: Imported = Imported::new("fleche.storage.memory", "ValueMemory");
static CALL_MEMORY: Imported = Imported::new("fleche.storage.memory", "CallMemory");
static VALUE_FILE: Imported = Imported::new("fleche.storage.pickle_file", "ValuePickleFile");
static VALUE_CBOR: Imported = Imported::new("fleche.storage.cbor_file", "ValueCborFile");
static VALUE_SQLITE: Imported = Imported::new("fleche.storage.sqlite", "ValueSqlite");
static CALL_FILE: Imported = Imported::new("fleche.storage.pickle_file", "CallPickleFile");

/// The entries of a storage.
pub enum Backend<'py> {
    /// The dictionary of a memory storage.
    Memory(Bound<'py, PyDict>),
    /// The files of a storage of the pickle family.
    File(Bound<'py, FileStore>),
    /// The database of values, with the files beside it.
    Sqlite(Bound<'py, SqliteValues>),
    /// A storage of another class, subclasses included: through its own `get` and `put`.
    Python(Bound<'py, PyAny>),
}

impl<'py> Backend<'py> {
    pub fn of(storage: &Bound<'py, PyAny>) -> PyResult<Self> {
        let py = storage.py();
        let class = storage.get_type();
        let is = |name: &'static Imported| -> PyResult<bool> {
            Ok(name.if_loaded(py)?.is_some_and(|known| class.is(known)))
        };
        if is(&VALUE_MEMORY)? || is(&CALL_MEMORY)? {
            let entries = storage.getattr(intern!(py, "storage"))?;
            if let Ok(entries) = entries.cast_exact::<PyDict>() {
                return Ok(Self::Memory(entries.clone()));
            }
        }
        if is(&VALUE_FILE)? || is(&CALL_FILE)? || is(&VALUE_CBOR)? {
            let handle = storage.getattr(intern!(py, "_handle"))?;
            return Ok(Self::File(handle.cast_into()?));
        }
        if is(&VALUE_SQLITE)? {
            let handle = storage.getattr(intern!(py, "_handle"))?;
            return Ok(Self::Sqlite(handle.cast_into()?));
        }
        Ok(Self::Python(storage.clone()))
    }

    /// The entry as it is stored, not to be changed; `KeyError` if there is none.
    pub fn get(&self, py: Python<'py>, key: &Hash) -> PyResult<Bound<'py, PyAny>> {
        match self {
            Self::Memory(entries) => {
                let key = PyString::new(py, Hex::of(key).as_str());
                match entries.get_item(&key)? {
                    Some(value) => Ok(value),
                    None => Err(PyKeyError::new_err(key.unbind())),
                }
            }
            Self::File(files) => files.get().get(py, key),
            Self::Sqlite(values) => SqliteValues::get(values, key),
            Self::Python(storage) => {
                storage.call_method1(intern!(py, "get"), (to_digest(py, key)?,))
            }
        }
    }

    /// Whether there is an entry; of other classes' storages nothing is known.
    pub fn contains(&self, py: Python<'py>, key: &Hash) -> PyResult<bool> {
        match self {
            Self::Memory(entries) => entries.contains(PyString::new(py, Hex::of(key).as_str())),
            Self::File(files) => files.get().contains_key(py, key),
            Self::Sqlite(values) => SqliteValues::contains(values, key),
            Self::Python(_) => Ok(false),
        }
    }

    /// What tells a value from all others that are stored here: the bytes that are stored of it, or
    /// those that `pickle` makes of it; `None` if there are none.
    pub fn payload(&self, value: &Bound<'py, PyAny>) -> PyResult<Option<Serialised<'py>>> {
        match self {
            Self::File(files) => files.get().payload(value).map(Some),
            Self::Sqlite(values) => values.as_super().get().payload(value).map(Some),
            Self::Memory(_) | Self::Python(_) => pickled(value),
        }
    }

    /// Stores an entry, replacing what was there.
    pub fn put(&self, py: Python<'py>, key: &Hash, value: &Bound<'py, PyAny>) -> PyResult<()> {
        match self {
            Self::Memory(entries) => {
                entries.set_item(to_digest(py, key)?, independent_copy(value)?)
            }
            Self::File(files) => files.get().put(py, key, value),
            Self::Sqlite(values) => {
                SqliteValues::put_many(values, vec![Entry::new(*key, value.clone())])
            }
            Self::Python(storage) => storage
                .call_method1(intern!(py, "put"), (value, to_digest(py, key)?))
                .map(drop),
        }
    }

    /// Stores several entries, in this order.
    pub fn put_many(&self, py: Python<'py>, entries: Vec<Entry<'py>>) -> PyResult<()> {
        match self {
            Self::File(files) => return files.get().put_many(py, &entries),
            Self::Sqlite(values) => return SqliteValues::put_many(values, entries),
            Self::Memory(_) | Self::Python(_) => {}
        }
        for Entry { key, value, .. } in &entries {
            match self {
                // A parent made just now, which nobody else has.
                Self::Memory(held) if holds_digests_only(value)? => {
                    held.set_item(to_digest(py, key)?, value)?;
                }
                _ => self.put(py, key, value)?,
            }
        }
        Ok(())
    }

    /// What `get` gave, as it may be handed to the caller.
    pub fn hand_out(&self, value: Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        match self {
            Self::Memory(_) => independent(&value),
            // Unpickled just now: nobody else has it.
            Self::File(_) | Self::Sqlite(_) | Self::Python(_) => Ok(value),
        }
    }
}
