//! Values of the standard library that say by themselves what they are.

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{
    PyByteArray, PyDate, PyDateTime, PyDelta, PyMemoryView, PyRange, PySlice, PyString, PyTime,
};

use super::Walker;
use crate::engine::digest::exact::{Encoder, Tag};
use crate::py::names::Imported;

static TZINFO: Imported = Imported::new("datetime", "tzinfo");
static TIMEZONE: Imported = Imported::new("datetime", "timezone");
static DATETIME: Imported = Imported::new("datetime", "datetime");
static DATE: Imported = Imported::new("datetime", "date");
static TIME: Imported = Imported::new("datetime", "time");
static TIMEDELTA: Imported = Imported::new("datetime", "timedelta");
static PATH: Imported = Imported::new("pathlib", "PurePath");
static UUID: Imported = Imported::new("uuid", "UUID");
static PATTERN: Imported = Imported::new("re", "Pattern");
static IP_ADDRESS: Imported = Imported::new("ipaddress", "_IPAddressBase");

impl<'py> Walker<'py> {
    pub(super) fn singleton(&self, value: &Bound<'py, PyAny>) -> Option<Encoder> {
        if value.is(self.py.Ellipsis()) {
            Some(Encoder::new(Tag::Ellipsis))
        } else if value.is(self.py.NotImplemented()) {
            Some(Encoder::new(Tag::NotImplemented))
        } else {
            None
        }
    }

    pub(super) fn standard_library(
        &mut self,
        value: &Bound<'py, PyAny>,
    ) -> PyResult<Option<Encoder>> {
        let py = self.py;
        if let Ok(range) = value.cast::<PyRange>() {
            return self.range(range).map(Some);
        }
        if let Ok(bytes) = value.cast_exact::<PyByteArray>() {
            let mut encoder = Encoder::new(Tag::NamedBytes);
            encoder.text("bytearray").bytes(&bytes.to_vec());
            return Ok(Some(encoder));
        }
        if value.is_instance_of::<PyMemoryView>() {
            return self.memory_view(value).map(Some);
        }
        if value.is_instance_of::<PySlice>() {
            let mut encoder = Encoder::new(Tag::Slice);
            for part in ["start", "stop", "step"] {
                encoder.child(&self.walk(&value.getattr(part)?)?);
            }
            return Ok(Some(encoder));
        }
        if let Some(encoder) = self.time(value)? {
            return Ok(Some(encoder));
        }
        if PATH.is_instance(value)? {
            let mut encoder = Encoder::new(Tag::Path);
            // Paths of one family compare equal whether they reach for files or not.
            let text = value.str()?;
            encoder
                .byte(u8::from(is_windows(value)?))
                .bytes(&super::leaf::utf8(&text)?);
            return Ok(Some(encoder));
        }
        if UUID.is_instance(value)? {
            let bytes: Vec<u8> = value.getattr(intern!(py, "bytes"))?.extract()?;
            let mut encoder = Encoder::new(Tag::Uuid);
            encoder.raw(&bytes);
            return Ok(Some(encoder));
        }
        if PATTERN.is_instance(value)? {
            let mut encoder = Encoder::new(Tag::Pattern);
            encoder.child(&self.walk(&value.getattr(intern!(py, "pattern"))?)?);
            encoder.i64(value.getattr(intern!(py, "flags"))?.extract()?);
            return Ok(Some(encoder));
        }
        if IP_ADDRESS.is_instance(value)? {
            return self.named_text(Tag::IpAddress, value).map(Some);
        }
        Ok(None)
    }

    fn range(&mut self, range: &Bound<'py, PyRange>) -> PyResult<Encoder> {
        // Ranges are equal if their elements are: an empty one has no start, a single one no step.
        let count = range.call_method0(intern!(self.py, "__len__"));
        let mut encoder = Encoder::new(Tag::Range);
        let Ok(count) = count.and_then(|count| count.extract::<usize>()) else {
            // More elements than a length can say.
            encoder.byte(1);
            for part in ["start", "stop", "step"] {
                encoder.child(&self.walk(&range.getattr(part)?)?);
            }
            return Ok(encoder);
        };
        encoder.byte(0).length(count);
        if count > 0 {
            encoder.child(&self.walk(&range.getattr(intern!(self.py, "start"))?)?);
        }
        if count > 1 {
            encoder.child(&self.walk(&range.getattr(intern!(self.py, "step"))?)?);
        }
        Ok(encoder)
    }

