//! anec's own names, for the clients of ANEMLL's contract that read names from the meta file.

use std::path::Path;

use anec_mil::compiled::COMPILED_EXTENSION;
use anec_mil::package::{Metadata, PACKAGE_EXTENSION};
use anec_schemas::contract::stateful::{CHUNK, EMBEDDINGS};

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

    fn stem(&self, _decoder: &DecoderPlan, options: &Options, label: &Label) -> String {
        let suffix = metadata::storage(options, label.role).encoding().suffix();
        match label.role {
            CHUNK => format!("combined{suffix}_chunk_{:02}of{:02}", label.number, label.count),
            role => format!("{role}{suffix}"),
        }
    }

    fn metadata(&self, plan: &ConversionPlan, file: &FilePlan) -> Metadata {
        let (model_type, label) = (&plan.decoder.model_type, &file.label);
        let short_description = match label.role {
            EMBEDDINGS => format!("{model_type} token embeddings"),
            CHUNK => format!("{model_type} decoder layers {} to {}", label.layers.start, label.layers.end - 1),
            _ => format!("{model_type} LM head"),
        };
        metadata::metadata(plan, file, short_description, "com.anec")
    }

    fn side_files(&self, plan: &ConversionPlan, checkpoint: &Path) -> Result<Vec<SideFile>, SideFileError> {
        let compiled = plan.options.emit.has(COMPILED_EXTENSION);
        let extension = if compiled { COMPILED_EXTENSION } else { PACKAGE_EXTENSION };
        meta_files::side_files(plan, checkpoint, anemll::prefix(&plan.decoder.model_type), extension)
    }
}
