//! How a program lies on disk.

pub mod compiled_model;
