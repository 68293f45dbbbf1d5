//! The wire formats of Core ML packages and converted model directories, as types.
//!
//! Nothing here reads or writes a file; text and bytes come in and go out.

pub mod manifest;
pub mod proto;
pub mod wire;

pub use manifest::{Manifest, ManifestError, ManifestItem};
