//! The names that the successor of coreml-llm-cli looks for, in a directory of compiled models.

use std::path::Path;

use anec_mil::Opset;
use anec_mil::compiled::COMPILED_EXTENSION;
use anec_mil::package::{Metadata, PACKAGE_EXTENSION};
use anec_schemas::contract::coreml_llm_cli::sequoia::{
    CACHE_PROCESSOR, CACHE_PROCESSOR_NAME, CONTEXT, LOGIT_PROCESSOR,
};
use anec_schemas::contract::coreml_llm_cli::{CHUNK_SUFFIX, LOGIT_PROCESSOR_NAME, discovery};

use super::coreml_llm_cli::{misfit, own_metadata, prefix, readme};
use super::{Layout, Refusal, SideFile, SideFileError, meta_files};
use crate::graph::families::coreml_llm_cli::sequoia;
use crate::graph::families::{Family, Label};
use crate::model::decoder_plan::DecoderPlan;
use crate::options::{Functions, KvWrite, Options};
use crate::plan::{ConversionPlan, FilePlan, PlanError};

/// The layout.
pub(super) struct CoremlLlmCliSequoia;

impl Layout for CoremlLlmCliSequoia {
    fn name(&self) -> &'static str {
        "coreml-llm-cli-sequoia"
    }

    fn summary(&self) -> &'static str {
        "the branch sequoia of smpanaro's coreml-llm-cli, on macOS 15 and later"
    }

    fn family(&self) -> &'static dyn Family {
        &sequoia::Sequoia
    }

    fn forms(&self) -> &'static [&'static str] {
        &[PACKAGE_EXTENSION, COMPILED_EXTENSION]
    }

    fn refusal(&self, options: &Options) -> Option<Refusal> {
        let refusal = |option, value: String, expected: &str| {
            Some(Refusal { option, value, expected: format!("the branch sequoia of coreml-llm-cli {expected}") })
        };
        if options.functions != Functions::InferPrefill {
            return refusal(
                "--functions",
                options.functions.to_string(),
                "calls a function for the prompt and one for a token",
            );
        }
        if options.argmax {
            return refusal("--argmax", String::new(), "reads logits, and picks tokens with a model of its own");
        }
        if options.kv_write == KvWrite::Mask {
            return refusal("--kv", "mask".to_owned(), "keeps the cache itself: there is no state to write");
        }
        if u64::from(options.context_length) != CONTEXT {
            let expected = "knows functions of a context of 512 tokens by their names";
            return refusal("--context-length", options.context_length.to_string(), expected);
        }
        if options.target.opset() < Opset::Ios18 {
            return refusal("--target", options.target.name(), "loads functions, which macOS 15 brought");
        }
        if !options.emit.has(COMPILED_EXTENSION) {
            return refusal("--emit", options.emit.0.join(","), "loads compiled models: `mlmodelc` or `both`");
        }
        None
    }

    fn misfit(&self, decoder: &DecoderPlan, options: &Options) -> Option<String> {
        misfit(decoder, options)
    }

    fn head_parts(&self, _decoder: &DecoderPlan, _options: &Options) -> Option<u64> {
        None
    }

    fn stem(&self, decoder: &DecoderPlan, _options: &Options, label: &Label, index: usize) -> String {
        match label.role {
            CACHE_PROCESSOR => CACHE_PROCESSOR_NAME.to_owned(),
            LOGIT_PROCESSOR => LOGIT_PROCESSOR_NAME.to_owned(),
            _ => format!("{}_{CHUNK_SUFFIX}{}", prefix(decoder), index + 1),
        }
    }

    fn check(&self, files: &[FilePlan]) -> Result<(), PlanError> {
        discovery::pipeline(files.iter().map(|file| file.stem.as_str()), CACHE_PROCESSOR_NAME)?;
        Ok(())
    }

    fn metadata(&self, plan: &ConversionPlan, file: &FilePlan) -> Metadata {
        own_metadata(plan, file)
    }

    fn side_files(&self, plan: &ConversionPlan, checkpoint: &Path) -> Result<Vec<SideFile>, SideFileError> {
        let prefix = prefix(&plan.decoder);
        let mut files = meta_files::side_files(plan, checkpoint, &prefix, COMPILED_EXTENSION)?;
        files.push(SideFile { name: "README.md", text: readme(&prefix, "sequoia") });
        Ok(files)
    }
}
