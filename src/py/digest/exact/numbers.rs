//! Numbers: by exact value, or (typed) by type and value.

use crate::py::once::intern;
use pyo3::exceptions::PyException;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyComplex, PyFloat, PyInt};

use super::Walker;
use crate::engine::digest::exact::{BLOCK, Encoder, Tag};
use crate::engine::digest::number::{self, NanKind};
pub use crate::py::digest::bytes::canonical_bytes;
use crate::py::names::{Imported, class_identity};

static DECIMAL: Imported = Imported::new("decimal", "Decimal");
static FRACTION: Imported = Imported::new("fractions", "Fraction");
static NUMBER: Imported = Imported::new("numbers", "Number");
static RATIONAL: Imported = Imported::new("numbers", "Rational");

/// The types of typed numbers.
mod kind {
    pub const INT: u8 = 0;
    pub const FLOAT: u8 = 1;
    pub const COMPLEX: u8 = 2;
    pub const FRACTION: u8 = 3;
    pub const DECIMAL: u8 = 4;
}

/// Decimals beyond `10 ** ±LARGEST_EXPONENT` are not written out as integers.
const LARGEST_EXPONENT: i64 = 1_000_000;

fn typed_number(kind: u8) -> Encoder {
    let mut encoder = Encoder::new(Tag::TypedNumber);
    encoder.byte(kind);
    encoder
}

/// An `int`.
pub fn integer(value: &Bound<'_, PyInt>, typed: bool) -> PyResult<Encoder> {
    if let Ok(small) = value.extract::<i64>() {
        if typed {
            let mut block = [0; BLOCK];
            typed_integer_block(&mut block, small);
            let mut encoder = typed_number(kind::INT);
            encoder.raw(&block[2..3 + usize::from(block[2])]);
            return Ok(encoder);
        }
        return Ok(number::integer(small));
    }
    let bytes = canonical_bytes(value.as_any())?;
    if typed {
        let mut encoder = typed_number(kind::INT);
        encoder.bytes(&bytes);
        return Ok(encoder);
    }
    Ok(number::integer_from_bytes(&bytes))
}

pub fn typed_integer_block(block: &mut [u8; BLOCK], value: i64) {
    number::integer_block(block, value);
    block.copy_within(1..BLOCK - 1, 2);
    block[0] = Tag::TypedNumber as u8;
    block[1] = kind::INT;
}

pub fn float(value: f64, typed: bool) -> Encoder {
    if typed {
        let mut encoder = typed_number(kind::FLOAT);
        encoder.u64(value.to_bits());
        return encoder;
    }
    number::float(value)
}

pub fn complex(real: f64, imag: f64, typed: bool) -> Encoder {
    if typed {
        let mut encoder = typed_number(kind::COMPLEX);
        encoder.u64(real.to_bits()).u64(imag.to_bits());
        return encoder;
    }
    if imag == 0.0 {
        return number::float(real);
    }
    let mut encoder = Encoder::new(Tag::Complex);
    encoder
        .child(&number::float(real).finish())
        .child(&number::float(imag).finish());
    encoder
}

/// `numerator / denominator`, both Python integers in lowest terms.
pub fn ratio(numerator: &Bound<'_, PyAny>, denominator: &Bound<'_, PyAny>) -> PyResult<Encoder> {
    let py = numerator.py();
    let bits: u64 = denominator
        .call_method0(intern!(py, "bit_length"))?
        .extract()?;
    let top = canonical_bytes(numerator)?;
    if bits == 1 {
        return Ok(number::integer_from_bytes(&top));
    }
    let bottom = canonical_bytes(denominator)?;
    let ones: u32 = bottom.iter().map(|byte| byte.count_ones()).sum();
    if ones == 1 {
        return Ok(number::dyadic_from_bytes(&top, bits - 1));
    }
    Ok(number::ratio_from_bytes(&top, &bottom))
}

impl<'py> Walker<'py> {
    /// Numbers of types that are not built in: `Decimal`, `Fraction`, numpy's scalars, and the
    /// numbers of other libraries.
    #[inline(never)]
    pub(super) fn number_object(&mut self, value: &Bound<'py, PyAny>) -> PyResult<Option<Encoder>> {
        if value.is_instance_of::<PyInt>()
            || value.is_instance_of::<PyFloat>()
            || value.is_instance_of::<PyComplex>()
        {
            return Ok(None);
        }
        let class = value.get_type();
        if DECIMAL
            .if_loaded(self.py)?
            .is_some_and(|decimal| class.is(decimal))
        {
            return self.decimal(value).map(Some);
        }
        if FRACTION
            .if_loaded(self.py)?
            .is_some_and(|fraction| class.is(fraction))
        {
            return if self.typed {
                Self::typed_fraction(value)
            } else {
                Self::rational(value)
            }
            .map(Some);
        }
        if NUMBER.is_instance(value)? && !value.is_instance_of::<PyBool>() {
            let name = self.class_name(&class)?;
            // One that does not tell its value in a way known here is an object as any other.
            return match self.number_subclass(value, &name) {
                Err(error) if error.is_instance_of::<PyException>(self.py) => Ok(None),
                done => done.map(Some),
            };
        }
        Ok(None)
    }

