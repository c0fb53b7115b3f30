//! Syntax trees: what they say, written down in a way that no version of Python changes.
//!
//! Docstrings, annotations, comments and formatting are left out. So are the decorators and the
//! defaults of the function itself: what they made of it counts as the values that they are.

use std::collections::{BTreeSet, HashMap};

use crate::py::once::intern;
use pyo3::prelude::*;
use pyo3::types::{PyAny, PyList, PyString};

use super::bytecode::Place;
use super::nodes::{
    fields_of, held_name, is_docstring, is_guard, is_left_out, is_loaded, kind_of, leads_down_to,
    method_call, name_of,
};
use super::uses::{Code, Uses, is_mutator};
use crate::engine::digest::exact::{Encoder, Tag};
use crate::py::digest::check_depth;
use crate::py::digest::exact::{Walker, leaf};
use crate::py::names::Imported;

static NODE: Imported = Imported::new("ast", "AST");
/// Whether a call whose result is dropped only changes a built-in container.
fn is_dropped_mutator(name: &str, call: &Bound<'_, PyAny>) -> PyResult<bool> {
    Ok(name == "setdefault"
        || name == "pop" && call.getattr(intern!(call.py(), "args"))?.len()? == 2)
}

/// The functions and lambdas of a tree, by qualified name.
pub fn functions<'py>(
    node: &Bound<'py, PyAny>,
    prefix: &str,
    found: &mut HashMap<String, Vec<(Place, Bound<'py, PyAny>)>>,
) -> PyResult<()> {
    let py = node.py();
    let kind = kind_of(node)?;
    let inner = match kind.as_str() {
        "FunctionDef" | "AsyncFunctionDef" => {
            let name: String = node.getattr(intern!(py, "name"))?.extract()?;
            Some((format!("{prefix}{name}"), "<locals>."))
        }
        "Lambda" => Some((format!("{prefix}<lambda>"), "<locals>.")),
        "ClassDef" => {
            let name: String = node.getattr(intern!(py, "name"))?.extract()?;
            Some((format!("{prefix}{name}"), ""))
        }
        _ => None,
    };
    let body_prefix = match &inner {
        Some((name, within)) => format!("{name}.{within}"),
        None => prefix.to_owned(),
    };
    if let Some((name, _)) = inner
        && kind != "ClassDef"
    {
        let place = place_of(node, &kind)?;
        found.entry(name).or_default().push((place, node.clone()));
    }
    for field in fields_of(node)? {
        let Some(value) = node.getattr_opt(field.as_str())? else {
            continue;
        };
        // Decorators, defaults and annotations belong to what is around.
        let prefix = if field == "body" {
            &body_prefix
        } else {
            prefix
        };
        each_node(&value, &mut |child| functions(child, prefix, found))?;
    }
    Ok(())
}

/// Line and column, as the compiled function has them.
fn place_of(node: &Bound<'_, PyAny>, kind: &str) -> PyResult<Place> {
    let py = node.py();
    let mut line: u32 = node.getattr(intern!(py, "lineno"))?.extract()?;
    if kind == "Lambda" {
        let body = node.getattr(intern!(py, "body"))?;
        let column: u32 = body.getattr(intern!(py, "col_offset"))?.extract()?;
        return Ok((line, column));
    }
    for decorator in node.getattr(intern!(py, "decorator_list"))?.try_iter()? {
        line = line.min(decorator?.getattr(intern!(py, "lineno"))?.extract()?);
    }
    Ok((line, 0))
}

fn each_node<'py>(
    value: &Bound<'py, PyAny>,
    visit: &mut impl FnMut(&Bound<'py, PyAny>) -> PyResult<()>,
) -> PyResult<()> {
    if let Ok(list) = value.cast::<PyList>() {
        for child in list.iter() {
            if NODE.is_instance(&child)? {
                visit(&child)?;
            }
        }
    } else if NODE.is_instance(value)? {
        visit(value)?;
    }
    Ok(())
}

