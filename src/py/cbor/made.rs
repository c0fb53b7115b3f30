//! Objects by the name of their kind.

use pyo3::exceptions::{PyImportError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDateTime, PyDict, PyList, PyString, PyTuple, PyTzInfo};

use super::arrays::numpy_bytes;
use super::decode::Decoder;
use super::records::Form;
use crate::engine::cbor::clocks;
use crate::py::names::Imported;
use crate::py::once::intern;

/// What a `defaultdict` may make: classes of this name in `builtins`.
pub const FACTORIES: [&str; 11] = [
    "list",
    "dict",
    "set",
    "frozenset",
    "tuple",
    "int",
    "float",
    "complex",
    "str",
    "bytes",
    "bool",
];

static BUILTINS: Imported = Imported::new("builtins", "__dict__");
static EXCEPTION: Imported = Imported::new("builtins", "BaseException");
static RANGE: Imported = Imported::new("builtins", "range");
static SLICE: Imported = Imported::new("builtins", "slice");
static DATETIME: Imported = Imported::new("datetime", "datetime");
static TIME: Imported = Imported::new("datetime", "time");
static TIMEDELTA: Imported = Imported::new("datetime", "timedelta");
static TIMEZONE: Imported = Imported::new("datetime", "timezone");
static TZINFO: Imported = Imported::new("datetime", "tzinfo");
static ZONE_INFO: Imported = Imported::new("zoneinfo", "ZoneInfo");
static DECIMAL: Imported = Imported::new("decimal", "Decimal");
static ORDERED_DICT: Imported = Imported::new("collections", "OrderedDict");
static DEFAULT_DICT: Imported = Imported::new("collections", "defaultdict");
static COUNTER: Imported = Imported::new("collections", "Counter");
static DEQUE: Imported = Imported::new("collections", "deque");
static NAMESPACE: Imported = Imported::new("types", "SimpleNamespace");
static ARRAY: Imported = Imported::new("array", "array");
static NUMPY_STR: Imported = Imported::new("numpy", "str_");
static SPLIT_SEQUENCE: Imported = Imported::new("fleche.storage.destructuring", "DigestedIterable");
static SPLIT_DICT: Imported = Imported::new("fleche.storage.destructuring", "DigestedDict");
static SPLIT_DATACLASS: Imported =
    Imported::new("fleche.storage.destructuring", "DigestedDataclass");
static SPLIT_ATTRS: Imported = Imported::new("fleche.storage.destructuring", "DigestedAttrs");
static OUTCOME: Imported = Imported::new("fleche.call.outcomes", "Outcome");
static ITEMS: Imported = Imported::new("fleche.call.outcomes", "Items");
static LIBRARIES: [(&str, Imported); 3] = [
    (
        "pandas.",
        Imported::new("fleche.storage.cbor.pandas_parts", "put_together"),
    ),
    (
        "polars.",
        Imported::new("fleche.storage.cbor.polars_parts", "put_together"),
    ),
    (
        "pyarrow.",
        Imported::new("fleche.storage.cbor.arrow_parts", "put_together"),
    ),
];
static PATHS: [Imported; 4] = [
    Imported::new("pathlib", "PosixPath"),
    Imported::new("pathlib", "WindowsPath"),
    Imported::new("pathlib", "PurePosixPath"),
    Imported::new("pathlib", "PureWindowsPath"),
];

