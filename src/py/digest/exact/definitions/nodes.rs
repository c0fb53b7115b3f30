//! Questions about the nodes of a syntax tree.

use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::py::once::intern;

pub fn kind_of(node: &Bound<'_, PyAny>) -> PyResult<String> {
    Ok(node.get_type().name()?.to_string_lossy().into_owned())
}

pub fn fields_of(node: &Bound<'_, PyAny>) -> PyResult<Vec<String>> {
    node.getattr(intern!(node.py(), "_fields"))?.extract()
}

/// Whether a statement goes on, in another way, if something in it fails. One that only makes up
/// for what failed (`except KeyError: count[x] = 1`) does not.
pub fn is_guard(node: &Bound<'_, PyAny>, kind: &str) -> PyResult<bool> {
    let py = node.py();
    if kind == "With" {
        for item in node.getattr(intern!(py, "items"))?.try_iter()? {
            let context = item?.getattr(intern!(py, "context_expr"))?;
            if kind_of(&context)? == "Call" {
                let function = context.getattr(intern!(py, "func"))?;
                let name = match kind_of(&function)?.as_str() {
                    "Name" => name_of(&function)?,
                    "Attribute" => function.getattr(intern!(py, "attr"))?.extract()?,
                    _ => continue,
                };
                if name == "suppress" {
                    return Ok(true);
                }
            }
        }
        return Ok(false);
    }
    if kind != "Try" && kind != "TryStar" {
        return Ok(false);
    }
    if node.getattr(intern!(py, "orelse"))?.len()? > 0 {
        return Ok(true);
    }
    for handler in node.getattr(intern!(py, "handlers"))?.try_iter()? {
        for statement in handler?.getattr(intern!(py, "body"))?.try_iter()? {
            let statement = statement?;
            let target = match kind_of(&statement)?.as_str() {
                "AugAssign" => statement.getattr(intern!(py, "target"))?,
                "Assign" => statement.getattr(intern!(py, "targets"))?.get_item(0)?,
                _ => return Ok(true),
            };
            if kind_of(&target)? == "Name" {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// What says nothing about what code does.
pub fn is_left_out(kind: &str, field: &str) -> bool {
    matches!(
        field,
        "ctx" | "type_comment" | "type_ignores" | "returns" | "type_params"
    ) || (field == "annotation" && matches!(kind, "AnnAssign" | "arg"))
        || (field == "simple" && kind == "AnnAssign")
        || (field == "kind" && kind == "Constant")
}

pub fn is_docstring(statement: &Bound<'_, PyAny>) -> PyResult<bool> {
    let py = statement.py();
    if kind_of(statement)? != "Expr" {
        return Ok(false);
    }
    let value = statement.getattr(intern!(py, "value"))?;
    Ok(kind_of(&value)? == "Constant"
        && value
            .getattr(intern!(py, "value"))?
            .is_exact_instance_of::<PyString>())
}

pub fn is_loaded(node: &Bound<'_, PyAny>) -> PyResult<bool> {
    Ok(kind_of(&node.getattr(intern!(node.py(), "ctx"))?)? == "Load")
}

pub fn name_of(node: &Bound<'_, PyAny>) -> PyResult<String> {
    node.getattr(intern!(node.py(), "id"))?.extract()
}

/// The name that a target is, or is a part of.
pub fn held_name<'py>(target: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
    let held = match kind_of(target)?.as_str() {
        "Name" => target.clone(),
        "Subscript" | "Attribute" => target.getattr(intern!(target.py(), "value"))?,
        _ => return Ok(None),
    };
    Ok((kind_of(&held)? == "Name").then_some(held))
}

/// The name and the attributes in `name.attribute.method(...)`.
pub fn method_call<'py>(
    call: &Bound<'py, PyAny>,
) -> PyResult<Option<(Bound<'py, PyAny>, Vec<String>)>> {
    let py = call.py();
    if kind_of(call)? != "Call" {
        return Ok(None);
    }
    let mut found = call.getattr(intern!(py, "func"))?;
    let mut path = Vec::new();
    while kind_of(&found)? == "Attribute" {
        path.push(found.getattr(intern!(py, "attr"))?.extract()?);
        found = found.getattr(intern!(py, "value"))?;
    }
    path.reverse();
    Ok((kind_of(&found)? == "Name" && !path.is_empty()).then_some((found, path)))
}

/// Whether a node stands between a statement and one of these names.
pub fn leads_down_to(node: &Bound<'_, PyAny>, names: &[Bound<'_, PyAny>]) -> PyResult<bool> {
    let py = node.py();
    let inner = match kind_of(node)?.as_str() {
        "Call" => node.getattr(intern!(py, "func"))?,
        "Attribute" | "Subscript" => node.getattr(intern!(py, "value"))?,
        "BinOp" => node.getattr(intern!(py, "left"))?,
        _ => return Ok(false),
    };
    Ok(names.iter().any(|name| name.is(&inner)) || leads_down_to(&inner, names)?)
}
