//! Ed25519 keys and signatures, for `fleche.export`.

use std::borrow::Cow;

use pyo3::exceptions::{PyOSError, PyValueError};
use pyo3::prelude::*;

use crate::engine::signature::{self, SigningKey};

fn read(key: &[u8]) -> PyResult<SigningKey> {
    SigningKey::read(key).ok_or_else(|| PyValueError::new_err("this is no Ed25519 key in PKCS#8"))
}

/// A new private key, as a PKCS#8 document.
#[pyfunction]
pub fn generate_signing_key() -> PyResult<Cow<'static, [u8]>> {
    SigningKey::generate()
        .map(Cow::Owned)
        .ok_or_else(|| PyOSError::new_err("the system gives no random numbers"))
}

/// The public part, 32 bytes, of a private key.
#[pyfunction]
pub fn public_key(key: &[u8]) -> PyResult<Cow<'static, [u8]>> {
    Ok(Cow::Owned(read(key)?.public().to_vec()))
}

/// The signature, 64 bytes, of a message.
#[pyfunction]
pub fn sign_message(key: &[u8], message: &[u8]) -> PyResult<Cow<'static, [u8]>> {
    Ok(Cow::Owned(read(key)?.sign(message)))
}

/// Whether the owner of a public key signed a message.
#[pyfunction]
pub fn is_signed_by(public: &[u8], message: &[u8], signature: &[u8]) -> bool {
    signature::is_signed_by(public, message, signature)
}
