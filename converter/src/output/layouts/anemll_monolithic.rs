//! The names, keys and metadata that ANEMLL's clients look for where one file holds the whole model.

use std::path::Path;

use anec_mil::compiled::COMPILED_EXTENSION;
use anec_mil::package::{Metadata, PACKAGE_EXTENSION};

use super::{Layout, Refusal, SideFile, SideFileError, anemll, meta_files, metadata};
use crate::graph::families::{Family, Label, monolithic};
use crate::model::decoder_plan::DecoderPlan;
use crate::options::{Options, WindowForm};
use crate::plan::{ConversionPlan, FilePlan};

/// The layout.
pub(super) struct AnemllMonolithic;

impl Layout for AnemllMonolithic {
    fn name(&self) -> &'static str {
        "anemll-monolithic"
    }

    fn summary(&self) -> &'static str {
        "ANEMLL's clients, with the whole model in one file"
    }

    fn family(&self) -> &'static dyn Family {
        &monolithic::Monolithic
    }

    fn forms(&self) -> &'static [&'static str] {
        &[PACKAGE_EXTENSION, COMPILED_EXTENSION]
    }

    fn window_form(&self) -> WindowForm {
        WindowForm::Rotate
    }

    fn refusal(&self, options: &Options) -> Option<Refusal> {
        anemll::refusal(options)
    }

    fn head_parts(&self, decoder: &DecoderPlan, _options: &Options) -> Option<u64> {
        Some(anemll::head_parts(&decoder.model_type))
    }

    /// The bits are those of the decoder layers.
    fn stem(&self, decoder: &DecoderPlan, options: &Options, label: &Label, _index: usize) -> String {
        let suffix = metadata::anemll_suffix(options, label.role);
        format!("{}_monolithic_full{suffix}", anemll::prefix(&decoder.model_type))
    }

    fn metadata(&self, plan: &ConversionPlan, file: &FilePlan) -> Metadata {
        metadata::metadata(plan, file, "Anemll Model: Multifunction Monolithic".to_owned(), "com.anemll")
    }

    /// Clients look for the compiled form and take the package where it is not there.
    fn side_files(&self, plan: &ConversionPlan, checkpoint: &Path) -> Result<Vec<SideFile>, SideFileError> {
        meta_files::side_files(plan, checkpoint, anemll::prefix(&plan.decoder.model_type), COMPILED_EXTENSION)
    }
}
