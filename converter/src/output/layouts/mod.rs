//! Layouts: whose client opens a converted directory. A table, one file a row.
//!
//! A layout knows file names, metadata, side files and which family makes its programs, and no op. A new one is a file with
//! an implementation of [`Layout`] and a line in [`LAYOUTS`].

mod anec;
mod anemll;
mod anemll_monolithic;
mod coreml_llm_cli;
mod coreml_llm_cli_sequoia;
mod embedding;
mod host_cache;
mod kernels;
mod kernels_manifest;
mod meta_files;
mod metadata;
mod prefill;
#[cfg(test)]
mod worked_example;
#[cfg(test)]
mod worked_example_tests;

use std::path::Path;

use anec_mil::compiled::COMPILED_EXTENSION;
use anec_mil::package::{Metadata, PACKAGE_EXTENSION};
use anec_schemas::MetaError;

use crate::graph::families::{Family, Label};
use crate::model::decoder_plan::DecoderPlan;
use crate::options::{Options, WindowForm};
use crate::plan::{ConversionPlan, FilePlan, PlanError};

/// All layouts; the first is the default.
pub(crate) static LAYOUTS: &[&dyn Layout] = &[
    &anec::Anec,
    &anemll::Anemll,
    &anemll_monolithic::AnemllMonolithic,
    &host_cache::HostCache,
    &coreml_llm_cli::CoremlLlmCli,
    &coreml_llm_cli_sequoia::CoremlLlmCliSequoia,
    &prefill::Prefill,
    &embedding::Embedding,
    &kernels::Kernels,
];

/// Whose client opens a converted directory.
pub(crate) trait Layout: Sync {
    /// Its name on the command line.
    fn name(&self) -> &'static str;

    /// Who opens it, in a few words.
    fn summary(&self) -> &'static str;

    /// The family that makes its programs.
    fn family(&self) -> &'static dyn Family;

    /// Names of the forms that it takes.
    fn forms(&self) -> &'static [&'static str];

    /// Those that are written where none are asked for.
    fn default_forms(&self) -> &'static [&'static str] {
        &[PACKAGE_EXTENSION, COMPILED_EXTENSION]
    }

    /// Columns of each call where none are asked for, of a layout whose programs have one function of a fixed number.
    fn columns(&self) -> Option<u32> {
        None
    }

    /// What its clients can drive where layers look back over a window.
    fn window_form(&self) -> WindowForm {
        WindowForm::Whole
    }

    /// Whether the functions of a chunk may be in two files (`--split-rotate`).
    fn splits_rotate(&self) -> bool {
        false
    }

    /// Whether activations may be rounded to int8 in its programs, which gains something in calls of many tokens alone.
    fn rounds_activations(&self) -> bool {
        false
    }

    /// The models that hold the functions of a file: one with all of them, or several that share its weight file.
    fn models(&self, _plan: &ConversionPlan, file: &FilePlan) -> Vec<FileModel> {
        vec![FileModel { stem: file.stem.clone(), functions: file.functions().map(str::to_owned).collect() }]
    }

    /// The first option that it cannot honour.
    fn refusal(&self, options: &Options) -> Option<Refusal>;

    /// What it takes instead, where it cannot hold a model.
    fn misfit(&self, _decoder: &DecoderPlan, _options: &Options) -> Option<String> {
        None
    }

    /// Parts of the LM head that its clients expect, where they expect some number.
    fn head_parts(&self, decoder: &DecoderPlan, options: &Options) -> Option<u64>;

    /// The name of a file, without extension; `index` is its place in the order of calls, from 0.
    fn stem(&self, decoder: &DecoderPlan, options: &Options, label: &Label, index: usize) -> String;

    /// Checks what was planned against what its client does with it.
    ///
    /// # Errors
    /// A bug in the graphs: the client would not load a model.
    fn check(&self, _files: &[FilePlan]) -> Result<(), PlanError> {
        Ok(())
    }

    /// What a model says about itself.
    fn metadata(&self, plan: &ConversionPlan, file: &FilePlan) -> Metadata;

    /// The files beside the models that tell clients how to drive them. A contract other than the stateful one must be named
    /// in the meta file.
    ///
    /// # Errors
    /// A name or number that such a file cannot hold.
    fn side_files(&self, plan: &ConversionPlan, checkpoint: &Path) -> Result<Vec<SideFile>, SideFileError>;
}

/// A model that holds functions of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FileModel {
    /// Its name without extension.
    pub(crate) stem: String,
    /// Names of its functions.
    pub(crate) functions: Vec<String>,
}

/// An option that a layout cannot honour.
pub(crate) struct Refusal {
    /// The option on the command line.
    pub(crate) option: &'static str,
    /// Its value.
    pub(crate) value: String,
    /// What would be accepted.
    pub(crate) expected: String,
}

/// A text file beside the models.
pub(crate) struct SideFile {
    /// Its name in the directory.
    pub(crate) name: &'static str,
    /// Its content.
    pub(crate) text: String,
}

/// A side file that cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum SideFileError {
    /// A name or number that the meta files cannot hold.
    #[error("Cannot write the metadata")]
    Meta(#[from] MetaError),
}

/// The layout of this name.
pub(crate) fn find(name: &str) -> Option<&'static dyn Layout> {
    LAYOUTS.iter().copied().find(|layout| layout.name() == name)
}

/// The layout that options ask for.
///
/// # Errors
/// There is none of this name.
pub(crate) fn of(options: &Options) -> Result<&'static dyn Layout, PlanError> {
    find(options.layout).ok_or_else(|| {
        let names: Vec<&str> = LAYOUTS.iter().map(|layout| layout.name()).collect();
        PlanError::Option {
            option: "--layout",
            value: options.layout.to_owned(),
            expected: format!("one of {}", names.join(", ")),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::forms;

    #[test]
    fn every_layout_has_a_name_of_its_own_and_takes_forms_that_there_are() {
        for (index, layout) in LAYOUTS.iter().enumerate() {
            assert!(LAYOUTS[..index].iter().all(|other| other.name() != layout.name()), "{}", layout.name());
            assert!(!layout.forms().is_empty(), "{}", layout.name());
            assert!(layout.forms().iter().all(|form| forms::find(form).is_some()), "{}", layout.name());
        }
    }

    #[test]
    fn a_layout_that_there_is_not_is_refused() {
        let options = Options { layout: "swift", ..Options::default() };
        let error = of(&options).err().expect("refused").to_string();
        assert_eq!(
            error,
            "Cannot use `--layout swift`: one of anec, anemll, anemll-monolithic, host-cache, coreml-llm-cli, \
             coreml-llm-cli-sequoia, prefill, embedding, kernels"
        );
    }
}
