//! numpy arrays.

use crate::py::once::intern;
use pyo3::buffer::PyBuffer;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyTuple};

use super::{Walker, type_name};
use crate::engine::digest::Hash;
use crate::engine::digest::sha256::{Hasher, integer};
use crate::py::names::Imported;

static ARRAY: Imported = Imported::new("numpy", "ndarray");
static BOOL: Imported = Imported::new("numpy", "bool_");
static BYTE: Imported = Imported::new("numpy", "uint8");

/// Arrays are hashed without the GIL, copied piece by piece: another thread may write to them.
const PIECE: usize = 1 << 20;

impl<'py> Walker<'py> {
    pub(super) fn array(&mut self, value: &Bound<'py, PyAny>) -> PyResult<Option<Hash>> {
        if ARRAY.is_instance(value)? {
            return self.any_array(value).map(Some);
        }
        if BOOL.is_instance(value)? {
            return Ok(Some(integer(b"bool", i64::from(value.is_truthy()?))));
        }
        Ok(None)
    }

    fn any_array(&mut self, array: &Bound<'py, PyAny>) -> PyResult<Hash> {
        let py = self.py;
        let dtype = array.getattr(intern!(py, "dtype"))?;
        let mut hasher = Hasher::new(&type_name(array)?);
        hasher.outcome(&self.walk(&dtype.getattr(intern!(py, "str"))?)?);
        hasher.outcome(&self.walk(&array.getattr(intern!(py, "shape"))?)?);
        if let Ok(names) = dtype.getattr(intern!(py, "names"))?.cast::<PyTuple>() {
            for name in names.iter() {
                hasher.outcome(&self.walk(&name)?);
                hasher.outcome(&self.walk(&array.get_item(&name)?)?);
            }
        } else if dtype.getattr(intern!(py, "hasobject"))?.is_truthy()? {
            let flat = array.call_method0(intern!(py, "ravel"))?;
            let elements = flat.call_method0(intern!(py, "tolist"))?;
            for element in elements.cast::<PyList>()?.iter() {
                hasher.outcome(&self.walk(&element)?);
            }
        } else if let Some(buffer) = contiguous(array)? {
            hash_buffer(py, &mut hasher, &buffer);
        } else {
            let bytes = array.call_method0(intern!(py, "tobytes"))?;
            let bytes = bytes.cast::<PyBytes>()?.as_bytes();
            py.detach(|| hasher.bytes(bytes));
        }
        Ok(hasher.finish())
    }
}

/// The memory of a plain array that lies in C order without gaps.
fn contiguous(array: &Bound<'_, PyAny>) -> PyResult<Option<PyBuffer<u8>>> {
    let py = array.py();
    let plain = array.get_type().is(ARRAY.get(py)?);
    let flags = array.getattr(intern!(py, "flags"))?;
    if !plain
        || !flags.getattr(intern!(py, "c_contiguous"))?.is_truthy()?
        || array.getattr(intern!(py, "nbytes"))?.extract::<usize>()? == 0
    {
        return Ok(None);
    }
    let flat = array.call_method1(intern!(py, "reshape"), (-1,))?;
    let bytes = flat.call_method1(intern!(py, "view"), (BYTE.get(py)?,))?;
    PyBuffer::get(&bytes).map(Some)
}

fn hash_buffer(py: Python<'_>, hasher: &mut Hasher, buffer: &PyBuffer<u8>) {
    let Some(cells) = buffer.as_slice(py) else {
        return;
    };
    let mut piece = vec![0; cells.len().min(PIECE)];
    for cells in cells.chunks(PIECE) {
        let piece = &mut piece[..cells.len()];
        for (byte, cell) in piece.iter_mut().zip(cells) {
            *byte = cell.get();
        }
        if piece.len() < crate::py::digest::WITHOUT_GIL {
            hasher.bytes(piece);
        } else {
            py.detach(|| hasher.bytes(piece));
        }
    }
}