impl<'py> Decoder<'_, 'py> {
    /// An object of a kind, with its parts.
    pub(super) fn object(&mut self, mark: Option<usize>) -> PyResult<Bound<'py, PyAny>> {
        let py = self.py;
        let Some(count) = self.expect_any_array()?.checked_sub(1) else {
            return Err(self.wrong("an object without a kind"));
        };
        let kind = self.short_text()?;
        if let Some(form) = Form::named(kind) {
            if count != 2 {
                return Err(self.wrong("a record of other parts"));
            }
            return self.instance(form, mark);
        }
        match (kind, count) {
            ("datetime", 1) => {
                let told = self.value()?;
                self.clock(&DATETIME, text(Some(&told))?, None, None)
            }
            ("Ellipsis", 0) => Ok(py.Ellipsis().into_bound(py)),
            ("NotImplemented", 0) => Ok(py.NotImplemented().into_bound(py)),
            ("numpy.ndarray", 4) => self.plain_array(),
            ("numpy.readonly", 1) => self.read_only(),
            ("numpy.objects", 3) => self.objects(mark),
            ("numpy.scalar", 2) => self.numpy_scalar(),
            ("numpy.dtype", 1) => self.dtype(),
            ("OrderedDict" | "Counter", 1) => {
                let class = if kind == "Counter" {
                    &COUNTER
                } else {
                    &ORDERED_DICT
                };
                let made = class.get(py)?.call0()?;
                self.early(mark, &made);
                self.fill_any(&made)?;
                Ok(made)
            }
            ("defaultdict", 2) => {
                let factory = self.value()?;
                let factory = self.factory(&factory)?;
                let made = DEFAULT_DICT.get(py)?.call1((factory,))?;
                self.early(mark, &made);
                self.fill_any(&made)?;
                Ok(made)
            }
            ("deque", 2) => {
                let longest = self.value()?;
                let made = DEQUE.get(py)?.call1((PyTuple::empty(py), longest))?;
                self.early(mark, &made);
                for _ in 0..self.expect_any_array()? {
                    let part = self.value()?;
                    made.call_method1(intern!(py, "append"), (part,))?;
                }
                Ok(made)
            }
            ("SimpleNamespace", 1) => {
                let made = NAMESPACE.get(py)?.call0()?;
                self.early(mark, &made);
                self.attributes(&made)?;
                Ok(made)
            }
            ("split sequence" | "split dict" | "split record" | "outcome" | "items", _) => {
                self.ours(kind, count)
            }
            _ => {
                let mut parts = Vec::new();
                for _ in 0..count {
                    parts.push(self.value()?);
                }
                self.made(kind, parts)
            }
        }
    }

    fn made(&self, kind: &str, parts: Vec<Bound<'py, PyAny>>) -> PyResult<Bound<'py, PyAny>> {
        let py = self.py;
        for (prefix, put_together) in &LIBRARIES {
            if kind.starts_with(prefix) {
                let parts = PyList::new(py, parts)?;
                return put_together.get(py)?.call1((kind, parts));
            }
        }
        let tuple = || PyTuple::new(py, &parts);
        let [first, second, third] = [0, 1, 2].map(|index| parts.get(index));
        match (kind, parts.len()) {
            ("range", 3) => RANGE.get(py)?.call1(tuple()?),
            ("slice", 3) => SLICE.get(py)?.call1(tuple()?),
            ("timedelta", 3) => TIMEDELTA.get(py)?.call1(tuple()?),
            ("timezone", 1 | 2) => TIMEZONE.get(py)?.call1(tuple()?),
            ("decimal", 1) => DECIMAL.get(py)?.call1((text(first)?,)),
            ("numpy.str_", 1) => NUMPY_STR.get(py)?.call1((text(first)?,)),
            ("numpy.bytes_", 1) => numpy_bytes(first.ok_or_else(other_parts)?),
            ("zoneinfo", 1) => ZONE_INFO.get(py)?.call1((zone_key(first)?,)),
            ("zoneinfo", 2) => ZONE_INFO
                .get(py)?
                .call_method1(intern!(py, "no_cache"), (zone_key(first)?,)),
            ("datetime", 1..=3) => self.clock(&DATETIME, text(first)?, second, third),
            ("time", 1..=3) => self.clock(&TIME, text(first)?, second, third),
            ("path", 2) => {
                let name = text(first)?.to_string_lossy().into_owned();
                for class in &PATHS {
                    let class = class.get(py)?;
                    if class.getattr(intern!(py, "__name__"))?.eq(&name)? {
                        return class.call1((text(second)?,));
                    }
                }
                Err(other_parts())
            }
            ("uuid", 2) => {
                let bytes = first.ok_or_else(other_parts)?.cast::<PyBytes>()?.clone();
                let safe = second.cloned();
                self.uuid(bytes.as_bytes(), safe)
            }
            ("array.array", 3) => {
                let bytes = third.ok_or_else(other_parts)?.cast::<PyBytes>()?;
                let made = ARRAY.get(py)?.call1((text(first)?,))?;
                let size = second.ok_or_else(other_parts)?;
                if !made.getattr(intern!(py, "itemsize"))?.eq(size)? {
                    return Err(PyImportError::new_err(
                        "elements of this typecode have another size on this machine",
                    ));
                }
                made.call_method1(intern!(py, "frombytes"), (bytes,))?;
                Ok(made)
            }
            ("exception", 3) => self.exception(first, second, third),
            _ => Err(PyValueError::new_err("this kind is not known")),
        }
    }

    fn clock(
        &self,
        class: &'static Imported,
        text: &Bound<'py, PyString>,
        zone: Option<&Bound<'py, PyAny>>,
        fold: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = self.py;
        if fold.is_none()
            && std::ptr::eq(class, &raw const DATETIME)
            && let Some(made) = moment(text, zone)?
        {
            return Ok(made);
        }
        let made = class
            .get(py)?
            .call_method1(intern!(py, "fromisoformat"), (text,))?;
        let Some(zone) = zone else {
            return Ok(made);
        };
        if !zone.is_none() && !TZINFO.is_instance(zone)? {
            return Err(other_parts());
        }
        let changes = PyDict::new(py);
        changes.set_item(intern!(py, "tzinfo"), zone)?;
        if let Some(fold) = fold {
            changes.set_item(intern!(py, "fold"), fold)?;
        }
        made.call_method(intern!(py, "replace"), (), Some(&changes))
    }

    /// A moment in UTC.
    pub(super) fn utc(&self, text: &str) -> PyResult<Bound<'py, PyAny>> {
        let py = self.py;
        let Some(text) = text.strip_suffix('Z') else {
            return Err(self.wrong("a moment that is not in UTC"));
        };
        let zone = PyTzInfo::utc(py)?;
        let text = PyString::new(py, text);
        self.clock(&DATETIME, &text, Some(zone.as_any()), None)
    }

    fn factory(&self, name: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let py = self.py;
        if name.is_none() {
            return Ok(name.clone());
        }
        let known = FACTORIES
            .iter()
            .find(|known| name.eq(**known).unwrap_or(false));
        match known {
            Some(known) => BUILTINS.get(py)?.get_item(*known),
            None => Err(self.wrong("a default_factory that is not known")),
        }
    }

    fn exception(
        &self,
        name: Option<&Bound<'py, PyAny>>,
        arguments: Option<&Bound<'py, PyAny>>,
        state: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = self.py;
        let class = BUILTINS.get(py)?.get_item(text(name)?)?;
        let class = class.cast_into::<pyo3::types::PyType>()?;
        if !class.is_subclass(EXCEPTION.get(py)?)? {
            return Err(other_parts());
        }
        let arguments = arguments.ok_or_else(other_parts)?.cast::<PyTuple>()?;
        let made = class.call1(arguments)?;
        let state = state.ok_or_else(other_parts)?.cast::<PyDict>()?;
        for (name, part) in state.iter() {
            super::classes::own_dict(&made)?.set_item(name, part)?;
        }
        Ok(made)
    }

    /// The items of a map, put into a dictionary of another class.
    fn fill_any(&mut self, made: &Bound<'py, PyAny>) -> PyResult<()> {
        let count = self.expect_map()?;
        for _ in 0..count {
            let key = self.value()?;
            let part = self.value()?;
            made.set_item(key, part)?;
        }
        Ok(())
    }

    /// The attributes of an object, put into its dictionary.
    fn attributes(&mut self, made: &Bound<'py, PyAny>) -> PyResult<()> {
        let dict = super::classes::own_dict(made)?;
        for _ in 0..self.expect_map()? {
            let name = self.value()?;
            let part = self.value()?;
            dict.set_item(name.cast::<PyString>().map_err(|_| other_parts())?, part)?;
        }
        Ok(())
    }

    /// What of ours is stored: values in pieces, outcomes of calls.
    fn ours(&mut self, kind: &str, count: usize) -> PyResult<Bound<'py, PyAny>> {
        let py = self.py;
        match (kind, count) {
            ("split record", 3) => {
                let attrs = self.value()?.is_truthy()?;
                let record = self.record()?;
                if !matches!(record.form, Form::Dataclass | Form::Attrs) {
                    return Err(self.wrong("a record in pieces of another form"));
                }
                let fields = PyDict::new(py);
                let count = self.expect_map()?;
                self.fill(&fields, count)?;
                let class = if attrs {
                    &SPLIT_ATTRS
                } else {
                    &SPLIT_DATACLASS
                };
                class.get(py)?.call1((record.class.bind(py), fields))
            }
            ("split sequence", 1) => {
                let items = self.value()?;
                let known = items.is_exact_instance_of::<PyList>()
                    || items.is_exact_instance_of::<PyTuple>();
                if !known {
                    return Err(self.wrong("a sequence in pieces of another kind"));
                }
                SPLIT_SEQUENCE.get(py)?.call1((items,))
            }
            ("split dict", 1) => {
                let items = self.value()?;
                if !items.is_exact_instance_of::<PyDict>() {
                    return Err(self.wrong("a dict in pieces of another kind"));
                }
                SPLIT_DICT.get(py)?.call1((items,))
            }
            ("outcome", 2) => OUTCOME.get(py)?.call1((self.value()?, self.value()?)),
            ("items", 2) => ITEMS.get(py)?.call1((self.value()?, self.value()?)),
            _ => Err(self.wrong("something of ours with other parts")),
        }
    }
}

