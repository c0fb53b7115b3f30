//! Code by its bytecode, where there is no source: at a plain prompt, for `python -c`, for what
//! was made by `exec`. It is not the same in every version of Python.

use std::collections::{BTreeSet, HashMap};

use crate::py::once::intern;
use pyo3::prelude::*;
use pyo3::types::{PyAny, PyCode, PyTuple};

use super::uses::{self, Code, Uses};
use crate::engine::digest::exact::{Encoder, Tag};
use crate::py::digest::exact::Walker;
use crate::py::names::Imported;

static INSTRUCTIONS: Imported = Imported::new("dis", "get_instructions");
static STACK_EFFECT: Imported = Imported::new("dis", "stack_effect");

/// What of a code object decides its behaviour: not names, places and line numbers.
pub const FIELDS: [&str; 10] = [
    "co_code",
    "co_consts",
    "co_names",
    "co_varnames",
    "co_freevars",
    "co_cellvars",
    "co_argcount",
    "co_posonlyargcount",
    "co_kwonlyargcount",
    "co_exceptiontable",
];

/// The flags of a code object that change what it does: variable arguments, generators,
/// coroutines. Others say where it was defined and what its module imported.
const BEHAVIOUR: u32 = 0x04 | 0x08 | 0x20 | 0x80 | 0x100 | 0x200;

/// The pre-image of a code object.
pub fn content<'py>(walker: &mut Walker<'py>, code: &Bound<'py, PyCode>) -> PyResult<Encoder> {
    let mut encoder = Encoder::new(Tag::Code);
    let flags: u32 = code.getattr(intern!(walker.py, "co_flags"))?.extract()?;
    encoder.u64(u64::from(flags & BEHAVIOUR));
    // Constants by type and value: a body that says 1.0 is not one that says 1.
    let typed = std::mem::replace(&mut walker.typed, true);
    for field in FIELDS {
        let hash = match code.getattr_opt(field) {
            Ok(Some(content)) => walker.walk(&content),
            Ok(None) => walker.walk(PyTuple::empty(walker.py).as_any()),
            Err(error) => Err(error),
        };
        match hash {
            Ok(hash) => encoder.child(&hash),
            Err(error) => {
                walker.typed = typed;
                return Err(error);
            }
        };
    }
    walker.typed = typed;
    Ok(encoder)
}

/// Code by its bytecode, with the globals that it names.
pub fn read<'py>(walker: &mut Walker<'py>, code: &Bound<'py, PyCode>) -> PyResult<Code> {
    let hash = content(walker, code)?.finish();
    let mut uses = Uses::of(outer_names(code)?);
    note_uses(code, &mut uses)?;
    Ok(Code { hash, uses })
}

/// The names of what code did not make itself: those that it, and the code within it, looks up in
/// its globals, and those of what it captured.
pub fn outer_names(code: &Bound<'_, PyCode>) -> PyResult<BTreeSet<String>> {
    let captured = code.getattr(intern!(code.py(), "co_freevars"))?;
    let mut names: BTreeSet<String> = captured.extract::<Vec<String>>()?.into_iter().collect();
    each_code(code, &mut |code| {
        let instructions = instructions(code)?;
        // A class that annotates has a dictionary of its own for that, up to Python 3.13.
        let annotates = instructions.iter().any(|i| i.name == "SETUP_ANNOTATIONS");
        for instruction in instructions.iter().filter(|i| i.is_global()) {
            let name = instruction.text()?;
            if !(annotates && name == "__annotations__") {
                names.insert(name);
            }
        }
        Ok(())
    })?;
    Ok(names)
}

fn each_code(
    code: &Bound<'_, PyCode>,
    visit: &mut impl FnMut(&Bound<'_, PyCode>) -> PyResult<()>,
) -> PyResult<()> {
    visit(code)?;
    let constants = code.getattr(intern!(code.py(), "co_consts"))?;
    for constant in constants.cast::<PyTuple>()?.iter() {
        if let Ok(inner) = constant.cast::<PyCode>() {
            each_code(inner, visit)?;
        }
    }
    Ok(())
}

struct Instruction<'py> {
    name: String,
    code: i32,
    argument: Bound<'py, PyAny>,
    value: Bound<'py, PyAny>,
}

impl Instruction<'_> {
    fn is_global(&self) -> bool {
        matches!(
            self.name.as_str(),
            "LOAD_GLOBAL"
                | "LOAD_NAME"
                | "LOAD_FROM_DICT_OR_GLOBALS"
                | "STORE_GLOBAL"
                | "DELETE_GLOBAL"
        )
    }

    fn is_attribute(&self) -> bool {
        matches!(self.name.as_str(), "LOAD_ATTR" | "LOAD_METHOD")
    }

    fn text(&self) -> PyResult<String> {
        self.value.extract()
    }

    /// By how much it grows the stack; `None` if it may go on elsewhere.
    fn effect(&self) -> PyResult<Option<i32>> {
        if self.name.contains("JUMP") || self.name.starts_with("FOR_") || self.name == "SEND" {
            return Ok(None);
        }
        let effect = STACK_EFFECT
            .get(self.argument.py())?
            .call1((self.code, &self.argument))?;
        effect.extract().map(Some)
    }
}

