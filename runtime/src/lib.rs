//! Opens converted model directories and generates text with them.
//!
//! A directory is found by its `meta.yaml`, whose names are checked before they become paths. Nothing is written or printed,
//! and the clock is the caller's.

pub mod backend;
mod causes;
pub mod chat;
mod companion;
mod directory;
mod fs_package;
pub mod generate;
pub mod oracle;
mod package_report;
mod part;
mod pipeline;
pub mod sampling;
pub mod session;
pub mod tokenizer;
pub mod verify;

pub use companion::{CompanionError, read as read_companion};
pub use directory::{DirectoryError, ModelDirectory};
pub use fs_package::{FsPackage, OpenError, hub_blobs, open_model};
pub use package_report::{EncodingReport, FunctionReport, PackageReport};
pub use part::{ModelPart, PartError, PartLabel};
pub use pipeline::{MemberPath, files_root, pipeline_members};
