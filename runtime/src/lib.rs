//! Opens converted model directories.
//!
//! A directory is found by its `meta.yaml`, whose names are checked before they become paths. Nothing is written.

pub mod backend;
mod directory;
mod fs_package;
pub mod oracle;
mod package_report;
pub mod session;

pub use directory::{DirectoryError, ModelDirectory, ModelPart, PartRole};
pub use fs_package::{FsPackage, OpenError, open_model};
pub use package_report::{EncodingReport, FunctionReport, PackageReport};
