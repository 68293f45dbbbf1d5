//! The wire formats of Core ML packages and converted model directories, as types, and the contracts between those
//! directories and their clients.
//!
//! Nothing here reads or writes a file; text and bytes come in and go out.

pub mod contract;
pub mod kernels;
pub mod manifest;
pub mod meta;
pub mod proto;
pub mod provenance;
pub mod report;
pub mod training;
pub mod wire;

pub use manifest::{Manifest, ManifestError, ManifestItem};
pub use meta::{Glue, LutBits, MetaError, MetaYaml, ModelInfo, Origin, Parameters, RecommendedSampling};
