//! The columns of frames: numpy arrays and pandas' extension arrays.

use crate::py::once::intern;
use pyo3::buffer::PyUntypedBuffer;
use pyo3::prelude::*;

use super::{buffer, dtype, text};
use crate::engine::digest::Hash;
use crate::engine::digest::exact::{Encoder, Tag};
use crate::engine::digest::parallel;
use crate::py::digest::WITHOUT_GIL;
use crate::py::digest::exact::Walker;
use crate::py::digest::exact::containers::Children;
use crate::py::names::Imported;

static NDARRAY: Imported = Imported::new("numpy", "ndarray");
static STRING_TYPE: Imported = Imported::new("pandas", "StringDtype");

/// The kinds of columns that are no numpy array.
mod kind {
    pub const DATETIME: u8 = 1;
    pub const TIMEDELTA: u8 = 2;
    pub const PERIOD: u8 = 3;
    pub const INTERVAL: u8 = 4;
    pub const CATEGORICAL: u8 = 5;
    pub const MASKED: u8 = 6;
    pub const TEXT: u8 = 7;
    pub const ARROW: u8 = 8;
    pub const SPARSE: u8 = 9;
    pub const OTHER: u8 = 10;
    pub const DTYPE: u8 = 11;
}

fn column_of(kind: u8) -> Encoder {
    let mut encoder = Encoder::new(Tag::Column);
    encoder.byte(kind);
    encoder
}

