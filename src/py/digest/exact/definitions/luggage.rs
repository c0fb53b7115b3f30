//! What a function takes along when it is pickled by value.
//!
//! A function of a script reaches workers without its source (`cloudpickle` drops even the name of
//! the file). Its attributes go with it: one of them says what its code is by its syntax tree, and
//! of which bytecode that is true, so that workers find what the script stored and the other way
//! round.

use pyo3::prelude::*;
use pyo3::types::{PyCode, PyFunction};

use super::bytecode;
use super::uses::{Code, Import, Packed, Uses};
use crate::engine::digest::Hash;
use crate::py::digest::exact::Walker;
use crate::py::digest::exact::naming::is_named_function;

/// The attribute: the digests of the bytecode and of the syntax tree, and the uses of globals.
const ATTRIBUTE: &str = "__fleche_syntax__";

pub fn pack<'py>(
    walker: &mut Walker<'py>,
    function: &Bound<'py, PyFunction>,
    code: &Bound<'py, PyCode>,
    read: &Code,
) -> PyResult<()> {
    if is_named_function(function)? {
        // It is pickled by its name.
        return Ok(());
    }
    let bytecode = bytecode::content(walker, code)?.finish();
    let imports: Vec<Import> = read.uses.imports().iter().cloned().collect();
    function.setattr(ATTRIBUTE, (bytecode, read.hash, read.uses.pack(), imports))
}

pub fn unpack<'py>(
    walker: &mut Walker<'py>,
    function: &Bound<'py, PyFunction>,
    code: &Bound<'py, PyCode>,
) -> PyResult<Option<Code>> {
    let Some(packed) = function.getattr_opt(ATTRIBUTE)? else {
        return Ok(None);
    };
    let Ok((of, hash, uses, imports)) = packed.extract::<(Hash, Hash, Vec<Packed>, Vec<Import>)>()
    else {
        return Ok(None);
    };
    // It may have been copied from a function that this one wraps.
    if bytecode::content(walker, code)?.finish() != of {
        return Ok(None);
    }
    let uses = Uses::unpack(uses, imports);
    Ok(Some(Code { hash, uses }))
}
