//! Python objects that are looked up once: modules' attributes and types.

use crate::py::once::Once;
use pyo3::prelude::*;
use pyo3::types::PyType;

/// An attribute of a module, imported when first needed and kept for the process's life.
pub struct Imported {
    module: &'static str,
    name: &'static str,
    object: Once<Py<PyAny>>,
}

impl Imported {
    pub const fn new(module: &'static str, name: &'static str) -> Self {
        Self {
            module,
            name,
            object: Once::new(),
        }
    }

    /// The attribute; imports its module if that was not done yet.
    pub fn get<'py>(&'static self, py: Python<'py>) -> PyResult<&'py Bound<'py, PyAny>> {
        self.object
            .get_or_try_init(py, || {
                Ok(py.import(self.module)?.getattr(self.name)?.unbind())
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
        if loaded_module(py, self.module)?.is_none() {
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
    static MODULES: Once<Py<PyAny>> = Once::new();
    let modules = MODULES.get_or_try_init(py, || {
        Ok::<_, PyErr>(py.import("sys")?.getattr("modules")?.unbind())
    })?;
    let module = modules
        .bind(py)
        .call_method1(crate::py::once::intern!(py, "get"), (name,))?;
    Ok((!module.is_none()).then_some(module))
}

/// The module and the qualified name of a class or function, with a NUL between them.
///
/// A class's short name cannot contain NUL, so that this never equals one: what names a class by
/// its identity (typed digests) cannot meet what names it by its short name.
pub fn identity(named: &Bound<'_, PyAny>) -> PyResult<String> {
    let py = named.py();
    let module = named.getattr(crate::py::once::intern!(py, "__module__"))?;
    let module = module.extract::<String>().unwrap_or_default();
    let name = named.getattr(crate::py::once::intern!(py, "__qualname__"))?;
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
