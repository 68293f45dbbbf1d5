//! Finds the models as the program does, and holds what it finds against the meta file.

use std::io;
use std::path::Path;

use anec_mil::compiled::COMPILED_EXTENSION;
use anec_schemas::contract::coreml_llm_cli::discovery::{self, Program};
use anec_schemas::contract::coreml_llm_cli::{CACHE_PROCESSOR, LOGIT_PROCESSOR};
use fs_err as fs;

use crate::part::{ModelPart, PartError};

/// Whether the program takes the models that the meta file lists for its pipeline, in that order.
pub(super) fn check(root: &Path, parts: &[ModelPart], program: Program) -> Result<(), PartError> {
    let failed = |source: io::Error| PartError::Io { path: root.to_owned(), source };
    let mut stems = Vec::new();
    for entry in fs::read_dir(root).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|extension| extension == COMPILED_EXTENSION) {
            stems.extend(path.file_stem().map(|stem| stem.to_string_lossy().into_owned()));
        }
    }
    stems.sort_unstable();
    let found = discovery::pipeline(stems.iter().map(String::as_str), program)?;
    let is_beside = |part: &&ModelPart| [CACHE_PROCESSOR, LOGIT_PROCESSOR].contains(&part.label.role);
    let listed: Vec<&str> = parts.iter().filter(|part| !is_beside(part)).map(|part| part.stem.as_str()).collect();
    if found == listed {
        return Ok(());
    }
    Err(PartError::Order { found: found.join(", "), listed: listed.join(", ") })
}
