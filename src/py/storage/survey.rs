//! What a whole store holds, by function, as Python asks for it.

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use pyo3::prelude::*;
use pyo3::types::{PyList, PyString};

use super::file::FileStore;
use super::root::FileRoot;
use super::sqlite::SqliteStore;
use super::sqlite_values::SqliteValues;
use crate::engine::bulk::{Found, Memory};
use crate::engine::digest::Hash;
use crate::engine::record::Filter;
use crate::engine::survey::{self, Times, walk};
use crate::py::digest::{storage_key, to_digest};
use crate::py::errors;

/// How many records are read at once: for a few hundredths of a second.
const SOME: usize = 4096;

/// A function: its name and module, how many calls, their seconds, when the newest one ended.
type FunctionParts = (String, Option<String>, u64, f64, Option<f64>);

/// What the records of a store are of, and which values they need.
#[pyclass(frozen, module = "fleche._core")]
#[derive(Default)]
pub struct Survey {
    survey: Mutex<survey::Survey>,
    left: Mutex<Vec<Hash>>,
}

impl Survey {
    /// Short sections only.
    fn survey(&self) -> MutexGuard<'_, survey::Survey> {
        self.survey.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn left(&self) -> MutexGuard<'_, Vec<Hash>> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[pymethods]
impl Survey {
    #[new]
    fn new() -> Self {
        Self::default()
    }

    /// Lists the records in a folder, to be read next; how many there are.
    fn list(&self, files: &Bound<'_, FileStore>) -> PyResult<usize> {
        let keys = files.get().keys(files.py())?;
        let number = keys.len();
        *self.left() = keys;
        Ok(number)
    }

    /// Reads some of them; the keys of those that the storage has to read itself. `None` at the
    /// end.
    fn read<'py>(&self, files: &Bound<'py, FileStore>) -> PyResult<Option<Bound<'py, PyList>>> {
        let py = files.py();
        let keys = {
            let mut left = self.left();
            let rest = left.len().saturating_sub(SOME);
            left.split_off(rest)
        };
        if keys.is_empty() {
            return Ok(None);
        }
        let files = files.get();
        let others: Vec<Hash> = py.detach(|| {
            let mut memory = Memory::default();
            let found = files.read_records(&keys, &Filter::default(), &mut memory);
            let mut survey = self.survey();
            let others = found.into_iter().filter_map(|(key, found)| match found {
                Found::Record(record) => {
                    survey.add(&record);
                    None
                }
                Found::Other => Some(key),
            });
            others.collect()
        });
        py.check_signals()?;
        let others: Vec<_> = others
            .iter()
            .map(|key| to_digest(py, key))
            .collect::<PyResult<_>>()?;
        PyList::new(py, others).map(Some)
    }

    /// Reads all records of a database; `needs`: with the values that they need.
    fn read_database(&self, store: &Bound<'_, SqliteStore>, needs: bool) -> PyResult<()> {
        let found = store.get().survey(store.py(), needs)?;
        *self.survey() = found;
        Ok(())
    }

    /// How many records the database has that was read, with the values that they need, and what
    /// they take in bytes.
    fn records(&self) -> (u64, u64) {
        let survey = self.survey();
        (survey.records, survey.record_bytes)
    }

    /// Adds a record that Python read.
    fn add(
        &self,
        name: &str,
        module: Option<&str>,
        seconds: Option<f64>,
        stopped: Option<f64>,
        needs: Vec<Bound<'_, PyString>>,
    ) -> PyResult<()> {
        let keys: Vec<Hash> = needs.iter().map(storage_key).collect::<PyResult<_>>()?;
        let mut survey = self.survey();
        let function = survey.number(name, module);
        survey.call(function);
        survey.took(function, Times { seconds, stopped });
        for key in keys {
            survey.need(function, key);
        }
        Ok(())
    }

    /// The functions, each by its name and module, with the number of its calls, their seconds,
    /// and when the newest one ended.
    fn functions(&self) -> Vec<FunctionParts> {
        let survey = self.survey();
        let parts = survey.functions().iter().map(|each| {
            let (name, module) = (each.name.clone(), each.module.clone());
            (name, module, each.calls, each.seconds, each.newest)
        });
        parts.collect()
    }

    /// What the values in a folder take, or in a database with the folder beside it.
    fn measure(&self, py: Python<'_>, values: &Bound<'_, FileRoot>) -> PyResult<Room> {
        let store = values.get().store.clone();
        let database = values.cast::<SqliteValues>().ok();
        let database = database.map(Bound::get);
        let measured = py.detach(|| {
            let mut survey = self.survey();
            if let Some(database) = database {
                return database.measure(&store, &mut survey);
            }
            let folder = walk(store.root())?;
            let room = survey.measure(&*store, &folder)?;
            Ok((room, folder.blocks))
        });
        let (room, blocks) = measured.map_err(|error| errors::os_error(&error))?;
        let functions = room.functions.iter().map(|each| (each.alone, each.shared));
        Ok(Room {
            functions: functions.collect(),
            values: room.values,
            bytes: room.bytes,
            shared: room.shared,
            orphans: room.orphans,
            orphan_bytes: room.orphan_bytes,
            blocks,
        })
    }
}

/// What values take, in bytes.
#[pyclass(frozen, get_all, module = "fleche._core")]
pub struct Room {
    /// For each function: of values that it needs alone, and with others.
    functions: Vec<(u64, u64)>,
    values: u64,
    bytes: u64,
    shared: u64,
    orphans: u64,
    orphan_bytes: u64,
    /// As the file system counts, with all that is in the folder.
    blocks: u64,
}

/// How many entries there are in a folder, their bytes, and what all that is in it takes on the
/// disk.
#[pyfunction]
pub fn measure_folder(py: Python<'_>, path: PathBuf) -> PyResult<(usize, u64, u64)> {
    let folder = py
        .detach(|| walk(&path))
        .map_err(|error| errors::os_error(&error))?;
    let bytes = folder.entries.iter().map(|(_, size)| size).sum();
    Ok((folder.entries.length(), bytes, folder.blocks))
}
