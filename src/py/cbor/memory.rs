//! Objects whose memory is filled once, by calls of Python's C API.

use std::ptr;

use pyo3::exceptions::PyTypeError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyTuple, PyType};

/// `object.__new__(class)`, of a class that it was called for before: whether its instances are
/// made by it was checked then.
pub fn blank<'py>(class: &Bound<'py, PyType>) -> PyResult<Bound<'py, PyAny>> {
    let py = class.py();
    let none = PyTuple::empty(py);
    // SAFETY: `object` has this function; it is given a class, a tuple and no names.
    unsafe {
        let Some(new) = (*ptr::addr_of!(ffi::PyBaseObject_Type)).tp_new else {
            return Err(PyTypeError::new_err("object has no __new__"));
        };
        Bound::from_owned_ptr_or_err(py, new(class.as_type_ptr(), none.as_ptr(), ptr::null_mut()))
    }
}

/// `tuple.__new__(class, parts)`, for a class that is derived from it.
pub fn tuple_of_class<'py>(
    class: &Bound<'py, PyType>,
    parts: &Bound<'py, PyTuple>,
) -> PyResult<Bound<'py, PyTuple>> {
    let py = class.py();
    if !class.is_subclass_of::<PyTuple>()? {
        return Err(PyTypeError::new_err("its class is no tuple"));
    }
    let arguments = PyTuple::new(py, [parts])?;
    // SAFETY: `tuple` has this function; it is given a class of tuples, a tuple and no names.
    let made = unsafe {
        let Some(new) = (*ptr::addr_of!(ffi::PyTuple_Type)).tp_new else {
            return Err(PyTypeError::new_err("tuple has no __new__"));
        };
        let made = new(class.as_type_ptr(), arguments.as_ptr(), ptr::null_mut());
        Bound::from_owned_ptr_or_err(py, made)?
    };
    Ok(made.cast_into::<PyTuple>()?)
}

/// A tuple of so many `None`, to be filled by `put`.
pub fn nones(py: Python<'_>, count: usize) -> PyResult<Bound<'_, PyTuple>> {
    PyTuple::new(py, std::iter::repeat_n(py.None().into_bound(py), count))
}

/// Puts a part into a tuple that is being made.
pub fn put<'py>(tuple: &Bound<'py, PyTuple>, index: usize, part: Bound<'py, PyAny>) {
    let position = index.cast_signed();
    assert!(index < tuple.len(), "a tuple has no such place");
    // SAFETY: the tuple was made here, with `None` in this place, and nobody else changes it; what
    // was there is given back, and what is put there is given away.
    unsafe {
        let before = ffi::PyTuple_GET_ITEM(tuple.as_ptr(), position);
        ffi::PyTuple_SET_ITEM(tuple.as_ptr(), position, part.into_ptr());
        ffi::Py_DECREF(before);
    }
}

/// Puts objects into an array of numpy's that holds so many objects, in the order of its memory.
pub fn fill_array<'py>(
    array: &Bound<'py, PyAny>,
    parts: impl ExactSizeIterator<Item = Bound<'py, PyAny>>,
) -> PyResult<()> {
    let mut view = ffi::Py_buffer::new();
    let flags = ffi::PyBUF_WRITABLE | ffi::PyBUF_ANY_CONTIGUOUS | ffi::PyBUF_FORMAT;
    // SAFETY: the view is released below.
    if unsafe { ffi::PyObject_GetBuffer(array.as_ptr(), &raw mut view, flags) } != 0 {
        return Err(PyErr::fetch(array.py()));
    }
    // SAFETY: a format is a text that lives as long as the view.
    let is_objects = !view.format.is_null()
        && unsafe { std::ffi::CStr::from_ptr(view.format) }.to_bytes() == b"O";
    let length = parts.len().checked_mul(size_of::<*mut ffi::PyObject>());
    let fits = is_objects && length == Some(view.len.cast_unsigned());
    if fits {
        let mut place: *mut *mut ffi::PyObject = view.buf.cast();
        for part in parts {
            // SAFETY: so many pointers are there, of objects that the array holds, or null; what
            // was there is given back when its place has another.
            unsafe {
                let before = place.replace(part.into_ptr());
                ffi::Py_XDECREF(before);
                place = place.add(1);
            }
        }
    }
    // SAFETY: it was got above.
    unsafe { ffi::PyBuffer_Release(&raw mut view) };
    if fits {
        return Ok(());
    }
    Err(PyTypeError::new_err(
        "an array of objects has other memory than it should have",
    ))
}
