//! How a program lies on disk.

pub mod compiled_model;
pub(crate) mod model_directory;
pub(crate) mod package;
