//! Which classes there may be instances of: those that patterns name, and those of modules whose
//! functions are cached. Only what is imported already is found, and nothing runs to find it.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use pyo3::exceptions::PyImportError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyModule, PyString, PyType};

use crate::py::names::{Imported, loaded_module};
use crate::py::once::intern;

/// The modules of functions that are cached.
static MODULES: Mutex<Option<HashSet<String>>> = Mutex::new(None);

/// Notes that functions of this module are cached: instances of its classes are let in.
#[pyfunction]
pub fn note_function_module(name: &str) {
    let mut modules = MODULES.lock().unwrap_or_else(PoisonError::into_inner);
    let modules = modules.get_or_insert_default();
    if !modules.contains(name) {
        modules.insert(name.to_owned());
    }
}

fn is_function_module(name: &str) -> bool {
    let modules = MODULES.lock().unwrap_or_else(PoisonError::into_inner);
    modules.as_ref().is_some_and(|held| held.contains(name))
}

/// Whether a class of this name is let in.
pub fn is_allowed(allow: &[String], module: &str, name: &str) -> bool {
    let full = format!("{module}.{name}");
    is_function_module(module) || allow.iter().any(|pattern| matches(pattern, &full))
}

/// Whether a text is of a pattern, in which `*` stands for anything.
fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else {
        return false;
    };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        let Some(at) = rest.find(part) else {
            return false;
        };
        rest = &rest[at + part.len()..];
    }
    true
}

/// What is written of a class: `module:qualified name`.
pub fn name_of(class: &Bound<'_, PyType>) -> PyResult<(String, String)> {
    let py = class.py();
    let module = class.getattr(intern!(py, "__module__"))?;
    let module = module.extract::<String>().unwrap_or_default();
    let name = class.qualname()?.to_string_lossy().into_owned();
    // As which a spawned process knows the main script.
    let module = if module == "__mp_main__" {
        "__main__".to_owned()
    } else {
        module
    };
    Ok((module, name))
}

/// The class of a name, if it is imported and the name is its own. Only dictionaries are looked
/// into: no attribute is computed.
pub fn find<'py>(py: Python<'py>, module: &str, name: &str) -> PyResult<Bound<'py, PyType>> {
    let absent = |reason: &str| PyImportError::new_err(format!("{module}.{name} {reason}"));
    let Some(found) = loaded_module(py, module)? else {
        return Err(absent(&format!(
            "is not imported: import {module} first, as loading a value imports nothing"
        )));
    };
    let found = found.cast_into::<PyModule>();
    let found = found.map_err(|_| absent("is not to be found: its module is none"))?;
    let mut steps = name.split('.');
    let first = steps.next().unwrap_or_default();
    let mut class = found.dict().get_item(first)?;
    for step in steps {
        let Some(outer) = class else { break };
        let Ok(outer) = outer.cast_into::<PyType>() else {
            class = None;
            break;
        };
        class = own_attribute(&outer, step)?;
    }
    let class = class.and_then(|class| class.cast_into::<PyType>().ok());
    let class = class.ok_or_else(|| absent("is not there any more, or is no class"))?;
    let (own_module, own_name) = name_of(&class)?;
    if own_module != module || own_name != name {
        return Err(absent("is the name of another class"));
    }
    Ok(class)
}

/// What the body of a class says under a name; those of its bases do not count.
pub fn own_attribute<'py>(
    class: &Bound<'py, PyType>,
    name: &str,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    static TYPE: Imported = Imported::new("builtins", "type");
    let py = class.py();
    let dict = TYPE
        .get(py)?
        .getattr(intern!(py, "__dict__"))?
        .get_item(intern!(py, "__dict__"))?
        .call_method1(intern!(py, "__get__"), (class,))?;
    let found = dict.call_method1(intern!(py, "get"), (PyString::new(py, name),))?;
    Ok((!found.is_none()).then_some(found))
}

/// Whether the name of a class leads to it.
pub fn is_found(class: &Bound<'_, PyType>) -> PyResult<bool> {
    let (module, name) = name_of(class)?;
    match find(class.py(), &module, &name) {
        Ok(found) => Ok(found.is(class)),
        Err(error) if error.is_instance_of::<PyImportError>(class.py()) => Ok(false),
        Err(error) => Err(error),
    }
}

/// A dictionary of an object, without what its class computes.
pub fn own_dict<'py>(value: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyDict>> {
    // SAFETY: the object is one, and its class has room for a dictionary: `has_dict` was asked.
    let dict = unsafe {
        let dict = pyo3::ffi::PyObject_GenericGetDict(value.as_ptr(), std::ptr::null_mut());
        Bound::from_owned_ptr_or_err(value.py(), dict)?
    };
    Ok(dict.cast_into::<PyDict>()?)
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn patterns() {
        for (pattern, text, expected) in [
            ("a.*", "a.b", true),
            ("a.*", "a.b.c", true),
            ("a.*", "ab.c", false),
            ("a.B", "a.B", true),
            ("a.B", "a.BC", false),
            ("*", "anything", true),
            ("*.models.*", "a.models.B", true),
            ("*.models.*", "models.B", false),
            ("a*a", "a", false),
            ("a.*.C", "a.b.C", true),
            ("a.*.C", "a.b.D", false),
            ("", "", true),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }
}
