//! polars: frames and series by name, dtype and values.

use crate::py::once::intern;
use pyo3::prelude::*;
use pyo3::types::PyList;

use super::arrow;
use crate::engine::digest::Hash;
use crate::engine::digest::exact::{Encoder, Tag};
use crate::py::digest::exact::{Walker, leaf};
use crate::py::names::Imported;

static FRAME: Imported = Imported::new("polars", "DataFrame");
static SERIES: Imported = Imported::new("polars", "Series");

impl<'py> Walker<'py> {
    pub(super) fn polars_frame(&mut self, frame: &Bound<'py, PyAny>) -> PyResult<Encoder> {
        let py = self.py;
        let columns = frame.call_method0(intern!(py, "get_columns"))?;
        let columns = columns.cast::<PyList>()?;
        let height: usize = frame.getattr(intern!(py, "height"))?.extract()?;
        let mut encoder = Encoder::new(Tag::PolarsFrame);
        encoder.length(height).length(columns.len());
        for column in columns.iter() {
            encoder.child(&self.polars_content(&column)?);
        }
        self.or_of_subclass(frame, encoder, &FRAME)
    }

    pub(super) fn polars_series(&mut self, series: &Bound<'py, PyAny>) -> PyResult<Encoder> {
        let mut encoder = Encoder::new(Tag::PolarsSeries);
        encoder.byte(1).child(&self.polars_content(series)?);
        self.or_of_subclass(series, encoder, &SERIES)
    }

    fn polars_content(&mut self, series: &Bound<'py, PyAny>) -> PyResult<Hash> {
        let py = self.py;
        let name = series.getattr(intern!(py, "name"))?;
        let dtype = series.getattr(intern!(py, "dtype"))?;
        let mut encoder = Encoder::new(Tag::PolarsSeries);
        encoder.byte(0).bytes(&leaf::utf8(name.cast()?)?);
        let dtype = Self::polars_dtype(&dtype)?.finish();
        encoder.child(&dtype);
        // Python objects, which Arrow has no type for: element by element.
        if series
            .getattr(intern!(py, "dtype"))?
            .str()?
            .to_str()?
            .contains("Object")
        {
            let values = series.call_method0(intern!(py, "to_list"))?;
            encoder.byte(1).child(&self.walk(&values)?);
        } else {
            encoder.byte(0).child(&arrow::content(series)?);
        }
        Ok(encoder.finish())
    }

    /// A dtype by its text, which holds everything (units, zones, categories, fields).
    pub(super) fn polars_dtype(dtype: &Bound<'py, PyAny>) -> PyResult<Encoder> {
        let mut encoder = Encoder::new(Tag::Dtype);
        encoder
            .byte(super::dtype::POLARS)
            .bytes(&leaf::utf8(&dtype.repr()?)?);
        Ok(encoder)
    }
}
