//! Values of the scientific libraries: arrays, frames, tables, tensors.
//!
//! A class is recognised by the library that it or one of its bases comes from and by that
//! class's name; no library is imported for it, and every class is looked at once.

mod arrow;
pub mod buffer;
mod columns;
mod dtype;
mod functions;
mod numpy;
mod pandas;
mod pandas_scalars;
mod polars;
mod random;
mod scalars;
mod sparse;
mod tensors;
mod text;
mod xarray;

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, PoisonError};

use crate::py::once::intern;
use pyo3::prelude::*;
use pyo3::types::PyType;

use super::Walker;
use super::state::{Attributes, with_attributes};
use crate::engine::digest::exact::{Encoder, Tag};
use crate::py::names::Imported;

/// What a class of a library holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Not a class of a library known here.
    Other,
    /// A class that no rule is for but that of reductions; of generators of random numbers.
    Object,
    Random,
    /// A class of a known library whose values have no content to digest: lazy frames, expressions.
    Refused,
    NumpyArray,
    NumpyMasked,
    NumpyScalar,
    NumpyDtype,
    NumpyRandom,
    NumpyFunction,
    NumpyCalendar,
    PandasFrame,
    PandasSeries,
    PandasMultiIndex,
    PandasIndex,
    PandasArray,
    PandasDtype,
    PandasScalar,
    PolarsFrame,
    PolarsSeries,
    PolarsDtype,
    ArrowTable,
    ArrowArray,
    ArrowScalar,
    ArrowType,
    ArrowBuffer,
    TorchTensor,
    TorchDtype,
    JaxArray,
    JaxKey,
    XarrayArray,
    XarrayDataset,
    XarrayVariable,
    XarrayTree,
    ScipySparse,
}

/// The kind of the class `name` of the package `package`.
fn kind_of(package: &str, name: &str) -> Kind {
    match (package, name) {
        ("numpy", "MaskedArray") => Kind::NumpyMasked,
        ("numpy", "ndarray") => Kind::NumpyArray,
        ("numpy", "generic") => Kind::NumpyScalar,
        ("numpy", "dtype") => Kind::NumpyDtype,
        ("numpy", "Generator" | "RandomState" | "BitGenerator" | "SeedSequence") => {
            Kind::NumpyRandom
        }
        ("numpy", "ufunc" | "_ArrayFunctionDispatcher") => Kind::NumpyFunction,
        ("numpy", "busdaycalendar") => Kind::NumpyCalendar,
        ("pandas", "DataFrame") => Kind::PandasFrame,
        ("pandas", "Series") => Kind::PandasSeries,
        ("pandas", "MultiIndex") => Kind::PandasMultiIndex,
        ("pandas", "Index") => Kind::PandasIndex,
        ("pandas", "ExtensionArray") => Kind::PandasArray,
        ("pandas", "ExtensionDtype") => Kind::PandasDtype,
        (
            "pandas",
            "Timestamp" | "Timedelta" | "Period" | "Interval" | "NaTType" | "NAType" | "BaseOffset",
        ) => Kind::PandasScalar,
        ("polars", "DataFrame") => Kind::PolarsFrame,
        ("polars", "Series") => Kind::PolarsSeries,
        ("polars", "DataType") => Kind::PolarsDtype,
        ("pyarrow", "Table" | "RecordBatch") => Kind::ArrowTable,
        ("pyarrow", "Array" | "ChunkedArray") => Kind::ArrowArray,
        ("pyarrow", "Scalar") => Kind::ArrowScalar,
        ("pyarrow", "Schema" | "Field" | "DataType") => Kind::ArrowType,
        ("pyarrow", "Buffer") => Kind::ArrowBuffer,
        ("torch", "Tensor" | "TensorBase") => Kind::TorchTensor,
        ("torch", "dtype" | "device") => Kind::TorchDtype,
        ("jaxlib" | "jax", "ArrayImpl") => Kind::JaxArray,
        ("jax", "PRNGKeyArray") => Kind::JaxKey,
        ("xarray", "DataArray") => Kind::XarrayArray,
        ("xarray", "Dataset") => Kind::XarrayDataset,
        ("xarray", "Variable") => Kind::XarrayVariable,
        ("xarray", "DataTree") => Kind::XarrayTree,
        ("scipy", "_spbase" | "spmatrix" | "sparray") => Kind::ScipySparse,
        ("polars", "LazyFrame" | "Expr") | ("dask", _) => Kind::Refused,
        _ => Kind::Other,
    }
}

/// Classes seen before, by address. Each is kept alive, so that no other takes its address.
static CLASSES: LazyLock<Mutex<Classes>> = LazyLock::new(Mutex::default);

type Classes = HashMap<usize, (Py<PyType>, Kind)>;

/// Programs that make classes without end must not keep them all alive here.
const MOST_CLASSES: usize = 4096;

/// What a class holds, as far as it was looked at.
pub fn kind(class: &Bound<'_, PyType>) -> PyResult<Kind> {
    let address = class.as_ptr() as usize;
    let known = CLASSES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, kind)) = known.get(&address) {
        return Ok(*kind);
    }
    drop(known);
    let kind = classify(class)?;
    note(class, kind);
    Ok(kind)
}

