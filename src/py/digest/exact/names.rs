//! How classes are told apart.

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyType;

/// The module and the qualified name of a class, with a NUL between them.
///
/// A class's short name cannot contain NUL, so that this never equals one: what names a class by
/// its identity (typed digests) cannot meet what names it by its short name.
pub fn class_identity(class: &Bound<'_, PyType>) -> PyResult<String> {
    let module = class.getattr(intern!(class.py(), "__module__"))?;
    let module = module.extract::<String>().unwrap_or_default();
    let name = class.qualname()?;
    let name = name.to_string_lossy();
    Ok(match (module.as_str(), name.as_ref()) {
        // As which a spawned process knows the main script.
        ("__mp_main__", name) => format!("__main__\0{name}"),
        // Its name before numpy 2.
        ("numpy", "bool_") => "numpy\0bool".to_owned(),
        (module, name) => format!("{module}\0{name}"),
    })
}
