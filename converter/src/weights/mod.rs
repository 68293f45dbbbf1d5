//! How weights are stored, planned before any of them is read.

pub(crate) mod requests;
pub mod transform;
pub(crate) mod weight_file;
