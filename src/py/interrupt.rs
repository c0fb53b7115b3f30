//! What the engine has to know of Python where it waits: whether a signal came, and who holds the
//! GIL when the process forks.

use std::cell::RefCell;

use pyo3::exceptions::PyKeyboardInterrupt;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

#[cfg(feature = "bucket")]
use crate::engine::bucket;
use crate::engine::fork::{self, Attachment, NoFork, Settling};
use crate::engine::{files, sqlite, wait};

thread_local! {
    /// What a signal's handler raised while this thread waited in the engine.
    static RAISED: RefCell<Option<PyErr>> = const { RefCell::new(None) };
}

/// What ended a wait.
pub fn raised() -> PyErr {
    let raised = RAISED.with_borrow_mut(Option::take);
    raised.unwrap_or_else(|| PyKeyboardInterrupt::new_err(()))
}

/// Runs the handlers of signals that came; only the main thread has any.
fn is_interrupted() -> bool {
    let error = Python::try_attach(|py| py.check_signals().err()).flatten();
    let interrupted = error.is_some();
    RAISED.with_borrow_mut(|raised| *raised = error);
    interrupted
}

/// Whether this thread holds the GIL.
fn is_attached() -> bool {
    // SAFETY: the function may be called at any time, and only reads.
    unsafe { pyo3::ffi::PyGILState_Check() == 1 }
}

fn without(work: &mut (dyn FnMut() + Send)) {
    Python::attach(|py| py.detach(work));
}

/// Tells the engine. To be called once, when the library is loaded.
pub fn tell_engine() {
    wait::set_interrupted(is_interrupted);
    fork::set_attachment(Attachment {
        is_held: is_attached,
        without,
    });
    fork::register(&[
        Settling {
            before: || {},
            in_child: files::leave_to_parent,
        },
        Settling {
            before: sqlite::settle,
            in_child: sqlite::leave_to_parent,
        },
        #[cfg(feature = "bucket")]
        Settling {
            before: bucket::settle,
            in_child: bucket::leave_to_parent,
        },
    ]);
}

/// This thread is about to fork. To be called before it holds what the C library's own way here
/// would find held: the GIL is given up while others are waited for.
#[pyfunction]
pub fn announce_fork(py: Python<'_>) {
    py.detach(fork::before);
}

/// It has forked, or does not fork; in the parent and in the child.
#[pyfunction]
pub fn withdraw_fork() {
    fork::withdraw();
}

/// A section in which no fork happens, as a context.
#[pyclass(frozen, module = "fleche._core")]
pub struct ForkBarrier;

#[pymethods]
impl ForkBarrier {
    #[new]
    fn new() -> Self {
        Self
    }

    fn __enter__(slf: Py<Self>, py: Python<'_>) -> Py<Self> {
        py.detach(NoFork::enter_until_left);
        slf
    }

    #[pyo3(signature = (*_exc_info))]
    #[expect(clippy::unused_self, reason = "as Python calls it")]
    fn __exit__(&self, _exc_info: &Bound<'_, PyTuple>) {
        NoFork::leave();
    }
}
