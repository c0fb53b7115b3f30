//! The Python side: walks over Python objects, and the functions and classes of `fleche._core`.

mod digest;
mod names;

use pyo3::prelude::*;

/// The compiled core of `fleche`. Its contents are private to the package.
#[pymodule]
pub mod _core {
    #[pymodule_export]
    use super::digest::{add_hook, digest_of as digest, get_hooks, set_entry_point_hooks};
}
