//! The names that the successor of coreml-llm-cli looks for, in a directory of compiled models.

use std::path::Path;

use anec_mil::Opset;
use anec_mil::compiled::COMPILED_EXTENSION;
use anec_mil::package::{Metadata, PACKAGE_EXTENSION};
use anec_schemas::contract::coreml_llm_cli::discovery;
use anec_schemas::contract::coreml_llm_cli::sequoia::{CONTEXT, PROGRAM};

use super::coreml_llm_cli::{Client, misfit, own_metadata, side_files, stem};
use super::{Layout, Refusal, SideFile, SideFileError};
use crate::graph::families::coreml_llm_cli::sequoia;
use crate::graph::families::{Family, Label};
use crate::model::decoder_plan::DecoderPlan;
use crate::options::{Functions, Options};
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
        let client = Client("the branch sequoia of coreml-llm-cli");
        let refusal = |option, value, expected: &str| Some(client.refusal(option, value, expected));
        if options.functions != Functions::InferPrefill {
            return refusal(
                "--functions",
                options.functions.to_string(),
                "calls a function for the prompt and one for a token",
            );
        }
        if let Some(refusal) = client.head_or_cache(options) {
            return Some(refusal);
        }
        if u64::from(options.context_length) != CONTEXT {
            let expected = "knows functions of a context of 512 tokens by their names";
            return refusal("--context-length", options.context_length.to_string(), expected);
        }
        if options.target.opset() < Opset::Ios18 {
            return refusal("--target", options.target.name(), "loads functions, which macOS 15 brought");
        }
        client.form(options)
    }

    fn misfit(&self, decoder: &DecoderPlan, options: &Options) -> Option<String> {
        misfit(decoder, options)
    }

    fn head_parts(&self, _decoder: &DecoderPlan, _options: &Options) -> Option<u64> {
        None
    }

    fn stem(&self, decoder: &DecoderPlan, _options: &Options, label: &Label, index: usize) -> String {
        stem(decoder, label, index, PROGRAM)
    }

    fn check(&self, files: &[FilePlan]) -> Result<(), PlanError> {
        discovery::pipeline(files.iter().map(|file| file.stem.as_str()), PROGRAM)?;
        Ok(())
    }

    fn metadata(&self, plan: &ConversionPlan, file: &FilePlan) -> Metadata {
        own_metadata(plan, file)
    }

    fn side_files(&self, plan: &ConversionPlan, checkpoint: &Path) -> Result<Vec<SideFile>, SideFileError> {
        side_files(plan, checkpoint, "sequoia", PROGRAM)
    }
}