    fn memory_view(&mut self, view: &Bound<'py, PyAny>) -> PyResult<Encoder> {
        let py = self.py;
        let format: String = view.getattr(intern!(py, "format"))?.extract()?;
        let shape = view.getattr(intern!(py, "shape"))?;
        let bytes: Vec<u8> = view.call_method0(intern!(py, "tobytes"))?.extract()?;
        let mut encoder = Encoder::new(Tag::NamedBytes);
        encoder.text(&format!("memoryview.{format}"));
        encoder.child(&self.walk(&shape)?).bytes(&bytes);
        Ok(encoder)
    }

    /// Dates, times, durations and zones, field by field; of an instance of a subclass the class
    /// counts too.
    fn time(&mut self, value: &Bound<'py, PyAny>) -> PyResult<Option<Encoder>> {
        const DAY: [&str; 3] = ["year", "month", "day"];
        const CLOCK: [&str; 5] = ["hour", "minute", "second", "microsecond", "fold"];
        const SPAN: [&str; 3] = ["days", "seconds", "microseconds"];
        let mut encoder;
        let base = if value.is_instance_of::<PyDateTime>() {
            encoder = Encoder::new(Tag::DateTime);
            self.whole_numbers(&mut encoder, value, &DAY)?;
            self.whole_numbers(&mut encoder, value, &CLOCK)?;
            self.zone_of(&mut encoder, value)?;
            &DATETIME
        } else if value.is_instance_of::<PyDate>() {
            encoder = Encoder::new(Tag::Date);
            self.whole_numbers(&mut encoder, value, &DAY)?;
            &DATE
        } else if value.is_instance_of::<PyTime>() {
            encoder = Encoder::new(Tag::Time);
            self.whole_numbers(&mut encoder, value, &CLOCK)?;
            self.zone_of(&mut encoder, value)?;
            &TIME
        } else if value.is_instance_of::<PyDelta>() {
            encoder = Encoder::new(Tag::TimeDelta);
            self.whole_numbers(&mut encoder, value, &SPAN)?;
            &TIMEDELTA
        } else if TZINFO.is_instance(value)? {
            return self.zone(value);
        } else {
            return Ok(None);
        };
        let class = value.get_type();
        if !class.is(base.get(self.py)?) {
            encoder.text(&self.class_name(&class)?);
            return self.with_state(value, encoder).map(Some);
        }
        Ok(Some(encoder))
    }

    fn whole_numbers(
        &self,
        encoder: &mut Encoder,
        value: &Bound<'py, PyAny>,
        fields: &[&str],
    ) -> PyResult<()> {
        for field in fields {
            encoder.i64(value.getattr(PyString::intern(self.py, field))?.extract()?);
        }
        Ok(())
    }

    fn zone_of(&mut self, encoder: &mut Encoder, value: &Bound<'py, PyAny>) -> PyResult<()> {
        let zone = value.getattr(intern!(self.py, "tzinfo"))?;
        encoder.child(&self.walk(&zone)?);
        Ok(())
    }

    /// A fixed offset by its seconds and name, a zone of the tz database by its key.
    fn zone(&mut self, value: &Bound<'py, PyAny>) -> PyResult<Option<Encoder>> {
        let py = self.py;
        let mut encoder = Encoder::new(Tag::TimeZone);
        if TIMEZONE.is_instance(value)? {
            let offset = value.call_method1(intern!(py, "utcoffset"), (py.None(),))?;
            let name: String = value
                .call_method1(intern!(py, "tzname"), (py.None(),))?
                .extract()?;
            encoder.byte(0).child(&self.walk(&offset)?).text(&name);
            return Ok(Some(encoder));
        }
        // `ZoneInfo`, and the classes of dateutil and pytz, say their key under these names.
        for attribute in ["key", "zone"] {
            if let Some(key) = value.getattr_opt(attribute)?
                && let Ok(key) = key.extract::<String>()
            {
                encoder
                    .byte(1)
                    .text(&self.class_name(&value.get_type())?)
                    .text(&key);
                return Ok(Some(encoder));
            }
        }
        Ok(None)
    }

    fn named_text(&self, tag: Tag, value: &Bound<'py, PyAny>) -> PyResult<Encoder> {
        let mut encoder = Encoder::new(tag);
        encoder.text(&self.class_name(&value.get_type())?);
        encoder.bytes(&super::leaf::utf8(&value.str()?)?);
        Ok(encoder)
    }
}

fn is_windows(path: &Bound<'_, PyAny>) -> PyResult<bool> {
    static WINDOWS: Imported = Imported::new("pathlib", "PureWindowsPath");
    WINDOWS.is_instance(path)
}
