//! Classes of records: dataclasses, attrs, pydantic models, named tuples, enums.

use std::sync::atomic::{AtomicBool, Ordering};

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyInt, PyList, PyString, PyTuple, PyType};

use super::{classes, memory};
use crate::py::digest::record;
use crate::py::names::Imported;
use crate::py::once::{Once, intern};

static ENUM: Imported = Imported::new("enum", "Enum");
static FLAG: Imported = Imported::new("enum", "Flag");
static MODEL: Imported = Imported::new("pydantic", "BaseModel");
static SLOT_NAMES: Imported = Imported::new("copyreg", "_slotnames");
static MEMBER: Imported = Imported::new("types", "MemberDescriptorType");
static OBJECT: Imported = Imported::new("builtins", "object");
static BUILT_IN: [Imported; 12] = [
    Imported::new("builtins", "list"),
    Imported::new("builtins", "dict"),
    Imported::new("builtins", "tuple"),
    Imported::new("builtins", "set"),
    Imported::new("builtins", "frozenset"),
    Imported::new("builtins", "str"),
    Imported::new("builtins", "bytes"),
    Imported::new("builtins", "bytearray"),
    Imported::new("builtins", "int"),
    Imported::new("builtins", "float"),
    Imported::new("builtins", "complex"),
    Imported::new("builtins", "BaseException"),
];

/// The name of a slot, and what gets and sets it.
pub type Slot = (Py<PyString>, Py<PyAny>);

/// What is put into an instance under a name: its slot, or else into its dictionary.
pub struct Attribute {
    pub name: Py<PyString>,
    pub slot: Option<Py<PyAny>>,
}

/// How instances of a class are taken apart and made again, without code of the class.
pub struct Record {
    pub class: Py<PyType>,
    /// `module:qualified name`
    pub name: String,
    pub form: Form,
    pub has_dict: bool,
    /// Slots, by name, with what gets and sets them.
    pub slots: Vec<Slot>,
    /// The fields of a named tuple.
    pub fields: Vec<Py<PyString>>,
    /// The attributes of the first instance that was made, which others have in the same order.
    attributes: Once<Vec<Attribute>>,
    /// Whether `object.__new__` made an instance.
    is_made_plainly: AtomicBool,
    /// Whether instances are told by what they are, so that they have a hash before their fields.
    pub hashed_by_identity: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Dataclass,
    Attrs,
    Pydantic,
    NamedTuple,
    Enum,
    Flag,
}

impl Form {
    pub fn name(self) -> &'static str {
        match self {
            Self::Dataclass => "dataclass",
            Self::Attrs => "attrs",
            Self::Pydantic => "pydantic",
            Self::NamedTuple => "namedtuple",
            Self::Enum => "enum",
            Self::Flag => "flag",
        }
    }

    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "dataclass" => Self::Dataclass,
            "attrs" => Self::Attrs,
            "pydantic" => Self::Pydantic,
            "namedtuple" => Self::NamedTuple,
            "enum" => Self::Enum,
            "flag" => Self::Flag,
            _ => return None,
        })
    }
}

impl Record {
    /// How instances of a class are held, or why they are not.
    pub fn of(class: &Bound<'_, PyType>) -> PyResult<Result<Self, String>> {
        let py = class.py();
        let form = match form_of(class)? {
            Ok(form) => form,
            Err(reason) => return Ok(Err(reason)),
        };
        let (module, name) = classes::name_of(class)?;
        let is_enum = matches!(form, Form::Enum | Form::Flag);
        let slots = if is_enum || form == Form::NamedTuple {
            Vec::new()
        } else {
            match slots_of(class)? {
                Some(slots) => slots,
                None => return Ok(Err("it has slots that are not to be found".to_owned())),
            }
        };
        let offset: isize = class.getattr(intern!(py, "__dictoffset__"))?.extract()?;
        let hash = class.getattr(intern!(py, "__hash__"))?;
        Ok(Ok(Self {
            class: class.clone().unbind(),
            name: format!("{module}:{name}"),
            form,
            has_dict: offset != 0,
            slots,
            fields: if form == Form::NamedTuple {
                fields_of(class)?
            } else {
                Vec::new()
            },
            attributes: Once::new(),
            is_made_plainly: AtomicBool::new(false),
            hashed_by_identity: hash.is(&OBJECT.get(py)?.getattr(intern!(py, "__hash__"))?),
        }))
    }

