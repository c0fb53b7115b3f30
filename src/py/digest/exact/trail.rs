//! Where in a value a walk failed: `.model.layers[3]['lock']`.

use pyo3::prelude::*;
use pyo3::types::PyString;

use super::Walker;
use crate::py::digest::is_indigestible;

/// The steps from the value that has no digest outwards, noted while the error passes them.
#[derive(Default)]
pub struct Trail(Vec<String>);

/// How much of a key or a path is shown.
const SHOWN: usize = 40;
const MOST_STEPS: usize = 16;

impl Trail {
    /// What was found has a digest after all.
    pub fn forget(&mut self) {
        self.0.clear();
    }
}

impl Walker<'_> {
    /// Notes the step to the child that failed.
    #[cold]
    pub(super) fn past(&mut self, error: PyErr, step: impl FnOnce() -> String) -> PyErr {
        if is_indigestible(self.py, &error) {
            self.trail.0.push(step());
        }
        error
    }

    /// Whether an error is that of a part which may have no digest; what was noted is forgotten.
    pub(super) fn may_be_without(&mut self, error: &PyErr) -> bool {
        if self.met_random || !is_indigestible(self.py, error) {
            return false;
        }
        self.trail.0.clear();
        true
    }

    /// The error, with the path to what has no digest as its attribute `path`.
    #[cold]
    pub(super) fn located(&mut self, error: PyErr) -> PyErr {
        if !self.trail.0.is_empty() && is_indigestible(self.py, &error) {
            let steps = std::mem::take(&mut self.trail.0);
            let left_out = steps.len().saturating_sub(MOST_STEPS);
            let mut path: String = steps.into_iter().rev().take(MOST_STEPS).collect();
            if left_out > 0 {
                path.push_str("...");
            }
            // Without it the error still names what has no digest.
            let _ = error.value(self.py).setattr("path", path);
        }
        error
    }
}

/// The step to an element.
pub fn element(index: usize) -> String {
    format!("[{index}]")
}

/// The step to an attribute.
pub fn attribute(name: &[u8]) -> String {
    format!(".{}", String::from_utf8_lossy(name))
}

/// The step to the value under a key.
pub fn item(key: &Bound<'_, PyAny>) -> String {
    // Only keys whose `repr` is no user's code.
    let plain =
        key.is_exact_instance_of::<PyString>() || key.is_exact_instance_of::<pyo3::types::PyInt>();
    let shown = if plain { key.repr().ok() } else { None };
    match shown {
        Some(shown) => {
            let shown = shown.to_string_lossy();
            let short: String = shown.chars().take(SHOWN).collect();
            format!("[{short}]")
        }
        None => "[...]".into(),
    }
}
