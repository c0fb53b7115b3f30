//! numpy's arrays.

use crate::py::once::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyTuple};

use super::{buffer, dtype};
use crate::engine::digest::exact::{Encoder, Tag};
use crate::py::digest::exact::Walker;
use crate::py::digest::exact::containers::Children;
use crate::py::digest::exact::state::Attributes;
use crate::py::names::Imported;

pub static NDARRAY: Imported = Imported::new("numpy", "ndarray");
static MEMMAP: Imported = Imported::new("numpy", "memmap");
static MASKED: Imported = Imported::new("numpy.ma", "MaskedArray");
static MASKED_ONE: Imported = Imported::new("numpy.ma.core", "MaskedConstant");
/// What every masked array has in its `__dict__`, or may have.
const MASKED_OWN: [&[u8]; 7] = [
    b"_mask",
    b"_fill_value",
    b"_hardmask",
    b"_sharedmask",
    b"_isfield",
    b"_baseclass",
    b"_basedict",
];

static MASK_OF: Imported = Imported::new("numpy.ma", "getmaskarray");
static DATA_OF: Imported = Imported::new("numpy.ma", "getdata");
static DEFAULT_FILL: Imported = Imported::new("numpy.ma", "default_fill_value");
static AS_ARRAY: Imported = Imported::new("numpy", "asarray");
static ZEROS: Imported = Imported::new("numpy", "zeros");

/// The length of every dimension, after their number.
pub fn shape(encoder: &mut Encoder, array: &Bound<'_, PyAny>) -> PyResult<()> {
    let shape = array.getattr(intern!(array.py(), "shape"))?;
    let shape = shape.cast::<PyTuple>()?;
    encoder.length(shape.len());
    for length in shape.iter() {
        encoder.length(length.extract()?);
    }
    Ok(())
}

impl<'py> Walker<'py> {
    /// An array, or an instance of a subclass: then the class and its attributes count, too.
    pub(super) fn numpy_array(&mut self, array: &Bound<'py, PyAny>) -> PyResult<Encoder> {
        let py = self.py;
        let class = array.get_type();
        let plain = NDARRAY.get(py)?;
        if class.is(plain) {
            return self.array_content(array);
        }
        let base = array.call_method1(intern!(py, "view"), (plain,))?;
        let content = self.array_content(&base)?;
        if class.is(MEMMAP.get(py)?) {
            // Where its bytes lie is no content; equality cannot tell it from an array.
            if !self.typed {
                return Ok(content);
            }
            return self.of_subclass(array, content, &Attributes::new());
        }
        self.or_of_subclass(array, content, &NDARRAY)
    }

    /// dtype, shape and elements in C order.
    pub(super) fn array_content(&mut self, array: &Bound<'py, PyAny>) -> PyResult<Encoder> {
        let py = self.py;
        let dtype = array.getattr(intern!(py, "dtype"))?;
        match dtype::kind(&dtype)? {
            b'O' | b'T' => self.object_array(array, &dtype),
            b'V' if dtype::fields(&dtype)?.is_some() => self.structured_array(array, &dtype),
            _ => {
                let mut encoder = self.array_header(array, &dtype)?;
                hash_elements(&mut encoder, array, &dtype)?;
                Ok(encoder)
            }
        }
    }

    /// The pre-image of an array of plain memory up to its elements.
    pub(super) fn array_header(
        &mut self,
        array: &Bound<'py, PyAny>,
        dtype: &Bound<'py, PyAny>,
    ) -> PyResult<Encoder> {
        let mut encoder = Encoder::new(Tag::Array);
        if dtype::is_custom(dtype)? {
            encoder.text("").child(&self.bare_dtype(dtype)?.finish());
        } else {
            encoder.text(&dtype::plain_text(dtype)?);
        }
        shape(&mut encoder, array)?;
        Ok(encoder)
    }

    /// Elements that are Python objects (strings of variable length become ones).
    fn object_array(
        &mut self,
        array: &Bound<'py, PyAny>,
        dtype: &Bound<'py, PyAny>,
    ) -> PyResult<Encoder> {
        let py = self.py;
        let mut encoder = Encoder::new(Tag::ObjectArray);
        encoder.child(&self.bare_dtype(dtype)?.finish());
        shape(&mut encoder, array)?;
        let flat = array.call_method1(intern!(py, "reshape"), (-1,))?;
        if dtype::kind(dtype)? == b'O' {
            self.children(
                &mut encoder,
                Children::Elements,
                buffer::Objects::of(&flat)?,
            )?;
        } else {
            let elements = flat.call_method0(intern!(py, "tolist"))?;
            let elements = elements.cast::<PyList>()?.iter().map(Ok);
            self.children(&mut encoder, Children::Elements, elements)?;
        }
        Ok(encoder)
    }

