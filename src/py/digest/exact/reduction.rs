//! Objects of any class by their reduction: what `pickle` would make them of again.
//!
//! An equal reduction makes an equal object, so that the class and the parts of `__reduce_ex__`
//! (callable, arguments, state, items), each digested by the rules of its own kind, are a digest.
//! What has no reduction, or would be used up or changed by looking at it, has none.

use crate::py::once::intern;
use pyo3::prelude::*;
use pyo3::types::{PyAny, PyDict, PyIterator, PyString, PyTuple, PyType};

use super::libraries::{self, Kind};
use super::state::is_derived;
use super::{Leaving, Walker, indigestible, leaf, trail};
use crate::engine::digest::Hash;
use crate::engine::digest::exact::{Encoder, Tag};
use crate::py::digest::{as_indigestible, indigestible_because, record, refreshed};
use crate::py::names::Imported;

static DISPATCH_TABLE: Imported = Imported::new("copyreg", "dispatch_table");
static NEW_OBJECT: Imported = Imported::new("copyreg", "__newobj__");
static NEW_OBJECT_EX: Imported = Imported::new("copyreg", "__newobj_ex__");
static RECONSTRUCTOR: Imported = Imported::new("copyreg", "_reconstructor");
static OBJECT: Imported = Imported::new("builtins", "object");
static STREAM: Imported = Imported::new("io", "IOBase");
static NUMBER: Imported = Imported::new("numbers", "Number");
static ZONE: Imported = Imported::new("datetime", "tzinfo");
static RANDOM: Imported = Imported::new("random", "Random");
static SYSTEM_RANDOM: Imported = Imported::new("random", "SystemRandom");
static WHICH_MODULE: Imported = Imported::new("pickle", "whichmodule");

/// Primitives of asyncio have a reduction, and yet no content: who waits for them does not tell.
const LOCKS: [&str; 5] = [
    "Lock",
    "Event",
    "Condition",
    "Semaphore",
    "BoundedSemaphore",
];

/// The oldest protocol that every supported Python reads and that tells all of an object's state.
const PICKLE_PROTOCOL: u8 = 4;

/// The parts of a reduction, in its order.
mod part {
    pub const NAME: u8 = 0;
    pub const MADE: u8 = 1;
}

impl<'py> Walker<'py> {
    /// Any object that pickles, of a class that no other rule is for.
    #[inline(never)]
    pub(super) fn reduction(&mut self, value: &Bound<'py, PyAny>) -> PyResult<Hash> {
        let class = value.get_type();
        if refreshed(self.py)? {
            // Its package has a rule for it that was not loaded yet.
            self.hooked = true;
            return self.walk_node(value);
        }
        let kind = kind_of_object(value)?;
        // Of these some are told by another rule, and some are not.
        if libraries::kind(&class)? == Kind::Other
            && !NUMBER.is_instance(value)?
            && !ZONE.is_instance(value)?
            && !record::has_fields(&class)?
        {
            libraries::note(&class, kind);
        }
        self.object(value, kind)
    }

    /// An object whose class was seen before.
    pub(super) fn object(&mut self, value: &Bound<'py, PyAny>, kind: Kind) -> PyResult<Hash> {
        match kind {
            Kind::Refused => return Err(self.refusal(value)),
            Kind::Random => self.meets_random(value)?,
            _ => {}
        }
        let reduced = self.enter(value, Leaving::Always, |walker| walker.reduced(value))?;
        Ok(reduced.finish())
    }

    /// The error of what has no digest. A call that uses up an iterator of its own runs without a
    /// cache, as one with a generator of random numbers.
    #[cold]
    pub(super) fn refusal(&mut self, value: &Bound<'py, PyAny>) -> PyErr {
        match is_consumed(value) {
            Ok(consumed) => {
                self.met_random |= consumed && self.refuses_random;
                indigestible(value)
            }
            Err(error) => error,
        }
    }

    /// A generator of random numbers is no argument that can be looked up again.
    pub(super) fn meets_random(&mut self, value: &Bound<'py, PyAny>) -> PyResult<()> {
        if !self.refuses_random {
            return Ok(());
        }
        self.met_random = true;
        let reason = format!(
            "a {}, a generator of random numbers, which a hit would not advance: pass a seed",
            value.get_type().name()?
        );
        let error = indigestible_because(self.py, &reason);
        error
            .value(self.py)
            .setattr(intern!(self.py, "random"), true)?;
        Err(error)
    }

