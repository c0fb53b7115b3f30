//! What a value holds more than once: in pieces it would come back as two.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

use pyo3::prelude::*;
use pyo3::types::{
    PyBytes, PyCFunction, PyComplex, PyDate, PyDelta, PyDict, PyFloat, PyFrozenSet, PyFunction,
    PyInt, PyList, PyModule, PyString, PyTime, PyTuple, PyType,
};

use crate::py::digest::exact::module_of;
use crate::py::names::Imported;
use crate::py::once::intern;

static IMMUTABLE: [Imported; 7] = [
    Imported::new("datetime", "tzinfo"),
    Imported::new("numpy", "dtype"),
    Imported::new("enum", "Enum"),
    Imported::new("decimal", "Decimal"),
    Imported::new("fractions", "Fraction"),
    Imported::new("pathlib", "PurePath"),
    Imported::new("numpy", "generic"),
];
static MET_BY_PICKLE: Imported = Imported::new("fleche.storage.destructuring", "_met_by_pickle");

/// Packages whose objects hold data and no objects of others.
const DATA_PACKAGES: [&str; 7] = [
    "numpy", "pandas", "polars", "pyarrow", "scipy", "torch", "xarray",
];

/// What was met on the way through a value.
#[derive(Default)]
pub struct Sharing<'py> {
    /// What can be told from its equals, by address; kept alive, so that no other takes its
    /// address.
    met: HashMap<usize, Bound<'py, PyAny>>,
    /// Those that may refer to any others.
    referring: Vec<Bound<'py, PyAny>>,
    twice: bool,
}

impl<'py> Sharing<'py> {
    /// Notes a value that can be told from its equals.
    pub fn meet(&mut self, value: &Bound<'py, PyAny>) {
        match self.met.entry(value.as_ptr() as usize) {
            Entry::Occupied(_) => self.twice = true,
            Entry::Vacant(place) => {
                place.insert(value.clone());
            }
        }
    }

    /// Notes an object that is not looked into.
    pub fn may_refer(&mut self, value: &Bound<'py, PyAny>) {
        self.referring.push(value.clone());
    }

    /// Whether something was met twice.
    pub fn met_twice(&self) -> bool {
        self.twice
    }

    /// Whether something was met twice, or is referred to by objects that are not looked into.
    pub fn found(&self, py: Python<'py>) -> PyResult<bool> {
        if self.twice {
            return Ok(true);
        }
        if self.referring.is_empty() || self.met.len() == 1 {
            return Ok(false);
        }
        let met = self.met.keys().copied().collect::<HashSet<_>>();
        let shared = MET_BY_PICKLE
            .get(py)?
            .call1((self.referring.clone(), met))?;
        shared.is_truthy()
    }
}

/// Whether what is done to a value, or asked of it, can tell it from its equals.
#[pyfunction]
pub fn has_identity(value: &Bound<'_, PyAny>) -> PyResult<bool> {
    let py = value.py();
    if value.is_exact_instance_of::<PyList>() || value.is_exact_instance_of::<PyDict>() {
        return Ok(true);
    }
    if value.is_none()
        || value.is_instance_of::<PyInt>()
        || value.is_instance_of::<PyFloat>()
        || value.is_instance_of::<PyComplex>()
        || value.is_exact_instance_of::<PyTuple>()
        || value.is_exact_instance_of::<PyFrozenSet>()
        || value.is_exact_instance_of::<PyString>()
        || value.is_exact_instance_of::<PyBytes>()
        || value.is_instance_of::<PyType>()
        || value.is_instance_of::<PyFunction>()
        || value.is_instance_of::<PyCFunction>()
        || value.is_instance_of::<PyModule>()
        || value.is_instance_of::<PyDate>()
        || value.is_instance_of::<PyTime>()
        || value.is_instance_of::<PyDelta>()
    {
        return Ok(false);
    }
    for class in &IMMUTABLE {
        if let Some(class) = class.if_loaded(py)?
            && value.is_instance(class)?
        {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether an object that is not looked into may refer to others.
pub fn may_refer(value: &Bound<'_, PyAny>) -> PyResult<bool> {
    if value.is_none() || value.is_instance_of::<PyType>() {
        return Ok(false);
    }
    if let Some(dtype) = value
        .getattr_opt(intern!(value.py(), "dtype"))
        .ok()
        .flatten()
        && let Ok(Some(objects)) = dtype.getattr_opt(intern!(value.py(), "hasobject"))
        && objects.is_truthy()?
    {
        return Ok(true);
    }
    let module = module_of(&value.get_type())?;
    let package = module.split('.').next().unwrap_or_default();
    Ok(!DATA_PACKAGES.contains(&package))
}
