//! Whether a logger of the package takes messages of level DEBUG, asked at every call.

use crate::py::once::Once;
use crate::py::once::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict};

use crate::py::names::Imported;

const DEBUG: i32 = 10;

/// A logger, and the dictionary in which it remembers which levels it takes; it is emptied whenever
/// logging is configured anew. Looking there takes a tenth of the time of `isEnabledFor`.
pub struct DebugLogger {
    logger: Imported,
    levels: Once<Option<Py<PyDict>>>,
}

impl DebugLogger {
    pub const fn new(module: &'static str, name: &'static str) -> Self {
        Self {
            logger: Imported::new(module, name),
            levels: Once::new(),
        }
    }

    /// Whether it takes messages of this level.
    pub fn listens(&'static self, py: Python<'_>) -> PyResult<bool> {
        let levels = self.levels.get_or_try_init(py, || {
            let levels = self.logger.get(py)?.getattr_opt(intern!(py, "_cache"))?;
            let levels = levels.and_then(|levels| levels.cast_into::<PyDict>().ok());
            Ok::<_, PyErr>(levels.map(Bound::unbind))
        })?;
        if let Some(levels) = levels
            && let Some(known) = levels.bind(py).get_item(DEBUG)?
            && known.cast::<PyBool>().is_ok_and(|known| !known.is_true())
        {
            return Ok(false);
        }
        let logger = self.logger.get(py)?;
        logger
            .call_method1(intern!(py, "isEnabledFor"), (DEBUG,))?
            .is_truthy()
    }

    pub fn warning<'py, A, B>(
        &'static self,
        py: Python<'py>,
        message: &str,
        a: A,
        b: B,
    ) -> PyResult<()>
    where
        A: IntoPyObject<'py>,
        B: IntoPyObject<'py>,
    {
        let logger = self.logger.get(py)?;
        logger
            .call_method1(intern!(py, "warning"), (message, a, b))
            .map(drop)
    }

    pub fn debug<'py, A>(&'static self, py: Python<'py>, message: &str, a: A, b: A) -> PyResult<()>
    where
        A: IntoPyObject<'py>,
    {
        let logger = self.logger.get(py)?;
        logger
            .call_method1(intern!(py, "debug"), (message, a, b))
            .map(drop)
    }
}
