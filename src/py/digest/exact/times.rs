//! Dates, times, durations and time zones.

use crate::py::once::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDate, PyDateTime, PyDelta, PyString, PyTime};

use super::Walker;
use super::state::with_part;
use crate::engine::digest::exact::{Encoder, Tag};
use crate::py::names::Imported;

static TZINFO: Imported = Imported::new("datetime", "tzinfo");
static TIMEZONE: Imported = Imported::new("datetime", "timezone");
static DATETIME: Imported = Imported::new("datetime", "datetime");
static DATE: Imported = Imported::new("datetime", "date");
static TIME: Imported = Imported::new("datetime", "time");
static TIMEDELTA: Imported = Imported::new("datetime", "timedelta");
static ZONE_INFO: Imported = Imported::new("zoneinfo", "ZoneInfo");

/// The forms of a time zone's encoding.
mod form {
    pub const FIXED: u8 = 0;
    pub const KEY: u8 = 1;
    pub const PARTS: u8 = 2;
}

/// What makes a zone of these libraries, by class. pytz has one object for every offset that a
/// zone ever had.
const DATEUTIL: [(&str, &[&str]); 4] = [
    ("tzutc", &[]),
    ("tzoffset", &["_name", "_offset"]),
    ("tzlocal", &["_std_offset", "_dst_offset", "_tznames"]),
    ("tzstr", &["_s", "_std_offset", "_dst_offset"]),
];
const PYTZ: [&str; 4] = ["zone", "_utcoffset", "_tzname", "_minutes"];

impl<'py> Walker<'py> {
    /// Dates, times, durations and zones, field by field; of an instance of a subclass the class
    /// counts too.
    pub(super) fn time(&mut self, value: &Bound<'py, PyAny>) -> PyResult<Option<Encoder>> {
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
            let name = PyString::new(self.py, &self.class_name(&class)?);
            encoder = with_part(encoder, &self.walk(name.as_any())?);
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
            let name = value.call_method1(intern!(py, "tzname"), (py.None(),))?;
            encoder
                .byte(form::FIXED)
                .child(&self.walk(&offset)?)
                .child(&self.walk(&name)?);
            return Ok(Some(encoder));
        }
        let class = value.get_type();
        let name = class.name()?.to_string_lossy().into_owned();
        let module = class.getattr(intern!(py, "__module__"))?;
        let module = module.extract::<String>().unwrap_or_default();
        match module.split('.').next().unwrap_or_default() {
            "pytz" => return self.zone_by_parts(encoder, value, &PYTZ).map(Some),
            "dateutil" => {
                if let Some((_, parts)) = DATEUTIL.iter().find(|(known, _)| *known == name) {
                    return self.zone_by_parts(encoder, value, parts).map(Some);
                }
                return self.zone_file(encoder, value);
            }
            _ => {}
        }
        // Others say their key under these names.
        for attribute in [intern!(py, "key"), intern!(py, "zone")] {
            if let Some(key) = value.getattr_opt(attribute)?
                && let Ok(key) = key.cast_into::<PyString>()
            {
                encoder
                    .byte(form::KEY)
                    .text(&self.class_name(&class)?)
                    .child(&self.walk(&key)?);
                if class.is(ZONE_INFO.get(py)?) {
                    return Ok(Some(encoder));
                }
                return self.with_state(value, encoder).map(Some);
            }
        }
        Ok(None)
    }

    fn zone_by_parts(
        &mut self,
        mut encoder: Encoder,
        value: &Bound<'py, PyAny>,
        parts: &[&str],
    ) -> PyResult<Encoder> {
        encoder
            .byte(form::PARTS)
            .text(&self.class_name(&value.get_type())?);
        for part in parts {
            match value.getattr_opt(*part)? {
                Some(part) => encoder.byte(1).child(&self.walk(&part)?),
                None => encoder.byte(0),
            };
        }
        Ok(encoder)
    }

    /// dateutil's zones know only the file that they came from: its place in the tz database is
    /// the key.
    fn zone_file(
        &mut self,
        mut encoder: Encoder,
        value: &Bound<'py, PyAny>,
    ) -> PyResult<Option<Encoder>> {
        let Some(file) = value.getattr_opt(intern!(self.py, "_filename"))? else {
            return Ok(None);
        };
        let Ok(file) = file.extract::<String>() else {
            return Ok(None);
        };
        let key = match file.split_once("zoneinfo/") {
            Some((_, key)) => key,
            None if file.starts_with('/') => return Ok(None),
            None => &file,
        };
        encoder
            .byte(form::KEY)
            .text(&self.class_name(&value.get_type())?)
            .child(&self.walk(PyString::new(self.py, key).as_any())?);
        Ok(Some(encoder))
    }
}
