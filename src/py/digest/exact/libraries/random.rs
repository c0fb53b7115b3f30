//! numpy's random number generators, by state. Seeds are values; generators change while they are
//! used, so that no call is looked up by one.

use crate::py::once::intern;
use pyo3::prelude::*;

use crate::engine::digest::exact::{Encoder, Tag};
use crate::py::digest::exact::Walker;
use crate::py::names::Imported;
use crate::py::names::class_identity;

static GENERATOR: Imported = Imported::new("numpy.random", "Generator");
static RANDOM_STATE: Imported = Imported::new("numpy.random", "RandomState");
static SEED_SEQUENCE: Imported = Imported::new("numpy.random", "SeedSequence");

impl<'py> Walker<'py> {
    pub(super) fn random_state(&mut self, value: &Bound<'py, PyAny>) -> PyResult<Encoder> {
        let py = self.py;
        let state = intern!(py, "state");
        if !SEED_SEQUENCE.is_instance(value)? {
            self.meets_random(value)?;
        }
        let mut encoder = Encoder::new(Tag::RandomState);
        encoder.text(&class_identity(&value.get_type())?);
        if SEED_SEQUENCE.is_instance(value)? {
            encoder.child(&self.walk(&value.getattr(state)?)?);
        } else if RANDOM_STATE.is_instance(value)? {
            let state = value.call_method1(intern!(py, "get_state"), (false,))?;
            encoder.child(&self.walk(&state)?);
        } else if GENERATOR.is_instance(value)? {
            let bits = value.getattr(intern!(py, "bit_generator"))?;
            self.bit_generator(&mut encoder, &bits)?;
        } else {
            self.bit_generator(&mut encoder, value)?;
        }
        Ok(encoder)
    }

    /// The state that numbers are drawn from. Seeds count once children were spawned from them:
    /// the next children depend on how many there were.
    fn bit_generator(&mut self, encoder: &mut Encoder, bits: &Bound<'py, PyAny>) -> PyResult<()> {
        let py = self.py;
        encoder.child(&self.walk(&bits.getattr(intern!(py, "state"))?)?);
        let seeds = bits
            .getattr_opt(intern!(py, "seed_seq"))?
            .or(bits.getattr_opt(intern!(py, "_seed_seq"))?);
        if let Some(seeds) = seeds
            && SEED_SEQUENCE.is_instance(&seeds)?
        {
            let spawned: u64 = seeds
                .getattr(intern!(py, "n_children_spawned"))?
                .extract()?;
            if spawned > 0 {
                encoder.byte(1).child(&self.walk(&seeds)?);
            }
        }
        Ok(())
    }
}
