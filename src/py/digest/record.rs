//! What makes a dataclass or attrs instance, for the walks and for storages that split values.

use pyo3::exceptions::PyBaseException;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{
    PyBytes, PyComplex, PyDict, PyFloat, PyFrozenSet, PyInt, PyList, PySet, PyString, PyTuple,
    PyType,
};

use crate::py::names::Imported;

static FIELD: Imported = Imported::new("dataclasses", "_FIELD");
static OBJECT: Imported = Imported::new("builtins", "object");

/// The fields of a record, in the order in which its class declares them.
pub struct Fields<'py> {
    pub names: Vec<Bound<'py, PyString>>,
    /// Whether attrs made the class.
    pub attrs: bool,
}

/// The fields of a dataclass or attrs instance; `None` for anything else.
pub fn fields_of<'py>(value: &Bound<'py, PyAny>) -> PyResult<Option<Fields<'py>>> {
    let py = value.py();
    let class = value.get_type();
    if value.is_instance_of::<PyType>() {
        return Ok(None);
    }
    if let Some(fields) = class.getattr_opt(intern!(py, "__dataclass_fields__"))?
        && let Ok(fields) = fields.cast::<PyDict>()
    {
        let regular = FIELD.get(py)?;
        let mut names = Vec::with_capacity(fields.len());
        for (name, field) in fields.iter() {
            // Class variables and init-only ones stand in the same table.
            if field.getattr(intern!(py, "_field_type"))?.is(regular) {
                names.push(name.cast_into::<PyString>()?);
            }
        }
        return Ok(Some(Fields {
            names,
            attrs: false,
        }));
    }
    if let Some(fields) = class.getattr_opt(intern!(py, "__attrs_attrs__"))?
        && let Ok(fields) = fields.cast::<PyTuple>()
    {
        let mut names = Vec::with_capacity(fields.len());
        for field in fields.iter() {
            names.push(
                field
                    .getattr(intern!(py, "name"))?
                    .cast_into::<PyString>()?,
            );
        }
        return Ok(Some(Fields { names, attrs: true }));
    }
    Ok(None)
}

/// The same, if the fields are all there is to the instance: it can be taken apart and put
/// together again without its class's help.
pub fn splittable_fields<'py>(value: &Bound<'py, PyAny>) -> PyResult<Option<Fields<'py>>> {
    let py = value.py();
    let Some(fields) = fields_of(value)? else {
        return Ok(None);
    };
    let holds_more = value.is_instance_of::<PyList>()
        || value.is_instance_of::<PyDict>()
        || value.is_instance_of::<PyTuple>()
        || value.is_instance_of::<PySet>()
        || value.is_instance_of::<PyFrozenSet>()
        || value.is_instance_of::<PyString>()
        || value.is_instance_of::<PyBytes>()
        || value.is_instance_of::<PyInt>()
        || value.is_instance_of::<PyFloat>()
        || value.is_instance_of::<PyComplex>()
        || value.is_instance_of::<PyBaseException>();
    if holds_more {
        return Ok(None);
    }
    if let Some(attributes) = value.getattr_opt(intern!(py, "__dict__"))?
        && let Ok(attributes) = attributes.cast::<PyDict>()
    {
        for name in attributes.keys() {
            let known = fields
                .names
                .iter()
                .any(|field| field.as_any().eq(&name).unwrap_or(false));
            if !known {
                return Ok(None);
            }
        }
    }
    let (class, object) = (value.get_type(), OBJECT.get(py)?);
    for method in ["__reduce__", "__reduce_ex__"] {
        if !class.getattr(method)?.is(&object.getattr(method)?) {
            return Ok(None);
        }
    }
    Ok(Some(fields))
}