/// A date with a time that is told in the form in which most are, without a zone or with one.
fn moment<'py>(
    text: &Bound<'py, PyString>,
    zone: Option<&Bound<'py, PyAny>>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    let Some(told) = text.to_str().ok().and_then(clocks::parse) else {
        return Ok(None);
    };
    let zone = match zone {
        Some(zone) if !zone.is_none() => match zone.cast::<PyTzInfo>() {
            Ok(zone) => Some(zone),
            Err(_) => return Ok(None),
        },
        _ => None,
    };
    let made = PyDateTime::new(
        text.py(),
        told.year.cast_signed(),
        told.month,
        told.day,
        told.hour,
        told.minute,
        told.second,
        told.microsecond,
        zone,
    )?;
    Ok(Some(made.into_any()))
}

fn other_parts() -> PyErr {
    PyValueError::new_err("it has other parts")
}

/// The key of a zone: names of folders and a file, and nothing that leads out of them.
fn zone_key<'a, 'py>(part: Option<&'a Bound<'py, PyAny>>) -> PyResult<&'a Bound<'py, PyString>> {
    let key = text(part)?;
    let known = |letter: char| letter.is_ascii_alphanumeric() || "_+-/".contains(letter);
    if !key.to_string_lossy().chars().all(known) {
        return Err(other_parts());
    }
    Ok(key)
}

fn text<'a, 'py>(part: Option<&'a Bound<'py, PyAny>>) -> PyResult<&'a Bound<'py, PyString>> {
    let part = part.ok_or_else(other_parts)?;
    part.cast::<PyString>().map_err(|_| other_parts())
}
