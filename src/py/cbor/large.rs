//! Memory of objects that is written from where it is.

use pyo3::buffer::PyBuffer;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

/// Memory of an object that outlives the walk.
pub enum Large<'py> {
    Slice(
        *const u8,
        usize,
        #[expect(dead_code, reason = "keeps it alive")] Bound<'py, PyAny>,
    ),
    Buffer(PyBuffer<u8>),
}

impl Large<'_> {
    pub fn bytes<'py>(bytes: &Bound<'py, PyBytes>) -> Large<'py> {
        let slice = bytes.as_bytes();
        Large::Slice(slice.as_ptr(), slice.len(), bytes.clone().into_any())
    }
}

impl AsRef<[u8]> for Large<'_> {
    fn as_ref(&self) -> &[u8] {
        match self {
            // SAFETY: the memory of a `bytes` or `str`, which never moves, and is kept alive.
            Self::Slice(start, length, _) => unsafe { std::slice::from_raw_parts(*start, *length) },
            Self::Buffer(buffer) if buffer.len_bytes() == 0 => &[],
            // SAFETY: the exporter keeps so many contiguous bytes alive for as long as the buffer
            // is held. Who changes them meanwhile gets some mixture.
            Self::Buffer(buffer) => unsafe {
                std::slice::from_raw_parts(buffer.buf_ptr().cast_const().cast(), buffer.len_bytes())
            },
        }
    }
}