    /// Field by field, as what lies between the fields is no content.
    fn structured_array(
        &mut self,
        array: &Bound<'py, PyAny>,
        dtype: &Bound<'py, PyAny>,
    ) -> PyResult<Encoder> {
        let mut encoder = Encoder::new(Tag::StructuredArray);
        encoder.child(&self.bare_dtype(dtype)?.finish());
        shape(&mut encoder, array)?;
        let Some(names) = dtype::fields(dtype)? else {
            return Ok(encoder);
        };
        for name in names.iter() {
            let field = array.get_item(&name)?;
            let hash = if NDARRAY.is_instance(&field)? {
                self.array_content(&field)?.finish()
            } else {
                self.walk(&field)?
            };
            encoder.child(&hash);
        }
        Ok(encoder)
    }

    /// A masked array: its mask, what the mask shows, fill value and hardness. What lies under
    /// the mask is not content.
    pub(super) fn masked_array(&mut self, array: &Bound<'py, PyAny>) -> PyResult<Encoder> {
        let py = self.py;
        // A single record of a masked array hands out scalars.
        let whole = |part: Bound<'py, PyAny>| {
            if NDARRAY.is_instance(&part)? {
                return Ok(part);
            }
            AS_ARRAY.get(py)?.call1((part,))
        };
        let data = whole(DATA_OF.get(py)?.call1((array,))?)?;
        let mask = whole(MASK_OF.get(py)?.call1((array,))?)?;
        let mut encoder = Encoder::new(Tag::MaskedArray);
        encoder.child(&self.uncovered(&data, &mask)?);
        encoder.child(&self.walk(&mask)?);
        // Asking for `fill_value` would store the default in the array.
        let mut fill = array.getattr(intern!(py, "_fill_value"))?;
        let kind = data.getattr(intern!(py, "dtype"))?;
        if fill.is_none() {
            fill = DEFAULT_FILL.get(py)?.call1((&kind,))?;
        }
        let fill = AS_ARRAY.get(py)?.call1((fill, kind))?;
        let hard = array.getattr(intern!(py, "hardmask"))?.is_truthy()?;
        encoder.child(&self.walk(&fill)?).byte(u8::from(hard));
        let class = array.get_type();
        if class.is(MASKED.get(py)?) || class.is(MASKED_ONE.get(py)?) {
            return Ok(encoder);
        }
        // numpy keeps its own attributes in the same dictionary.
        let mut attributes = self.own_attributes(array, MASKED.get(py)?)?;
        attributes.retain(|(name, _)| !MASKED_OWN.contains(&name.as_slice()));
        self.of_subclass(array, encoder, &attributes)
    }

    /// The digest of `data` with zeros where `mask` covers it.
    fn uncovered(
        &mut self,
        data: &Bound<'py, PyAny>,
        mask: &Bound<'py, PyAny>,
    ) -> PyResult<crate::engine::digest::Hash> {
        let py = self.py;
        let kind = data.getattr(intern!(py, "dtype"))?;
        let copy = data.call_method0(intern!(py, "copy"))?;
        if let Some(names) = dtype::fields(&kind)? {
            for name in names.iter() {
                clear(&copy.get_item(&name)?, &mask.get_item(&name)?)?;
            }
        } else if mask.call_method0(intern!(py, "any"))?.is_truthy()? {
            clear(&copy, mask)?;
        } else {
            return self.walk(data);
        }
        self.walk(&copy)
    }
}

/// Sets the elements of `data` that `mask` covers to zero, in place.
fn clear(data: &Bound<'_, PyAny>, mask: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = data.py();
    let kind = data.getattr(intern!(py, "dtype"))?;
    if let Some(names) = dtype::fields(&kind)? {
        for name in names.iter() {
            clear(&data.get_item(&name)?, &mask.get_item(&name)?)?;
        }
        return Ok(());
    }
    let zero = ZEROS.get(py)?.call1((PyTuple::empty(py), kind))?;
    data.set_item(mask, zero)
}

/// Feeds the elements of an array without Python objects to `encoder`, in C order.
fn hash_elements(
    encoder: &mut Encoder,
    array: &Bound<'_, PyAny>,
    dtype: &Bound<'_, PyAny>,
) -> PyResult<()> {
    let py = array.py();
    let Some(padded) = dtype::padded(dtype)? else {
        return buffer::hash_array(encoder, array);
    };
    let order = dtype.call_method1(intern!(py, "newbyteorder"), ("<",))?;
    let swapped = array.call_method1(intern!(py, "astype"), (order,))?;
    let bytes = swapped.call_method0(intern!(py, "tobytes"))?;
    for number in bytes
        .cast::<PyBytes>()?
        .as_bytes()
        .chunks_exact(padded.stride)
    {
        encoder.raw(&number[..padded.used]);
    }
    Ok(())
}
