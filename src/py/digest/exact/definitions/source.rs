//! The syntax tree of a code object, where its source is there and is what it was compiled from.
//!
//! A file may have been edited since: the source counts only if compiling it gives this very code.
//! Which of a file's functions it is, is told by its qualified name and by what it compiles to,
//! not by its line.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use crate::py::once::intern;
use pyo3::exceptions::PyException;
use pyo3::prelude::*;
use pyo3::types::{PyAny, PyCode, PyFunction, PyList, PyString, PyTuple};

use super::syntax;
use super::uses::Code;
use super::{bytecode, luggage};
use crate::py::digest::exact::Walker;
use crate::py::names::Imported;

static GET_LINES: Imported = Imported::new("linecache", "getlines");
static PARSE: Imported = Imported::new("ast", "parse");
static COMPILE: Imported = Imported::new("builtins", "compile");

/// Code objects read before, by address; each is kept alive, so that no other takes its address.
static READ: LazyLock<Mutex<Known>> = LazyLock::new(Mutex::default);

type Known = HashMap<usize, (Py<PyAny>, Arc<Code>)>;

/// Files read before: their lines as `linecache` has them, and the functions in them.
static FILES: LazyLock<Mutex<HashMap<String, Arc<File>>>> = LazyLock::new(Mutex::default);

/// Programs that make code without end must not keep it all alive here.
const MOST_READ: usize = 1 << 14;
const MOST_FILES: usize = 64;

/// The functions of a file.
struct File {
    lines: Py<PyList>,
    /// By qualified name: what each was compiled to, and its node, both in order of place.
    functions: HashMap<String, Vec<Function>>,
}

struct Function {
    code: Py<PyAny>,
    node: Py<PyAny>,
}

/// The code of a function by its syntax tree, or by its bytecode where there is no source.
pub fn read<'py>(
    walker: &mut Walker<'py>,
    function: &Bound<'py, PyFunction>,
    code: &Bound<'py, PyCode>,
) -> PyResult<Arc<Code>> {
    let address = code.as_ptr() as usize;
    let lock = || READ.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, known)) = lock().get(&address) {
        return Ok(known.clone());
    }
    let py = walker.py;
    // Constants count by type: a body that says 1.0 is not one that says 1.
    let typed = std::mem::replace(&mut walker.typed, true);
    let found = by_syntax(walker, code);
    walker.typed = typed;
    let by_syntax = match found {
        // Source that cannot be parsed, or a loader that fails.
        Err(error) if error.is_instance_of::<PyException>(py) => None,
        done => done?,
    };
    let read = match by_syntax {
        Some(read) => {
            luggage::pack(walker, function, code, &read)?;
            read
        }
        None => match luggage::unpack(walker, function, code)? {
            Some(read) => read,
            None => bytecode::read(walker, code)?,
        },
    };
    let read = Arc::new(read);
    let mut known = lock();
    let forgotten = if known.len() == MOST_READ {
        std::mem::take(&mut *known)
    } else {
        HashMap::new()
    };
    known.insert(address, (code.clone().into_any().unbind(), read.clone()));
    drop(known);
    drop(forgotten);
    Ok(read)
}

fn by_syntax<'py>(walker: &mut Walker<'py>, code: &Bound<'py, PyCode>) -> PyResult<Option<Code>> {
    let py = walker.py;
    let Some(file) = file_of(code)? else {
        return Ok(None);
    };
    let name = bytecode::qualified_name(code.as_any())?;
    let mut read: Option<Code> = None;
    for function in file.functions.get(&name).into_iter().flatten() {
        if !compiles_to(function.code.bind(py), code.as_any())? {
            continue;
        }
        let names = bytecode::outer_names(code)?;
        let found = syntax::read(walker, function.node.bind(py), names)?;
        match &read {
            None => read = Some(found),
            // The same bytecode from two trees: nothing says which one it is.
            Some(known) if known.hash != found.hash => return Ok(None),
            Some(_) => {}
        }
    }
    Ok(read)
}