impl<'py> Walker<'py> {
    pub(super) fn columns(&mut self, arrays: &[Bound<'py, PyAny>]) -> PyResult<Vec<Hash>> {
        let mut hashes = vec![None; arrays.len()];
        let mut large = Vec::new();
        for (place, array) in arrays.iter().enumerate() {
            match self.large_column(array)? {
                Some((encoder, memory)) => large.push((place, encoder, memory)),
                None => hashes[place] = Some(self.column(array)?),
            }
        }
        let mut parts: Vec<_> = large
            .iter_mut()
            .filter_map(|(place, encoder, memory)| {
                let bytes = buffer::bytes(memory)?;
                let encoder = std::mem::replace(encoder, Encoder::new(Tag::Column));
                Some((*place, encoder, bytes))
            })
            .collect();
        self.py.detach(|| {
            parallel::each(&mut parts, |(_, encoder, bytes)| {
                encoder.bulk(bytes);
            });
        });
        for (place, encoder, _) in parts {
            hashes[place] = Some(encoder.finish());
        }
        let hashes = hashes.into_iter().zip(arrays);
        hashes
            .map(|(hash, array)| hash.map_or_else(|| self.column(array), Ok))
            .collect()
    }

    /// A column whose elements, of plain memory in one piece, are worth a thread of their own:
    /// its pre-image up to them, and that memory.
    fn large_column(
        &mut self,
        array: &Bound<'py, PyAny>,
    ) -> PyResult<Option<(Encoder, PyUntypedBuffer)>> {
        let py = self.py;
        if !NDARRAY.is_instance(array)?
            || array.getattr(intern!(py, "nbytes"))?.extract::<usize>()? < WITHOUT_GIL
        {
            return Ok(None);
        }
        let dtype = array.getattr(intern!(py, "dtype"))?;
        let is_plain = !matches!(dtype::kind(&dtype)?, b'O' | b'T')
            && dtype::fields(&dtype)?.is_none()
            && dtype::padded(&dtype)?.is_none();
        let flags = array.getattr(intern!(py, "flags"))?;
        if !is_plain || !flags.getattr(intern!(py, "c_contiguous"))?.is_truthy()? {
            return Ok(None);
        }
        let encoder = self.array_header(array, &dtype)?;
        let flat = array
            .call_method1(intern!(py, "reshape"), (-1,))?
            .call_method1(intern!(py, "view"), (intern!(py, "u1"),))?;
        let memory = PyUntypedBuffer::get(&flat)?;
        Ok(memory.is_c_contiguous().then_some((encoder, memory)))
    }

    /// The digest of one column.
    pub(super) fn column(&mut self, array: &Bound<'py, PyAny>) -> PyResult<Hash> {
        let py = self.py;
        if NDARRAY.is_instance(array)? {
            return Ok(self.array_content(array)?.finish());
        }
        let class = array.get_type().name()?;
        let encoder = match class.to_str()? {
            "NumpyExtensionArray" | "PandasArray" => {
                let values = array.call_method0(intern!(py, "to_numpy"))?;
                return Ok(self.array_content(&values)?.finish());
            }
            _ => self.extension_array(array)?,
        };
        Ok(encoder.finish())
    }

    pub(super) fn extension_array(&mut self, array: &Bound<'py, PyAny>) -> PyResult<Encoder> {
        let py = self.py;
        let class = array.get_type().name()?;
        let dtype = array.getattr(intern!(py, "dtype"))?;
        if is_text(&dtype)? {
            return self.text_column(array, &dtype);
        }
        match class.to_str()? {
            "NumpyExtensionArray" | "PandasArray" => {
                let values = array.call_method0(intern!(py, "to_numpy"))?;
                self.array_content(&values)
            }
            "DatetimeArray" => {
                let mut encoder = column_of(kind::DATETIME);
                let zone = array.getattr(intern!(py, "tz"))?;
                encoder.text(&unit(array)?).child(&self.walk(&zone)?);
                encoder.child(&self.as_integers(array)?);
                Ok(encoder)
            }
            "TimedeltaArray" => {
                let mut encoder = column_of(kind::TIMEDELTA);
                encoder.text(&unit(array)?).child(&self.as_integers(array)?);
                Ok(encoder)
            }
            "PeriodArray" => {
                let mut encoder = column_of(kind::PERIOD);
                let frequency = array.getattr(intern!(py, "freqstr"))?;
                encoder
                    .text(&frequency.extract::<String>()?)
                    .child(&self.as_integers(array)?);
                Ok(encoder)
            }
            "IntervalArray" => {
                let mut encoder = column_of(kind::INTERVAL);
                let closed: String = array.getattr(intern!(py, "closed"))?.extract()?;
                encoder.text(&closed);
                for side in [intern!(py, "left"), intern!(py, "right")] {
                    let values = array.getattr(side)?.getattr(intern!(py, "array"))?;
                    encoder.child(&self.column(&values)?);
                }
                Ok(encoder)
            }
            "Categorical" => {
                let mut encoder = column_of(kind::CATEGORICAL);
                let ordered = array.getattr(intern!(py, "ordered"))?.is_truthy()?;
                let categories = array.getattr(intern!(py, "categories"))?;
                let codes = array.getattr(intern!(py, "codes"))?;
                encoder
                    .byte(u8::from(ordered))
                    .child(&self.categories(&categories)?)
                    .child(&self.array_content(&codes)?.finish());
                Ok(encoder)
            }
            "SparseArray" => self.sparse_column(array, &dtype),
            _ => {
                if let Some(arrow) = text::arrow_of(array)? {
                    let mut encoder = column_of(kind::ARROW);
                    encoder.child(&super::arrow::content_with_type(&arrow)?);
                    return Ok(encoder);
                }
                if let Some(encoder) = self.masked_column(array)? {
                    return Ok(encoder);
                }
                let mut encoder = column_of(kind::OTHER);
                encoder.text(&dtype.str()?.to_string_lossy());
                encoder.length(array.len()?);
                self.children(&mut encoder, Children::Elements, array.try_iter()?)?;
                Ok(encoder)
            }
        }
    }

    /// Categories by their values; their index's name is none of the column's.
    fn categories(&mut self, categories: &Bound<'py, PyAny>) -> PyResult<Hash> {
        self.column(&categories.getattr(intern!(self.py, "array"))?)
    }

    fn as_integers(&mut self, array: &Bound<'py, PyAny>) -> PyResult<Hash> {
        let integers = array.getattr(intern!(self.py, "asi8"))?;
        Ok(self.array_content(&integers)?.finish())
    }

    /// Values beside a mask of the missing ones; what lies under the mask is not content.
    fn masked_column(&mut self, array: &Bound<'py, PyAny>) -> PyResult<Option<Encoder>> {
        let py = self.py;
        let data = array.getattr_opt(intern!(py, "_data"))?;
        let mask = array.getattr_opt(intern!(py, "_mask"))?;
        let (Some(mut data), Some(mask)) = (data, mask) else {
            return Ok(None);
        };
        if !NDARRAY.is_instance(&data)? || !NDARRAY.is_instance(&mask)? {
            return Ok(None);
        }
        let mut encoder = column_of(kind::MASKED);
        if mask.call_method0(intern!(py, "any"))?.is_truthy()? {
            data = data.call_method0(intern!(py, "copy"))?;
            data.set_item(&mask, 0)?;
            encoder.byte(1).child(&self.array_content(&mask)?.finish());
        } else {
            encoder.byte(0);
        }
        encoder.child(&self.array_content(&data)?.finish());
        Ok(Some(encoder))
    }

    /// Text, whatever holds it: Python objects or Arrow.
    fn text_column(
        &mut self,
        array: &Bound<'py, PyAny>,
        dtype: &Bound<'py, PyAny>,
    ) -> PyResult<Encoder> {
        let py = self.py;
        let missing = dtype.getattr(intern!(py, "na_value"))?;
        let mut encoder = column_of(kind::TEXT);
        encoder.child(&self.walk(&missing)?);
        let content = if let Some(arrow) = text::arrow_of(array)? {
            super::arrow::content(&arrow)?
        } else {
            let values = array.call_method1(intern!(py, "to_numpy"), (intern!(py, "object"),))?;
            text::of_objects(super::buffer::Objects::of(&values)?)?
        };
        encoder.child(&content);
        Ok(encoder)
    }

    /// Dense content, written as the places and values of what differs from the fill value.
    fn sparse_column(
        &mut self,
        array: &Bound<'py, PyAny>,
        dtype: &Bound<'py, PyAny>,
    ) -> PyResult<Encoder> {
        let py = self.py;
        let fill = array.getattr(intern!(py, "fill_value"))?;
        let places = array
            .getattr(intern!(py, "sp_index"))?
            .call_method0(intern!(py, "to_int_index"))?
            .getattr(intern!(py, "indices"))?;
        let values = array.getattr(intern!(py, "sp_values"))?;
        // A stored value may happen to be the fill value.
        let same = if fill.ne(&fill)? {
            values.call_method1(intern!(py, "__ne__"), (&values,))?
        } else {
            values.call_method1(intern!(py, "__eq__"), (&fill,))?
        };
        let kept = same.call_method0(intern!(py, "__invert__"))?;
        let places = places
            .get_item(&kept)?
            .call_method1(intern!(py, "astype"), (intern!(py, "i8"),))?;
        let subtype = dtype.getattr(intern!(py, "subtype"))?;
        let mut encoder = column_of(kind::SPARSE);
        encoder
            .child(&self.walk(&subtype)?)
            .child(&self.walk(&fill)?)
            .length(array.len()?)
            .child(&self.array_content(&places)?.finish())
            .child(&self.array_content(&values.get_item(&kept)?)?.finish());
        Ok(encoder)
    }

    /// pandas' dtype objects.
    pub(super) fn extension_dtype(&mut self, dtype: &Bound<'py, PyAny>) -> PyResult<Encoder> {
        let mut encoder = column_of(kind::DTYPE);
        encoder
            .text(&dtype.get_type().name()?.to_string_lossy())
            .text(&dtype.str()?.to_string_lossy());
        // What the text leaves out.
        for name in ["categories", "ordered", "na_value", "fill_value", "tz"] {
            let Some(part) = dtype.getattr_opt(name)? else {
                continue;
            };
            let hash = if name == "categories" && !part.is_none() {
                self.categories(&part)?
            } else {
                self.walk(&part)?
            };
            encoder.text(name).child(&hash);
        }
        Ok(encoder)
    }
}

/// Whether this is one of pandas' dtypes of text.
pub fn is_text(dtype: &Bound<'_, PyAny>) -> PyResult<bool> {
    STRING_TYPE.is_instance(dtype)
}

fn unit(array: &Bound<'_, PyAny>) -> PyResult<String> {
    array.getattr(intern!(array.py(), "unit"))?.extract()
}
