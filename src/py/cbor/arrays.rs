//! numpy's arrays, scalars and dtypes, both ways.

use pyo3::buffer::PyBuffer;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyString, PyTuple};

use super::decode::Decoder;
use super::encode::Encoder;
use super::memory;
use crate::engine::cbor::typed::{Element, Kind};
use crate::engine::cbor::{Major, tag};
use crate::py::bytes;
use crate::py::digest::exact::element;
use crate::py::names::Imported;
use crate::py::once::intern;

static NDARRAY: Imported = Imported::new("numpy", "ndarray");
static DTYPE: Imported = Imported::new("numpy", "dtype");
static CONTIGUOUS: Imported = Imported::new("numpy", "ascontiguousarray");
static EMPTY: Imported = Imported::new("numpy", "empty");
static OBJECT: Imported = Imported::new("builtins", "object");

/// How many dimensions an array may have.
const MOST_DIMENSIONS: usize = 64;

impl<'py> Encoder<'_, 'py> {
    pub(super) fn array(&mut self, array: &Bound<'py, PyAny>) -> PyResult<()> {
        let py = self.py;
        let dtype = array.getattr(intern!(py, "dtype"))?;
        let shape = array.getattr(intern!(py, "shape"))?;
        let shape = shape.cast_into::<PyTuple>()?;
        let flags = array.getattr(intern!(py, "flags"))?;
        let flag = |name: &Bound<'py, PyString>| flags.getattr(name)?.is_truthy();
        let c_order = flag(intern!(py, "c_contiguous"))?;
        let column = !c_order && flag(intern!(py, "f_contiguous"))?;
        if dtype.getattr(intern!(py, "hasobject"))?.is_truthy()? {
            return self.object_array(array, &dtype, &shape, column);
        }
        if dtype.getattr(intern!(py, "itemsize"))?.extract::<usize>()? == 0 {
            return Err(self.refuse(array, "its elements have no size"));
        }
        if !flag(intern!(py, "writeable"))? {
            self.start("numpy.readonly", 1);
        }
        let array = if c_order || column {
            array.clone()
        } else {
            CONTIGUOUS.get(py)?.call1((array,))?
        };
        let element = element_of(&dtype)?;
        let dimensions = shape.len();
        if element.is_none() {
            self.start("numpy.ndarray", 4);
            self.dtype(&dtype)?;
            self.out.text(if column { "F" } else { "C" });
        } else if dimensions != 1 {
            self.out.tag(if column {
                tag::COLUMN_MAJOR
            } else {
                tag::ROW_MAJOR
            });
            self.out.length(Major::Array, 2);
        }
        if element.is_none() || dimensions != 1 {
            self.out.length(Major::Array, dimensions);
            for length in shape.iter() {
                self.out.length(Major::Unsigned, length.extract()?);
            }
        }
        if let Some(element) = element {
            self.out.tag(element.tag());
        }
        let bytes = array
            .call_method1(intern!(py, "ravel"), (intern!(py, "K"),))?
            .call_method1(intern!(py, "view"), (intern!(py, "u1"),))?;
        self.buffer(PyBuffer::get(&bytes)?);
        Ok(())
    }

    /// An array of objects: elements in the order of memory.
    fn object_array(
        &mut self,
        array: &Bound<'py, PyAny>,
        dtype: &Bound<'py, PyAny>,
        shape: &Bound<'py, PyTuple>,
        column: bool,
    ) -> PyResult<()> {
        let py = self.py;
        if dtype.getattr(intern!(py, "kind"))?.extract::<String>()? != "O"
            || !dtype.getattr(intern!(py, "metadata"))?.is_none()
        {
            return Err(self.refuse(array, "its elements have objects as parts"));
        }
        self.is_early(array);
        self.hashed = false;
        let order = if column { "F" } else { "C" };
        self.start("numpy.objects", 3);
        self.out.text(order);
        self.out.length(Major::Array, shape.len());
        for length in shape.iter() {
            self.out.length(Major::Unsigned, length.extract()?);
        }
        let elements = array
            .call_method1(intern!(py, "ravel"), (order,))?
            .call_method0(intern!(py, "tolist"))?;
        let elements = elements.cast_into::<PyList>()?;
        self.out.length(Major::Array, elements.len());
        for index in 0..elements.len() {
            let part = elements.get_item(index)?;
            // The list is ours, and holds it once more.
            elements.set_item(index, py.None())?;
            let written = self.value(&part);
            self.at(written, || element(index))?;
        }
        Ok(())
    }

    pub(super) fn scalar(&mut self, scalar: &Bound<'py, PyAny>) -> PyResult<()> {
        let py = self.py;
        let dtype = scalar.getattr(intern!(py, "dtype"))?;
        if dtype.getattr(intern!(py, "hasobject"))?.is_truthy()? {
            return Err(self.refuse(scalar, "it has objects as parts"));
        }
        self.start("numpy.scalar", 2);
        self.dtype(&dtype)?;
        let bytes = scalar.call_method0(intern!(py, "tobytes"))?;
        self.byte_array(&bytes)
    }

    /// A dtype: its text, or of one with fields or of subarrays an array of parts.
    pub(super) fn dtype(&mut self, dtype: &Bound<'py, PyAny>) -> PyResult<()> {
        let py = self.py;
        if !dtype.getattr(intern!(py, "metadata"))?.is_none() {
            return Err(self.refuse(dtype, "it has metadata"));
        }
        let names = dtype.getattr(intern!(py, "names"))?;
        if let Ok(names) = names.cast::<PyTuple>() {
            let fields = dtype.getattr(intern!(py, "fields"))?;
            self.out.length(Major::Array, 3);
            self.value(&dtype.getattr(intern!(py, "itemsize"))?)?;
            self.value(&dtype.getattr(intern!(py, "isalignedstruct"))?)?;
            self.out.length(Major::Array, names.len());
            for name in names.iter() {
                let field = fields.get_item(&name)?.cast_into::<PyTuple>()?;
                self.out.length(Major::Array, field.len() + 1);
                self.value(&name)?;
                self.dtype(&field.get_item(0)?)?;
                for more in field.iter().skip(1) {
                    self.value(&more)?;
                }
            }
            return Ok(());
        }
        let subarray = dtype.getattr(intern!(py, "subdtype"))?;
        if let Ok(subarray) = subarray.cast::<PyTuple>() {
            self.out.length(Major::Array, 2);
            self.dtype(&subarray.get_item(0)?)?;
            return self.value(&subarray.get_item(1)?);
        }
        let text = dtype.getattr(intern!(py, "str"))?;
        let text = text.cast_into::<PyString>()?;
        if !is_dtype_text(&text.to_string_lossy()) || !DTYPE.get(py)?.call1((&text,))?.eq(dtype)? {
            return Err(self.refuse(dtype, "its text does not say what it is"));
        }
        self.out.text(text.to_str()?);
        Ok(())
    }
}

