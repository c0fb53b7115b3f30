//! Tensors of torch and arrays of jax.

use crate::py::once::intern;
use pyo3::prelude::*;

use super::numpy::shape;
use super::{buffer, dtype};
use crate::engine::digest::exact::{Encoder, Tag};
use crate::py::digest::exact::{Walker, indigestible_because, leaf};
use crate::py::names::Imported;

static TENSOR: Imported = Imported::new("torch", "Tensor");
static STRIDED: Imported = Imported::new("torch", "strided");
static BYTE: Imported = Imported::new("torch", "uint8");
static KEY_DATA: Imported = Imported::new("jax.random", "key_data");
static KEY_KIND: Imported = Imported::new("jax.random", "key_impl");
static AS_ARRAY: Imported = Imported::new("numpy", "asarray");

mod library {
    pub const TORCH: u8 = 0;
    pub const JAX: u8 = 1;
    pub const JAX_KEY: u8 = 2;
}

impl<'py> Walker<'py> {
    /// A dense tensor in the computer's own memory.
    pub(super) fn torch_tensor(&mut self, tensor: &Bound<'py, PyAny>) -> PyResult<Encoder> {
        let py = self.py;
        let device = tensor.getattr(intern!(py, "device"))?;
        let device: String = device.getattr(intern!(py, "type"))?.extract()?;
        let layout = tensor.getattr(intern!(py, "layout"))?;
        if device != "cpu" || !layout.is(STRIDED.get(py)?) {
            let reason = format!(
                "a torch tensor on device {device:?} with layout {layout}: only dense tensors on \
                 \"cpu\" have a digest (call .cpu() or .to_dense() first)"
            );
            return Err(indigestible_because(py, &reason));
        }
        let mut encoder = Encoder::new(Tag::Tensor);
        let kind = tensor.getattr(intern!(py, "dtype"))?;
        let gradient = tensor.getattr(intern!(py, "requires_grad"))?.is_truthy()?;
        encoder
            .byte(library::TORCH)
            .text(&kind.str()?.to_string_lossy())
            .byte(u8::from(gradient));
        shape(&mut encoder, tensor)?;
        if tensor.call_method0(intern!(py, "numel"))?.is_truthy()? {
            // As bytes: numpy does not know all of torch's dtypes.
            let bytes = tensor
                .call_method0(intern!(py, "detach"))?
                .call_method0(intern!(py, "resolve_conj"))?
                .call_method0(intern!(py, "resolve_neg"))?
                .call_method0(intern!(py, "contiguous"))?
                .call_method1(intern!(py, "reshape"), (-1,))?
                .call_method1(intern!(py, "view"), (BYTE.get(py)?,))?
                .call_method0(intern!(py, "numpy"))?;
            buffer::hash_buffer(&mut encoder, &bytes)?;
        }
        self.or_of_subclass(tensor, encoder, &TENSOR)
    }

    /// `torch.float32`, `torch.device("cpu")`.
    pub(super) fn torch_dtype(value: &Bound<'py, PyAny>) -> PyResult<Encoder> {
        let mut encoder = Encoder::new(Tag::Dtype);
        encoder
            .byte(dtype::TORCH)
            .bytes(&leaf::utf8(&value.repr()?)?);
        Ok(encoder)
    }

    /// dtype, shape and values, wherever they are, and whether the dtype is weak.
    pub(super) fn jax_array(&mut self, array: &Bound<'py, PyAny>) -> PyResult<Encoder> {
        let py = self.py;
        let values = AS_ARRAY.get(py)?.call1((array,))?;
        let weak = match array.getattr_opt(intern!(py, "weak_type"))? {
            Some(weak) => weak.is_truthy()?,
            None => false,
        };
        let mut encoder = Encoder::new(Tag::Tensor);
        encoder
            .byte(library::JAX)
            .byte(u8::from(weak))
            .child(&self.array_content(&values)?.finish());
        Ok(encoder)
    }

    /// A key of jax's random numbers: its kind and its bits.
    pub(super) fn jax_key(&mut self, key: &Bound<'py, PyAny>) -> PyResult<Encoder> {
        let py = self.py;
        let kind = KEY_KIND.get(py)?.call1((key,))?;
        let data = KEY_DATA.get(py)?.call1((key,))?;
        let mut encoder = Encoder::new(Tag::Tensor);
        encoder
            .byte(library::JAX_KEY)
            .bytes(&leaf::utf8(&kind.str()?)?)
            .child(&self.jax_array(&data)?.finish());
        Ok(encoder)
    }
}
