//! What a class is, found once for each.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use pyo3::exceptions::PyImportError;
use pyo3::prelude::*;
use pyo3::types::PyType;

use super::records::Record;
use super::{classes, dotted};
use crate::py::names::Imported;

/// How many classes are remembered.
const MOST: usize = 1 << 12;

/// What a class that is not one of the most common built-in ones is.
pub enum Kind {
    /// One of the standard library's or of ours, by the name that is written.
    Standard(Standard),
    NdArray,
    NumpyScalar,
    NumpyText,
    NumpyBytes,
    NumpyDtype,
    Record(Arc<Record>),
    /// A class of a library, taken apart by the module of this name.
    Library(&'static str),
    /// Why there can be no instance of it.
    Refused(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standard {
    Range,
    Slice,
    DateTime,
    Date,
    Time,
    TimeDelta,
    TimeZone,
    ZoneInfo,
    Decimal,
    Fraction,
    Uuid,
    Path,
    OrderedDict,
    DefaultDict,
    Counter,
    Deque,
    Namespace,
    Array,
    Exception,
    Digest,
    SplitSequence,
    SplitDict,
    SplitRecord,
    Outcome,
    Items,
}

/// Classes by name: the place, the name there, what it is.
const STANDARD: &[(&str, &str, Standard)] = &[
    ("builtins", "range", Standard::Range),
    ("builtins", "slice", Standard::Slice),
    ("datetime", "datetime", Standard::DateTime),
    ("datetime", "date", Standard::Date),
    ("datetime", "time", Standard::Time),
    ("datetime", "timedelta", Standard::TimeDelta),
    ("datetime", "timezone", Standard::TimeZone),
    ("zoneinfo", "ZoneInfo", Standard::ZoneInfo),
    ("decimal", "Decimal", Standard::Decimal),
    ("fractions", "Fraction", Standard::Fraction),
    ("uuid", "UUID", Standard::Uuid),
    ("pathlib", "PurePosixPath", Standard::Path),
    ("pathlib", "PureWindowsPath", Standard::Path),
    ("pathlib", "PosixPath", Standard::Path),
    ("pathlib", "WindowsPath", Standard::Path),
    ("collections", "OrderedDict", Standard::OrderedDict),
    ("collections", "defaultdict", Standard::DefaultDict),
    ("collections", "Counter", Standard::Counter),
    ("collections", "deque", Standard::Deque),
    ("types", "SimpleNamespace", Standard::Namespace),
    ("array", "array", Standard::Array),
    ("fleche.digest", "Digest", Standard::Digest),
    (
        "fleche.storage.destructuring",
        "DigestedIterable",
        Standard::SplitSequence,
    ),
    (
        "fleche.storage.destructuring",
        "DigestedDict",
        Standard::SplitDict,
    ),
    (
        "fleche.storage.destructuring",
        "DigestedDataclass",
        Standard::SplitRecord,
    ),
    (
        "fleche.storage.destructuring",
        "DigestedAttrs",
        Standard::SplitRecord,
    ),
    ("fleche.call.outcomes", "Outcome", Standard::Outcome),
    ("fleche.call.outcomes", "Items", Standard::Items),
];

static NDARRAY: Imported = Imported::new("numpy", "ndarray");
static GENERIC: Imported = Imported::new("numpy", "generic");
static NUMPY_STR: Imported = Imported::new("numpy", "str_");
static NUMPY_BYTES: Imported = Imported::new("numpy", "bytes_");
static NUMPY_DTYPE: Imported = Imported::new("numpy", "dtype");
static SYS_MODULES: Imported = Imported::new("sys", "modules");
static EXCEPTION: Imported = Imported::new("builtins", "BaseException");

/// A class, and what it is.
type Known = (Py<PyType>, Arc<Kind>);

/// The classes that there may be instances of, and what was found of those that were met.
pub struct Kinds {
    allow: Vec<String>,
    /// With the class, so that no other takes its address.
    known: Mutex<HashMap<usize, Known>>,
}

impl Kinds {
    pub fn new(allow: Vec<String>) -> Self {
        Self {
            allow,
            known: Mutex::default(),
        }
    }

    /// What a class is.
    pub fn of(&self, class: &Bound<'_, PyType>) -> PyResult<Arc<Kind>> {
        let address = class.as_ptr() as usize;
        let lock = || self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, kind)) = lock().get(&address) {
            return Ok(kind.clone());
        }
        let kind = Arc::new(self.find(class)?);
        // A class may be let in later, or its module imported.
        if !matches!(*kind, Kind::Refused(_)) {
            let mut known = lock();
            if known.len() >= MOST {
                known.clear();
            }
            known.insert(address, (class.clone().unbind(), kind.clone()));
        }
        Ok(kind)
    }

    fn find(&self, class: &Bound<'_, PyType>) -> PyResult<Kind> {
        let py = class.py();
        let (module, name) = classes::name_of(class)?;
        for (known_module, known_name, standard) in STANDARD {
            let here = module == *known_module
                || (*known_module == "pathlib" && module == "pathlib._local");
            if here && name == *known_name && is_at(class, known_module, known_name)? {
                return Ok(Kind::Standard(*standard));
            }
        }
        if module == "builtins" && class.is_subclass(EXCEPTION.get(py)?)? {
            return Ok(Kind::Standard(Standard::Exception));
        }
        match module.split('.').next().unwrap_or_default() {
            "numpy" => return numpy(class),
            "pandas" => return Ok(Kind::Library("fleche.storage.cbor.pandas_parts")),
            "polars" => return Ok(Kind::Library("fleche.storage.cbor.polars_parts")),
            "pyarrow" => return Ok(Kind::Library("fleche.storage.cbor.arrow_parts")),
            _ => {}
        }
        match Record::of(class)? {
            Ok(record) => match self.refusal(class)? {
                None => Ok(Kind::Record(Arc::new(record))),
                Some(reason) => Ok(Kind::Refused(reason)),
            },
            Err(reason) => Ok(Kind::Refused(reason)),
        }
    }

    /// Why instances of a class that has the form for it are not held.
    fn refusal(&self, class: &Bound<'_, PyType>) -> PyResult<Option<String>> {
        let (module, name) = classes::name_of(class)?;
        if !classes::is_allowed(&self.allow, &module, &name) {
            return Ok(Some(format!(
                "its class is not let in: add \"{}.*\" to `allow`",
                module.split('.').next().unwrap_or_default()
            )));
        }
        if !classes::is_found(class)? {
            return Ok(Some(
                "the name of its class does not lead to it, so that it could not be found again"
                    .to_owned(),
            ));
        }
        Ok(None)
    }

    /// The record's class of a name that is written.
    pub fn record(&self, py: Python<'_>, written: &str) -> PyResult<Arc<Record>> {
        let Some((module, name)) = written.split_once(':') else {
            return Err(PyImportError::new_err(format!("{written} names no class")));
        };
        if !classes::is_allowed(&self.allow, module, name) {
            return Err(PyImportError::new_err(format!(
                "the class {module}.{name} is not let in: add it to `allow`, or import the module \
                 of the cached function that returned it"
            )));
        }
        let class = classes::find(py, module, name)?;
        match &*self.of(&class)? {
            Kind::Record(record) => Ok(record.clone()),
            Kind::Refused(reason) => Err(PyImportError::new_err(format!(
                "{module}.{name} is no class of records any more: {reason}"
            ))),
            _ => Err(PyImportError::new_err(format!(
                "{module}.{name} is no class of records"
            ))),
        }
    }
}

fn numpy(class: &Bound<'_, PyType>) -> PyResult<Kind> {
    let py = class.py();
    if class.is(NDARRAY.get(py)?) {
        return Ok(Kind::NdArray);
    }
    if class.is(NUMPY_STR.get(py)?) {
        return Ok(Kind::NumpyText);
    }
    if class.is(NUMPY_BYTES.get(py)?) {
        return Ok(Kind::NumpyBytes);
    }
    if class.is_subclass(GENERIC.get(py)?)? {
        return Ok(Kind::NumpyScalar);
    }
    if class.is_subclass(NUMPY_DTYPE.get(py)?)? {
        return Ok(Kind::NumpyDtype);
    }
    Ok(Kind::Refused(format!("{} is not held", dotted(class))))
}

/// Whether this class is what a module that is loaded has under a name.
fn is_at(class: &Bound<'_, PyType>, module: &str, name: &str) -> PyResult<bool> {
    let found = SYS_MODULES
        .get(class.py())?
        .call_method1("get", (module,))?;
    if found.is_none() {
        return Ok(false);
    }
    Ok(found
        .getattr_opt(name)?
        .is_some_and(|found| found.is(class)))
}