    fn reduced(&mut self, value: &Bound<'py, PyAny>) -> PyResult<Encoder> {
        let class = value.get_type();
        let reduced = reduce(value).map_err(|error| as_indigestible(value, error))?;
        let mut encoder = Encoder::new(Tag::Reduction);
        if let Ok(name) = reduced.cast::<PyString>() {
            // It is found under its name.
            let module = WHICH_MODULE.get(self.py)?.call1((value, name))?;
            encoder
                .byte(part::NAME)
                .text(&self.class_name(&class)?)
                .text(&module.str()?.to_string_lossy())
                .bytes(&leaf::utf8(name)?);
            return Ok(encoder);
        }
        let Ok(parts) = reduced.cast::<PyTuple>() else {
            return Err(indigestible(value));
        };
        if !(2..=6).contains(&parts.len()) {
            return Err(indigestible(value));
        }
        encoder.byte(part::MADE).text(&self.class_name(&class)?);
        self.made(
            &mut encoder,
            &class,
            &parts.get_item(0)?,
            &parts.get_item(1)?,
        )?;
        let part = |place: usize| -> PyResult<Option<Bound<'py, PyAny>>> {
            match parts.get_item(place) {
                Ok(part) if !part.is_none() => Ok(Some(part)),
                _ => Ok(None),
            }
        };
        match part(2)? {
            Some(state) => {
                let hash = self.state(&class, &state)?;
                encoder.byte(1).child(&hash);
            }
            None => {
                encoder.byte(0);
            }
        }
        for (place, pairs) in [(3, false), (4, true)] {
            let Some(items) = part(place)? else {
                encoder.byte(0);
                continue;
            };
            let items = items.try_iter()?.collect::<PyResult<Vec<_>>>()?;
            let mut content = Encoder::new(Tag::Sequence);
            content.text(if pairs { "items" } else { "elements" });
            content.length(items.len());
            for (index, item) in items.iter().enumerate() {
                match self.walk(item) {
                    Ok(hash) => content.child(&hash),
                    Err(error) => return Err(self.past(error, || trail::element(index))),
                };
            }
            encoder.byte(1).child(&content.finish());
        }
        match part(5)? {
            Some(setter) => encoder.byte(1).child(&self.walk(&setter)?),
            None => encoder.byte(0),
        };
        Ok(encoder)
    }

    /// The callable that makes the object, and its arguments. The class is known already; most
    /// objects are made by nothing else.
    fn made(
        &mut self,
        encoder: &mut Encoder,
        class: &Bound<'py, PyType>,
        callable: &Bound<'py, PyAny>,
        arguments: &Bound<'py, PyAny>,
    ) -> PyResult<()> {
        let py = self.py;
        let Ok(given) = arguments.cast::<PyTuple>() else {
            return Err(indigestible(arguments));
        };
        let of_class = given.get_item(0).is_ok_and(|first| first.is(class));
        if callable.is(NEW_OBJECT.get(py)?) && of_class {
            encoder.byte(0);
            return self.given(encoder, given, 1);
        }
        if callable.is(NEW_OBJECT_EX.get(py)?) && of_class {
            encoder.byte(1);
            return self.given(encoder, given, 1);
        }
        if callable.is(RECONSTRUCTOR.get(py)?) && of_class {
            encoder.byte(2);
            return self.given(encoder, given, 1);
        }
        if callable.is(class) {
            encoder.byte(3);
            return self.given(encoder, given, 0);
        }
        encoder.byte(4).child(&self.maker(callable)?);
        self.given(encoder, given, 0)
    }

    /// A class by the rule for those of instances; a function by its name if that leads to it.
    fn maker(&mut self, callable: &Bound<'py, PyAny>) -> PyResult<Hash> {
        if let Ok(class) = callable.cast::<PyType>() {
            let mut encoder = Encoder::new(Tag::Class);
            encoder.text(&self.class_name(class)?);
            return Ok(encoder.finish());
        }
        if super::naming::is_main(&super::naming::module_of(callable)?)
            || !super::naming::leads_to(callable)?
        {
            return self.walk(callable);
        }
        Ok(Self::by_name(callable)?.finish())
    }

    fn given(
        &mut self,
        encoder: &mut Encoder,
        arguments: &Bound<'py, PyTuple>,
        from: usize,
    ) -> PyResult<()> {
        encoder.length(arguments.len() - from);
        for argument in arguments.iter().skip(from) {
            let hash = match argument.cast::<PyType>() {
                // The classes of what is made, not classes that are looked into.
                Ok(_) => self.maker(&argument),
                Err(_) => self.walk(&argument),
            };
            match hash {
                Ok(hash) => encoder.child(&hash),
                Err(error) => return Err(self.past(error, String::new)),
            };
        }
        Ok(())
    }

    /// The state, mostly the attributes by name.
    fn state(&mut self, class: &Bound<'py, PyType>, state: &Bound<'py, PyAny>) -> PyResult<Hash> {
        let Ok(attributes) = state.cast_exact::<PyDict>() else {
            if let Ok(both) = state.cast_exact::<PyTuple>()
                && both.len() == 2
            {
                // What is in `__dict__`, and what is in slots.
                let mut encoder = Encoder::new(Tag::Sequence);
                encoder.text("state").length(2);
                for part in both.iter() {
                    let hash = if part.is_exact_instance_of::<PyDict>() {
                        self.state(class, &part)?
                    } else {
                        self.walk(&part)?
                    };
                    encoder.child(&hash);
                }
                return Ok(encoder.finish());
            }
            return self.walk(state);
        };
        let mut found = Vec::with_capacity(attributes.len());
        for (name, content) in attributes.iter() {
            if let Ok(name) = name.cast::<PyString>()
                && is_derived(class, name)?
            {
                continue;
            }
            let within = self.within.len();
            let key = self.walk(&name)?;
            let walked = self.walk(&content);
            self.within.truncate(within);
            match walked {
                Ok(hash) => found.push((key, hash)),
                Err(error) => {
                    return Err(self.past(error, || match name.cast::<PyString>() {
                        Ok(name) => format!(".{}", name.to_string_lossy()),
                        Err(_) => trail::item(&name),
                    }));
                }
            }
        }
        // In whichever order they were set.
        found.sort_unstable();
        let mut encoder = Encoder::new(Tag::Mapping);
        encoder.text("state").length(found.len());
        for (key, content) in &found {
            encoder.child(key).child(content);
        }
        Ok(encoder.finish())
    }
}

