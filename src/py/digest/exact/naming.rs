//! Names: whether a module and a qualified name lead to an object, and whose code it is.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::py::once::Once;
use crate::py::once::intern;
use pyo3::prelude::*;
use pyo3::types::{PyModule, PyString, PyType};

use crate::py::names::{Imported, loaded_module};

static STANDARD_LIBRARY: Imported = Imported::new("sys", "stdlib_module_names");

/// The scripts, notebooks and prompts of all users share this one.
pub const MAIN: &str = "__main__";

/// As which a spawned process knows the main script.
pub const SPAWNED_MAIN: &str = "__mp_main__";

/// What the module and the qualified name of an object lead to; `None` if that is nothing.
fn named<'py>(named: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
    let py = named.py();
    let text = |name: &Bound<'py, PyString>| -> PyResult<Option<String>> {
        let found = named.getattr_opt(name)?;
        Ok(found.and_then(|found| found.extract::<String>().ok()))
    };
    let (Some(module), Some(name)) = (
        text(intern!(py, "__module__"))?,
        text(intern!(py, "__qualname__"))?,
    ) else {
        return Ok(None);
    };
    if name.contains('<') {
        return Ok(None);
    }
    let Some(mut found) = loaded_module(py, &module)? else {
        return Ok(None);
    };
    for part in name.split('.') {
        // A module may make what it is asked for, and fail.
        match found.getattr_opt(part) {
            Ok(Some(next)) => found = next,
            _ => return Ok(None),
        }
    }
    Ok(Some(found))
}

/// Whether the name of a function or class leads to it, or to what wraps it.
pub fn leads_to(object: &Bound<'_, PyAny>) -> PyResult<bool> {
    let Some(mut found) = named(object)? else {
        return Ok(false);
    };
    // As `inspect.unwrap`, which also gives up somewhere.
    for _ in 0..100 {
        if found.is(object) {
            return Ok(true);
        }
        match found.getattr_opt(intern!(object.py(), "__wrapped__")) {
            Ok(Some(inner)) => found = inner,
            _ => return Ok(false),
        }
    }
    Ok(false)
}

/// Whether the name of a function that is called tells it from all others: it can be imported, and
/// is not of a script.
pub fn is_named_function(function: &Bound<'_, PyAny>) -> PyResult<bool> {
    if is_main(&module_of(function)?) {
        return Ok(false);
    }
    leads_to(function)
}

/// The name of the module that an object says it is from.
pub fn module_of(object: &Bound<'_, PyAny>) -> PyResult<String> {
    let module = object.getattr_opt(intern!(object.py(), "__module__"))?;
    Ok(module
        .and_then(|module| module.extract().ok())
        .unwrap_or_default())
}

/// Whether this is the name of the main module.
pub fn is_main(module: &str) -> bool {
    module == MAIN || module == SPAWNED_MAIN
}

/// Whether a module of this name is of the standard library or of an installed distribution, and
/// not the user's own. One that is being developed (an editable installation) is the user's own.
pub fn is_installed(py: Python<'_>, name: &str) -> PyResult<bool> {
    static KNOWN: Mutex<Option<HashMap<String, bool>>> = Mutex::new(None);
    let top = name.split('.').next().unwrap_or_default();
    if is_main(top) || top.is_empty() {
        return Ok(false);
    }
    if top == "fleche" || top == "builtins" || STANDARD_LIBRARY.get(py)?.contains(top)? {
        return Ok(true);
    }
    let lock = || KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let known = lock().as_ref().and_then(|known| known.get(name).copied());
    if let Some(known) = known {
        return Ok(known);
    }
    let Some(module) = loaded_module(py, name)? else {
        return Ok(false);
    };
    let installed = match module.getattr_opt(intern!(py, "__file__"))? {
        Some(file) => match file.extract::<String>() {
            Ok(file) => is_installed_file(py, &file)?,
            Err(_) => is_namespace_installed(&module)?,
        },
        // Compiled into the interpreter, or made at run time.
        None => !module
            .getattr_opt(intern!(py, "__spec__"))?
            .is_none_or(|spec| spec.is_none()),
    };
    lock()
        .get_or_insert_default()
        .insert(name.to_owned(), installed);
    Ok(installed)
}

/// Whether a module that is not loaded yet is of an installed distribution.
pub fn is_installed_spec(spec: &Bound<'_, PyAny>) -> PyResult<bool> {
    let py = spec.py();
    match spec.getattr(intern!(py, "origin"))?.extract::<String>() {
        Ok(file) => Ok(matches!(&*file, "built-in" | "frozen") || is_installed_file(py, &file)?),
        Err(_) => Ok(false),
    }
}

fn is_namespace_installed(module: &Bound<'_, PyAny>) -> PyResult<bool> {
    let py = module.py();
    let Some(paths) = module.getattr_opt(intern!(py, "__path__"))? else {
        return Ok(false);
    };
    for path in paths.try_iter()? {
        if !is_installed_file(py, &path?.str()?.to_string_lossy())? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether a file lies where distributions, or the standard library, are installed.
fn is_installed_file(py: Python<'_>, file: &str) -> PyResult<bool> {
    static STANDARD: Once<String> = Once::new();
    let standard = STANDARD.get_or_try_init(py, || {
        let file: String = py.import("os")?.getattr("__file__")?.extract()?;
        let folder = file
            .rsplit_once(['/', '\\'])
            .map_or("", |(folder, _)| folder);
        Ok::<_, PyErr>(folder.to_owned())
    })?;
    let mut folders = file.split(['/', '\\']);
    Ok(
        folders.any(|folder| folder == "site-packages" || folder == "dist-packages")
            || (!standard.is_empty() && file.starts_with(standard.as_str())),
    )
}

/// Whether a function or class is of the standard library or an installed distribution, and its
/// name leads to it.
pub fn is_installed_name(object: &Bound<'_, PyAny>) -> PyResult<bool> {
    Ok(is_installed(object.py(), &module_of(object)?)? && leads_to(object)?)
}

/// Whether a module counts by its name.
pub fn is_installed_module(module: &Bound<'_, PyModule>) -> PyResult<bool> {
    let py = module.py();
    let name = module.name()?;
    let name = name.to_string_lossy();
    Ok(is_installed(py, &name)? && loaded_module(py, &name)?.is_some_and(|real| real.is(module)))
}

/// Whether a class was made by a `class` statement, or the like, and not by C code as one of its
/// static types, some of which have names that lead nowhere.
pub fn is_made_by_a_program(class: &Bound<'_, PyType>) -> PyResult<bool> {
    const HEAP_TYPE: u64 = 1 << 9;
    let flags: u64 = class.getattr(intern!(class.py(), "__flags__"))?.extract()?;
    Ok(flags & HEAP_TYPE != 0)
}
