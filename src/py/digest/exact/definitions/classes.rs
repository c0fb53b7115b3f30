//! What counts of a class: its bases, and the attributes that its body gave it.
//!
//! What Python, `dataclasses`, attrs, `enum`, `typing.NamedTuple` or pydantic made of that body
//! does not count, as it depends on their versions: the fields and members that it was made of do.

use crate::py::once::intern;
use pyo3::prelude::*;
use pyo3::types::{PyCode, PyDict, PyFunction, PyMappingProxy, PyString, PyType};

use super::bindings::bound_value;
use super::dependencies::{Binding, Dependency, Namespace};
use crate::engine::digest::exact::{Encoder, Tag};
use crate::py::digest::exact::{Walker, leaf};
use crate::py::names::{Imported, class_identity};

static ENUM: Imported = Imported::new("enum", "EnumType");
static MEMBER_DESCRIPTOR: Imported = Imported::new("types", "MemberDescriptorType");
static GETSET_DESCRIPTOR: Imported = Imported::new("types", "GetSetDescriptorType");
static MISSING: Imported = Imported::new("dataclasses", "MISSING");
static NOTHING: Imported = Imported::new("attr", "NOTHING");

/// What Python and its libraries add to the namespace of a class body, or remember there.
const ADDED: [&str; 25] = [
    "__module__",
    "__qualname__",
    "__doc__",
    "__dict__",
    "__weakref__",
    "__firstlineno__",
    "__static_attributes__",
    "__annotations__",
    "__annotations_cache__",
    "__annotate__",
    "__annotate_func__",
    "__conditional_annotations__",
    "__abstractmethods__",
    "_abc_impl",
    "__slotnames__",
    "__parameters__",
    "__type_params__",
    "__classdictcell__",
    "__signature__",
    "__dataclass_fields__",
    "__dataclass_params__",
    "__attrs_attrs__",
    "__attrs_own_setattr__",
    "__attrs_props__",
    "__class_vars__",
];

/// How an attribute takes part.
mod attribute {
    pub const CONTENT: u8 = 1;
    /// It has no digest, or is a place that instances fill: its name is all that counts.
    pub const NAME: u8 = 2;
}

/// The pre-image of a class.
pub fn content<'py>(walker: &mut Walker<'py>, class: &Bound<'py, PyType>) -> PyResult<Encoder> {
    let py = walker.py;
    let mut encoder = Encoder::new(Tag::ClassDefinition);
    if walker.compares_bodies {
        // The qualified name of one that was unpickled is not known.
        encoder.text(&class.name()?.to_string_lossy());
    } else {
        encoder.text(&class_identity(class)?);
    }
    encoder.child(&walker.walk(class.get_type().as_any())?);
    let bases = class.bases();
    walker.depends_on(Dependency::Attribute {
        object: class.clone().into_any().unbind(),
        name: PyString::intern(py, "__bases__").unbind(),
        value: Some(bases.clone().into_any().unbind()),
    });
    encoder.length(bases.len());
    for base in bases.iter() {
        encoder.child(&walker.walk(&base)?);
    }
    fields(walker, &mut encoder, class)?;
    if !walker.compares_bodies {
        annotations(walker, &mut encoder, class)?;
    }
    let members = members(walker, &mut encoder, class)?;
    let names = class.getattr(intern!(py, "__dict__"))?;
    let names = names.cast::<PyMappingProxy>()?;
    let mut found = Vec::new();
    let is_enum = members.is_some();
    let mut items = Vec::new();
    for item in names.items()?.iter() {
        let (name, value): (Bound<'py, PyAny>, Bound<'py, PyAny>) = item.extract()?;
        if let Ok(name) = name.cast_into::<PyString>() {
            items.push((name.to_string_lossy().into_owned(), name, value));
        }
    }
    items.sort_by(|(one, ..), (other, ..)| one.cmp(other));
    for (text, name, value) in items {
        if is_added(&text)
            || is_enum && is_made_by_enum(&text, &value)?
            || members.as_ref().is_some_and(|known| known.contains(&text))
            || is_generated(&value)?
        {
            continue;
        }
        let written = leaf::utf8(&name)?.into_owned();
        let bound =
            if MEMBER_DESCRIPTOR.is_instance(&value)? || GETSET_DESCRIPTOR.is_instance(&value)? {
                found.push((written, attribute::NAME, None));
                Binding::This(value.unbind())
            } else {
                match bound_value(walker, &value) {
                    Ok((hash, bound)) => {
                        found.push((written, attribute::CONTENT, Some(hash)));
                        bound
                    }
                    Err(error) if walker.may_be_without(&error) => {
                        found.push((written, attribute::NAME, None));
                        Binding::undigested(&value)
                    }
                    Err(error) => {
                        return Err(walker.past(error, || format!(".{text}")));
                    }
                }
            };
        walker.depends_on(Dependency::Name {
            namespace: Namespace::Class(class.clone().into_any().unbind()),
            name: name.unbind(),
            bound,
        });
    }
    walker.depends_on(Dependency::Count {
        namespace: Namespace::Class(class.clone().into_any().unbind()),
        count: names.len()?,
    });
    found.sort_unstable();
    encoder.length(found.len());
    for (name, kind, hash) in &found {
        encoder.bytes(name).byte(*kind);
        if let Some(hash) = hash {
            encoder.child(hash);
        }
    }
    Ok(encoder)
}

