//! numpy's own functions, by name.

use crate::py::once::intern;
use pyo3::prelude::*;

use crate::engine::digest::exact::{Encoder, Tag};
use crate::py::digest::exact::{Walker, indigestible};

/// Where ufuncs without a module of their own live.
const HOMES: [&str; 2] = ["numpy", "scipy.special"];

impl<'py> Walker<'py> {
    /// A function that its library's name leads back to; one that was made at run time
    /// (`numpy.frompyfunc`) does not tell what it does.
    pub(super) fn numpy_function(&mut self, function: &Bound<'py, PyAny>) -> PyResult<Encoder> {
        let py = self.py;
        let name: String = function.getattr(intern!(py, "__name__"))?.extract()?;
        let module = function.getattr_opt(intern!(py, "__module__"))?;
        let own = module.and_then(|module| module.extract::<String>().ok());
        let homes = own.iter().map(String::as_str).chain(HOMES);
        for home in homes {
            let Some(module) = crate::py::names::loaded_module(py, home)? else {
                continue;
            };
            if let Some(found) = module.getattr_opt(name.as_str())?
                && found.is(function)
            {
                let mut encoder = Encoder::new(Tag::Builtin);
                encoder.text(home).text(&name).byte(0);
                return Ok(encoder);
            }
        }
        Err(indigestible(function))
    }
}
