//! Carrying out a plan: programs, weights and what stands beside them, on disk.

pub(crate) mod archive;
pub(crate) mod checksums;
pub mod companions;
pub mod conversion;
mod description;
pub mod emit;
pub(crate) mod flat;
pub mod forms;
pub(crate) mod free_space;
pub(crate) mod layouts;
mod link;
pub(crate) mod parts;
pub(crate) mod provenance;
pub mod staging;
pub(crate) mod weight_places;
