//! Values that are saved together with the record that names them, in one transaction.

use std::sync::atomic::{AtomicBool, Ordering};

use pyo3::prelude::*;
use pyo3::types::PyTuple;

use super::sqlite_values::SqliteValues;
use super::waiting;

/// The context in which this thread's values wait for a record of the same database; at its end
/// those that still wait are saved.
#[pyclass(frozen, module = "fleche._core")]
pub struct Together {
    values: Py<SqliteValues>,
    /// Whether it is the outermost one.
    begun: AtomicBool,
}

#[pymethods]
impl Together {
    #[new]
    fn new(values: Py<SqliteValues>) -> Self {
        Self {
            values,
            begun: AtomicBool::new(false),
        }
    }

    /// Whether it is the outermost one.
    fn __enter__(&self) -> bool {
        let begun = waiting::begin(self.values.get().database());
        self.begun.store(begun, Ordering::Relaxed);
        begun
    }

    /// What waits is saved, unless an error ends the context.
    #[pyo3(signature = (error = None, *_more))]
    fn __exit__(
        &self,
        py: Python<'_>,
        error: Option<Bound<'_, PyAny>>,
        _more: &Bound<'_, PyTuple>,
    ) -> PyResult<()> {
        if !self.begun.swap(false, Ordering::Relaxed) {
            return Ok(());
        }
        let rows = waiting::end();
        if error.is_some() {
            return Ok(());
        }
        self.values.get().save(py, &rows)
    }
}
