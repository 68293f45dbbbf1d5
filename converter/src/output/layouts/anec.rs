//! anec's own names, for the clients of ANEMLL's contract that read names from the meta file.

use std::path::Path;

use anec_mil::compiled::COMPILED_EXTENSION;
use anec_mil::package::{Metadata, PACKAGE_EXTENSION};
use anec_schemas::contract::stateful::CHUNK;

use super::{Layout, Refusal, SideFile, SideFileError, anemll, meta_files, metadata};
use crate::graph::families::{Family, Label, stateful};
use crate::model::decoder_plan::DecoderPlan;
use crate::options::{Options, WindowForm};
use crate::plan::{ConversionPlan, FilePlan, head_split};

/// The layout.
pub(super) struct Anec;

impl Layout for Anec {
    fn name(&self) -> &'static str {
        "anec"
    }

    fn summary(&self) -> &'static str {
        "anec's own names, for clients that read them from meta.yaml"
    }

    fn family(&self) -> &'static dyn Family {
        &stateful::Stateful
    }

    fn forms(&self) -> &'static [&'static str] {
        &[PACKAGE_EXTENSION, COMPILED_EXTENSION]
    }

    fn window_form(&self) -> WindowForm {
        WindowForm::Ring
    }

    fn refusal(&self, _options: &Options) -> Option<Refusal> {
        None
    }

    /// As many as ANEMLL's clients expect, where the chip needs about as many.
    fn head_parts(&self, decoder: &DecoderPlan, options: &Options) -> Option<u64> {
        head_split::needs_many_parts(options).then(|| anemll::head_parts(&decoder.model_type))
    }

    fn stem(&self, _decoder: &DecoderPlan, options: &Options, label: &Label, _index: usize) -> String {
        let suffix = metadata::suffix(options, label.role);
        match label.role {
            CHUNK => format!("combined{suffix}_chunk_{:02}of{:02}", label.number, label.count),
            role => format!("{role}{suffix}"),
        }
    }

    fn metadata(&self, plan: &ConversionPlan, file: &FilePlan) -> Metadata {
        metadata::own(plan, file, "token embeddings")
    }

    fn side_files(&self, plan: &ConversionPlan, checkpoint: &Path) -> Result<Vec<SideFile>, SideFileError> {
        meta_files::own(plan, checkpoint)
    }
}