fn instructions<'py>(code: &Bound<'py, PyCode>) -> PyResult<Vec<Instruction<'py>>> {
    let py = code.py();
    let mut found = Vec::new();
    for instruction in INSTRUCTIONS.get(py)?.call1((code,))?.try_iter()? {
        let instruction = instruction?;
        found.push(Instruction {
            name: instruction.getattr(intern!(py, "opname"))?.extract()?,
            code: instruction.getattr(intern!(py, "opcode"))?.extract()?,
            argument: instruction.getattr(intern!(py, "arg"))?,
            value: instruction.getattr(intern!(py, "argval"))?,
        });
    }
    Ok(found)
}

/// What code does with the globals that it names, as far as straight code tells.
fn note_uses(code: &Bound<'_, PyCode>, uses: &mut Uses) -> PyResult<()> {
    each_code(code, &mut |code| {
        let instructions = instructions(code)?;
        for (place, instruction) in instructions.iter().enumerate() {
            if !matches!(
                instruction.name.as_str(),
                "LOAD_GLOBAL"
                    | "LOAD_NAME"
                    | "LOAD_FROM_DICT_OR_GLOBALS"
                    | "LOAD_DEREF"
                    | "LOAD_CLASSDEREF"
                    | "LOAD_FROM_DICT_OR_DEREF"
            ) {
                continue;
            }
            let name = instruction.text()?;
            let rest = &instructions[place + 1..];
            let attribute = rest.first().filter(|next| next.is_attribute());
            if let Some(method) = &attribute
                && uses::is_mutator(&method.text()?)
                && result_is_dropped(&rest[1..])?
            {
                uses.note_changed(&name, Vec::new());
            } else if rest.len() > 2 && is_added_to(&name, rest)? {
                uses.note_written(&name);
            } else if let Some(attribute) = attribute {
                uses.note_attribute(&name, attribute.text()?);
            } else {
                uses.note_read(&name);
            }
        }
        Ok(())
    })
}

/// Whether the method that was just loaded is called, and what it gives is dropped.
fn result_is_dropped(instructions: &[Instruction<'_>]) -> PyResult<bool> {
    // The method and its receiver.
    let mut depth = 2;
    for (place, instruction) in instructions.iter().enumerate() {
        let Some(effect) = instruction.effect()? else {
            return Ok(false);
        };
        depth += effect;
        if depth <= 1 {
            let next = instructions[place + 1..]
                .iter()
                .find(|next| next.name != "CACHE");
            return Ok(depth == 1 && next.is_some_and(|next| next.name == "POP_TOP"));
        }
    }
    Ok(false)
}

/// Whether a global that was just loaded is only the left side of `name += ...`.
fn is_added_to(name: &str, rest: &[Instruction<'_>]) -> PyResult<bool> {
    let mut depth = 1;
    for (place, instruction) in rest.iter().enumerate() {
        let Some(effect) = instruction.effect()? else {
            return Ok(false);
        };
        depth += effect;
        if depth == 1 && instruction.name == "BINARY_OP" {
            let next = rest[place + 1..].iter().find(|next| next.name != "CACHE");
            return match next {
                Some(next) if matches!(next.name.as_str(), "STORE_GLOBAL" | "STORE_DEREF") => {
                    Ok(next.text()? == name)
                }
                _ => Ok(false),
            };
        }
        if depth < 1 {
            return Ok(false);
        }
    }
    Ok(false)
}

/// The place of code in its file: line and column.
pub type Place = (u32, u32);

/// The functions in compiled code, by qualified name.
pub fn functions<'py>(
    code: &Bound<'py, PyAny>,
    found: &mut HashMap<String, Vec<(Place, Bound<'py, PyAny>)>>,
) -> PyResult<()> {
    let py = code.py();
    let constants = code.getattr(intern!(py, "co_consts"))?;
    for constant in constants.cast::<PyTuple>()?.iter() {
        if !constant.is_instance_of::<PyCode>() {
            continue;
        }
        let name = qualified_name(&constant)?;
        let place = place_of(&constant)?;
        functions(&constant, found)?;
        found.entry(name).or_default().push((place, constant));
    }
    Ok(())
}

/// The qualified name of code, without the comprehensions that it stands in: some versions of
/// Python make functions of them.
pub fn qualified_name(code: &Bound<'_, PyAny>) -> PyResult<String> {
    let name = code.getattr(intern!(code.py(), "co_qualname"))?;
    let mut name: String = name.extract()?;
    for comprehension in ["<listcomp>", "<setcomp>", "<dictcomp>", "<genexpr>"] {
        name = name.replace(&format!("{comprehension}.<locals>."), "");
        name = name.replace(&format!("{comprehension}."), "");
    }
    Ok(name)
}

/// The first line of code, and the first column of what it does there.
fn place_of(code: &Bound<'_, PyAny>) -> PyResult<Place> {
    let py = code.py();
    let line: u32 = code.getattr(intern!(py, "co_firstlineno"))?.extract()?;
    let mut column = u32::MAX;
    let mut earliest = u32::MAX;
    for position in code.call_method0(intern!(py, "co_positions"))?.try_iter()? {
        let (start, _, first, last): (Option<u32>, Option<u32>, Option<u32>, Option<u32>) =
            position?.extract()?;
        // What has no extent is the beginning of the function itself.
        if let (Some(start), Some(first), Some(last)) = (start, first, last)
            && last > 0
            && (start, first) < (earliest, column)
        {
            (earliest, column) = (start, first);
        }
    }
    Ok((line, column))
}