    /// An instance without anything in it.
    pub fn blank<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let class = self.class.bind(py);
        if self.is_made_plainly.load(Ordering::Relaxed) {
            return memory::blank(class);
        }
        let made = OBJECT
            .get(py)?
            .call_method1(intern!(py, "__new__"), (class,))?;
        self.is_made_plainly.store(true, Ordering::Relaxed);
        Ok(made)
    }

    /// The attributes of the instance that was made first, if one was.
    pub fn known_attributes(&self, py: Python<'_>) -> Option<&[Attribute]> {
        self.attributes.get(py).map(Vec::as_slice)
    }

    /// Keeps the attributes of an instance that was made.
    pub fn keep_attributes(&self, py: Python<'_>, attributes: Vec<Attribute>) {
        let kept: Result<_, std::convert::Infallible> =
            self.attributes.get_or_try_init(py, || Ok(attributes));
        kept.map(drop).unwrap_or_default();
    }

    /// The attribute of a name, which it has for the life of the class.
    pub fn attribute(&self, py: Python<'_>, name: &str) -> PyResult<Attribute> {
        let interned = PyString::intern(py, name);
        for (held, slot) in &self.slots {
            if held.bind(py).as_any().eq(&interned)? {
                let slot = Some(slot.clone_ref(py));
                let name = interned.unbind();
                return Ok(Attribute { name, slot });
            }
        }
        Ok(Attribute {
            name: interned.unbind(),
            slot: None,
        })
    }

    /// The member of a name, or the flags of a number; `None` if there is none.
    pub fn member<'py>(
        &self,
        py: Python<'py>,
        told: &Bound<'py, PyAny>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let class = self.class.bind(py);
        if self.form == Form::Enum {
            let members = class.getattr(intern!(py, "_member_map_"))?;
            return members.cast::<PyDict>()?.get_item(told);
        }
        if !told.is_exact_instance_of::<PyInt>() {
            return Ok(None);
        }
        let missing = class.getattr(intern!(py, "_missing_"))?;
        let own = missing.getattr(intern!(py, "__func__"))?;
        let known = FLAG
            .get(py)?
            .getattr(intern!(py, "_missing_"))?
            .getattr(intern!(py, "__func__"))?;
        if own.is(&known) {
            return class.call1((told,)).map(Some);
        }
        let members = class.getattr(intern!(py, "_value2member_map_"))?;
        members.cast::<PyDict>()?.get_item(told)
    }
}

fn fields_of(class: &Bound<'_, PyType>) -> PyResult<Vec<Py<PyString>>> {
    let fields = class.getattr(intern!(class.py(), "_fields"))?;
    let fields = fields.cast::<PyTuple>()?;
    fields
        .iter()
        .map(|field| Ok(field.cast_into::<PyString>()?.unbind()))
        .collect()
}

fn form_of(class: &Bound<'_, PyType>) -> PyResult<Result<Form, String>> {
    let py = class.py();
    if class.is_subclass(ENUM.get(py)?)? {
        let flag = class.is_subclass(FLAG.get(py)?)?;
        return Ok(Ok(if flag { Form::Flag } else { Form::Enum }));
    }
    if let Some(model) = MODEL.if_loaded(py)?
        && class.is_subclass(model)?
    {
        for name in [
            "__getstate__",
            "__setstate__",
            "__reduce__",
            "__reduce_ex__",
        ] {
            if !class.getattr(name)?.is(&model.getattr(name)?) {
                return Ok(Err(own_way()));
            }
        }
        return Ok(Ok(Form::Pydantic));
    }
    if class.is_subclass_of::<PyTuple>()? {
        return Ok(named_tuple(class)?
            .then_some(Form::NamedTuple)
            .ok_or_else(|| "it is a tuple of a class of its own, and no named tuple".to_owned()));
    }
    if !record::has_fields(class)? {
        return Ok(Err(
            "its class is no dataclass, attrs or pydantic class, named tuple or enum".to_owned(),
        ));
    }
    for known in &BUILT_IN {
        if class.is_subclass(known.get(py)?)? {
            return Ok(Err("it holds more than its fields".to_owned()));
        }
    }
    if record::pickles_in_its_own_way(class)? {
        return Ok(Err(own_way()));
    }
    let dataclass = class.hasattr(intern!(py, "__dataclass_fields__"))?;
    Ok(Ok(if dataclass {
        Form::Dataclass
    } else {
        Form::Attrs
    }))
}

fn own_way() -> String {
    "its class says itself how it is pickled".to_owned()
}

/// Whether a class is a named tuple, without anything else in its instances.
fn named_tuple(class: &Bound<'_, PyType>) -> PyResult<bool> {
    let py = class.py();
    let Some(fields) = class.getattr_opt(intern!(py, "_fields"))? else {
        return Ok(false);
    };
    let Ok(fields) = fields.cast_into::<PyTuple>() else {
        return Ok(false);
    };
    let Some(arguments) = class.getattr_opt(intern!(py, "__getnewargs__"))? else {
        return Ok(false);
    };
    let made_by = match arguments.getattr_opt(intern!(py, "__globals__"))? {
        Some(names) => names
            .get_item(intern!(py, "__name__"))?
            .extract::<String>()?,
        None => return Ok(false),
    };
    let object = OBJECT.get(py)?;
    for name in ["__reduce__", "__reduce_ex__", "__getstate__"] {
        if let Some(default) = object.getattr_opt(name)?
            && !class.getattr(name)?.is(&default)
        {
            return Ok(false);
        }
    }
    let state = class.hasattr(intern!(py, "__setstate__"))?;
    Ok(made_by == "collections"
        && !state
        && fields.iter().all(|name| name.is_instance_of::<PyString>()))
}

/// The slots of a class and of its bases; `None` if they are not all what `__slots__` makes.
fn slots_of(class: &Bound<'_, PyType>) -> PyResult<Option<Vec<Slot>>> {
    let py = class.py();
    let names = SLOT_NAMES.get(py)?.call1((class,))?;
    let mut slots = Vec::new();
    for name in names.cast::<PyList>()?.iter() {
        let name = name.cast_into::<PyString>()?;
        let text = name.to_string_lossy().into_owned();
        let mut found = None;
        for base in class.mro().iter() {
            let base = base.cast_into::<PyType>()?;
            if let Some(attribute) = classes::own_attribute(&base, &text)? {
                found = Some(attribute);
                break;
            }
        }
        match found {
            Some(member) if member.get_type().is(MEMBER.get(py)?) => {
                slots.push((name.unbind(), member.unbind()));
            }
            _ => return Ok(None),
        }
    }
    Ok(Some(slots))
}
