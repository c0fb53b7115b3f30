//! Configuration files as Python dicts; what they mean is `fleche.config`'s business.

use std::path::PathBuf;

use pyo3::exceptions::{PyOSError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};
use pythonize::pythonize;
use toml::Value;

use crate::engine::config::{self, ConfigError, Host, Shape};
use crate::py::names::Imported;

/// The configuration files that exist, the one that wins first.
#[pyfunction]
pub fn config_paths(py: Python<'_>) -> Vec<PathBuf> {
    py.detach(|| config::config_paths(&Host))
}

/// The tables of one configuration file, its relative paths made absolute.
#[pyfunction]
pub fn read_config(py: Python<'_>, path: PathBuf) -> PyResult<Bound<'_, PyDict>> {
    let table = py.detach(|| config::load(&path)).map_err(|error| {
        let message = error.to_string();
        match error {
            ConfigError::Unreadable(_) => PyOSError::new_err(message),
            _ => PyValueError::new_err(message),
        }
    })?;
    table_to_python(py, &table)
}

/// Merge the top-level keys of configurations, the first one closest.
#[pyfunction]
pub fn merge_configs<'py>(
    py: Python<'py>,
    layers: Vec<Bound<'py, PyDict>>,
) -> PyResult<Bound<'py, PyDict>> {
    let keys = layers
        .iter()
        .map(|layer| layer.keys().extract())
        .collect::<PyResult<Vec<Vec<String>>>>()?;
    let merged = PyDict::new(py);
    for winner in config::winners(&keys) {
        merged.set_item(
            &winner.key,
            layers[winner.layer].as_any().get_item(&winner.key)?,
        )?;
    }
    Ok(merged)
}

/// The text with the values of the environment variables that it names.
#[pyfunction]
pub fn expand_variables(text: &str) -> PyResult<String> {
    config::expand(text, &Host).map_err(|error| PyValueError::new_err(error.to_string()))
}

/// What `expand_variables` gives `text` for.
#[pyfunction]
pub fn escape_variables(text: &str) -> String {
    config::escape(text)
}

/// Whether a text is a `"path"`, a `"url"`, or something `"mistyped"`.
#[pyfunction]
pub fn path_or_url(text: &str) -> &'static str {
    match config::shape(text) {
        Shape::Path => "path",
        Shape::Url => "url",
        Shape::Mistyped => "mistyped",
    }
}

fn table_to_python<'py>(py: Python<'py>, table: &toml::Table) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    for (key, value) in table {
        dict.set_item(key, to_python(py, value)?)?;
    }
    Ok(dict)
}

fn to_python<'py>(py: Python<'py>, value: &Value) -> PyResult<Bound<'py, PyAny>> {
    match value {
        Value::Table(table) => Ok(table_to_python(py, table)?.into_any()),
        Value::Array(items) => {
            let list = PyList::empty(py);
            for item in items {
                list.append(to_python(py, item)?)?;
            }
            Ok(list.into_any())
        }
        Value::Datetime(moment) => {
            static DATETIME: Imported = Imported::new("datetime", "datetime");
            static DATE: Imported = Imported::new("datetime", "date");
            static TIME: Imported = Imported::new("datetime", "time");
            let class = match (moment.date, moment.time) {
                (Some(_), Some(_)) => &DATETIME,
                (Some(_), None) => &DATE,
                (None, _) => &TIME,
            };
            class.get(py)?.call_method1(
                crate::py::once::intern!(py, "fromisoformat"),
                (moment.to_string(),),
            )
        }
        scalar => Ok(pythonize(py, scalar)?),
    }
}