/// Notes what a class holds.
pub fn note(class: &Bound<'_, PyType>, kind: Kind) {
    let mut known = CLASSES.lock().unwrap_or_else(PoisonError::into_inner);
    let forgotten = if known.len() == MOST_CLASSES {
        std::mem::take(&mut *known)
    } else {
        HashMap::new()
    };
    let kept = known.insert(class.as_ptr() as usize, (class.clone().unbind(), kind));
    drop(known);
    // After the lock: the end of a class may run Python code.
    drop((forgotten, kept));
}

fn classify(class: &Bound<'_, PyType>) -> PyResult<Kind> {
    let py = class.py();
    for base in class.mro() {
        let module = base.getattr(intern!(py, "__module__"))?;
        let Ok(module) = module.extract::<String>() else {
            continue;
        };
        let package = module.split('.').next().unwrap_or_default();
        let name = base.getattr(intern!(py, "__name__"))?.extract::<String>()?;
        let kind = kind_of(package, &name);
        if kind != Kind::Other {
            return Ok(kind);
        }
    }
    Ok(Kind::Other)
}

/// Whether a value is an array that loads as it was from its dtype, shape and elements alone.
pub fn is_plain_array(value: &Bound<'_, PyAny>) -> PyResult<bool> {
    let py = value.py();
    let class = value.get_type();
    if kind(&class)? != Kind::NumpyArray || !class.is(numpy::NDARRAY.get(py)?) {
        return Ok(false);
    }
    let dtype = value.getattr(intern!(py, "dtype"))?;
    let flags = value.getattr(intern!(py, "flags"))?;
    let flag = |name: &str| flags.getattr(name)?.is_truthy();
    Ok(matches!(
        dtype::kind(&dtype)?,
        b'b' | b'i' | b'u' | b'f' | b'c' | b'M' | b'm' | b'S' | b'U'
    ) && dtype.getattr(intern!(py, "metadata"))?.is_none()
        && dtype.getattr(intern!(py, "isbuiltin"))?.extract::<i32>()? != 2
        && flag("c_contiguous")?
        && flag("writeable")?
        && flag("aligned")?
        // Of one dimension or none, or empty, both orders are one.
        && value.getattr(intern!(py, "ndim"))?.extract::<usize>()? > 0)
}

impl<'py> Walker<'py> {
    /// The encoding of a value of one of the libraries; `None` for all others.
    #[inline(never)]
    pub(super) fn library(
        &mut self,
        value: &Bound<'py, PyAny>,
        kind: Kind,
    ) -> PyResult<Option<Encoder>> {
        let encoder = match kind {
            Kind::Other | Kind::Object | Kind::Random => return Ok(None),
            Kind::Refused => return Err(self.refusal(value)),
            Kind::NumpyArray => self.numpy_array(value)?,
            Kind::NumpyMasked => self.masked_array(value)?,
            Kind::NumpyScalar => return self.numpy_scalar(value),
            Kind::NumpyDtype => self.dtype(value)?,
            Kind::NumpyRandom => self.random_state(value)?,
            Kind::NumpyFunction => self.numpy_function(value)?,
            Kind::NumpyCalendar => self.numpy_calendar(value)?,
            Kind::PandasFrame => self.frame(value)?,
            Kind::PandasSeries => self.series(value)?,
            Kind::PandasMultiIndex => self.multi_index(value)?,
            Kind::PandasIndex => self.index(value)?,
            Kind::PandasArray => self.extension_array(value)?,
            Kind::PandasDtype => self.extension_dtype(value)?,
            Kind::PandasScalar => self.pandas_scalar(value)?,
            Kind::PolarsFrame => self.polars_frame(value)?,
            Kind::PolarsSeries => self.polars_series(value)?,
            Kind::PolarsDtype => Self::polars_dtype(value)?,
            Kind::ArrowTable => self.arrow_table(value)?,
            Kind::ArrowArray => self.arrow_array(value)?,
            Kind::ArrowScalar => self.arrow_scalar(value)?,
            Kind::ArrowType => Self::arrow_type(value)?,
            Kind::ArrowBuffer => self.arrow_buffer(value)?,
            Kind::TorchTensor => self.torch_tensor(value)?,
            Kind::TorchDtype => Self::torch_dtype(value)?,
            Kind::JaxArray => self.jax_array(value)?,
            Kind::JaxKey => self.jax_key(value)?,
            Kind::XarrayArray => self.xarray_array(value)?,
            Kind::XarrayDataset => self.xarray_dataset(value)?,
            Kind::XarrayVariable => self.xarray_variable(value)?,
            Kind::XarrayTree => self.xarray_tree(value)?,
            Kind::ScipySparse => self.sparse_array(value)?,
        };
        Ok(Some(encoder))
    }

    /// The content of an instance of a user's subclass of a library's class, with the class and
    /// the attributes that the instance carries.
    fn of_subclass(
        &mut self,
        value: &Bound<'py, PyAny>,
        content: Encoder,
        attributes: &Attributes,
    ) -> PyResult<Encoder> {
        let mut encoder = Encoder::new(Tag::Subclass);
        encoder
            .text(&self.class_name(&value.get_type())?)
            .child(&content.finish());
        Ok(with_attributes(encoder, attributes))
    }

    /// The same for a class whose instances carry nothing but what their own attributes hold.
    fn or_of_subclass(
        &mut self,
        value: &Bound<'py, PyAny>,
        content: Encoder,
        class: &'static Imported,
    ) -> PyResult<Encoder> {
        let class = class.get(self.py)?;
        if value.get_type().is(class) {
            return Ok(content);
        }
        let attributes = self.own_attributes(value, class)?;
        self.of_subclass(value, content, &attributes)
    }
}
