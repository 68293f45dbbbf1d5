//! Which models a meta file names: embeddings, chunks, head.

use std::path::Path;

use anec_schemas::MetaYaml;
use anec_schemas::contract::stateful::{CHUNK, EMBEDDINGS, LM_HEAD};

use crate::part::{ModelPart, PartError, PartLabel, stem};

/// What stands before `01of02` in the name of a chunk.
const CHUNK_MARK: &str = "_chunk_";

/// The models, in the order in which a token passes them.
pub(super) fn find(root: &Path, meta: &MetaYaml) -> Result<Vec<ModelPart>, PartError> {
    let parameters = &meta.model_info.parameters;
    let embeddings = stem("embeddings", parameters.embeddings.as_deref())?;
    let ffn = stem("ffn", parameters.ffn.as_deref())?;
    let lm_head = stem("lm_head", parameters.lm_head.as_deref())?;
    let mut parts = vec![ModelPart::find(root, PartLabel::only(EMBEDDINGS), embeddings.to_owned())?];
    // Where batches have files of their own, these follow those of the same layers.
    let pf = if parameters.split_rotate { Some(stem("pf", parameters.pf.as_deref())?) } else { None };
    for number in 1..=parameters.num_chunks {
        let label = PartLabel::numbered(CHUNK, number);
        for (key, first) in [("ffn", Some(ffn)), ("pf", pf)] {
            let Some(first) = first else { continue };
            parts.push(ModelPart::find(root, label, chunk_stem(key, first, number, parameters.num_chunks)?)?);
        }
    }
    parts.push(ModelPart::find(root, PartLabel::only(LM_HEAD), lm_head.to_owned())?);
    Ok(parts)
}

/// The name of chunk `number`, from the name of the first, which `key` of the meta file says.
fn chunk_stem(key: &'static str, first: &str, number: u64, num_chunks: u64) -> Result<String, PartError> {
    let mark = format!("{CHUNK_MARK}01of{num_chunks:02}");
    if let Some((before, "")) = first.rsplit_once(&mark) {
        return Ok(format!("{before}{CHUNK_MARK}{number:02}of{num_chunks:02}"));
    }
    if num_chunks == 1 && !first.contains(CHUNK_MARK) {
        return Ok(first.to_owned());
    }
    Err(PartError::ChunkName { key, name: first.to_owned(), count: num_chunks })
}
