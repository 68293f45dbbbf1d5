//! How weights are stored, planned before any of them is read. Nothing here knows a layer or a graph.

mod calibrated_rows;
pub(crate) mod encodings;
pub mod recipe;
pub mod recipe_file;
pub(crate) mod requests;
pub(crate) mod rows;
pub mod storage;
pub mod transform;
pub(crate) mod weight_file;

pub use calibrated_rows::CalibratedRows;
