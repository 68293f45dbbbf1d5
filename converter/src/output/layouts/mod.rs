//! Whose client opens a converted directory: file names, metadata, meta files.

pub(crate) mod metadata;
pub(crate) mod names;
pub(crate) mod package_model;
