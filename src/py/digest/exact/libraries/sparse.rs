//! scipy's sparse arrays and matrices.

use crate::py::once::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use super::numpy::shape;
use crate::engine::digest::exact::{Encoder, Tag};
use crate::py::digest::exact::Walker;
use crate::py::names::Imported;

static COO: Imported = Imported::new("scipy.sparse", "coo_array");

impl<'py> Walker<'py> {
    /// Class, format, shape, and the stored elements in canonical order: duplicates summed, the
    /// width of the indices left out. Zeros that are stored count: they are part of the pattern.
    pub(super) fn sparse_array(&mut self, value: &Bound<'py, PyAny>) -> PyResult<Encoder> {
        let py = self.py;
        let format: String = value.getattr(intern!(py, "format"))?.extract()?;
        let copied = PyDict::new(py);
        copied.set_item("copy", true)?;
        let coo = value.call_method(intern!(py, "tocoo"), (), Some(&copied))?;
        let coo = COO.get(py)?.call1((coo,))?;
        coo.call_method0(intern!(py, "sum_duplicates"))?;
        let mut encoder = Encoder::new(Tag::SparseArray);
        encoder
            .text(&value.get_type().name()?.to_string_lossy())
            .text(&format);
        shape(&mut encoder, value)?;
        let data = coo.getattr(intern!(py, "data"))?;
        encoder.child(&self.array_content(&data)?.finish());
        let places = match coo.getattr_opt(intern!(py, "coords"))? {
            Some(places) => places.cast_into::<PyTuple>()?,
            // Before scipy 1.13, and always two of them.
            None => PyTuple::new(
                py,
                [
                    coo.getattr(intern!(py, "row"))?,
                    coo.getattr(intern!(py, "col"))?,
                ],
            )?,
        };
        for place in places.iter() {
            let wide = place.call_method1(intern!(py, "astype"), (intern!(py, "i8"),))?;
            encoder.child(&self.array_content(&wide)?.finish());
        }
        Ok(encoder)
    }
}
