//! xarray: variables, labelled arrays, datasets and trees of them.

use crate::py::once::intern;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::engine::digest::Hash;
use crate::engine::digest::exact::{Encoder, Tag};
use crate::py::digest::exact::{Walker, indigestible_because};
use crate::py::names::Imported;

static ARRAY: Imported = Imported::new("xarray", "DataArray");
static DATASET: Imported = Imported::new("xarray", "Dataset");
static VARIABLE: Imported = Imported::new("xarray", "Variable");
static INDEX_VARIABLE: Imported = Imported::new("xarray", "IndexVariable");

mod kind {
    pub const VARIABLE: u8 = 0;
    pub const ARRAY: u8 = 1;
    pub const DATASET: u8 = 2;
    pub const TREE: u8 = 3;
}

fn labelled(kind: u8) -> Encoder {
    let mut encoder = Encoder::new(Tag::Labelled);
    encoder.byte(kind);
    encoder
}

impl<'py> Walker<'py> {
    /// Names of dimensions, attributes, values.
    pub(super) fn xarray_variable(&mut self, variable: &Bound<'py, PyAny>) -> PyResult<Encoder> {
        let py = self.py;
        if !variable.getattr(intern!(py, "chunks"))?.is_none() {
            return Err(indigestible_because(
                py,
                "an xarray variable whose values are not computed yet: call .compute() first",
            ));
        }
        let mut encoder = labelled(kind::VARIABLE);
        encoder
            .child(&self.walk(&variable.getattr(intern!(py, "dims"))?)?)
            .child(&self.items(&variable.getattr(intern!(py, "attrs"))?)?);
        let values = variable.getattr(intern!(py, "values"))?;
        encoder.child(&self.walk(&values)?);
        if variable.get_type().is(INDEX_VARIABLE.get(py)?) {
            return Ok(encoder);
        }
        self.or_of_subclass(variable, encoder, &VARIABLE)
    }

    pub(super) fn xarray_array(&mut self, array: &Bound<'py, PyAny>) -> PyResult<Encoder> {
        let py = self.py;
        let mut encoder = labelled(kind::ARRAY);
        encoder
            .child(&self.walk(&array.getattr(intern!(py, "name"))?)?)
            .child(&self.walk(&array.getattr(intern!(py, "variable"))?)?)
            .child(&self.variables(&array.getattr(intern!(py, "coords"))?)?);
        self.or_of_subclass(array, encoder, &ARRAY)
    }

    pub(super) fn xarray_dataset(&mut self, dataset: &Bound<'py, PyAny>) -> PyResult<Encoder> {
        let py = self.py;
        let mut encoder = labelled(kind::DATASET);
        encoder
            .child(&self.items(&dataset.getattr(intern!(py, "attrs"))?)?)
            .child(&self.variables(&dataset.getattr(intern!(py, "data_vars"))?)?)
            .child(&self.variables(&dataset.getattr(intern!(py, "coords"))?)?);
        self.or_of_subclass(dataset, encoder, &DATASET)
    }

    /// A tree as the datasets at its paths.
    pub(super) fn xarray_tree(&mut self, tree: &Bound<'py, PyAny>) -> PyResult<Encoder> {
        let py = self.py;
        let nodes = tree.call_method0(intern!(py, "to_dict"))?;
        let mut encoder = labelled(kind::TREE);
        encoder
            .child(&self.walk(&tree.getattr(intern!(py, "name"))?)?)
            .child(&self.items(&nodes)?);
        Ok(encoder)
    }

    /// A mapping as the dictionary of its items, whatever its class.
    fn items(&mut self, mapping: &Bound<'py, PyAny>) -> PyResult<Hash> {
        let items = mapping.call_method0(intern!(self.py, "items"))?;
        let copy = PyDict::new(self.py);
        for item in items.try_iter()? {
            let (name, value): (Bound<'py, PyAny>, Bound<'py, PyAny>) = item?.extract()?;
            copy.set_item(name, value)?;
        }
        self.walk(copy.as_any())
    }

    /// Named arrays by name and variable: their own coordinates are among the whole's.
    fn variables(&mut self, arrays: &Bound<'py, PyAny>) -> PyResult<Hash> {
        let items = arrays.call_method0(intern!(self.py, "items"))?;
        let copy = PyDict::new(self.py);
        for item in items.try_iter()? {
            let (name, array): (Bound<'py, PyAny>, Bound<'py, PyAny>) = item?.extract()?;
            copy.set_item(name, array.getattr(intern!(self.py, "variable"))?)?;
        }
        self.walk(copy.as_any())
    }
}