fn is_added(name: &str) -> bool {
    ADDED.contains(&name) || (name.starts_with("__pydantic") && name != "__pydantic_fields__")
}

/// What `enum` puts in place of, or beside, what the body says. Methods of the body stay.
fn is_made_by_enum(name: &str, value: &Bound<'_, PyAny>) -> PyResult<bool> {
    if name == "__new__" || name == "_generate_next_value_" {
        return Ok(true);
    }
    let hidden = name.starts_with('_') && name.ends_with('_');
    Ok(hidden
        && !value.is_instance_of::<PyFunction>()
        && !value.hasattr(intern!(value.py(), "__func__"))?)
}

/// Whether a function was made by `dataclasses`, attrs or `collections.namedtuple`.
fn is_generated(value: &Bound<'_, PyAny>) -> PyResult<bool> {
    let py = value.py();
    let inner = match value.getattr_opt(intern!(py, "__func__")) {
        Ok(Some(inner)) => inner,
        _ => value.clone(),
    };
    let Ok(function) = inner.cast::<PyFunction>() else {
        // What a named tuple keeps its fields with.
        return Ok(value.get_type().name()?.to_string_lossy() == "_tuplegetter");
    };
    let code = function.getattr(intern!(py, "__code__"))?;
    let code = code.cast::<PyCode>()?;
    let file: String = code.getattr(intern!(py, "co_filename"))?.extract()?;
    if file.starts_with("<attrs generated") {
        return Ok(true);
    }
    let name: String = code.getattr(intern!(py, "co_qualname"))?.extract()?;
    if name.starts_with("__create_fn__") {
        return Ok(true);
    }
    // The `__repr__` of a dataclass is wrapped so that it may meet itself.
    if let Some(wrapped) = function.getattr_opt(intern!(py, "__wrapped__"))?
        && is_generated(&wrapped)?
    {
        return Ok(true);
    }
    let globals = function.getattr(intern!(py, "__globals__"))?;
    let module = globals
        .cast::<PyDict>()?
        .get_item(intern!(py, "__name__"))?
        .and_then(|module| module.extract::<String>().ok());
    Ok(module.is_some_and(|module| {
        // attrs gives classes a `__replace__` from Python 3.13 on.
        let is_replace = module == "attr._make" && name == "evolve";
        let by = ["collections", "dataclasses"].contains(&module.as_str());
        by || is_replace || module.starts_with("namedtuple_")
    }))
}