/// What the tag of a typed array says of the elements, if there is one.
fn element_of(dtype: &Bound<'_, PyAny>) -> PyResult<Option<Element>> {
    let py = dtype.py();
    if !dtype
        .getattr(intern!(py, "isbuiltin"))?
        .extract::<i32>()
        .is_ok_and(|it| it < 2)
        || !dtype.getattr(intern!(py, "metadata"))?.is_none()
    {
        return Ok(None);
    }
    let text: String = dtype.getattr(intern!(py, "str"))?.extract()?;
    Ok(element_named(&text))
}

fn element_named(text: &str) -> Option<Element> {
    let (order, rest) = text.split_at_checked(1)?;
    let (kind, size) = rest.split_at_checked(1)?;
    let kind = match kind {
        "i" => Kind::Signed,
        "u" => Kind::Unsigned,
        "f" => Kind::Float,
        _ => return None,
    };
    Element::new(kind, size.parse().ok()?, order == "<")
}

fn text_of(element: Element) -> String {
    let order = match (element.size, element.little) {
        (1, _) => '|',
        (_, true) => '<',
        (_, false) => '>',
    };
    let kind = match element.kind {
        Kind::Signed => 'i',
        Kind::Unsigned => 'u',
        Kind::Float => 'f',
    };
    format!("{order}{kind}{}", element.size)
}

