//! The names, keys and metadata that ANEMLL's clients look for.

use std::path::Path;

use anec_mil::compiled::COMPILED_EXTENSION;
use anec_mil::package::{Metadata, PACKAGE_EXTENSION};
use anec_schemas::contract::stateful::{CHUNK, EMBEDDINGS, names};

use super::{FileModel, Layout, Refusal, SideFile, SideFileError, meta_files, metadata};
use crate::graph::families::{Family, Label, stateful};
use crate::model::decoder_plan::DecoderPlan;
use crate::options::{Functions, Options, WindowForm};
use crate::plan::{ConversionPlan, FilePlan};

/// The layout.
pub(super) struct Anemll;

impl Layout for Anemll {
    fn name(&self) -> &'static str {
        "anemll"
    }

    fn summary(&self) -> &'static str {
        "the names, keys and metadata that ANEMLL's clients look for"
    }

    fn family(&self) -> &'static dyn Family {
        &stateful::Stateful
    }

    fn forms(&self) -> &'static [&'static str] {
        &[PACKAGE_EXTENSION, COMPILED_EXTENSION]
    }

    fn window_form(&self) -> WindowForm {
        WindowForm::Rotate
    }

    fn splits_rotate(&self) -> bool {
        true
    }

    /// # Source
    /// ANEMLL 0.3.5 `tests/chat.py`, the only client that reads `split_rotate`: `ffn` takes a token, `pf` a batch. (What its own
    /// `combine_models.py` writes with this option has other pairs of functions and names that `chat.py` refuses.)
    fn models(&self, plan: &ConversionPlan, file: &FilePlan) -> Vec<FileModel> {
        let functions = |names: &[&str]| {
            file.functions().filter(|name| names.contains(name)).map(str::to_owned).collect::<Vec<_>>()
        };
        if !plan.options.split_rotate || file.label.role != CHUNK {
            return vec![FileModel {
                stem: file.stem.clone(),
                functions: file.functions().map(str::to_owned).collect(),
            }];
        }
        let (token, batch) = ([names::INFER, names::INFER_ROTATE], [names::PREFILL, names::PREFILL_ROTATE]);
        let stem = chunk_stem(&plan.decoder, &plan.options, &file.label, PROMPTS);
        vec![
            FileModel { stem: file.stem.clone(), functions: functions(&token) },
            FileModel { stem, functions: functions(&batch) },
        ]
    }

    fn refusal(&self, options: &Options) -> Option<Refusal> {
        refusal(options)
    }

    fn head_parts(&self, decoder: &DecoderPlan, _options: &Options) -> Option<u64> {
        Some(head_parts(&decoder.model_type))
    }

    fn stem(&self, decoder: &DecoderPlan, options: &Options, label: &Label, _index: usize) -> String {
        let suffix = metadata::anemll_suffix(options, label.role);
        let prefix = prefix(&decoder.model_type);
        match label.role {
            CHUNK => chunk_stem(decoder, options, label, if options.split_rotate { TOKENS } else { BOTH }),
            role => format!("{prefix}_{role}{suffix}"),
        }
    }

    fn metadata(&self, plan: &ConversionPlan, file: &FilePlan) -> Metadata {
        let short_description = match file.label.role {
            EMBEDDINGS => "Anemll Model (Embeddings) converted to CoreML",
            CHUNK => "Anemll Model: Multifunction FFN+Prefill",
            _ => "Anemll Model (LM Head) converted to CoreML",
        };
        metadata::metadata(plan, file, short_description.to_owned(), "com.anemll")
    }

    /// Clients look for the compiled form and take the package where it is not there.
    fn side_files(&self, plan: &ConversionPlan, checkpoint: &Path) -> Result<Vec<SideFile>, SideFileError> {
        meta_files::side_files(plan, checkpoint, prefix(&plan.decoder.model_type), COMPILED_EXTENSION)
    }
}

/// What the names of chunks say of them: that they take tokens and batches, tokens only, or batches only.
const BOTH: &str = "FFN_PF";
const TOKENS: &str = "FFN";
const PROMPTS: &str = "PF";

/// The name of a chunk.
fn chunk_stem(decoder: &DecoderPlan, options: &Options, label: &Label, kind: &str) -> String {
    let (prefix, suffix) = (prefix(&decoder.model_type), metadata::anemll_suffix(options, label.role));
    format!("{prefix}_{kind}{suffix}_chunk_{:02}of{:02}", label.number, label.count)
}

/// The first file that takes batches, where they have files of their own.
pub(super) fn prompt_file(plan: &ConversionPlan, extension: &str) -> Option<String> {
    let chunk = plan.files.iter().find(|file| file.label.role == CHUNK)?;
    Some(format!("{}.{extension}", chunk_stem(&plan.decoder, &plan.options, &chunk.label, PROMPTS)))
}

/// What ANEMLL's clients cannot be given.
pub(super) fn refusal(options: &Options) -> Option<Refusal> {
    (options.functions != Functions::InferPrefill).then(|| Refusal {
        option: "--functions",
        value: options.functions.to_string(),
        expected: "ANEMLL's clients call `infer` and `prefill`".to_owned(),
    })
}

/// The word that names start with.
///
/// # Source
/// ANEMLL 0.3.5 `convert_model.sh`: `qwen25` for Qwen2, `qwen` for later ones, `gemma3`. It has no Mistral; its clients take any word.
pub(super) fn prefix(model_type: &str) -> &str {
    match model_type {
        "qwen2" => "qwen25",
        "qwen3" => "qwen",
        "gemma3_text" => "gemma3",
        other => other,
    }
}

/// Parts of the LM head.
///
/// # Source
/// ANEMLL splits heads in 16 for Qwen and Gemma and in 8 for the others.
pub(super) fn head_parts(model_type: &str) -> u64 {
    if ["qwen", "gemma"].iter().any(|family| model_type.starts_with(family)) { 16 } else { 8 }
}
