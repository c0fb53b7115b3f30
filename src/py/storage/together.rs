//! Values that are saved together with the record that names them, in one transaction.

use std::cell::RefCell;

use pyo3::prelude::*;
use pyo3::types::PyTuple;

use super::SqliteValues;
use super::sqlite::SqliteStore;
use crate::engine::digest::Hash;
use crate::engine::sqlite::NewValue;

/// The rows that wait for a record.
struct Waiting {
    values: Py<SqliteValues>,
    rows: Vec<NewValue>,
}

thread_local! {
    static WAITING: RefCell<Option<Waiting>> = const { RefCell::new(None) };
}

/// The context in which this thread's values wait for a record of the same database; at its end
/// those that still wait are saved.
#[pyclass(frozen, module = "fleche._core")]
pub struct Together {
    values: Py<SqliteValues>,
}

#[pymethods]
impl Together {
    #[new]
    fn new(values: Py<SqliteValues>) -> Self {
        Self { values }
    }

    /// Whether it is the outermost one.
    fn __enter__(&self, py: Python<'_>) -> bool {
        WAITING.with_borrow_mut(|waiting| {
            if waiting.is_some() {
                return false;
            }
            *waiting = Some(Waiting {
                values: self.values.clone_ref(py),
                rows: Vec::new(),
            });
            true
        })
    }

    /// What waits is saved, unless an error ends the context.
    #[pyo3(signature = (error = None, *_more))]
    fn __exit__(
        &self,
        py: Python<'_>,
        error: Option<Bound<'_, PyAny>>,
        _more: &Bound<'_, PyTuple>,
    ) -> PyResult<()> {
        let waiting = WAITING.with_borrow_mut(Option::take);
        match (waiting, error) {
            (Some(Waiting { values, rows }), None) => values.get().save(py, &rows),
            _ => Ok(()),
        }
    }
}

/// Has rows wait, if this thread's values do; else they come back.
pub fn wait(values: &Bound<'_, SqliteValues>, rows: Vec<NewValue>) -> Option<Vec<NewValue>> {
    WAITING.with_borrow_mut(|waiting| match waiting {
        Some(waiting) if waiting.values.as_ptr() == values.as_ptr() => {
            waiting.rows.extend(rows);
            None
        }
        _ => Some(rows),
    })
}

/// Whether a row of this key waits.
pub fn is_waiting(values: &Bound<'_, SqliteValues>, key: &Hash) -> bool {
    WAITING.with_borrow(|waiting| {
        waiting.as_ref().is_some_and(|waiting| {
            waiting.values.as_ptr() == values.as_ptr()
                && waiting.rows.iter().any(|row| row.key == *key)
        })
    })
}

/// The rows that wait for a record that is about to be saved here.
pub fn waiting_for(records: &SqliteStore) -> Vec<NewValue> {
    WAITING.with_borrow_mut(|waiting| match waiting {
        Some(waiting) if waiting.values.get().is_beside(records) => {
            std::mem::take(&mut waiting.rows)
        }
        _ => Vec::new(),
    })
}
