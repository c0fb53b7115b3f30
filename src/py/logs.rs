//! Python's loggers, which are imported when there is something to say: `logging` takes a sixth of
//! the time of importing the package.

use std::ffi::{c_int, c_void};

use crate::py::once::Once;
use crate::py::once::intern;
use pyo3::exceptions::{PyException, PyKeyboardInterrupt};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict};

const DEBUG: i32 = 10;

/// A logger, by its name.
pub struct Logger {
    name: &'static str,
    logger: Once<Py<PyAny>>,
}

impl Logger {
    pub const fn new(name: &'static str) -> Self {
        Self {
            name,
            logger: Once::new(),
        }
    }

    pub fn get<'py>(&'static self, py: Python<'py>) -> PyResult<&'py Bound<'py, PyAny>> {
        let get = || -> PyResult<Py<PyAny>> {
            let logging = py.import("logging")?;
            Ok(logging.call_method1("getLogger", (self.name,))?.unbind())
        };
        let logger = self.logger.get_or_try_init(py, get)?;
        Ok(logger.bind(py))
    }
}

/// Where the engine's messages go.
struct EngineLog(Once<pyo3_log::Logger>);

impl log::Log for EngineLog {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        // Python decides.
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let forwarded = Python::try_attach(|py| {
            let make = || pyo3_log::Logger::new(py, pyo3_log::Caching::Nothing);
            let logger = self.0.get_or_try_init(py, make)?;
            logger.log(record);
            // It leaves behind what was raised there, a signal's handler's exception for one.
            if let Some(error) = PyErr::take(py) {
                raise_soon(py, error);
            }
            Ok::<_, PyErr>(())
        });
        // Without `logging` there is nobody to tell.
        drop(forwarded);
    }

    fn flush(&self) {}
}

/// Has the main thread raise what interrupts it where it goes on, as nothing can be raised here.
fn raise_soon(py: Python<'_>, error: PyErr) {
    if error.is_instance_of::<PyKeyboardInterrupt>(py) {
        // As if the signal came now: who waits in the engine sees it, too.
        // SAFETY: the function may be called at any time.
        unsafe { pyo3::ffi::PyErr_SetInterrupt() };
    } else if error.is_instance_of::<PyException>(py) {
        // A handler's of messages that failed.
        error.write_unraisable(py, None);
    } else {
        let raised = Box::into_raw(Box::new(error));
        // SAFETY: the function takes what it is given, once.
        if unsafe { pyo3::ffi::Py_AddPendingCall(Some(raise), raised.cast()) } != 0 {
            // SAFETY: it was not taken.
            unsafe { Box::from_raw(raised) }.write_unraisable(py, None);
        }
    }
}

extern "C" fn raise(error: *mut c_void) -> c_int {
    // SAFETY: it was boxed for this call alone.
    let error = unsafe { Box::from_raw(error.cast::<PyErr>()) };
    Python::attach(|py| error.restore(py));
    -1
}

/// Has the engine's messages go to Python's `logging`. To be called once, when the library is loaded.
pub fn tell_engine() {
    static LOG: EngineLog = EngineLog(Once::new());
    // Refused where the module is imported once more: then it is done already.
    if log::set_logger(&LOG).is_ok() {
        log::set_max_level(log::LevelFilter::Debug);
    }
}

/// A logger, and the dictionary in which it remembers which levels it takes; it is emptied whenever
/// logging is configured anew. Looking there takes a tenth of the time of `isEnabledFor`.
pub struct DebugLogger {
    logger: Logger,
    levels: Once<Option<Py<PyDict>>>,
}

impl DebugLogger {
    pub const fn new(name: &'static str) -> Self {
        Self {
            logger: Logger::new(name),
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
