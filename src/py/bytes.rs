//! Bytes whose memory is filled once, also where they are large.

use std::ptr;

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes};

use crate::engine::system::ask_for_huge_pages;

/// As `PyBytes::new`, without a panic if there is no memory.
pub fn bytes<'py>(py: Python<'py>, content: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
    bytes_of_pieces(py, content.len(), |give| give(content))
}

/// `bytes` of pieces that are `length` together. `give` hands them over one after the other.
pub fn bytes_of_pieces(
    py: Python<'_>,
    length: usize,
    give: impl FnOnce(&mut dyn FnMut(&[u8])),
) -> PyResult<Bound<'_, PyBytes>> {
    // SAFETY: the memory is written below before anybody sees it.
    let made = unsafe {
        let made = ffi::PyBytes_FromStringAndSize(ptr::null(), length.cast_signed());
        Bound::from_owned_ptr_or_err(py, made)?
    };
    // SAFETY: it is `bytes`.
    let start: *mut u8 = unsafe { ffi::PyBytes_AsString(made.as_ptr()) }.cast();
    ask_for_huge_pages(start, length);
    let mut at = 0;
    give(&mut |piece: &[u8]| {
        assert!(
            piece.len() <= length - at,
            "pieces are longer than they were told to be"
        );
        // SAFETY: there is room for `length` bytes, `at` are written, and nobody else has it.
        unsafe { ptr::copy_nonoverlapping(piece.as_ptr(), start.add(at), piece.len()) };
        at += piece.len();
    });
    assert_eq!(at, length, "pieces are shorter than they were told to be");
    Ok(made.cast_into::<PyBytes>()?)
}

/// As `PyByteArray::new`, without a panic if there is no memory.
pub fn byte_array<'py>(py: Python<'py>, content: &[u8]) -> PyResult<Bound<'py, PyByteArray>> {
    // SAFETY: the memory is written below before anybody sees it.
    let made = unsafe {
        let made = ffi::PyByteArray_FromStringAndSize(ptr::null(), content.len().cast_signed());
        Bound::from_owned_ptr_or_err(py, made)?
    };
    // SAFETY: it is a `bytearray` of this length, which nobody else has, and overlaps nothing.
    unsafe {
        let start: *mut u8 = ffi::PyByteArray_AsString(made.as_ptr()).cast();
        ask_for_huge_pages(start, content.len());
        ptr::copy_nonoverlapping(content.as_ptr(), start, content.len());
    }
    Ok(made.cast_into::<PyByteArray>()?)
}

/// As `PyBytes::new_with`.
pub fn bytes_with(
    py: Python<'_>,
    length: usize,
    fill: impl FnOnce(&mut [u8]) -> PyResult<()>,
) -> PyResult<Bound<'_, PyBytes>> {
    // SAFETY: the memory is written below before anybody sees it.
    let made = unsafe {
        let made = ffi::PyBytes_FromStringAndSize(ptr::null(), length.cast_signed());
        Bound::from_owned_ptr_or_err(py, made)?
    };
    // SAFETY: it is `bytes` of this length, which nobody else has.
    let room = unsafe {
        let start: *mut u8 = ffi::PyBytes_AsString(made.as_ptr()).cast();
        ask_for_huge_pages(start, length);
        start.write_bytes(0, length);
        std::slice::from_raw_parts_mut(start, length)
    };
    fill(room)?;
    Ok(made.cast_into::<PyBytes>()?)
}
