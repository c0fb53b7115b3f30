//! Binding: which argument of a call belongs to which parameter.
//!
//! The rules are those of Python's own calls. Only calls that fit are bound here; one that does
//! not fit is left to Python, which raises the `TypeError` that users know.

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyTuple};
use smallvec::SmallVec;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    PositionalOnly,
    PositionalOrKeyword,
    VarPositional,
    KeywordOnly,
    VarKeyword,
}

struct Parameter {
    name: Py<PyString>,
    kind: Kind,
    default: Option<Py<PyAny>>,
}

/// A parameter as Python passes it: name, kind and default, if it has one.
type ParameterParts = (Py<PyString>, u8, Option<(Py<PyAny>,)>);

/// The parameters of a callable, in their order.
#[pyclass(frozen, module = "fleche._core")]
pub struct Signature {
    parameters: Vec<Parameter>,
    /// How many of them take positional arguments one by one.
    positional: usize,
    var_positional: Option<usize>,
    var_keyword: Option<usize>,
}

/// What a call passes for each parameter; `None` where it passes nothing.
pub type Slots<'py> = SmallVec<[Option<Bound<'py, PyAny>>; 8]>;

/// A call's arguments by parameter.
pub struct Arguments<'py> {
    pub slots: Slots<'py>,
    /// Whether a parameter was passed, rather than left to its default.
    pub passed: SmallVec<[bool; 8]>,
}

#[pymethods]
impl Signature {
    /// `parameters`: name, kind (the number that `inspect` gives it) and default, if it has one.
    #[new]
    fn new(parameters: Vec<ParameterParts>) -> Self {
        let parameters: Vec<Parameter> = parameters
            .into_iter()
            .map(|(name, kind, default)| Parameter {
                name,
                kind: match kind {
                    0 => Kind::PositionalOnly,
                    1 => Kind::PositionalOrKeyword,
                    2 => Kind::VarPositional,
                    3 => Kind::KeywordOnly,
                    _ => Kind::VarKeyword,
                },
                default: default.map(|(default,)| default),
            })
            .collect();
        Self {
            positional: parameters
                .iter()
                .filter(|p| p.kind < Kind::VarPositional)
                .count(),
            var_positional: parameters
                .iter()
                .position(|p| p.kind == Kind::VarPositional),
            var_keyword: parameters.iter().position(|p| p.kind == Kind::VarKeyword),
            parameters,
        }
    }

    /// The arguments by name, in the order of the parameters; `None` if the call does not fit.
    #[pyo3(name = "bind", signature = (args, kwargs, *, apply_defaults = false, partial = false))]
    fn bind_by_name<'py>(
        &self,
        py: Python<'py>,
        args: &Bound<'py, PyTuple>,
        kwargs: &Bound<'py, PyDict>,
        apply_defaults: bool,
        partial: bool,
    ) -> PyResult<Option<Bound<'py, PyDict>>> {
        let Some(bound) = self.bind(py, args, Some(kwargs), apply_defaults, partial)? else {
            return Ok(None);
        };
        let by_name = PyDict::new(py);
        for (index, slot) in bound.slots.iter().enumerate() {
            if let Some(value) = slot {
                by_name.set_item(self.name(py, index), value)?;
            }
        }
        Ok(Some(by_name))
    }
}

impl Signature {
    pub fn len(&self) -> usize {
        self.parameters.len()
    }

    pub fn name<'py>(&self, py: Python<'py>, index: usize) -> &Bound<'py, PyString> {
        self.parameters[index].name.bind(py)
    }

    /// The default of a parameter, if it has one.
    pub fn default<'py>(&self, py: Python<'py>, index: usize) -> Option<&Bound<'py, PyAny>> {
        let default = self.parameters[index].default.as_ref();
        default.map(|default| default.bind(py))
    }

    /// Which parameter takes the positional argument of this number.
    pub fn of_position(&self, index: usize) -> Option<usize> {
        if index < self.positional {
            Some(index)
        } else {
            self.var_positional
        }
    }

    /// Which parameter takes an argument that is passed by this name.
    pub fn of_name(&self, name: &Bound<'_, PyAny>) -> PyResult<Option<usize>> {
        let Ok(name) = name.cast::<PyString>() else {
            return Ok(None);
        };
        let named = self.position(name.py(), name)?.filter(|index| {
            let kind = self.parameters[*index].kind;
            kind == Kind::PositionalOrKeyword || kind == Kind::KeywordOnly
        });
        Ok(named.or(self.var_keyword))
    }

    /// The position of the parameter called `name`.
    pub fn position(&self, py: Python<'_>, name: &Bound<'_, PyString>) -> PyResult<Option<usize>> {
        // Names in calls are interned, as those of parameters are: mostly the address decides.
        if let Some(index) = self.parameters.iter().position(|p| p.name.is(name)) {
            return Ok(Some(index));
        }
        for (index, parameter) in self.parameters.iter().enumerate() {
            if parameter.name.bind(py).as_any().eq(name)? {
                return Ok(Some(index));
            }
        }
        Ok(None)
    }

    /// Binds a call; `None` if it does not fit. `partial` lets parameters stay without a value.
    pub fn bind<'py>(
        &self,
        py: Python<'py>,
        args: &Bound<'py, PyTuple>,
        kwargs: Option<&Bound<'py, PyDict>>,
        apply_defaults: bool,
        partial: bool,
    ) -> PyResult<Option<Arguments<'py>>> {
        let count = self.parameters.len();
        let mut slots: Slots<'py> = SmallVec::from_elem(None, count);
        let mut passed: SmallVec<[bool; 8]> = SmallVec::from_elem(false, count);
        let given = args.len();
        for (index, value) in args.iter().take(self.positional).enumerate() {
            slots[index] = Some(value);
            passed[index] = true;
        }
        if let Some(index) = self.var_positional {
            if given > self.positional {
                slots[index] = Some(args.get_slice(self.positional, given).into_any());
                passed[index] = true;
            } else if apply_defaults {
                slots[index] = Some(PyTuple::empty(py).into_any());
            }
        } else if given > self.positional {
            return Ok(None);
        }
        let mut extra: Option<Bound<'py, PyDict>> = None;
        if let Some(kwargs) = kwargs {
            for (name, value) in kwargs.iter() {
                let Ok(name) = name.cast_into::<PyString>() else {
                    return Ok(None);
                };
                let target = self.position(py, &name)?.filter(|index| {
                    let kind = self.parameters[*index].kind;
                    kind == Kind::PositionalOrKeyword || kind == Kind::KeywordOnly
                });
                match target {
                    Some(index) if passed[index] => return Ok(None),
                    Some(index) => {
                        slots[index] = Some(value);
                        passed[index] = true;
                    }
                    None if self.var_keyword.is_some() => {
                        extra
                            .get_or_insert_with(|| PyDict::new(py))
                            .set_item(name, value)?;
                    }
                    None => return Ok(None),
                }
            }
        }
        if let Some(index) = self.var_keyword {
            if let Some(extra) = extra {
                slots[index] = Some(extra.into_any());
                passed[index] = true;
            } else if apply_defaults {
                slots[index] = Some(PyDict::new(py).into_any());
            }
        }
        for (slot, parameter) in slots.iter_mut().zip(&self.parameters) {
            if slot.is_some() || matches!(parameter.kind, Kind::VarPositional | Kind::VarKeyword) {
                continue;
            }
            match &parameter.default {
                Some(default) if apply_defaults => *slot = Some(default.bind(py).clone()),
                Some(_) => {}
                None if partial => {}
                None => return Ok(None),
            }
        }
        Ok(Some(Arguments { slots, passed }))
    }
}
