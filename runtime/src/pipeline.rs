//! Pipelines on disk: a member is named by a path below that of the pipeline, such as `Model.mlpackage/model0`.

use std::path::{Path, PathBuf};

use anec_mil::compiled::compiled_members;
use anec_mil::package::member_name;
use anec_mil::stored::StoredModel;

use crate::fs_package::{FsPackage, OpenError, open_stored};

/// A model of a pipeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberPath {
    /// The path that [`open_model`](crate::open_model) takes.
    pub path: PathBuf,
    /// Its kind, as Core ML calls it.
    pub kind: &'static str,
}

/// The members of the pipeline at `path`, in order; `None` if another model is there, or none.
///
/// # Errors
/// What is there cannot be read.
pub fn pipeline_members(path: &Path) -> Result<Option<Vec<MemberPath>>, OpenError> {
    if member_of(path).is_some() {
        return Ok(None);
    }
    let kinds = match FsPackage::new(path) {
        Ok(files) if path.join(anec_mil::compiled::DATA_PATH).is_file() => {
            compiled_members(&files).map_err(|source| OpenError::model(path, source.into()))?
        }
        _ => {
            let pipeline = open_stored(path)?.pipeline().map_err(|source| OpenError::model(path, source))?;
            pipeline.map(|pipeline| pipeline.members.iter().map(|member| member.kind).collect())
        }
    };
    let place = |(index, kind)| MemberPath { path: path.join(member_name(index)), kind };
    Ok(kinds.map(|kinds: Vec<&'static str>| kinds.into_iter().enumerate().map(place).collect()))
}

/// The pipeline that `path` names a member of, and the index of that member, where `path` itself is not on the disk.
pub(crate) fn member_of(path: &Path) -> Option<(&Path, usize)> {
    let index = path.file_name()?.to_str()?.strip_prefix("model")?.parse().ok()?;
    let pipeline = path.parent()?;
    let named = path.file_name()?.to_str()? == member_name(index);
    (named && !path.exists() && pipeline.exists()).then_some((pipeline, index))
}

/// Opens the member of this index of the pipeline at `path`.
pub(crate) fn open_member(path: &Path, index: usize) -> Result<StoredModel<FsPackage>, OpenError> {
    let failed = |source| OpenError::model(path, source);
    let member = open_stored(path)?.into_member(index).map_err(failed)?;
    member.ok_or_else(|| failed(anec_mil::stored::StoredModelError::NoMember { index, count: 0 }))
}

/// The directory that the paths of a model's files are relative to, which is that of the pipeline for a member.
pub fn files_root(path: &Path) -> &Path {
    match member_of(path) {
        Some((pipeline, _)) => files_root(pipeline),
        None if path.is_file() => path.parent().unwrap_or(Path::new("")),
        None => path,
    }
}
