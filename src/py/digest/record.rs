//! What makes a dataclass or attrs instance, for the walks and for storages that split values.

use crate::py::once::intern;
use pyo3::exceptions::PyBaseException;
use pyo3::prelude::*;
use pyo3::types::{
    PyBytes, PyComplex, PyDict, PyFloat, PyFrozenSet, PyInt, PyList, PySet, PyString, PyTuple,
    PyType,
};

use crate::py::names::Imported;

static FIELD: Imported = Imported::new("dataclasses", "_FIELD");
static SLOT_NAMES: Imported = Imported::new("copyreg", "_slotnames");
static OBJECT: Imported = Imported::new("builtins", "object");

/// What a decorated function answers to `__digest__`.
#[pyclass(frozen, module = "fleche._core")]
pub struct DecoratedDigest {
    original: Py<PyAny>,
    version: Py<PyAny>,
}

#[pymethods]
impl DecoratedDigest {
    #[new]
    fn new(original: Py<PyAny>, version: Py<PyAny>) -> Self {
        Self { original, version }
    }

    /// In the scheme in force.
    #[pyo3(signature = ())]
    fn __call__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        super::digest_of(self.original.bind(py), false, None)
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> (Bound<'py, PyType>, (Py<PyAny>, Py<PyAny>)) {
        let py = slf.py();
        let this = slf.get();
        // Read here, where its source is: what was read goes along with the function. One that
        // cannot be read goes without.
        drop(super::exact_digest(this.original.bind(py), false));
        let parts = (this.original.clone_ref(py), this.version.clone_ref(py));
        (slf.get_type(), parts)
    }
}

impl DecoratedDigest {
    /// What was decorated, and its version.
    pub fn parts<'py>(&self, py: Python<'py>) -> (Bound<'py, PyAny>, Bound<'py, PyAny>) {
        (
            self.original.bind(py).clone(),
            self.version.bind(py).clone(),
        )
    }
}

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
    let is_field = |name: &Bound<'py, PyAny>| {
        let mut names = fields.names.iter();
        names.any(|field| field.as_any().eq(name).unwrap_or(false))
    };
    if let Some(attributes) = value.getattr_opt(intern!(py, "__dict__"))?
        && let Ok(attributes) = attributes.cast::<PyDict>()
        && !attributes.keys().iter().all(|name| is_field(&name))
    {
        return Ok(None);
    }
    let class = value.get_type();
    if class.hasattr(intern!(py, "__slots__"))? {
        let slots = SLOT_NAMES.get(py)?.call1((&class,))?;
        for name in slots.cast::<PyList>()?.iter() {
            let name = name.cast_into::<PyString>()?;
            if !is_field(&name) && value.getattr_opt(&name)?.is_some() {
                return Ok(None);
            }
        }
    }
    Ok((!pickles_in_its_own_way(&class)?).then_some(fields))
}

/// Whether a class is a dataclass or made by attrs.
pub fn has_fields(class: &Bound<'_, PyType>) -> PyResult<bool> {
    let py = class.py();
    Ok(class.hasattr(intern!(py, "__dataclass_fields__"))?
        || class.hasattr(intern!(py, "__attrs_attrs__"))?)
}

/// Whether a field takes part when instances are compared.
pub fn is_compared(
    value: &Bound<'_, PyAny>,
    fields: &Fields<'_>,
    name: &Bound<'_, PyString>,
) -> PyResult<bool> {
    let py = value.py();
    let class = value.get_type();
    if !fields.attrs {
        let known = class.getattr(intern!(py, "__dataclass_fields__"))?;
        let compared = known.get_item(name)?.getattr(intern!(py, "compare"))?;
        return compared.is_truthy();
    }
    for field in class.getattr(intern!(py, "__attrs_attrs__"))?.try_iter()? {
        let field = field?;
        if field.getattr(intern!(py, "name"))?.eq(name)? {
            return field.getattr(intern!(py, "eq"))?.is_truthy();
        }
    }
    Ok(true)
}

/// Whether a class says itself what makes its instances.
pub fn pickles_in_its_own_way(class: &Bound<'_, PyType>) -> PyResult<bool> {
    let py = class.py();
    let object = OBJECT.get(py)?;
    for name in ["__reduce__", "__reduce_ex__"] {
        if !class.getattr(name)?.is(&object.getattr(name)?) {
            return Ok(true);
        }
    }
    for name in ["__getnewargs__", "__getnewargs_ex__"] {
        if class.hasattr(name)? {
            return Ok(true);
        }
    }
    for name in ["__getstate__", "__setstate__"] {
        let Some(method) = class.getattr_opt(name)? else {
            continue;
        };
        let default = object.getattr_opt(name)?;
        if default.is_some_and(|default| default.is(&method)) {
            continue;
        }
        // Those that `dataclasses` and attrs give to classes with slots tell the fields.
        let made = match method.getattr_opt(intern!(py, "__globals__"))? {
            Some(names) => names
                .get_item(intern!(py, "__name__"))?
                .extract::<String>()?,
            None => String::new(),
        };
        if made != "dataclasses" && made != "attr._make" {
            return Ok(true);
        }
    }
    Ok(false)
}