/// The reduction that `pickle` would use.
fn reduce<'py>(value: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let py = value.py();
    let class = value.get_type();
    let registered = DISPATCH_TABLE.get(py)?.cast::<PyDict>()?.get_item(&class)?;
    match registered {
        Some(reduce) => reduce.call1((value,)),
        None => value.call_method1(intern!(py, "__reduce_ex__"), (PICKLE_PROTOCOL,)),
    }
}

/// Whether a value is an iterator of Python's own, which is changed by being used.
fn is_consumed(value: &Bound<'_, PyAny>) -> PyResult<bool> {
    if value.cast::<PyIterator>().is_err() {
        return Ok(false);
    }
    let module = super::naming::module_of(value.get_type().as_any())?;
    Ok(module == "builtins" || module == "itertools")
}

/// What an object is as far as its class tells. Some have a reduction and yet no content: what is
/// used up by being looked at, what only its identity tells from others, and locks.
fn kind_of_object(value: &Bound<'_, PyAny>) -> PyResult<Kind> {
    let py = value.py();
    let class = value.get_type();
    if class.is(OBJECT.get(py)?)
        || value.cast::<PyIterator>().is_ok()
        || STREAM.is_instance(value)?
        || SYSTEM_RANDOM.is_instance(value)?
    {
        return Ok(Kind::Refused);
    }
    for base in class.mro() {
        let module = super::naming::module_of(&base)?;
        if module.starts_with("asyncio.")
            && let Ok(base) = base.cast::<PyType>()
            && LOCKS.contains(&base.name()?.to_string_lossy().as_ref())
        {
            return Ok(Kind::Refused);
        }
    }
    if RANDOM.is_instance(value)? {
        return Ok(Kind::Random);
    }
    Ok(Kind::Object)
}
