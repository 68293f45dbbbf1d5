//! anec's own names, for runtimes that take prompts on the Neural Engine and decode elsewhere.

use std::path::Path;

use anec_mil::compiled::COMPILED_EXTENSION;
use anec_mil::package::{Metadata, PACKAGE_EXTENSION};
use anec_schemas::contract::prefill::CHUNK;

use super::{Layout, Refusal, SideFile, SideFileError, meta_files, metadata};
use crate::graph::families::{Family, Label, prefill};
use crate::model::decoder_plan::DecoderPlan;
use crate::options::{Count, Functions, KvWrite, Options};
use crate::plan::{ConversionPlan, FilePlan};

/// The layout.
pub(super) struct Prefill;

impl Layout for Prefill {
    fn name(&self) -> &'static str {
        "prefill"
    }

    fn summary(&self) -> &'static str {
        "runtimes that take prompts on the Neural Engine and decode elsewhere"
    }

    fn family(&self) -> &'static dyn Family {
        &prefill::Prefill
    }

    fn forms(&self) -> &'static [&'static str] {
        &[PACKAGE_EXTENSION, COMPILED_EXTENSION]
    }

    fn rounds_activations(&self) -> bool {
        true
    }

    fn refusal(&self, options: &Options) -> Option<Refusal> {
        let refusal = |option, value: String, expected: &str| {
            Some(Refusal { option, value, expected: format!("the layout `prefill` {expected}") })
        };
        if options.functions != Functions::InferPrefill {
            return refusal("--functions", options.functions.to_string(), "has one function of `--batch-size` tokens");
        }
        if options.kv_write == KvWrite::Mask {
            return refusal("--kv", "mask".to_owned(), "has no state to write: the client keeps the cache");
        }
        if options.argmax {
            return refusal("--argmax", String::new(), "has no head: it gives hidden states");
        }
        if let Count::Exactly(parts) = options.lm_head_splits {
            return refusal("--lm-head-splits", parts.to_string(), "has no head: it gives hidden states");
        }
        None
    }

    fn head_parts(&self, _decoder: &DecoderPlan, _options: &Options) -> Option<u64> {
        None
    }

    fn stem(&self, _decoder: &DecoderPlan, options: &Options, label: &Label, _index: usize) -> String {
        let suffix = metadata::suffix(options, label.role);
        match label.role {
            CHUNK => format!("prefill{suffix}_{:02}of{:02}", label.number, label.count),
            role => format!("{role}{suffix}"),
        }
    }

    fn metadata(&self, plan: &ConversionPlan, file: &FilePlan) -> Metadata {
        metadata::own(plan, file, "token embeddings and rotations")
    }

    fn side_files(&self, plan: &ConversionPlan, checkpoint: &Path) -> Result<Vec<SideFile>, SideFileError> {
        meta_files::own(plan, checkpoint)
    }
}
