//! Call records of a folder, read in bulk.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::py::once::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyString, PyTuple};

use super::file::FileStore;
use super::filter::{FilterParts, filter_of};
use crate::engine::bulk::{Found, Memory};
use crate::engine::digest::Hash;
use crate::engine::pickle::{Record, Value};
use crate::engine::record::Filter;
use crate::py::digest::to_digest;
use crate::py::names::Imported;

static DIGESTED_CALL: Imported = Imported::new("fleche.call", "DigestedCall");

/// How many entries are read at first, and at most at once: who wants one record only waits for
/// few, who wants all of them has the threads busy for milliseconds.
const FIRST: usize = 64;
const MOST: usize = 512;

/// A pass over the records of a folder, those that were there when it began.
#[pyclass(frozen, module = "fleche._core")]
pub struct RecordScan {
    files: Py<FileStore>,
    filter: Filter,
    keys: Vec<Hash>,
    /// How many of the keys were read.
    done: AtomicUsize,
}

#[pymethods]
impl RecordScan {
    /// Over the records of a folder that pass a filter.
    #[new]
    fn new(files: &Bound<'_, FileStore>, filter: FilterParts<'_>) -> PyResult<Self> {
        Ok(Self {
            keys: files.get().keys(files.py())?,
            filter: filter_of(filter)?,
            files: files.clone().unbind(),
            done: AtomicUsize::new(0),
        })
    }

    /// Some of the records that pass the filter, and the keys of those that the storage has to
    /// read itself; `None` at the end.
    fn next<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyList>>> {
        let files = self.files.bind(py).get();
        loop {
            let start = self.done.load(Ordering::Relaxed);
            if start >= self.keys.len() {
                return Ok(None);
            }
            let end = self.keys.len().min(start + start.clamp(FIRST, MOST));
            self.done.store(end, Ordering::Relaxed);
            let keys = &self.keys[start..end];
            let mut memory = Memory::default();
            let found = py.detach(|| files.read_records(keys, &self.filter, &mut memory));
            if found.is_empty() {
                py.check_signals()?;
                continue;
            }
            let mut maker = Maker {
                py,
                names: HashMap::new(),
            };
            let list = PyList::empty(py);
            for (key, found) in found {
                list.append(match found {
                    Found::Record(record) => maker.record(&record)?,
                    Found::Other => to_digest(py, &key)?,
                })?;
            }
            return Ok(Some(list));
        }
    }
}

/// Makes Python's records, as unpickling makes them.
struct Maker<'py, 'a> {
    py: Python<'py>,
    /// Names of functions, arguments and metadata: few, and in nearly every record.
    names: HashMap<&'a str, Bound<'py, PyString>>,
}

impl<'py, 'a> Maker<'py, 'a> {
    fn record(&mut self, record: &Record<'a>) -> PyResult<Bound<'py, PyAny>> {
        let py = self.py;
        let arguments = PyDict::new(py);
        for (name, hash) in &record.arguments {
            arguments.set_item(self.name(name), to_digest(py, hash)?)?;
        }
        let result = record.result.map(|hash| to_digest(py, &hash)).transpose()?;
        let module = record.module.map(|module| self.name(module));
        let code_digest = record.code_digest.as_ref().map(|value| self.value(value));
        let fields = PyDict::new(py);
        fields.set_item(intern!(py, "name"), self.name(record.name))?;
        fields.set_item(intern!(py, "arguments"), arguments)?;
        fields.set_item(intern!(py, "result"), result)?;
        fields.set_item(intern!(py, "metadata"), self.dict(&record.metadata)?)?;
        fields.set_item(intern!(py, "module"), module)?;
        fields.set_item(intern!(py, "version"), self.value(&record.version)?)?;
        fields.set_item(intern!(py, "code_digest"), code_digest.transpose()?)?;
        let class = DIGESTED_CALL.get(py)?;
        let instance = class.call_method1(intern!(py, "__new__"), (class,))?;
        instance.setattr(intern!(py, "__dict__"), fields)?;
        Ok(instance)
    }

    fn name(&mut self, name: &'a str) -> Bound<'py, PyString> {
        if let Some(known) = self.names.get(name) {
            return known.clone();
        }
        let text = PyString::new(self.py, name);
        self.names.insert(name, text.clone());
        text
    }

    fn dict(&mut self, items: &[(Value<'a>, Value<'a>)]) -> PyResult<Bound<'py, PyDict>> {
        let dict = PyDict::new(self.py);
        for (key, value) in items {
            let key = match key {
                Value::Text(name) => self.name(name).into_any(),
                other => self.value(other)?,
            };
            dict.set_item(key, self.value(value)?)?;
        }
        Ok(dict)
    }

    fn several(&mut self, values: &[Value<'a>]) -> PyResult<Vec<Bound<'py, PyAny>>> {
        values.iter().map(|value| self.value(value)).collect()
    }

    fn value(&mut self, value: &Value<'a>) -> PyResult<Bound<'py, PyAny>> {
        let py = self.py;
        Ok(match value {
            Value::None => py.None().into_bound(py),
            Value::Bool(value) => value.into_pyobject(py)?.to_owned().into_any(),
            Value::Int(value) => value.into_pyobject(py)?.into_any(),
            Value::Float(value) => value.into_pyobject(py)?.into_any(),
            Value::Text(value) => PyString::new(py, value).into_any(),
            Value::Digest(hash) => to_digest(py, hash)?,
            Value::List(values) => PyList::new(py, self.several(values)?)?.into_any(),
            Value::Tuple(values) => PyTuple::new(py, self.several(values)?)?.into_any(),
            Value::Dict(items) => self.dict(items)?.into_any(),
        })
    }
}
