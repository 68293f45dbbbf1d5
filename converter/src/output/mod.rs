//! Carrying out a plan: programs, weights and what stands beside them, on disk.

pub mod conversion;
pub mod emit;
pub mod forms;
pub(crate) mod layouts;
pub(crate) mod provenance;
pub mod publish;
pub mod staging;
