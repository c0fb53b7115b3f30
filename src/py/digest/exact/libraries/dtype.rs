//! numpy's dtypes.

use crate::py::once::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyTuple};

use crate::engine::digest::exact::{Encoder, Tag};
use crate::py::digest::exact::Walker;
use crate::py::names::Imported;
use crate::py::names::class_identity;

static VOID: Imported = Imported::new("numpy", "void");
static FINFO: Imported = Imported::new("numpy", "finfo");
static LONGDOUBLE: Imported = Imported::new("numpy", "longdouble");

/// The forms of a dtype's encoding.
mod form {
    /// `dtype.str` says all.
    pub const PLAIN: u8 = 0;
    pub const STRUCTURED: u8 = 1;
    pub const SUBARRAY: u8 = 2;
    /// A class of its own: variable-length strings, the small floats of machine learning.
    pub const CUSTOM: u8 = 3;
}

/// Forms of the dtypes of other libraries, which share the tag.
pub const POLARS: u8 = 0x10;
pub const TORCH: u8 = 0x11;

/// `dtype.kind`: one ASCII letter.
pub fn kind(dtype: &Bound<'_, PyAny>) -> PyResult<u8> {
    let kind = dtype.getattr(intern!(dtype.py(), "kind"))?;
    let kind = kind.cast::<PyString>()?.to_str()?;
    Ok(kind.bytes().next().unwrap_or(b'?'))
}

/// The names of the fields of a structured dtype.
pub fn fields<'py>(dtype: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyTuple>>> {
    let names = dtype.getattr(intern!(dtype.py(), "names"))?;
    Ok(names.cast_into::<PyTuple>().ok())
}

/// How long doubles lie in memory: of each `stride` bytes only `used` are the number, the rest
/// is whatever was there before. `None` for all other dtypes, and where all bytes are used.
pub struct Padded {
    pub used: usize,
    pub stride: usize,
}

pub fn padded(dtype: &Bound<'_, PyAny>) -> PyResult<Option<Padded>> {
    let py = dtype.py();
    let character = dtype.getattr(intern!(py, "char"))?;
    let parts = match character.cast::<PyString>()?.to_str()? {
        "g" => 1,
        "G" => 2,
        _ => return Ok(None),
    };
    let info = FINFO.get(py)?.call1((LONGDOUBLE.get(py)?,))?;
    let mantissa: usize = info.getattr(intern!(py, "nmant"))?.extract()?;
    // The x87 format: 64 bits of mantissa, the first written out, and 16 of sign and exponent.
    if mantissa != 63 {
        return Ok(None);
    }
    let size: usize = dtype.getattr(intern!(py, "itemsize"))?.extract()?;
    Ok(Some(Padded {
        used: 10,
        stride: size / parts,
    }))
}

impl<'py> Walker<'py> {
    /// A dtype object, with its metadata.
    pub(super) fn dtype(&mut self, dtype: &Bound<'py, PyAny>) -> PyResult<Encoder> {
        let mut encoder = self.bare_dtype(dtype)?;
        let metadata = dtype.getattr(intern!(self.py, "metadata"))?;
        if metadata.is_none() {
            return Ok(encoder);
        }
        let copy = PyDict::from_sequence(&metadata.call_method0(intern!(self.py, "items"))?)?;
        let metadata = self.walk(copy.as_any())?;
        encoder.byte(1).child(&metadata);
        Ok(encoder)
    }

    /// A dtype as part of an array's content: metadata does not count.
    pub(super) fn bare_dtype(&mut self, dtype: &Bound<'py, PyAny>) -> PyResult<Encoder> {
        let py = self.py;
        let mut encoder = Encoder::new(Tag::Dtype);
        if let Some(names) = fields(dtype)? {
            self.structured(&mut encoder, dtype, &names)?;
            return Ok(encoder);
        }
        let subarray = dtype.getattr(intern!(py, "subdtype"))?;
        if let Ok((base, shape)) = subarray.extract::<(Bound<'_, PyAny>, Bound<'_, PyAny>)>() {
            encoder
                .byte(form::SUBARRAY)
                .child(&self.walk(&shape)?)
                .child(&self.bare_dtype(&base)?.finish());
            return Ok(encoder);
        }
        if !is_custom(dtype)? {
            encoder.byte(form::PLAIN).text(&plain_text(dtype)?);
            return Ok(encoder);
        }
        let class = dtype.getattr(intern!(py, "type"))?;
        encoder
            .byte(form::CUSTOM)
            .text(&class_identity(class.cast()?)?)
            .text(&dtype.str()?.to_string_lossy());
        // What stands for a missing string, and whether others become strings.
        if let Some(missing) = dtype.getattr_opt(intern!(py, "na_object"))? {
            encoder.byte(1).child(&self.walk(&missing)?);
        }
        if let Some(coerce) = dtype.getattr_opt(intern!(py, "coerce"))? {
            encoder.byte(2).byte(u8::from(coerce.is_truthy()?));
        }
        Ok(encoder)
    }

    fn structured(
        &mut self,
        encoder: &mut Encoder,
        dtype: &Bound<'py, PyAny>,
        names: &Bound<'py, PyTuple>,
    ) -> PyResult<()> {
        let py = self.py;
        let class = dtype.getattr(intern!(py, "type"))?;
        let size: u64 = dtype.getattr(intern!(py, "itemsize"))?.extract()?;
        let aligned = dtype.getattr(intern!(py, "isalignedstruct"))?.is_truthy()?;
        encoder
            .byte(form::STRUCTURED)
            .text(&class_identity(class.cast()?)?)
            .byte(u8::from(aligned))
            .u64(size)
            .length(names.len());
        let table = dtype.getattr(intern!(py, "fields"))?;
        for name in names.iter() {
            let field = table.get_item(&name)?;
            let offset: u64 = field.get_item(1)?.extract()?;
            let title = field.get_item(2).ok();
            encoder.child(&self.walk(&name)?).u64(offset);
            encoder.child(&self.bare_dtype(&field.get_item(0)?)?.finish());
            match title {
                Some(title) => encoder.byte(1).child(&self.walk(&title)?),
                None => encoder.byte(0),
            };
        }
        Ok(())
    }
}

/// Whether `dtype.str` does not say what the dtype is.
pub fn is_custom(dtype: &Bound<'_, PyAny>) -> PyResult<bool> {
    let py = dtype.py();
    Ok(match kind(dtype)? {
        b'b' | b'i' | b'u' | b'f' | b'c' | b'm' | b'M' | b'O' | b'S' | b'U' => {
            // 0: structured, 1: built in, 2: registered by another library.
            dtype.getattr(intern!(py, "isbuiltin"))?.extract::<u8>()? == 2
        }
        b'V' => !dtype.getattr(intern!(py, "type"))?.is(VOID.get(py)?),
        _ => true,
    })
}

/// `dtype.str`.
pub fn plain_text(dtype: &Bound<'_, PyAny>) -> PyResult<String> {
    dtype.getattr(intern!(dtype.py(), "str"))?.extract()
}
