//! Plans for families that are not in the table.

use std::path::Path;

use anec_mil::Function;
use anec_mil::package::Metadata;
use anec_schemas::contract::{Contract, Instance};

use super::*;
use crate::graph::GraphError;
use crate::graph::families::Reads;
use crate::graph::families::stateful::Stateful;
use crate::model::arch::{self, ArchChoice};
use crate::options::Count;
use crate::output::layouts::{Refusal, SideFile, SideFileError};

/// The stateful family, with all layers in one piece.
struct Whole;

impl Family for Whole {
    fn name(&self) -> &'static str {
        "whole"
    }

    fn contract(&self) -> &'static Contract {
        Stateful.contract()
    }

    fn cuts_layers(&self) -> bool {
        false
    }

    fn labels(&self, layers: &[std::ops::Range<usize>]) -> Vec<Label> {
        Stateful.labels(layers)
    }

    fn instance(&self, settings: &ModelSettings<'_>, label: &Label) -> Instance {
        Stateful.instance(settings, label)
    }

    fn function(
        &self,
        settings: &ModelSettings<'_>,
        label: &Label,
        name: &'static str,
        weights: &mut WeightFile,
    ) -> Result<Function, GraphError> {
        // A bug: one function in the place of the other.
        let name = if settings.argmax && name == "infer" { "prefill" } else { name };
        Stateful.function(settings, label, name, weights)
    }

    fn reads(&self, label: &Label) -> Reads {
        Stateful.reads(label)
    }

    fn oversize(&self, label: &Label) -> Oversize {
        Stateful.oversize(label)
    }
}

/// Its layout.
struct Plain;

impl Layout for Plain {
    fn name(&self) -> &'static str {
        "plain"
    }

    fn summary(&self) -> &'static str {
        "names of roles"
    }

    fn family(&self) -> &'static dyn Family {
        &Whole
    }

    fn forms(&self) -> &'static [&'static str] {
        &["mlpackage", "mlmodelc"]
    }

    fn refusal(&self, _options: &Options) -> Option<Refusal> {
        None
    }

    fn head_parts(&self, _decoder: &DecoderPlan, _options: &Options) -> Option<u64> {
        None
    }

    fn stem(&self, _decoder: &DecoderPlan, _options: &Options, label: &Label, _index: usize) -> String {
        label.role.to_string()
    }

    fn metadata(&self, _plan: &ConversionPlan, _file: &FilePlan) -> Metadata {
        Metadata::default()
    }

    fn side_files(&self, _plan: &ConversionPlan, _checkpoint: &Path) -> Result<Vec<SideFile>, SideFileError> {
        Ok(Vec::new())
    }
}

fn plan_of(options: Options) -> Result<ConversionPlan, PlanError> {
    let config = serde_json::json!({
        "model_type": "llama", "vocab_size": 128, "hidden_size": 64, "intermediate_size": 96,
        "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2,
    });
    let decoder = arch::plan(ArchChoice::Auto, config.as_object().expect("an object"), &[]).expect("a small model");
    let longest = options.context_length;
    plan(&Plain, decoder, options, longest, None)
}

#[test]
fn a_family_that_does_not_cut_has_all_layers_in_one_file_however_small_files_must_be() {
    let plan = plan_of(Options::default()).expect("planned");
    let layers: Vec<_> = plan.chunks().map(|file| (file.label.layers.start, file.label.layers.end)).collect();
    assert_eq!(layers, [(0, 3)]);
    let chunks = Count::Exactly(2.try_into().expect("not zero"));
    let error = plan_of(Options { chunks, ..Options::default() }).err().expect("refused");
    assert_eq!(error.to_string(), "Cannot use `--chunks 2`: the layout `plain` does not cut a model between layers");
    let error = plan_of(Options { size_limit: Some(ByteSize(1000)), ..Options::default() }).err().expect("refused");
    assert!(matches!(error, PlanError::TooLarge { ref stem, .. } if stem == "chunk"), "{error}");
}

#[test]
fn a_function_that_is_not_the_contracts_is_a_bug_that_is_told() {
    let error = plan_of(Options { argmax: true, ..Options::default() }).err().expect("refused").to_string();
    assert!(
        error.starts_with("Cannot build `infer` of the chunk: it has the inputs hidden_states fp16 [1, 64, 64]"),
        "{error}"
    );
    assert!(error.contains("the contract `stateful` says hidden_states fp16 [1, 1, 64]"), "{error}");
}

#[test]
fn the_state_is_counted_once_whoever_declares_it() {
    let plan = plan_of(Options::default()).expect("planned");
    // Heads of 16 channels are kept as 32.
    assert_eq!(plan.decoder.head_dim, 16);
    assert_eq!(plan.state_bytes(), 2 * crate::plan::estimate::cache_bytes(&plan.decoder, 512));
    assert_eq!(plan.state_bytes(), plan.whole_cache_bytes());
}
