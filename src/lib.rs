//! The compiled part of the Python package `fleche`.
//!
//! `engine` knows bytes, digests, records, files and databases and not one Python type;
//! `py` knows Python objects and calls the engine. Arrows go from `py` to `engine`, never back.

pub mod engine;
mod py;

pub use py::_core;