/// The digest of a function's syntax tree, and how it uses these globals.
pub fn read<'py>(
    walker: &mut Walker<'py>,
    node: &Bound<'py, PyAny>,
    names: BTreeSet<String>,
) -> PyResult<Code> {
    let mut encoder = Encoder::new(Tag::Syntax);
    let mut writer = Writer {
        walker,
        encoder: &mut encoder,
        uses: Uses::of(names),
        depth: 0,
        guarded: 0,
    };
    writer.function(node, true)?;
    let uses = writer.uses;
    let hash = encoder.finish();
    Ok(Code { hash, uses })
}

/// The parts of a written tree.
mod part {
    pub const NOTHING: u8 = 0;
    pub const NODE: u8 = 1;
    pub const LIST: u8 = 2;
    pub const NAME: u8 = 3;
    pub const CONSTANT: u8 = 4;
}

struct Writer<'a, 'py> {
    walker: &'a mut Walker<'py>,
    encoder: &'a mut Encoder,
    uses: Uses,
    depth: usize,
    /// Within how many statements the code is that go on if something is not there.
    guarded: usize,
}

impl<'py> Writer<'_, 'py> {
    /// A function: `outermost`, the one that is read.
    fn function(&mut self, node: &Bound<'py, PyAny>, outermost: bool) -> PyResult<()> {
        let py = node.py();
        let kind = kind_of(node)?;
        self.encoder.byte(part::NODE);
        // A lambda is not a function of one statement: it may not say what that does.
        self.encoder.text(&kind);
        if !outermost && let Some(name) = node.getattr_opt(intern!(py, "name"))? {
            self.value(&name)?;
        }
        self.parameters(&node.getattr(intern!(py, "args"))?, outermost)?;
        if !outermost && let Some(decorators) = node.getattr_opt(intern!(py, "decorator_list"))? {
            self.value(&decorators)?;
        }
        self.body(&node.getattr(intern!(py, "body"))?)
    }

    fn parameters(&mut self, arguments: &Bound<'py, PyAny>, outermost: bool) -> PyResult<()> {
        for field in ["posonlyargs", "args", "vararg", "kwonlyargs", "kwarg"] {
            let parameters = arguments.getattr(field)?;
            if let Ok(parameters) = parameters.cast::<PyList>() {
                self.encoder.byte(part::LIST).length(parameters.len());
                for parameter in parameters.iter() {
                    self.value(&parameter.getattr("arg")?)?;
                }
            } else if parameters.is_none() {
                self.encoder.byte(part::NOTHING);
            } else {
                self.value(&parameters.getattr("arg")?)?;
            }
        }
        if !outermost {
            self.value(&arguments.getattr("defaults")?)?;
            self.value(&arguments.getattr("kw_defaults")?)?;
        }
        Ok(())
    }

    /// Statements without the docstring; or the expression of a lambda.
    fn body(&mut self, body: &Bound<'py, PyAny>) -> PyResult<()> {
        let Ok(statements) = body.cast::<PyList>() else {
            return self.value(body);
        };
        let skipped = usize::from(match statements.iter().next() {
            Some(first) => is_docstring(&first)?,
            None => false,
        });
        self.encoder
            .byte(part::LIST)
            .length(statements.len() - skipped);
        for statement in statements.iter().skip(skipped) {
            self.value(&statement)?;
        }
        Ok(())
    }

    fn value(&mut self, value: &Bound<'py, PyAny>) -> PyResult<()> {
        if value.is_none() {
            self.encoder.byte(part::NOTHING);
        } else if let Ok(list) = value.cast::<PyList>() {
            self.encoder.byte(part::LIST).length(list.len());
            for item in list.iter() {
                self.value(&item)?;
            }
        } else if let Ok(name) = value.cast_exact::<PyString>() {
            self.encoder.byte(part::NAME).bytes(&leaf::utf8(name)?);
        } else if NODE.is_instance(value)? {
            check_depth(value.py(), self.depth)?;
            self.depth += 1;
            self.node(value)?;
            self.depth -= 1;
        } else {
            let hash = self.walker.walk(value)?;
            self.encoder.byte(part::CONSTANT).child(&hash);
        }
        Ok(())
    }

    fn node(&mut self, node: &Bound<'py, PyAny>) -> PyResult<()> {
        let py = node.py();
        let kind = kind_of(node)?;
        match kind.as_str() {
            "FunctionDef" | "AsyncFunctionDef" | "Lambda" => return self.function(node, false),
            "ClassDef" => return self.class(node),
            "Import" | "ImportFrom" => self.import(node, &kind)?,
            "Constant" => {
                // As a constant even where it is text: no name.
                let hash = self.walker.walk(&node.getattr(intern!(py, "value"))?)?;
                self.encoder.byte(part::CONSTANT).child(&hash);
                return Ok(());
            }
            "JoinedStr" => return self.joined(node),
            "Name" => self.uses.note_read(&name_of(node)?),
            "Attribute" => {
                let inner = node.getattr(intern!(py, "value"))?;
                if kind_of(&inner)? == "Name" && is_loaded(node)? {
                    let attribute = node.getattr(intern!(py, "attr"))?.extract()?;
                    self.uses.note_attribute(&name_of(&inner)?, attribute);
                    return self.fields(node, &kind, &[inner]);
                }
            }
            _ => {}
        }
        let unread = self.unread(node, &kind)?;
        let guards = usize::from(is_guard(node, &kind)?);
        self.guarded += guards;
        self.fields(node, &kind, &unread)?;
        self.guarded -= guards;
        Ok(())
    }

    /// All that a node says. `unread`: names in it that are not read, or were noted already.
    fn fields(
        &mut self,
        node: &Bound<'py, PyAny>,
        kind: &str,
        unread: &[Bound<'py, PyAny>],
    ) -> PyResult<()> {
        let mut found = Vec::new();
        for field in fields_of(node)? {
            if is_left_out(kind, &field) {
                continue;
            }
            // Fields that a version of Python does not know are those that say nothing.
            if let Some(value) = node.getattr_opt(field.as_str())?
                && !value.is_none()
                && !value.cast::<PyList>().is_ok_and(PyListMethods::is_empty)
            {
                found.push((field, value));
            }
        }
        self.encoder.byte(part::NODE).text(kind).length(found.len());
        for (field, value) in found {
            self.encoder.text(&field);
            self.field(&value, unread)?;
        }
        Ok(())
    }

    fn field(&mut self, value: &Bound<'py, PyAny>, unread: &[Bound<'py, PyAny>]) -> PyResult<()> {
        if unread.is_empty() {
            return self.value(value);
        }
        if unread.iter().any(|name| name.is(value)) {
            let name = name_of(value)?;
            self.encoder.byte(part::NODE).text("Name").length(1);
            self.encoder.text("id").byte(part::NAME).text(&name);
            return Ok(());
        }
        if let Ok(list) = value.cast::<PyList>() {
            self.encoder.byte(part::LIST).length(list.len());
            for item in list.iter() {
                self.field(&item, unread)?;
            }
            return Ok(());
        }
        if NODE.is_instance(value)? && leads_down_to(value, unread)? {
            return self.fields(value, &kind_of(value)?, unread);
        }
        self.value(value)
    }

    /// The name of a global that a statement changes and does not read, each time that it stands
    /// there: in `seen.append(x)`, `count += 1`, `count = count + 1`, `count[x] += 1`,
    /// `count[x] = count.get(x, 0) + 1`, `results[x] = y`, `state.last = x`.
    fn unread(&mut self, node: &Bound<'py, PyAny>, kind: &str) -> PyResult<Vec<Bound<'py, PyAny>>> {
        let py = node.py();
        if kind == "Expr" {
            let call = node.getattr(intern!(py, "value"))?;
            let Some((receiver, mut path)) = method_call(&call)? else {
                return Ok(Vec::new());
            };
            let Some(method) = path.pop() else {
                return Ok(Vec::new());
            };
            if !is_dropped_mutator(&method, &call)? {
                return Ok(Vec::new());
            }
            self.uses.note_changed(&name_of(&receiver)?, path);
            return Ok(vec![receiver]);
        }
        if kind == "Call" {
            let Some((receiver, mut path)) = method_call(node)? else {
                return Ok(Vec::new());
            };
            if !path.pop().is_some_and(|method| is_mutator(&method)) {
                return Ok(Vec::new());
            }
            self.uses.note_changed(&name_of(&receiver)?, path);
            return Ok(vec![receiver]);
        }
        let target = match kind {
            "AugAssign" => node.getattr(intern!(py, "target"))?,
            "Assign" => {
                let targets = node.getattr(intern!(py, "targets"))?;
                let targets = targets.cast::<PyList>()?;
                if targets.len() != 1 {
                    return Ok(Vec::new());
                }
                targets.get_item(0)?
            }
            _ => return Ok(Vec::new()),
        };
        let Some(held) = held_name(&target)? else {
            return Ok(Vec::new());
        };
        if kind == "AugAssign" && self.guarded > 0 && kind_of(&target)? != "Name" {
            // Whether it was there decides how the code goes on.
            return Ok(Vec::new());
        }
        let name = name_of(&held)?;
        self.uses.note_written(&name);
        if kind_of(&target)? == "Attribute" {
            let attribute = target.getattr(intern!(py, "attr"))?.extract()?;
            self.uses.note_bound(&name, attribute);
        }
        let mut unread = vec![held];
        if kind == "Assign" {
            let value = node.getattr(intern!(py, "value"))?;
            if kind_of(&value)? == "BinOp" {
                let left = value.getattr(intern!(py, "left"))?;
                let own = match method_call(&left)? {
                    Some((receiver, path)) if path == ["get"] => Some(receiver),
                    Some(_) => None,
                    None => held_name(&left)?,
                };
                if let Some(own) = own
                    && name_of(&own)? == name
                {
                    unread.push(own);
                }
            }
        }
        Ok(unread)
    }

    fn import(&mut self, node: &Bound<'py, PyAny>, kind: &str) -> PyResult<()> {
        let py = node.py();
        let mut from = String::new();
        if kind == "ImportFrom" {
            let level: usize = node.getattr(intern!(py, "level"))?.extract()?;
            from.push_str(&".".repeat(level));
            let module: Option<String> = node.getattr(intern!(py, "module"))?.extract()?;
            from.push_str(&module.unwrap_or_default());
        }
        for alias in node.getattr(intern!(py, "names"))?.try_iter()? {
            let name: String = alias?.getattr(intern!(py, "name"))?.extract()?;
            self.uses.note_import(match kind {
                "ImportFrom" if name != "*" => (from.clone(), name),
                "ImportFrom" => (from.clone(), String::new()),
                _ => (name, String::new()),
            });
        }
        Ok(())
    }

    /// A class within the function. Its annotations may be what makes its fields.
    fn class(&mut self, node: &Bound<'py, PyAny>) -> PyResult<()> {
        self.encoder.byte(part::NODE).text("ClassDef");
        for field in ["name", "bases", "keywords", "decorator_list"] {
            self.value(&node.getattr(field)?)?;
        }
        let body = node.getattr(intern!(node.py(), "body"))?;
        for statement in body.try_iter()? {
            let statement = statement?;
            if kind_of(&statement)? == "AnnAssign" {
                self.value(&statement.getattr(intern!(node.py(), "annotation"))?)?;
            }
        }
        self.body(&body)
    }

    /// An f-string. Versions of Python cut the text in it in different ways.
    fn joined(&mut self, node: &Bound<'py, PyAny>) -> PyResult<()> {
        let py = node.py();
        self.encoder.byte(part::NODE).text("JoinedStr");
        let mut text: Option<Bound<'py, PyAny>> = None;
        let mut parts = Vec::new();
        for part in node.getattr(intern!(py, "values"))?.try_iter()? {
            let part = part?;
            if kind_of(&part)? != "Constant" {
                parts.extend(text.take().map(|text| (text, true)));
                parts.push((part, false));
                continue;
            }
            let more = part.getattr(intern!(py, "value"))?;
            text = Some(match text {
                None => more,
                Some(text) => text.add(more)?,
            });
        }
        parts.extend(text.map(|text| (text, true)));
        parts.retain(|(part, constant)| !constant || part.len().is_ok_and(|length| length > 0));
        self.encoder.length(parts.len());
        for (part, constant) in parts {
            if constant {
                let hash = self.walker.walk(&part)?;
                self.encoder.byte(part::CONSTANT).child(&hash);
            } else {
                self.value(&part)?;
            }
        }
        Ok(())
    }
}
