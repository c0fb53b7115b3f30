//! Python objects that are looked up once: modules' attributes and types.

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyType};

use crate::py::once::{Interned, Once, intern};

/// An attribute of a module, imported when first needed and kept for the process's life.
pub struct Imported {
    module: Interned,
    name: &'static str,
    object: Once<Py<PyAny>>,
}

impl Imported {
    pub const fn new(module: &'static str, name: &'static str) -> Self {
        Self {
            module: Interned::new(module),
            name,
            object: Once::new(),
        }
    }

    /// The attribute; imports its module if that was not done yet.
    pub fn get<'py>(&'static self, py: Python<'py>) -> PyResult<&'py Bound<'py, PyAny>> {
        self.object
            .get_or_try_init(py, || {
                Ok(py.import(self.module.get(py))?.getattr(self.name)?.unbind())
            })
            .map(|object| object.bind(py))
    }

    /// The attribute, unless its module was never imported: then no value can be of its kind.
    pub fn if_loaded<'py>(
        &'static self,
        py: Python<'py>,
    ) -> PyResult<Option<&'py Bound<'py, PyAny>>> {
        if let Some(object) = self.object.get(py) {
            return Ok(Some(object.bind(py)));
        }
        // Asked at every hit, of what a program may never import.
        if found_module(self.module.get(py))?.is_none() {
            return Ok(None);
        }
        self.get(py).map(Some)
    }

    /// Whether `value` is an instance of this class; false while the class's module is not loaded.
    pub fn is_instance(&'static self, value: &Bound<'_, PyAny>) -> PyResult<bool> {
        match self.if_loaded(value.py())? {
            Some(class) => value.is_instance(class),
            None => Ok(false),
        }
    }
}

/// A module that something else has imported already.
pub fn loaded_module<'py>(py: Python<'py>, name: &str) -> PyResult<Option<Bound<'py, PyAny>>> {
    found_module(&PyString::new(py, name))
}

fn found_module<'py>(name: &Bound<'py, PyString>) -> PyResult<Option<Bound<'py, PyAny>>> {
    static MODULES: Once<Py<PyAny>> = Once::new();
    let py = name.py();
    let modules = MODULES.get_or_try_init(py, || {
        Ok::<_, PyErr>(py.import("sys")?.getattr("modules")?.unbind())
    })?;
    let modules = modules.bind(py);
    let module = match modules.cast_exact::<PyDict>() {
        Ok(modules) => modules.get_item(name)?,
        Err(_) => Some(modules.call_method1(intern!(py, "get"), (name,))?),
    };
    Ok(module.filter(|module| !module.is_none()))
}

/// The module and the qualified name of a class or function, with a NUL between them.
///
/// A class's short name cannot contain NUL, so that this never equals one: what names a class by
/// its identity (typed digests) cannot meet what names it by its short name.
pub fn identity(named: &Bound<'_, PyAny>) -> PyResult<String> {
    let py = named.py();
    let module = named.getattr(intern!(py, "__module__"))?;
    let module = module.extract::<String>().unwrap_or_default();
    let name = named.getattr(intern!(py, "__qualname__"))?;
    let name = name.str()?;
    let name = name.to_string_lossy();
    Ok(match (module.as_str(), name.as_ref()) {
        // As which a spawned process knows the main script.
        ("__mp_main__", name) => format!("__main__\0{name}"),
        // numpy moves its classes between modules, and renamed one.
        ("numpy", "bool_") => "numpy\0bool".to_owned(),
        (module, name) if module.starts_with("numpy.") => format!("numpy\0{name}"),
        (module, name) => format!("{module}\0{name}"),
    })
}

/// The identity of a class.
pub fn class_identity(class: &Bound<'_, PyType>) -> PyResult<String> {
    identity(class.as_any())
}

pub static DIGEST: Imported = Imported::new("fleche.digest", "Digest");
pub static INDIGESTIBLE: Imported = Imported::new("fleche.digest", "Indigestible");
pub static AMBIGUOUS_DIGEST: Imported =
    Imported::new("fleche.storage.base", "AmbiguousDigestError");
