//! anec's own names, for clients that want the embedding of a text.

use std::path::Path;

use anec_mil::compiled::COMPILED_EXTENSION;
use anec_mil::package::{Metadata, PACKAGE_EXTENSION};

use super::{Layout, Refusal, SideFile, SideFileError, meta_files, metadata};
use crate::graph::families::{Family, Label, embedding};
use crate::model::decoder_plan::DecoderPlan;
use crate::options::{Count, Functions, KvWrite, Options};
use crate::plan::{ConversionPlan, FilePlan};

/// The layout.
pub(super) struct Embedding;

impl Layout for Embedding {
    fn name(&self) -> &'static str {
        "embedding"
    }

    fn summary(&self) -> &'static str {
        "clients of embedding models: one file from the tokens of a text to its vector"
    }

    fn family(&self) -> &'static dyn Family {
        &embedding::Embedding
    }

    fn forms(&self) -> &'static [&'static str] {
        &[PACKAGE_EXTENSION, COMPILED_EXTENSION]
    }

    fn refusal(&self, options: &Options) -> Option<Refusal> {
        let refusal = |option, value: String, expected: &str| {
            Some(Refusal { option, value, expected: format!("the layout `embedding` {expected}") })
        };
        if options.functions != Functions::InferPrefill {
            return refusal(
                "--functions",
                options.functions.to_string(),
                "has one function of `--context-length` tokens",
            );
        }
        if options.kv_write == KvWrite::Mask {
            return refusal("--kv", "mask".to_owned(), "has no cache: a call takes the whole text");
        }
        if options.argmax {
            return refusal("--argmax", String::new(), "has no head: it gives embeddings");
        }
        if let Count::Exactly(parts) = options.lm_head_splits {
            return refusal("--lm-head-splits", parts.to_string(), "has no head: it gives embeddings");
        }
        match options.chunks {
            Count::Exactly(chunks) if chunks.get() > 1 => refusal("--chunks", chunks.to_string(), "is one file"),
            _ => None,
        }
    }

    fn head_parts(&self, _decoder: &DecoderPlan, _options: &Options) -> Option<u64> {
        None
    }

    fn stem(&self, _decoder: &DecoderPlan, options: &Options, label: &Label, _index: usize) -> String {
        format!("{}{}", label.role, metadata::suffix(options, label.role))
    }

    fn metadata(&self, plan: &ConversionPlan, file: &FilePlan) -> Metadata {
        let description = format!("{} embedding of a text", plan.decoder.model_type);
        metadata::metadata(plan, file, description, "com.anec")
    }

    fn side_files(&self, plan: &ConversionPlan, checkpoint: &Path) -> Result<Vec<SideFile>, SideFileError> {
        meta_files::own(plan, checkpoint)
    }
}
