//! The wire formats of Core ML packages and converted model directories, as types.
//!
//! Nothing here reads or writes a file; text and bytes come in and go out.

pub mod manifest;
pub mod meta;
pub mod proto;
pub mod report;
pub mod wire;

pub use manifest::{Manifest, ManifestError, ManifestItem};
pub use meta::{LutBits, MetaError, MetaYaml, ModelInfo, Parameters, RecommendedSampling};
