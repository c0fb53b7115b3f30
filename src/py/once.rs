//! What is made when it is first needed, without anybody waiting for who makes it.
//!
//! Several threads may make it at once, and one of them is kept. Where they waited for each other,
//! as they do with `pyo3::sync::PyOnceLock`, a child forked meanwhile would wait for ever.

use once_cell::race::OnceBox;
use pyo3::prelude::*;
use pyo3::types::PyString;

/// A value that is made once.
pub struct Once<T>(OnceBox<T>);

impl<T> Once<T> {
    pub const fn new() -> Self {
        Self(OnceBox::new())
    }

    /// The value, if it was made already.
    pub fn get(&self, _: Python<'_>) -> Option<&T> {
        self.0.get()
    }

    /// The value; `make` may be called more than once.
    pub fn get_or_try_init<E>(
        &self,
        _: Python<'_>,
        make: impl FnOnce() -> Result<T, E>,
    ) -> Result<&T, E> {
        self.0.get_or_try_init(|| make().map(Box::new))
    }
}

/// A string of the interpreter's own, for `intern!`.
pub struct Interned {
    text: &'static str,
    string: OnceBox<Py<PyString>>,
}

impl Interned {
    pub const fn new(text: &'static str) -> Self {
        let string = OnceBox::new();
        Self { text, string }
    }

    pub fn get<'py>(&self, py: Python<'py>) -> &Bound<'py, PyString> {
        let make = || Box::new(PyString::intern(py, self.text).unbind());
        self.string.get_or_init(make).bind(py)
    }
}

/// As `pyo3::intern!`.
macro_rules! intern {
    ($py:expr, $text:expr) => {{
        static INTERNED: $crate::py::once::Interned = $crate::py::once::Interned::new($text);
        INTERNED.get($py)
    }};
}

pub(crate) use intern;
