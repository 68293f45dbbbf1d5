//! What a conversion starts from: a checkpoint's tensors and its config.json.

pub mod checkpoint;
pub mod config;
