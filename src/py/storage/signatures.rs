//! Signatures, for `fleche.security`.

use pyo3::prelude::*;

use crate::engine::sign::Keys;

/// Signs bytes with the first key: its 64 hex characters.
#[pyfunction]
pub fn sign(py: Python<'_>, data: &[u8], keys: Vec<Vec<u8>>) -> Option<String> {
    let keys = Keys::new(keys);
    py.detach(|| keys.sign(data))
        .map(|signature| signature.as_str().to_owned())
}

/// Why `signature` is not that of `data` under any of the keys; `None` if it is.
#[pyfunction]
pub fn verify(py: Python<'_>, data: &[u8], signature: &[u8], keys: Vec<Vec<u8>>) -> Option<String> {
    let keys = Keys::new(keys);
    py.detach(|| keys.verify(data, signature))
        .err()
        .map(|fault| fault.to_string())
}
