//! anec's own names, for clients that keep the KV cache themselves.

use std::path::Path;

use anec_mil::compiled::COMPILED_EXTENSION;
use anec_mil::package::{Metadata, PACKAGE_EXTENSION};
use anec_schemas::contract::host_cache::{CHUNK, FUNCTIONS};

use super::{Layout, Refusal, SideFile, SideFileError, meta_files, metadata};
use crate::graph::families::{Family, Label, host_cache};
use crate::model::decoder_plan::DecoderPlan;
use crate::options::{Functions, KvWrite, Options};
use crate::plan::{ConversionPlan, FilePlan};

/// The layout.
pub(super) struct HostCache;

impl Layout for HostCache {
    fn name(&self) -> &'static str {
        "host-cache"
    }

    fn summary(&self) -> &'static str {
        "clients that keep the KV cache themselves: no Core ML state"
    }

    fn family(&self) -> &'static dyn Family {
        &host_cache::HostCache
    }

    fn forms(&self) -> &'static [&'static str] {
        &[PACKAGE_EXTENSION, COMPILED_EXTENSION]
    }

    fn refusal(&self, options: &Options) -> Option<Refusal> {
        let lengths = FUNCTIONS.map(|(tokens, _)| tokens.to_string()).join(", ");
        let longest = FUNCTIONS.iter().map(|(tokens, _)| *tokens).max();
        if options.functions != Functions::InferPrefill {
            let expected = format!("the layout `host-cache` has functions of {lengths} tokens");
            return Some(Refusal { option: "--functions", value: options.functions.to_string(), expected });
        }
        if options.kv_write == KvWrite::Mask {
            let expected = "the layout `host-cache` has no state to write: the client keeps the cache".to_owned();
            return Some(Refusal { option: "--kv", value: "mask".to_owned(), expected });
        }
        (Some(u64::from(options.batch_size)) != longest).then(|| Refusal {
            option: "--batch-size",
            value: options.batch_size.to_string(),
            expected: format!("the layout `host-cache` has functions of {lengths} tokens"),
        })
    }

    fn head_parts(&self, _decoder: &DecoderPlan, _options: &Options) -> Option<u64> {
        None
    }

    fn stem(&self, _decoder: &DecoderPlan, options: &Options, label: &Label, _index: usize) -> String {
        let suffix = metadata::suffix(options, label.role);
        match label.role {
            CHUNK => format!("chunk{suffix}_{:02}of{:02}", label.number, label.count),
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
