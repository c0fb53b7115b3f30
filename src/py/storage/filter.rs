//! Filters as Python passes them.

use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::engine::record::{Condition, Filter};

/// Name, module, code digest, version, result, arguments, metadata; `fleche.storage.filters`
/// makes them.
pub type FilterParts<'py> = (
    Option<String>,
    Option<String>,
    Option<String>,
    Option<Vec<String>>,
    Option<Vec<String>>,
    Vec<(String, Option<Vec<String>>)>,
    Vec<(String, Vec<(String, Bound<'py, PyAny>)>)>,
);

pub fn filter_of(parts: FilterParts<'_>) -> PyResult<Filter> {
    let (name, module, code_digest, version, result, arguments, metadata) = parts;
    let mut filter = Filter {
        name,
        module,
        code_digest,
        version,
        result,
        arguments,
        ..Filter::default()
    };
    for (name, members) in metadata {
        let mut conditions = Vec::with_capacity(members.len());
        for (member, value) in members {
            let condition = if let Ok(text) = value.cast::<PyString>() {
                Condition::Text(text.extract()?)
            } else if let Ok(number) = value.extract::<f64>() {
                // `true` is 1 to SQLite, too.
                Condition::Number(number)
            } else {
                Condition::Present
            };
            conditions.push((member, condition));
        }
        filter.metadata.push((name, conditions));
    }
    Ok(filter)
}
