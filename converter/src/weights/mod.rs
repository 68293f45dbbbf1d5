//! How weights are stored, planned before any of them is read. Nothing here knows a layer or a graph.

pub(crate) mod encodings;
pub mod recipe;
pub(crate) mod requests;
pub(crate) mod rows;
pub mod storage;
pub mod transform;
pub(crate) mod weight_file;
