//! How weights are stored, planned before any of them is read.

pub(crate) mod weight_file;