/// Whether this is the text of a dtype of plain memory, as `dtype.str` gives it.
fn is_dtype_text(text: &str) -> bool {
    let Some(rest) = text.strip_prefix(['<', '>', '|', '=']) else {
        return false;
    };
    let mut rest = rest.chars();
    let kind = rest.next();
    let rest = rest.as_str();
    let (digits, unit) = rest.split_once('[').unwrap_or((rest, "]"));
    kind.is_some_and(|kind| "biufcmMSUVO".contains(kind))
        && digits.len() < 10
        && digits.chars().all(|digit| digit.is_ascii_digit())
        && unit.len() < 12
        && unit
            .strip_suffix(']')
            .is_some_and(|unit| unit.chars().all(|c| c.is_ascii_alphanumeric()))
}

impl<'py> Decoder<'_, 'py> {
    /// A typed array, of one dimension or as part of one of several.
    pub(super) fn typed_array(&mut self, element: Element) -> PyResult<Bound<'py, PyAny>> {
        let bytes = self.byte_string()?;
        if bytes.len() % element.size != 0 {
            return Err(self.wrong("a typed array that ends within an element"));
        }
        let dtype = self.dtype_named(&text_of(element))?;
        self.array_of(&dtype, &[bytes.len() / element.size], false, bytes)
    }

    /// An array of several dimensions.
    pub(super) fn dimensions(&mut self, column: bool) -> PyResult<Bound<'py, PyAny>> {
        self.expect_array(2)?;
        let shape = self.shape()?;
        let Some(element) = Element::of(self.expect_tag()?) else {
            return Err(self.wrong("an array whose elements are no numbers"));
        };
        let dtype = self.dtype_named(&text_of(element))?;
        let bytes = self.byte_string()?;
        self.array_of(&dtype, &shape, column, bytes)
    }

    pub(super) fn plain_array(&mut self) -> PyResult<Bound<'py, PyAny>> {
        let dtype = self.dtype()?;
        let column = self.order()?;
        let shape = self.shape()?;
        let bytes = self.byte_string()?;
        self.array_of(&dtype, &shape, column, bytes)
    }

    fn order(&mut self) -> PyResult<bool> {
        match self.short_text()? {
            "C" => Ok(false),
            "F" => Ok(true),
            _ => Err(self.wrong("an order of memory that is neither C nor F")),
        }
    }

    fn shape(&mut self) -> PyResult<Vec<usize>> {
        let count = self.expect_any_array()?;
        if count > MOST_DIMENSIONS {
            return Err(self.wrong("an array of more dimensions than there may be"));
        }
        (0..count).map(|_| self.unsigned()).collect()
    }

    /// The dtype, and it is one without objects.
    fn dtype_named(&self, text: &str) -> PyResult<Bound<'py, PyAny>> {
        if !is_dtype_text(text) {
            return Err(self.wrong("a dtype that is not known"));
        }
        DTYPE.get(self.py)?.call1((text,))
    }

    pub(super) fn dtype(&mut self) -> PyResult<Bound<'py, PyAny>> {
        let py = self.py;
        if self.next_is_text() {
            let text = self.short_text()?;
            return self.dtype_named(text);
        }
        self.enter()?;
        let parts = self.expect_any_array()?;
        let made = if parts == 2 {
            let base = self.dtype()?;
            let shape = self.value()?;
            DTYPE.get(py)?.call1(((base, shape),))
        } else if parts == 3 {
            self.structured()
        } else {
            Err(self.wrong("a dtype of other parts"))
        };
        self.leave();
        made
    }

    fn structured(&mut self) -> PyResult<Bound<'py, PyAny>> {
        let py = self.py;
        let size = self.unsigned()?;
        let aligned = self.value()?.is_truthy()?;
        let spec = pyo3::types::PyDict::new(py);
        let [names, formats, offsets, titles] = [(); 4].map(|()| PyList::empty(py));
        for _ in 0..self.expect_any_array()? {
            let parts = self.expect_any_array()?;
            names.append(self.value()?)?;
            formats.append(self.dtype()?)?;
            offsets.append(self.unsigned()?)?;
            match parts {
                3 => titles.append(py.None())?,
                4 => titles.append(self.value()?)?,
                _ => return Err(self.wrong("a field of other parts")),
            }
        }
        spec.set_item("names", names)?;
        spec.set_item("formats", formats)?;
        spec.set_item("offsets", offsets)?;
        spec.set_item("titles", titles)?;
        spec.set_item("itemsize", size)?;
        DTYPE.get(py)?.call1((spec, aligned))
    }

    fn array_of(
        &self,
        dtype: &Bound<'py, PyAny>,
        shape: &[usize],
        column: bool,
        bytes: &[u8],
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = self.py;
        if dtype.getattr(intern!(py, "hasobject"))?.is_truthy()? {
            return Err(self.wrong("objects where there is memory only"));
        }
        let size: usize = dtype.getattr(intern!(py, "itemsize"))?.extract()?;
        let length = shape
            .iter()
            .try_fold(size, |all, one| all.checked_mul(*one));
        if size == 0 || length != Some(bytes.len()) {
            return Err(self.wrong("an array of another length than its shape says"));
        }
        let shape = PyTuple::new(py, shape)?;
        let order = if column { "F" } else { "C" };
        if bytes.is_empty() {
            return EMPTY.get(py)?.call1((shape, dtype, order));
        }
        let memory = bytes::byte_array(py, bytes)?;
        NDARRAY
            .get(py)?
            .call1((shape, dtype, memory, 0, py.None(), order))
    }

    pub(super) fn read_only(&mut self) -> PyResult<Bound<'py, PyAny>> {
        let py = self.py;
        let array = self.value()?;
        if !array.get_type().is(NDARRAY.get(py)?) {
            return Err(self.wrong("something read-only that is no array"));
        }
        array
            .getattr(intern!(py, "flags"))?
            .setattr(intern!(py, "writeable"), false)?;
        Ok(array)
    }

    pub(super) fn numpy_scalar(&mut self) -> PyResult<Bound<'py, PyAny>> {
        let dtype = self.dtype()?;
        let bytes = self.byte_string()?;
        let array = self.array_of(&dtype, &[], false, bytes)?;
        let scalar = array.get_item(PyTuple::empty(self.py))?;
        Ok(scalar)
    }

    pub(super) fn objects(&mut self, mark: Option<usize>) -> PyResult<Bound<'py, PyAny>> {
        let py = self.py;
        let column = self.order()?;
        let shape = self.shape()?;
        let count = self.expect_any_array()?;
        if shape
            .iter()
            .try_fold(1_usize, |all, one| all.checked_mul(*one))
            != Some(count)
        {
            return Err(self.wrong("an array of another length than its shape says"));
        }
        let order = if column { "F" } else { "C" };
        let shape = PyTuple::new(py, shape)?;
        let array = EMPTY.get(py)?.call1((shape, OBJECT.get(py)?, order))?;
        self.early(mark, &array);
        let parts = self.parts(count)?;
        if count > 0 {
            memory::fill_array(&array, parts)?;
        }
        Ok(array)
    }
}

/// What a text of bytes of numpy says.
pub fn numpy_bytes<'py>(bytes: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    static BYTES: Imported = Imported::new("numpy", "bytes_");
    if !bytes.is_exact_instance_of::<PyBytes>() {
        return Err(PyValueError::new_err("numpy.bytes_ of something else"));
    }
    BYTES.get(bytes.py())?.call1((bytes,))
}
