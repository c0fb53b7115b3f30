//! Objects of the standard library, and our own: into the name of a kind and parts.

use pyo3::prelude::*;
use pyo3::types::{
    PyByteArray, PyBytes, PyDateAccess, PyDateTime, PyDict, PyList, PyString, PyTimeAccess,
    PyTuple, PyType, PyTzInfo, PyTzInfoAccess,
};

use super::encode::Encoder;
use super::kinds::Standard;
use super::{classes, dotted};
use crate::engine::cbor::{Major, clocks, tag};
use crate::py::names::Imported;
use crate::py::once::intern;

static UTC: Imported = Imported::new("datetime", "timezone");
static ATTRS: Imported = Imported::new("fleche.storage.destructuring", "DigestedAttrs");

impl<'py> Encoder<'_, 'py> {
    pub(super) fn standard(&mut self, value: &Bound<'py, PyAny>, kind: Standard) -> PyResult<()> {
        let py = self.py;
        match kind {
            Standard::Range => self.parts(value, "range", &["start", "stop", "step"]),
            Standard::Slice => self.parts(value, "slice", &["start", "stop", "step"]),
            Standard::TimeDelta => {
                self.parts(value, "timedelta", &["days", "seconds", "microseconds"])
            }
            Standard::Fraction => {
                self.out.tag(tag::FRACTION);
                self.out.length(Major::Array, 2);
                self.value(&value.getattr(intern!(py, "numerator"))?)?;
                self.value(&value.getattr(intern!(py, "denominator"))?)
            }
            Standard::Decimal => self.named_text("decimal", &value.str()?),
            Standard::Path => {
                let class = value.get_type().name()?;
                self.start("path", 2);
                self.value(class.as_any())?;
                self.value(value.str()?.as_any())
            }
            Standard::Uuid => self.uuid(value),
            Standard::Date => {
                self.out.tag(tag::DATE);
                let text = value.call_method0(intern!(py, "isoformat"))?;
                self.value(&text)
            }
            Standard::DateTime | Standard::Time => self.clock(value, kind),
            Standard::TimeZone => {
                let arguments = value.call_method0(intern!(py, "__getinitargs__"))?;
                let arguments = arguments.cast_into::<PyTuple>()?;
                self.start("timezone", arguments.len());
                arguments.iter().try_for_each(|part| self.value(&part))
            }
            Standard::ZoneInfo => self.zone(value),
            Standard::OrderedDict => {
                self.check_bare(value)?;
                self.is_early(value);
                self.hashed = false;
                self.start("OrderedDict", 1);
                self.ordered(value)
            }
            Standard::Counter => {
                self.check_bare(value)?;
                self.is_early(value);
                self.hashed = false;
                self.start("Counter", 1);
                self.dict(value.cast::<PyDict>()?)
            }
            Standard::DefaultDict => {
                self.is_early(value);
                self.hashed = false;
                self.default_dict(value)
            }
            Standard::Deque => {
                self.is_early(value);
                self.hashed = false;
                self.start("deque", 2);
                self.value(&value.getattr(intern!(py, "maxlen"))?)?;
                self.items(value)
            }
            Standard::Namespace => {
                self.is_early(value);
                self.hashed = false;
                self.start("SimpleNamespace", 1);
                self.dict(&classes::own_dict(value)?)
            }
            Standard::Array => {
                self.start("array.array", 3);
                self.value(&value.getattr(intern!(py, "typecode"))?)?;
                self.value(&value.getattr(intern!(py, "itemsize"))?)?;
                self.value(&value.call_method0(intern!(py, "tobytes"))?)
            }
            Standard::Exception => self.exception(value),
            Standard::Digest => {
                self.out.tag(tag::DIGEST);
                let text = value.call_method0(intern!(py, "__str__"))?;
                self.value(&text)
            }
            Standard::SplitSequence => self.parts(value, "split sequence", &["items"]),
            Standard::SplitDict => self.parts(value, "split dict", &["items"]),
            Standard::SplitRecord => self.split_record(value),
            Standard::Outcome => self.parts(value, "outcome", &["error", "traceback"]),
            Standard::Items => self.parts(value, "items", &["items", "returned"]),
        }
    }

    fn parts(&mut self, value: &Bound<'py, PyAny>, kind: &str, names: &[&str]) -> PyResult<()> {
        self.start(kind, names.len());
        for name in names {
            let part = value.getattr(PyString::intern(self.py, name))?;
            let written = self.value(&part);
            self.at(written, || format!(".{name}"))?;
        }
        Ok(())
    }

    fn named_text(&mut self, kind: &str, text: &Bound<'py, PyString>) -> PyResult<()> {
        self.start(kind, 1);
        self.value(text.as_any())
    }

    fn uuid(&mut self, value: &Bound<'py, PyAny>) -> PyResult<()> {
        let py = self.py;
        let bytes = value.getattr(intern!(py, "bytes"))?;
        let safe = value.getattr(intern!(py, "is_safe"))?;
        let safe = safe.getattr(intern!(py, "value"))?;
        if safe.is_none() {
            self.out.tag(tag::UUID);
            return self.value(&bytes);
        }
        self.start("uuid", 2);
        self.value(&bytes)?;
        self.value(&safe)
    }

    /// A date with a time without a zone or in UTC, and of the first fold; false for others.
    fn moment(&mut self, moment: &Bound<'py, PyDateTime>) -> bool {
        let zone = moment.get_tzinfo();
        let utc = match &zone {
            Some(zone) => match PyTzInfo::utc(self.py) {
                Ok(utc) if utc.is(zone) => true,
                _ => return false,
            },
            None => false,
        };
        if moment.get_fold() {
            return false;
        }
        let text = clocks::text(clocks::Moment {
            year: moment.get_year().cast_unsigned(),
            month: moment.get_month(),
            day: moment.get_day(),
            hour: moment.get_hour(),
            minute: moment.get_minute(),
            second: moment.get_second(),
            microsecond: moment.get_microsecond(),
        });
        if utc {
            self.out.tag(tag::DATE_TIME);
            self.out.text(&(text + "Z"));
        } else {
            self.start("datetime", 1);
            self.out.text(&text);
        }
        true
    }

    /// A date with a time, or a time: its text, its zone, and whether it is the second of two.
    fn clock(&mut self, value: &Bound<'py, PyAny>, kind: Standard) -> PyResult<()> {
        let py = self.py;
        if let Ok(moment) = value.cast_exact::<PyDateTime>()
            && self.moment(moment)
        {
            return Ok(());
        }
        let zone = value.getattr(intern!(py, "tzinfo"))?;
        let fold = value.getattr(intern!(py, "fold"))?;
        let utc = UTC.get(py)?.getattr(intern!(py, "utc"))?;
        let without = PyDict::new(py);
        without.set_item(intern!(py, "tzinfo"), py.None())?;
        let bare = if zone.is_none() {
            value.clone()
        } else {
            value.call_method(intern!(py, "replace"), (), Some(&without))?
        };
        let text = bare.call_method0(intern!(py, "isoformat"))?;
        if kind == Standard::DateTime && zone.is(&utc) && !fold.is_truthy()? {
            self.out.tag(tag::DATE_TIME);
            let text = format!("{}Z", text.str()?.to_string_lossy());
            self.out.text(&text);
            return Ok(());
        }
        let name = if kind == Standard::DateTime {
            "datetime"
        } else {
            "time"
        };
        let parts = if fold.is_truthy()? {
            3
        } else if zone.is_none() {
            1
        } else {
            2
        };
        self.start(name, parts);
        self.value(&text)?;
        if parts > 1 {
            let written = self.value(&zone);
            self.at(written, || ".tzinfo".to_owned())?;
        }
        if parts > 2 {
            self.value(&fold)?;
        }
        Ok(())
    }

    fn zone(&mut self, value: &Bound<'py, PyAny>) -> PyResult<()> {
        let py = self.py;
        let key = value.getattr(intern!(py, "key"))?;
        if key.is_none() {
            return Err(self.refuse(value, "it was read from a file, and has no key"));
        }
        let reduced = value.call_method0(intern!(py, "__reduce__"))?;
        let cached = reduced.get_item(1)?.get_item(1)?.is_truthy()?;
        self.start("zoneinfo", if cached { 1 } else { 2 });
        self.value(&key)?;
        if !cached {
            self.out.bool(false);
        }
        Ok(())
    }

    /// The items of an ordered dictionary, whose own order counts.
    fn ordered(&mut self, value: &Bound<'py, PyAny>) -> PyResult<()> {
        let dict = PyDict::new(self.py);
        for pair in value.call_method0(intern!(self.py, "items"))?.try_iter()? {
            let (key, part): (Bound<'py, PyAny>, Bound<'py, PyAny>) = pair?.extract()?;
            dict.set_item(key, part)?;
        }
        self.dict(&dict)
    }

    /// Refuses what somebody gave attributes.
    fn check_bare(&mut self, value: &Bound<'py, PyAny>) -> PyResult<()> {
        if classes::own_dict(value)?.is_empty() {
            return Ok(());
        }
        Err(self.refuse(value, "it has attributes besides its items"))
    }

    fn default_dict(&mut self, value: &Bound<'py, PyAny>) -> PyResult<()> {
        let py = self.py;
        let factory = value.getattr(intern!(py, "default_factory"))?;
        self.start("defaultdict", 2);
        if factory.is_none() {
            self.out.null();
        } else {
            let name = dotted(&factory);
            let known = super::made::FACTORIES.contains(&name.as_str());
            if !known || factory.cast::<PyType>().is_err() {
                let reason = "its default_factory is none of the built-in classes";
                return Err(self.refuse(value, reason));
            }
            self.out.text(&name);
        }
        self.dict(value.cast::<PyDict>()?)
    }

    fn items(&mut self, value: &Bound<'py, PyAny>) -> PyResult<()> {
        let parts = PyList::empty(self.py);
        for part in value.try_iter()? {
            parts.append(part?)?;
        }
        self.out.length(Major::Array, parts.len());
        for (index, part) in parts.iter().enumerate() {
            let written = self.value(&part);
            self.at(written, || format!("[{index}]"))?;
        }
        Ok(())
    }

    fn exception(&mut self, value: &Bound<'py, PyAny>) -> PyResult<()> {
        let py = self.py;
        let class = value.get_type();
        let reduced = value.call_method0(intern!(py, "__reduce__"))?;
        let reduced = reduced.cast_into::<PyTuple>()?;
        let arguments = reduced.get_item(1)?;
        if !reduced.get_item(0)?.is(&class) || class.name()?.to_string_lossy().contains("Group") {
            return Err(self.refuse(value, "it is made in a way of its own"));
        }
        self.start("exception", 3);
        self.value(class.name()?.as_any())?;
        let written = self.value(&arguments);
        self.at(written, || ".args".to_owned())?;
        // Asking for its dictionary would give it one.
        let state = match reduced.len() {
            2 => PyDict::new(py),
            _ => reduced.get_item(2)?.cast_into::<PyDict>()?,
        };
        let written = self.dict(&state);
        self.at(written, || ".__dict__".to_owned())
    }

    fn split_record(&mut self, value: &Bound<'py, PyAny>) -> PyResult<()> {
        let py = self.py;
        let attrs = value.get_type().is(ATTRS.get(py)?);
        let class = value.getattr(intern!(py, "cls"))?;
        let class = class.cast_into::<PyType>()?;
        let kind = self.kind_of(&class)?;
        let super::kinds::Kind::Record(record) = &*kind else {
            let reason = match &*kind {
                super::kinds::Kind::Refused(reason) => reason.clone(),
                _ => "its class is no dataclass or attrs class".to_owned(),
            };
            let error = self.refuse(value, reason);
            self.name_refused(dotted(class.as_any()));
            return Err(error);
        };
        self.start("split record", 3);
        self.out.bool(attrs);
        self.out.text(&record.name);
        let fields = value.getattr(intern!(py, "fields"))?;
        self.dict(fields.cast::<PyDict>()?)
    }

    pub(super) fn byte_array(&mut self, bytes: &Bound<'py, PyAny>) -> PyResult<()> {
        if let Ok(bytes) = bytes.cast_exact::<PyBytes>() {
            self.bytes(bytes);
            return Ok(());
        }
        let bytes = bytes.cast::<PyByteArray>()?;
        self.buffer(pyo3::buffer::PyBuffer::get(bytes.as_any())?);
        Ok(())
    }
}
