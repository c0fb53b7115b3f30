//! pandas frames, series and indexes, by the hashes that pandas computes of their elements.

use crate::py::once::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PySlice, PyString};

use super::{Outcome, Walker, type_name};
use crate::engine::digest::Hash;
use crate::engine::digest::sha256::{Hasher, of};
use crate::py::digest::bytes::utf8;
use crate::py::names::Imported;

static FRAME: Imported = Imported::new("pandas", "DataFrame");
static SERIES: Imported = Imported::new("pandas", "Series");
static INDEX: Imported = Imported::new("pandas", "Index");
static MULTI_INDEX: Imported = Imported::new("pandas", "MultiIndex");
static NOT_AVAILABLE: Imported = Imported::new("pandas", "NA");
static CATEGORICAL: Imported = Imported::new("pandas", "CategoricalDtype");
static HASH: Imported = Imported::new("pandas.util", "hash_pandas_object");
static INFER: Imported = Imported::new("pandas.api.types", "infer_dtype");
static ARRAY: Imported = Imported::new("pandas", "array");

impl<'py> Walker<'py> {
    pub(super) fn frame(&mut self, value: &Bound<'py, PyAny>) -> PyResult<Option<Hash>> {
        let Some(missing) = NOT_AVAILABLE.if_loaded(self.py)? else {
            return Ok(None);
        };
        let mut hasher = Hasher::new(&type_name(value)?);
        if FRAME.is_instance(value)? {
            self.data_frame(&mut hasher, value)?;
        } else if SERIES.is_instance(value)? {
            self.series(&mut hasher, value)?;
        } else if MULTI_INDEX.is_instance(value)? {
            self.multi_index(&mut hasher, value)?;
        } else if INDEX.is_instance(value)? {
            self.index(&mut hasher, value)?;
        } else if value.is(missing) {
            hasher.bytes(b"__NA__");
        } else {
            return Ok(None);
        }
        Ok(Some(hasher.finish()))
    }

    fn data_frame(&mut self, hasher: &mut Hasher, frame: &Bound<'py, PyAny>) -> PyResult<()> {
        let py = self.py;
        let labels = frame.getattr(intern!(py, "columns"))?;
        hasher.child(&self.elements(b"list", labels.try_iter()?)?);
        let mut dtypes = Hasher::new(b"list");
        let mut prepared = frame.clone();
        for (position, dtype) in frame
            .getattr(intern!(py, "dtypes"))?
            .try_iter()?
            .enumerate()
        {
            let dtype = dtype?;
            dtypes.child(&of(&[b"str", &utf8(&dtype.str()?)?]));
            if !holds_objects(&dtype)? {
                continue;
            }
            let column = frame
                .getattr(intern!(py, "iloc"))?
                .get_item((PySlice::full(py), position))?;
            if let Some(digests) = self.digests_of_objects(&column, &dtype)? {
                if prepared.is(frame) {
                    let shallow = PyDict::new(py);
                    shallow.set_item(intern!(py, "deep"), false)?;
                    prepared = frame.call_method(intern!(py, "copy"), (), Some(&shallow))?;
                }
                prepared.call_method1(intern!(py, "isetitem"), (position, digests))?;
            }
        }
        hasher.child(&dtypes.finish());
        hasher.outcome(&self.walk(&frame.getattr(intern!(py, "index"))?)?);
        element_hashes(hasher, &prepared)
    }

    fn series(&mut self, hasher: &mut Hasher, series: &Bound<'py, PyAny>) -> PyResult<()> {
        let dtype = self.name_and_dtype(hasher, series)?;
        hasher.outcome(&self.walk(&series.getattr(intern!(self.py, "index"))?)?);
        match self.digests_of_objects(series, &dtype)? {
            Some(digests) => element_hashes(hasher, &SERIES.get(self.py)?.call1((digests,))?),
            None => element_hashes(hasher, series),
        }
    }

    fn multi_index(&mut self, hasher: &mut Hasher, index: &Bound<'py, PyAny>) -> PyResult<()> {
        let py = self.py;
        let count: usize = index.getattr(intern!(py, "nlevels"))?.extract()?;
        let mut levels = Hasher::new(b"tuple");
        for level in 0..count {
            let values = index.call_method1(intern!(py, "get_level_values"), (level,))?;
            levels.outcome(&self.walk(&values)?);
        }
        hasher.child(&levels.finish());
        Ok(())
    }

    fn index(&mut self, hasher: &mut Hasher, index: &Bound<'py, PyAny>) -> PyResult<()> {
        let dtype = self.name_and_dtype(hasher, index)?;
        match self.digests_of_objects(index, &dtype)? {
            Some(digests) => element_hashes(hasher, &SERIES.get(self.py)?.call1((digests,))?),
            None => element_hashes(hasher, index),
        }
    }

    fn name_and_dtype(
        &mut self,
        hasher: &mut Hasher,
        value: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        hasher.outcome(&self.walk(&value.getattr(intern!(self.py, "name"))?)?);
        let dtype = value.getattr(intern!(self.py, "dtype"))?;
        hasher.child(&of(&[b"str", &utf8(&dtype.str()?)?]));
        Ok(dtype)
    }

    /// What stands for the elements of a column that holds objects other than text: their
    /// digests, as pandas cannot hash them or does not tell them apart.
    fn digests_of_objects(
        &mut self,
        column: &Bound<'py, PyAny>,
        dtype: &Bound<'py, PyAny>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let py = self.py;
        if !holds_objects(dtype)? {
            return Ok(None);
        }
        // Of a categorical all categories count, whether they appear or not.
        let objects = if CATEGORICAL.is_instance(dtype)? {
            dtype.getattr(intern!(py, "categories"))?
        } else {
            column.clone()
        };
        let skip = PyDict::new(py);
        skip.set_item(intern!(py, "skipna"), true)?;
        let kind = INFER.get(py)?.call((objects,), Some(&skip))?;
        if kind.eq("string")? || kind.eq("empty")? {
            return Ok(None);
        }
        let digests = PyList::empty(py);
        for element in column.try_iter()? {
            let outcome: Outcome = self.walk(&element?)?;
            digests.append(PyString::new(py, &outcome.text()))?;
        }
        ARRAY.get(py)?.call1((digests, "object")).map(Some)
    }
}

/// Whether a column of this dtype holds Python objects, itself or in its categories.
fn holds_objects(dtype: &Bound<'_, PyAny>) -> PyResult<bool> {
    let py = dtype.py();
    if CATEGORICAL.is_instance(dtype)? {
        let categories = dtype.getattr(intern!(py, "categories"))?;
        let of_categories = categories.getattr_opt(intern!(py, "dtype"))?;
        return of_categories.map_or(Ok(false), |dtype| Ok(dtype.str()? == "object"));
    }
    Ok(dtype.str()? == "object")
}

/// Feeds the 8-byte hashes that pandas has for the rows of `value`.
fn element_hashes(hasher: &mut Hasher, value: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = value.py();
    let without_index = PyDict::new(py);
    without_index.set_item(intern!(py, "index"), false)?;
    let rows = HASH.get(py)?.call((value,), Some(&without_index))?;
    let bytes = rows
        .call_method0(intern!(py, "to_numpy"))?
        .call_method0(intern!(py, "tobytes"))?;
    let bytes = bytes.cast::<PyBytes>()?.as_bytes();
    py.detach(|| hasher.bytes(bytes));
    Ok(())
}
