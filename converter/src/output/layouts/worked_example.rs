//! Short names, for an app that knows its files.

use std::path::Path;

use anec_mil::compiled::COMPILED_EXTENSION;
use anec_mil::package::Metadata;

use super::{Layout, Refusal, SideFile, SideFileError, meta_files, metadata};
use crate::graph::families::{Family, Label, stateful};
use crate::model::decoder_plan::DecoderPlan;
use crate::options::Options;
use crate::plan::{ConversionPlan, FilePlan};

/// The layout.
pub(super) struct Short;

impl Layout for Short {
    fn name(&self) -> &'static str {
        "short"
    }

    fn summary(&self) -> &'static str {
        "short names, for one app"
    }

    fn family(&self) -> &'static dyn Family {
        &stateful::Stateful
    }

    fn forms(&self) -> &'static [&'static str] {
        &[COMPILED_EXTENSION]
    }

    fn refusal(&self, options: &Options) -> Option<Refusal> {
        options.argmax.then(|| Refusal {
            option: "--argmax",
            value: String::new(),
            expected: "the app samples from logits".to_owned(),
        })
    }

    fn head_parts(&self, _decoder: &DecoderPlan, _options: &Options) -> Option<u64> {
        None
    }

    fn stem(&self, _decoder: &DecoderPlan, _options: &Options, label: &Label, _index: usize) -> String {
        format!("{}_chunk_{:02}of{:02}", &label.role.0[..1], label.number, label.count)
    }

    fn metadata(&self, plan: &ConversionPlan, file: &FilePlan) -> Metadata {
        metadata::metadata(plan, file, format!("{} of {}", file.label.role, plan.decoder.model_type), "com.example")
    }

    fn side_files(&self, plan: &ConversionPlan, checkpoint: &Path) -> Result<Vec<SideFile>, SideFileError> {
        meta_files::side_files(plan, checkpoint, "short", COMPILED_EXTENSION)
    }
}
