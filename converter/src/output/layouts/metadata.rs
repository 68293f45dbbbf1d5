//! What models say about themselves, shared by the layouts.

use anec_mil::package::Metadata;
use anec_schemas::contract::Role;
use anec_schemas::contract::monolithic::MODEL;
use anec_schemas::contract::stateful::{CHUNK, EMBEDDINGS, LM_HEAD};

use crate::options::Options;
use crate::plan::{ConversionPlan, FilePlan};
use crate::weights::storage::Storage;

/// Who wrote the model.
const AUTHOR: &str = concat!("Converted with anec v", env!("CARGO_PKG_VERSION"));

/// How the weights of a role are stored.
pub(super) fn storage(options: &Options, role: Role) -> &Storage {
    match role {
        EMBEDDINGS => &options.storage.embeddings,
        LM_HEAD => &options.storage.lm_head,
        _ => &options.storage.ffn,
    }
}

/// What stems of anec's own names end with: how the weights of a role are stored.
pub(super) fn suffix(options: &Options, role: Role) -> String {
    storage(options, role).encoding().suffix()
}

/// What stems of ANEMLL's names end with: bits of palettes, never the group size, and nothing for what else there is.
pub(super) fn anemll_suffix(options: &Options, role: Role) -> String {
    storage(options, role).lut().map_or_else(String::new, |lut| format!("_lut{}", lut.bits))
}

/// The metadata of a file under anec's own names; `embeddings` says what those do.
pub(super) fn own(plan: &ConversionPlan, file: &FilePlan, embeddings: &str) -> Metadata {
    let (model_type, label) = (&plan.decoder.model_type, &file.label);
    let short_description = match label.role {
        EMBEDDINGS => format!("{model_type} {embeddings}"),
        CHUNK => format!("{model_type} decoder layers {} to {}", label.layers.start, label.layers.end - 1),
        _ => format!("{model_type} LM head"),
    };
    metadata(plan, file, short_description, "com.anec")
}

/// The metadata of a file. What clients read from it where they have no `meta.yaml` gets `prefix` before its keys.
///
/// # Source
/// ANEMLL 0.3.5 `metadata.py`; anec's own names carry the same under another prefix.
pub(super) fn metadata(plan: &ConversionPlan, file: &FilePlan, short_description: String, prefix: &str) -> Metadata {
    let options = &plan.options;
    let mut entries = vec![
        ("info", AUTHOR.to_owned()),
        ("context_length", options.context_length.to_string()),
        ("num_chunks", plan.chunk_count().to_string()),
        ("vocab_size", plan.decoder.vocab_size.to_string()),
    ];
    let role = file.label.role;
    if role == CHUNK {
        entries.push(("chunk_no", file.label.number.to_string()));
    }
    if role == CHUNK || role == MODEL {
        entries.push(("functions", file.functions().collect::<Vec<_>>().join(",")));
    }
    if role == LM_HEAD || role == MODEL {
        let sizes: Vec<String> = plan.head.sizes.iter().map(u64::to_string).collect();
        entries.push(("lm_head_chunk_sizes", sizes.join(",")));
        if options.argmax {
            entries.push(("argmax_in_model", "true".to_owned()));
        }
    }
    if role != LM_HEAD {
        entries.push(("batch_size", options.batch_size.to_string()));
    }
    if let Some(lut) = storage(options, role).lut() {
        entries.push(("lut_bits", lut.bits.to_string()));
    }
    Metadata {
        short_description,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        author: AUTHOR.to_owned(),
        license: String::new(),
        user_defined: entries.into_iter().map(|(key, value)| (format!("{prefix}.{key}"), value)).collect(),
    }
}
