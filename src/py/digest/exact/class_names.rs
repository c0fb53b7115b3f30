//! Names of the classes of instances: with their content, where the name alone is not theirs.

use pyo3::prelude::*;
use pyo3::types::PyType;

use super::naming::{is_made_by_a_program, is_main, leads_to, module_of};
use super::{Walker, definitions};
use crate::engine::digest::Hex;
use crate::py::names::class_identity;

impl<'py> Walker<'py> {
    /// How the class of an instance takes part: by module and qualified name, if these lead to it
    /// and to nothing else, else by its content, too.
    pub(super) fn class_name(&mut self, class: &Bound<'py, PyType>) -> PyResult<String> {
        let address = class.as_ptr() as usize;
        if let Some((_, name)) = self.class_names.get(&address) {
            return Ok(name.clone());
        }
        let mut name = class_identity(class)?;
        let returns = self.returns;
        if !is_told_by_name(class)? {
            if self.by_address {
                return Ok(format!("{name}\0{address}"));
            }
            let content = definitions::class(self, class)?;
            name.push('\0');
            name.push_str(Hex::of(&content).as_str());
            if self.reading > 0 {
                // What is being read notes it each time.
                return Ok(name);
            }
        }
        // Within the class itself it depends on the way there.
        if self.returns == returns {
            self.class_names
                .insert(address, (class.clone(), name.clone()));
        }
        Ok(name)
    }
}

/// Whether the module and the name of a class lead to it, and to nothing else in another program.
fn is_told_by_name(class: &Bound<'_, PyType>) -> PyResult<bool> {
    if is_main(&module_of(class)?) {
        return Ok(false);
    }
    Ok(leads_to(class)? || !is_made_by_a_program(class)?)
}