/// Whether two code objects do the same, wherever they stand in their files.
fn compiles_to(one: &Bound<'_, PyAny>, other: &Bound<'_, PyAny>) -> PyResult<bool> {
    for field in bytecode::FIELDS {
        let [one, other] = [one, other].map(|code| code.getattr_opt(field));
        let same = match (one?, other?) {
            (Some(one), Some(other)) => same_constant(&one, &other)?,
            (None, None) => true,
            _ => false,
        };
        if !same {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Equality of what stands in code objects, which tells `1` from `1.0` and looks into other code.
fn same_constant(one: &Bound<'_, PyAny>, other: &Bound<'_, PyAny>) -> PyResult<bool> {
    if one.is(other) {
        return Ok(true);
    }
    if !one.get_type().is(other.get_type()) {
        return Ok(false);
    }
    if let (Ok(one), Ok(other)) = (one.cast::<PyTuple>(), other.cast::<PyTuple>()) {
        if one.len() != other.len() {
            return Ok(false);
        }
        for (one, other) in one.iter().zip(other.iter()) {
            if !same_constant(&one, &other)? {
                return Ok(false);
            }
        }
        return Ok(true);
    }
    if one.is_instance_of::<PyCode>() {
        return compiles_to(one, other);
    }
    // `0.0` is not `-0.0`.
    Ok(one.eq(other)? && one.repr()?.as_any().eq(other.repr()?)?)
}

/// The functions of the file that code is from, as its source is now.
fn file_of(code: &Bound<'_, PyCode>) -> PyResult<Option<Arc<File>>> {
    let py = code.py();
    let name: String = code.getattr(intern!(py, "co_filename"))?.extract()?;
    let lines = GET_LINES.get(py)?.call1((&name,))?;
    let Ok(lines) = lines.cast_into::<PyList>() else {
        return Ok(None);
    };
    if lines.is_empty() {
        return Ok(None);
    }
    let lock = || FILES.lock().unwrap_or_else(PoisonError::into_inner);
    let known = lock().get(&name).cloned();
    if let Some(known) = known
        && known.lines.bind(py).is(&lines)
    {
        return Ok(Some(known));
    }
    let text = PyString::new(py, "").call_method1(intern!(py, "join"), (&lines,))?;
    let tree = PARSE.get(py)?.call1((text, &name))?;
    let flags = future_flags(code)?;
    let compiled = COMPILE
        .get(py)?
        .call1((&tree, &name, intern!(py, "exec"), flags, true))?;
    let file = Arc::new(File {
        lines: lines.unbind(),
        functions: functions_of(&tree, &compiled)?,
    });
    let mut files = lock();
    let forgotten = if files.len() == MOST_FILES {
        std::mem::take(&mut *files)
    } else {
        HashMap::new()
    };
    let replaced = files.insert(name, file.clone());
    drop(files);
    drop((forgotten, replaced));
    Ok(Some(file))
}

/// The `from __future__` features under which code was compiled: at a prompt they were asked for
/// in an earlier input.
fn future_flags(code: &Bound<'_, PyCode>) -> PyResult<u32> {
    const FEATURES: u32 = 0x01fe_0000;
    let flags: u32 = code.getattr(intern!(code.py(), "co_flags"))?.extract()?;
    Ok(flags & FEATURES)
}

/// The nodes of functions and what they were compiled to, matched by their order of place.
fn functions_of(
    tree: &Bound<'_, PyAny>,
    compiled: &Bound<'_, PyAny>,
) -> PyResult<HashMap<String, Vec<Function>>> {
    let mut nodes = HashMap::new();
    syntax::functions(tree, "", &mut nodes)?;
    let mut codes = HashMap::new();
    bytecode::functions(compiled, &mut codes)?;
    let mut functions = HashMap::new();
    for (name, mut nodes) in nodes {
        let Some(mut codes) = codes.remove(&name) else {
            continue;
        };
        // Code that the compiler left out, as after `if False:`, leaves its node without one.
        if nodes.len() != codes.len() {
            continue;
        }
        nodes.sort_by_key(|(place, _)| *place);
        codes.sort_by_key(|(place, _)| *place);
        let pairs = nodes.into_iter().zip(codes);
        let pairs = pairs.map(|((_, node), (_, code))| Function {
            code: code.unbind(),
            node: node.unbind(),
        });
        functions.insert(name, pairs.collect());
    }
    Ok(functions)
}
