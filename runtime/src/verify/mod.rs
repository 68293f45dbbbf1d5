//! Proves that a converted directory computes what its checkpoint computes.
//!
//! Logits are compared position by position with an independent forward pass of the checkpoint ([`crate::oracle`]), token by
//! token and after prefill; stored weights and RoPE tables are compared with what the checkpoint says. Everything is read
//! back from disk. [`Thresholds`] turn the figures into checks.

mod compare;
mod device;
mod metrics;
mod page;
mod parts;
mod samples;
mod side_by_side;
mod thresholds;
mod weights;

use anec_schemas::LutBits;
use anec_schemas::provenance::ProvenanceError;
use anec_schemas::report::{
    Activations, Agreement, REPORT_VERSION, Report, ReportedModel, ReportedReference, ReportedTokens,
};

use crate::backend::{Engine, ReferenceBackend, ReferenceOptions};
use crate::companion::CompanionError;
use crate::directory::{DirectoryError, ModelDirectory};
use crate::oracle::{Checkpoint, Oracle, OracleError};
use crate::part::PartError;
use crate::session::{Gives, SessionError};

pub use compare::{Compared, PerplexityResult, WindowOutput, compare, perplexity};
pub use device::{DeviceFigures, DeviceOptions, agreement, endurance, function_plan};
pub use page::report_page;
pub use parts::{activations, part_sizes, stored_bits};
pub use samples::{Continuation, continuations};
pub use side_by_side::{Other, SideBySide, side_by_side};
pub use thresholds::Thresholds;
pub use weights::{StoredWeights, stored_weights};

/// The text that is run over where none is given: a story, an explanation, instructions and rules, written for anec. Texts that
/// models know by heart do not serve: reciting is what fewer bits spoil first, so they make every result look far from its
/// checkpoint.
pub const TEXT: &str = include_str!("text.txt");

/// The name of [`TEXT`] in reports.
pub const TEXT_NAME: &str = "the text that ships with anec";

/// A verification that could not be done.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The directory is not usable.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// A model of it cannot be looked at.
    #[error(transparent)]
    Part(#[from] PartError),
    /// The provenance cannot be read.
    #[error(transparent)]
    Companion(#[from] CompanionError),
    /// The provenance is not usable.
    #[error(transparent)]
    Provenance(#[from] ProvenanceError),
    /// The model cannot be driven.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// The checkpoint cannot be computed.
    #[error(transparent)]
    Oracle(#[from] OracleError),
    /// The two have vocabularies of different sizes.
    #[error("the model has logits for {found} tokens, the checkpoint for {expected}")]
    Vocabulary {
        /// Of the checkpoint.
        expected: usize,
        /// Of the model.
        found: usize,
    },
    /// There is nothing to compare.
    #[error("there are no tokens to compare")]
    NoTokens,
}

/// Tokens to compare, in independent windows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenWindows {
    /// Where they come from, for the report.
    pub source: String,
    /// Each starts at position 0.
    pub windows: Vec<Vec<u32>>,
}

/// What is done at the moment, for people who wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The forward pass of the checkpoint runs over so many tokens.
    Reference(usize),
    /// So many tokens of all have been compared.
    Compared(usize, usize),
    /// The stored weights of a model are compared.
    Weights(usize, usize),
    /// So many predictions of all have been made.
    Predictions(usize, usize),
}

/// How to verify.
#[derive(Clone, Debug)]
pub struct VerifyOptions {
    /// How the reference engine computes.
    pub numerics: anec_mil::evaluate::Numerics,
    /// Requirements.
    pub thresholds: Thresholds,
    /// Name and version of the program that verifies.
    pub generator: String,
    /// Whether only what models compute is compared, not every stored weight and both forms of every model.
    pub logits_only: bool,
}

/// What is verified, against what, over what and how.
pub struct Verification<'a> {
    /// The converted directory.
    pub directory: &'a ModelDirectory,
    /// What it was converted from.
    pub checkpoint: &'a Checkpoint,
    /// The forward pass of the checkpoint.
    pub oracle: &'a mut Oracle,
    /// What both run over.
    pub tokens: &'a TokenWindows,
    /// How.
    pub options: &'a VerifyOptions,
    /// Is told what is done.
    pub progress: &'a mut dyn FnMut(Progress),
}

