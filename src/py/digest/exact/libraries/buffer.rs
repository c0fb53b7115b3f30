//! The memory of arrays, read in place through the buffer protocol.

use crate::py::once::intern;
use pyo3::buffer::PyUntypedBuffer;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::engine::digest::exact::Encoder;
use crate::py::digest::hash_bulk;
use crate::py::names::Imported;

static CONTIGUOUS: Imported = Imported::new("numpy", "ascontiguousarray");

/// Up to this size a copy is cheaper than asking for the memory.
const COPY: usize = 4096;

/// The bytes of a contiguous buffer.
///
/// Whoever changes the array in another thread meanwhile gets the digest of some mixture, as with
/// any other library that lets threads run; nothing else can go wrong.
pub fn bytes(buffer: &PyUntypedBuffer) -> Option<&[u8]> {
    if buffer.len_bytes() == 0 {
        return Some(&[]);
    }
    if !buffer.is_c_contiguous() {
        return None;
    }
    // Copying instead would double the memory of a call and take five times as long.
    // SAFETY: the exporter keeps `len_bytes` contiguous bytes alive at this address for as long
    // as the buffer is held, which the returned borrow ensures.
    Some(unsafe {
        std::slice::from_raw_parts(buffer.buf_ptr().cast_const().cast(), buffer.len_bytes())
    })
}

/// Feeds the content of anything with the buffer protocol, in C order, to `encoder`.
pub fn hash_buffer(encoder: &mut Encoder, exporter: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = exporter.py();
    let buffer = PyUntypedBuffer::get(exporter)?;
    if let Some(bytes) = bytes(&buffer) {
        hash_bulk(py, encoder, bytes);
        return Ok(());
    }
    drop(buffer);
    let copy: Vec<u8> = exporter.call_method0(intern!(py, "tobytes"))?.extract()?;
    hash_bulk(py, encoder, &copy);
    Ok(())
}

/// Feeds the elements of a numpy array of plain memory, in C order, to `encoder`.
pub fn hash_array(encoder: &mut Encoder, array: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = array.py();
    let size: usize = array.getattr(intern!(py, "nbytes"))?.extract()?;
    if size == 0 {
        return Ok(());
    }
    if size <= COPY {
        let copy = array.call_method0(intern!(py, "tobytes"))?;
        encoder.raw(copy.cast::<pyo3::types::PyBytes>()?.as_bytes());
        return Ok(());
    }
    // As bytes: not every dtype (dates, for one) has a name in the buffer protocol.
    let contiguous = CONTIGUOUS
        .get(py)?
        .call1((array,))?
        .call_method1(intern!(py, "reshape"), (-1,))?
        .call_method1(intern!(py, "view"), (intern!(py, "u1"),))?;
    hash_buffer(encoder, &contiguous)
}

/// Start, stop and step of an array of 64-bit integers, if these are as far from each other as those
/// of a range.
pub fn progression(array: &Bound<'_, PyAny>) -> PyResult<Option<(i64, i128, i64)>> {
    let py = array.py();
    let dtype = array.getattr(intern!(py, "dtype"))?;
    if dtype.getattr(intern!(py, "str"))?.extract::<String>()? != "<i8" {
        return Ok(None);
    }
    let contiguous = CONTIGUOUS.get(py)?.call1((array,))?;
    let buffer = PyUntypedBuffer::get(&contiguous)?;
    let Some(bytes) = bytes(&buffer) else {
        return Ok(None);
    };
    let (numbers, _) = bytes.as_chunks::<8>();
    let number = |place: usize| i64::from_le_bytes(numbers[place]);
    if numbers.len() < 2 {
        let start = numbers
            .first()
            .map_or(0, |first| i64::from_le_bytes(*first));
        let stop = i128::from(start) + numbers.len() as i128;
        return Ok(Some((start, stop, 1)));
    }
    let Some(step) = number(1).checked_sub(number(0)).filter(|step| *step != 0) else {
        return Ok(None);
    };
    let mut next = number(1);
    for number in &numbers[2..] {
        let number = i64::from_le_bytes(*number);
        if next.checked_add(step) != Some(number) {
            return Ok(None);
        }
        next = number;
    }
    let end = i128::from(next) + i128::from(step.signum());
    Ok(Some((number(0), end, step)))
}

/// The elements of an array of Python objects, in order.
pub struct Objects<'py> {
    py: Python<'py>,
    /// Keeps the memory in place.
    memory: PyUntypedBuffer,
    next: usize,
    count: usize,
    stride: isize,
}

impl<'py> Objects<'py> {
    /// The elements of an array with one dimension.
    pub fn of(array: &Bound<'py, PyAny>) -> PyResult<Self> {
        let memory = PyUntypedBuffer::get(array)?;
        let (&[count], &[stride]) = (memory.shape(), memory.strides()) else {
            return Err(PyValueError::new_err("an array of objects must be flat"));
        };
        if memory.format() != c"O" || memory.suboffsets().is_some() {
            return Err(PyValueError::new_err("not an array of objects"));
        }
        Ok(Self {
            py: array.py(),
            memory,
            next: 0,
            count,
            stride,
        })
    }
}

impl<'py> Iterator for Objects<'py> {
    type Item = PyResult<Bound<'py, PyAny>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.next == self.count {
            return None;
        }
        let place = isize::try_from(self.next).ok()? * self.stride;
        self.next += 1;
        // `tolist` takes three times as long: it goes over all objects, and again to free them.
        // SAFETY: the buffer holds `count` pointers that are `stride` bytes apart, each an object
        // that the array owns or null; the object is our own from here on, whatever happens to
        // the array.
        let object = unsafe {
            let slot = self.memory.buf_ptr().cast_const().byte_offset(place);
            let pointer = slot.cast::<*mut pyo3::ffi::PyObject>().read_unaligned();
            Bound::from_borrowed_ptr_or_opt(self.py, pointer)
        };
        // Memory that was never written to counts as None, as everywhere in numpy.
        Some(Ok(
            object.unwrap_or_else(|| self.py.None().into_bound(self.py))
        ))
    }
}