/// The fields of a dataclass or attrs class, and how it treats them.
fn fields<'py>(
    walker: &mut Walker<'py>,
    encoder: &mut Encoder,
    class: &Bound<'py, PyType>,
) -> PyResult<()> {
    let py = walker.py;
    let names = class.getattr(intern!(py, "__dict__"))?;
    let names = names.cast::<PyMappingProxy>()?;
    if let Ok(fields) = names.get_item(intern!(py, "__dataclass_fields__")) {
        encoder.byte(1);
        let parameters = class.getattr(intern!(py, "__dataclass_params__"))?;
        for name in ["repr", "eq", "order", "unsafe_hash", "frozen"] {
            encoder.byte(u8::from(parameters.getattr(name)?.is_truthy()?));
        }
        let fields = fields.cast_into::<PyDict>()?;
        encoder.length(fields.len());
        for (name, field) in fields.iter() {
            encoder.bytes(&leaf::utf8(&name.cast_into::<PyString>()?)?);
            let kind = field.getattr(intern!(py, "_field_type"))?;
            encoder.text(&kind.getattr(intern!(py, "name"))?.str()?.to_string_lossy());
            for name in ["init", "repr", "compare", "kw_only", "hash"] {
                encoder.child(&walker.walk(&field.getattr(name)?)?);
            }
            given(
                walker,
                encoder,
                &field.getattr(intern!(py, "metadata"))?,
                false,
            )?;
            for name in ["default", "default_factory"] {
                let value = field.getattr(name)?;
                given(
                    walker,
                    encoder,
                    &value,
                    value.is_instance(&MISSING.get(py)?.get_type())?,
                )?;
            }
        }
    } else if let Ok(fields) = names.get_item(intern!(py, "__attrs_attrs__")) {
        encoder.byte(2);
        let fields = fields.try_iter()?.collect::<PyResult<Vec<_>>>()?;
        encoder.length(fields.len());
        for field in fields {
            let name = field.getattr(intern!(py, "name"))?;
            encoder.bytes(&leaf::utf8(&name.cast_into::<PyString>()?)?);
            for name in ["init", "repr", "kw_only"] {
                encoder.byte(u8::from(field.getattr(name)?.is_truthy()?));
            }
            for name in [
                "default",
                "validator",
                "converter",
                "eq",
                "order",
                "hash",
                "alias",
                "metadata",
            ] {
                let value = field.getattr(name)?;
                given(
                    walker,
                    encoder,
                    &value,
                    value.is_instance(&NOTHING.get(py)?.get_type())?,
                )?;
            }
        }
    } else {
        encoder.byte(0);
    }
    Ok(())
}

/// Something that a field may have, and that need not have a digest.
fn given<'py>(
    walker: &mut Walker<'py>,
    encoder: &mut Encoder,
    value: &Bound<'py, PyAny>,
    nothing: bool,
) -> PyResult<()> {
    if nothing {
        encoder.byte(0);
        return Ok(());
    }
    match bound_value(walker, value) {
        Ok((hash, bound)) => {
            let value = value.clone().unbind();
            walker.depends_on(Dependency::Value { value, bound });
            encoder.byte(1).child(&hash)
        }
        Err(error) if walker.may_be_without(&error) => encoder.byte(2),
        Err(error) => return Err(error),
    };
    Ok(())
}

/// The annotations in the body of a class, which may be all that it says. Those of functions say
/// nothing about what these do.
fn annotations<'py>(
    walker: &mut Walker<'py>,
    encoder: &mut Encoder,
    class: &Bound<'py, PyType>,
) -> PyResult<()> {
    let py = walker.py;
    let names = class.getattr(intern!(py, "__dict__"))?;
    let names = names.cast::<PyMappingProxy>()?;
    let found = match names.get_item(intern!(py, "__annotations__")) {
        Ok(found) => Some(found),
        // From Python 3.14 on they are made when somebody asks for them.
        Err(_) if names.contains(intern!(py, "__annotate_func__"))? => {
            let library = py.import(intern!(py, "annotationlib"))?;
            let options = PyDict::new(py);
            let format = library.getattr(intern!(py, "Format"))?;
            options.set_item("format", format.getattr(intern!(py, "FORWARDREF"))?)?;
            Some(library.call_method(intern!(py, "get_annotations"), (class,), Some(&options))?)
        }
        Err(_) => None,
    };
    let Some(Ok(found)) = found.map(pyo3::Bound::cast_into::<PyDict>) else {
        encoder.length(0);
        return Ok(());
    };
    encoder.length(found.len());
    for (name, annotation) in found.iter() {
        encoder.text(&name.str()?.to_string_lossy());
        given(walker, encoder, &annotation, false)?;
    }
    Ok(())
}

/// The members of an enumeration, in order; their names.
fn members<'py>(
    walker: &mut Walker<'py>,
    encoder: &mut Encoder,
    class: &Bound<'py, PyType>,
) -> PyResult<Option<Vec<String>>> {
    let py = walker.py;
    if !ENUM.is_instance(class)? {
        encoder.byte(0);
        return Ok(None);
    }
    let members = class.getattr(intern!(py, "_member_map_"))?;
    let members = members.cast::<PyDict>()?;
    encoder.byte(1).length(members.len());
    let mut names = Vec::with_capacity(members.len());
    for (name, member) in members.iter() {
        let name: String = name.extract()?;
        encoder.text(&name);
        let value = member.getattr(intern!(py, "_value_"))?;
        given(walker, encoder, &value, false)?;
        names.push(name);
    }
    Ok(Some(names))
}