    /// A number of a class that is not one of the known ones: the class counts too, as it may do
    /// with the number what it wants.
    pub(super) fn number_subclass(
        &mut self,
        value: &Bound<'py, PyAny>,
        name: &str,
    ) -> PyResult<Encoder> {
        let number = if let Ok(integer) = value.cast::<PyInt>() {
            // Not `int(value)`: the class may override what that calls.
            let base = self.py.get_type::<PyInt>();
            let plain = base.call_method1(intern!(self.py, "__int__"), (integer,))?;
            number::integer_from_bytes(&canonical_bytes(&plain)?)
        } else if let Ok(number) = value.cast::<PyFloat>() {
            float(number.value(), self.typed)
        } else if let Ok(number) = value.cast::<PyComplex>() {
            complex(number.real(), number.imag(), self.typed)
        } else if DECIMAL.is_instance(value)? {
            self.decimal(value)?
        } else if RATIONAL.is_instance(value)? {
            Self::rational(value)?
        } else if let Some(method) = value.getattr_opt(intern!(self.py, "as_integer_ratio"))? {
            let (top, bottom): (Bound<'_, PyAny>, Bound<'_, PyAny>) = method.call0()?.extract()?;
            ratio(&top, &bottom)?
        } else {
            return Err(super::indigestible(value));
        };
        let mut encoder = Encoder::new(Tag::NumberSubclass);
        encoder.text(name).child(&number.finish());
        Ok(encoder)
    }

    fn rational(value: &Bound<'py, PyAny>) -> PyResult<Encoder> {
        let py = value.py();
        // They may be integers of a library's own.
        let plain = |part: Bound<'py, PyAny>| py.get_type::<PyInt>().call1((part,));
        let top = plain(value.getattr(intern!(py, "numerator"))?)?;
        let bottom = plain(value.getattr(intern!(py, "denominator"))?)?;
        ratio(&top, &bottom)
    }

    /// A `Fraction` by type and value.
    fn typed_fraction(value: &Bound<'py, PyAny>) -> PyResult<Encoder> {
        let mut encoder = typed_number(kind::FRACTION);
        encoder
            .text(&class_identity(&value.get_type())?)
            .child(&Self::rational(value)?.finish());
        Ok(encoder)
    }

    /// A `Decimal` by type, sign, digits and exponent: `1.0` is not `1.00`.
    fn typed_decimal(value: &Bound<'py, PyAny>) -> PyResult<Encoder> {
        let (sign, digits, exponent): (u8, Vec<u8>, Bound<'py, PyAny>) = value
            .call_method0(intern!(value.py(), "as_tuple"))?
            .extract()?;
        let mut encoder = typed_number(kind::DECIMAL);
        encoder
            .text(&class_identity(&value.get_type())?)
            .byte(sign)
            .bytes(&digits)
            // An exponent, or the letter of what has none: F, n, N.
            .text(&exponent.str()?.to_string_lossy());
        Ok(encoder)
    }

    fn decimal(&self, value: &Bound<'py, PyAny>) -> PyResult<Encoder> {
        let py = self.py;
        if self.typed {
            return Self::typed_decimal(value);
        }
        let negative: bool = value.call_method0(intern!(py, "is_signed"))?.extract()?;
        if value
            .call_method0(intern!(py, "is_infinite"))?
            .is_truthy()?
        {
            return Ok(number::float(if negative {
                f64::NEG_INFINITY
            } else {
                f64::INFINITY
            }));
        }
        if value.call_method0(intern!(py, "is_nan"))?.is_truthy()? {
            let signalling = value.call_method0(intern!(py, "is_snan"))?.is_truthy()?;
            let kind = if signalling {
                NanKind::Signalling
            } else {
                NanKind::Float
            };
            return Ok(number::not_a_number(kind, negative));
        }
        let adjusted: i64 = value.call_method0(intern!(py, "adjusted"))?.extract()?;
        if value.is_truthy()? && adjusted.abs() > LARGEST_EXPONENT {
            // Written out it would fill the memory; no float or int that fits one equals it.
            let (_, digits, exponent): (u8, Vec<u8>, i64) =
                value.call_method0(intern!(py, "as_tuple"))?.extract()?;
            let zeros = digits.iter().rev().take_while(|digit| **digit == 0).count();
            let mut encoder = Encoder::new(Tag::HugeDecimal);
            encoder
                .byte(u8::from(negative))
                .bytes(&digits[..digits.len() - zeros]);
            encoder.i64(exponent.saturating_add_unsigned(zeros as u64));
            return Ok(encoder);
        }
        let (top, bottom): (Bound<'_, PyAny>, Bound<'_, PyAny>) = value
            .call_method0(intern!(py, "as_integer_ratio"))?
            .extract()?;
        ratio(&top, &bottom)
    }
}
