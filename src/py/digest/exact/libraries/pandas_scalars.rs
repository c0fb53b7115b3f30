//! pandas' scalars: points, spans and intervals of time, offsets, and what is missing.

use crate::py::once::intern;
use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::engine::digest::exact::{Encoder, Tag};
use crate::py::digest::exact::Walker;
use crate::py::names::Imported;

static NAT: Imported = Imported::new("pandas", "NaT");
static NA: Imported = Imported::new("pandas", "NA");
static TIMESTAMP: Imported = Imported::new("pandas", "Timestamp");
static TIMEDELTA: Imported = Imported::new("pandas", "Timedelta");
static PERIOD: Imported = Imported::new("pandas", "Period");
static INTERVAL: Imported = Imported::new("pandas", "Interval");

mod kind {
    pub const NAT: u8 = 0;
    pub const NA: u8 = 1;
    pub const TIMESTAMP: u8 = 2;
    pub const TIMEDELTA: u8 = 3;
    pub const PERIOD: u8 = 4;
    pub const INTERVAL: u8 = 5;
    pub const OFFSET: u8 = 6;
}

fn scalar_of(kind: u8) -> Encoder {
    let mut encoder = Encoder::new(Tag::PandasScalar);
    encoder.byte(kind);
    encoder
}

impl<'py> Walker<'py> {
    pub(super) fn pandas_scalar(&mut self, value: &Bound<'py, PyAny>) -> PyResult<Encoder> {
        let py = self.py;
        if value.is(NAT.get(py)?) {
            return Ok(scalar_of(kind::NAT));
        }
        if value.is(NA.get(py)?) {
            return Ok(scalar_of(kind::NA));
        }
        let (encoder, class) = if TIMESTAMP.is_instance(value)? {
            let mut encoder = scalar_of(kind::TIMESTAMP);
            self.ticks(&mut encoder, value)?;
            let fold: u8 = value.getattr(intern!(py, "fold"))?.extract()?;
            let zone = value.getattr(intern!(py, "tzinfo"))?;
            encoder.byte(fold).child(&self.walk(&zone)?);
            (encoder, &TIMESTAMP)
        } else if TIMEDELTA.is_instance(value)? {
            let mut encoder = scalar_of(kind::TIMEDELTA);
            self.ticks(&mut encoder, value)?;
            (encoder, &TIMEDELTA)
        } else if PERIOD.is_instance(value)? {
            let mut encoder = scalar_of(kind::PERIOD);
            let frequency: String = value.getattr(intern!(py, "freqstr"))?.extract()?;
            let ordinal: i64 = value.getattr(intern!(py, "ordinal"))?.extract()?;
            encoder.text(&frequency).i64(ordinal);
            (encoder, &PERIOD)
        } else if INTERVAL.is_instance(value)? {
            let mut encoder = scalar_of(kind::INTERVAL);
            let closed: String = value.getattr(intern!(py, "closed"))?.extract()?;
            encoder
                .text(&closed)
                .child(&self.walk(&value.getattr(intern!(py, "left"))?)?)
                .child(&self.walk(&value.getattr(intern!(py, "right"))?)?);
            (encoder, &INTERVAL)
        } else {
            return self.offset(value);
        };
        self.or_of_subclass(value, encoder, class)
    }

    /// A count of ticks and their unit.
    fn ticks(&self, encoder: &mut Encoder, value: &Bound<'py, PyAny>) -> PyResult<()> {
        let py = self.py;
        let scalar = value.getattr(intern!(py, "asm8"))?;
        let unit = scalar
            .getattr(intern!(py, "dtype"))?
            .getattr(intern!(py, "str"))?;
        let ticks: i64 = scalar
            .call_method1(intern!(py, "view"), (intern!(py, "i8"),))?
            .call_method0(intern!(py, "item"))?
            .extract()?;
        encoder.text(unit.cast::<PyString>()?.to_str()?).i64(ticks);
        Ok(())
    }

    fn offset(&mut self, value: &Bound<'py, PyAny>) -> PyResult<Encoder> {
        let py = self.py;
        let mut encoder = scalar_of(kind::OFFSET);
        encoder.text(&value.get_type().name()?.to_string_lossy());
        for part in [
            intern!(py, "n"),
            intern!(py, "normalize"),
            intern!(py, "kwds"),
        ] {
            encoder.child(&self.walk(&value.getattr(part)?)?);
        }
        Ok(encoder)
    }
}
