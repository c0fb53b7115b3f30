//! numpy's scalars.

use crate::py::once::intern;
use pyo3::exceptions::{PyOverflowError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};

use super::dtype;
use crate::engine::digest::exact::{Encoder, Tag};
use crate::engine::digest::number::{self, NanKind};
use crate::py::digest::exact::{Walker, leaf, numbers};
use crate::py::names::Imported;
use crate::py::names::class_identity;

static AS_ARRAY: Imported = Imported::new("numpy", "asarray");
static SIGN_BIT: Imported = Imported::new("numpy", "signbit");

impl<'py> Walker<'py> {
    /// A scalar of numpy's own class. An instance of a subclass is `None`: the general rules for
    /// numbers and text treat it.
    pub(super) fn numpy_scalar(&mut self, value: &Bound<'py, PyAny>) -> PyResult<Option<Encoder>> {
        let py = self.py;
        if value.is_instance_of::<PyString>() || value.is_instance_of::<PyBytes>() {
            return Ok(None);
        }
        let class = value.get_type();
        let dtype = value.getattr(intern!(py, "dtype"))?;
        if !dtype.getattr(intern!(py, "type"))?.is(&class) {
            return Ok(None);
        }
        match dtype::kind(&dtype)? {
            b'b' if !self.typed => leaf::encode(&value.call_method0(intern!(py, "item"))?, false),
            _ if self.typed => self.typed_scalar(value, &dtype).map(Some),
            b'i' | b'u' | b'f' | b'c' if !dtype::is_custom(&dtype)? => {
                Self::number(value).map(Some)
            }
            b'm' | b'M' => self.typed_scalar(value, &dtype).map(Some),
            _ => match value.getattr_opt(intern!(py, "__float__"))? {
                // The small floats and integers of machine learning all fit a float.
                Some(float) if dtype::is_custom(&dtype)? => {
                    Ok(Some(number::float(float.call0()?.extract()?)))
                }
                _ => self.typed_scalar(value, &dtype).map(Some),
            },
        }
    }

    /// A calendar of business days: weekdays and holidays.
    pub(super) fn numpy_calendar(&mut self, value: &Bound<'py, PyAny>) -> PyResult<Encoder> {
        let py = self.py;
        let mut encoder = Encoder::new(Tag::NumpyScalar);
        encoder
            .text(&class_identity(&value.get_type())?)
            .child(&self.walk(&value.getattr(intern!(py, "weekmask"))?)?)
            .child(&self.walk(&value.getattr(intern!(py, "holidays"))?)?);
        Ok(encoder)
    }

    /// A number by its exact value.
    fn number(value: &Bound<'py, PyAny>) -> PyResult<Encoder> {
        let py = value.py();
        let item = value.call_method0(intern!(py, "item"))?;
        if let Some(encoder) = leaf::encode(&item, false)? {
            return Ok(encoder);
        }
        // A long double, which Python has no number for.
        if value.hasattr(intern!(py, "as_integer_ratio"))? {
            return long_double(value);
        }
        let real = value.getattr(intern!(py, "real"))?;
        let imaginary = value.getattr(intern!(py, "imag"))?;
        if imaginary.eq(0)? {
            return long_double(&real);
        }
        let mut encoder = Encoder::new(Tag::Complex);
        encoder
            .child(&long_double(&real)?.finish())
            .child(&long_double(&imaginary)?.finish());
        Ok(encoder)
    }

    /// Class and bytes; dates and records look the same, typed or not.
    fn typed_scalar(
        &mut self,
        value: &Bound<'py, PyAny>,
        dtype: &Bound<'py, PyAny>,
    ) -> PyResult<Encoder> {
        let py = self.py;
        let array = AS_ARRAY.get(py)?.call1((value,))?;
        let content = self.array_content(&array)?;
        let mut encoder = Encoder::new(Tag::NumpyScalar);
        let class = dtype.getattr(intern!(py, "type"))?;
        encoder
            .text(&class_identity(class.cast()?)?)
            .child(&content.finish());
        Ok(encoder)
    }
}

fn long_double(value: &Bound<'_, PyAny>) -> PyResult<Encoder> {
    let py = value.py();
    let negative = || SIGN_BIT.get(py)?.call1((value,))?.is_truthy();
    match value.call_method0(intern!(py, "as_integer_ratio")) {
        Ok(ratio) => {
            let (top, bottom): (Bound<'_, PyAny>, Bound<'_, PyAny>) = ratio.extract()?;
            numbers::ratio(&top, &bottom)
        }
        Err(error) if error.is_instance_of::<PyOverflowError>(py) => {
            let infinity = if negative()? {
                f64::NEG_INFINITY
            } else {
                f64::INFINITY
            };
            Ok(number::float(infinity))
        }
        Err(error) if error.is_instance_of::<PyValueError>(py) => {
            Ok(number::not_a_number(NanKind::Float, negative()?))
        }
        Err(error) => Err(error),
    }
}