impl Verification<'_> {
    /// Verifies with the reference engine.
    ///
    /// # Errors
    /// The directory or the checkpoint is not usable. A requirement that does not hold is no error: see
    /// [`Report::passed`].
    pub fn on_reference(mut self) -> Result<Report, VerifyError> {
        let numerics = self.options.numerics;
        let backend = ReferenceBackend::new(ReferenceOptions { numerics, statistics: true });
        let mut report = self.compared(&backend, format!("reference {}", numerics_name(numerics)))?;
        report.activations = activations(&backend.statistics());
        Ok(concluded(report, &self.options.thresholds))
    }

    /// What can be said with any engine. Nothing is checked yet.
    fn compared(&mut self, engine: &dyn Engine, engine_name: String) -> Result<Report, VerifyError> {
        let directory = self.directory;
        let mut session = directory.session(engine)?;
        if session.capabilities().gives == Gives::HiddenState {
            self.oracle.load_head(self.checkpoint)?;
        }
        let compared = compare(&mut *session, self.oracle, self.tokens, self.progress)?;
        drop(session);
        let config = self.oracle.config();
        let stored = if self.options.logits_only {
            None
        } else {
            Some(stored_weights(directory, self.checkpoint, config, self.progress)?)
        };
        let (weights, tables, origins) = match stored {
            Some(StoredWeights { weights, tables, origins }) => (weights, tables, Some(origins)),
            None => (Vec::new(), Vec::new(), None),
        };
        let info = &directory.meta().model_info;
        let bits = |bits: &LutBits| bits.0.unwrap_or(0);
        Ok(Report {
            version: REPORT_VERSION,
            generator: self.options.generator.clone(),
            model: ReportedModel {
                name: info.name.clone(),
                architecture: info.architecture.clone(),
                context_length: info.parameters.context_length,
                batch_size: info.parameters.batch_size,
                lut_ffn: info.parameters.lut_ffn.or(info.parameters.lut_bits).map_or(0, |lut| bits(&lut)),
                lut_lmhead: bits(&info.parameters.lut_lmhead),
                backend: engine_name,
            },
            made: None,
            reference: ReportedReference {
                model_type: config.model_type.clone(),
                implementation: self.oracle.implementation(),
            },
            tokens: ReportedTokens { source: self.tokens.source.clone(), windows: compared.windows.clone() },
            decode: compared.decode,
            prefill: compared.prefill,
            samples: Vec::new(),
            activations: Activations::default(),
            weights,
            tables,
            origins,
            parts: if self.options.logits_only { Vec::new() } else { part_sizes(directory)? },
            device: None,
            checks: Vec::new(),
            passed: false,
        })
    }
}

/// A report with its checks.
fn concluded(mut report: Report, thresholds: &Thresholds) -> Report {
    report.checks = thresholds.check(&report);
    report.passed = report.checks.iter().all(|check| check.passed);
    report
}

/// The name of numerics in reports and options.
pub fn numerics_name(numerics: anec_mil::evaluate::Numerics) -> &'static str {
    use anec_mil::evaluate::{Accumulator, Numerics};
    match numerics {
        Numerics::F32 => "f32",
        Numerics::Fp16(Accumulator::F32) => "fp16",
        Numerics::Fp16(Accumulator::Saturating) => "fp16-saturating",
    }
}

/// The share by which the model's perplexity exceeds that of the reference; `None` where nothing was scored.
pub(crate) fn perplexity_increase(agreement: &Agreement) -> Option<f64> {
    let (reference, model) = agreement.perplexity_reference.zip(agreement.perplexity_model)?;
    Some(model / reference - 1.0)
}
