//! Python objects that are looked up once: modules' attributes and types.

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyType;

/// An attribute of a module, imported when first needed and kept for the process's life.
pub struct Imported {
    module: &'static str,
    name: &'static str,
    object: PyOnceLock<Py<PyAny>>,
}

impl Imported {
    pub const fn new(module: &'static str, name: &'static str) -> Self {
        Self {
            module,
            name,
            object: PyOnceLock::new(),
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
    static MODULES: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let modules = MODULES.get_or_try_init(py, || {
        Ok::<_, PyErr>(py.import("sys")?.getattr("modules")?.unbind())
    })?;
    let module = modules
        .bind(py)
        .call_method1(pyo3::intern!(py, "get"), (name,))?;
    Ok((!module.is_none()).then_some(module))
}

/// `module.qualname` of a class; `__mp_main__`, as which a spawned process knows the main script,
/// counts as `__main__`.
pub fn qualified_name(class: &Bound<'_, PyType>) -> PyResult<String> {
    let module = class.getattr(pyo3::intern!(class.py(), "__module__"))?;
    let module = module.extract::<String>().unwrap_or_default();
    let module = if module == "__mp_main__" {
        "__main__"
    } else {
        &module
    };
    let qualname = class.qualname()?;
    Ok(format!("{module}.{}", qualname.to_string_lossy()))
}

pub static DIGEST: Imported = Imported::new("fleche.digest", "Digest");
pub static INDIGESTIBLE: Imported = Imported::new("fleche.digest", "Indigestible");
pub static AMBIGUOUS_DIGEST: Imported =
    Imported::new("fleche.storage.base", "AmbiguousDigestError");
