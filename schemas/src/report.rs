//! `report.json`: what a verification found.

use serde::{Deserialize, Serialize};

/// Name of the report's data file.
pub const REPORT_JSON: &str = "report.json";

/// Name of the report's page.
pub const REPORT_HTML: &str = "report.html";

/// Version of the schema; a reader refuses others.
pub const REPORT_VERSION: u32 = 1;

/// What a verification found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// [`REPORT_VERSION`].
    pub version: u32,
    /// Name and version of the program that verified.
    pub generator: String,
    /// What was verified.
    pub model: ReportedModel,
    /// When and how it was verified; absent in reports of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made: Option<Made>,
    /// What it was compared with.
    pub reference: ReportedReference,
    /// The tokens that both computed.
    pub tokens: ReportedTokens,
    /// Token by token, as a client decodes.
    pub decode: Agreement,
    /// Prompts in batches, as a client prefills; absent where the model has no prefill.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefill: Option<PrefillAgreement>,
    /// What both go on with after the same prompts, each taking its most likely token.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub samples: Vec<Sample>,
    /// What fp16 made of the activations.
    pub activations: Activations,
    /// Stored weights against those of the checkpoint, in program order.
    pub weights: Vec<WeightQuality>,
    /// RoPE tables against the configuration of the checkpoint.
    pub tables: Vec<TableQuality>,
    /// How weights were matched with tensors, and what was not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origins: Option<Origins>,
    /// Size of every model, in the order in which a token passes them.
    pub parts: Vec<PartSize>,
    /// What the device did, where the model ran on one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<DeviceReport>,
    /// Every requirement, and whether it holds.
    pub checks: Vec<Check>,
    /// Whether all do.
    pub passed: bool,
}

/// What was verified.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReportedModel {
    /// Name of the meta file.
    pub name: String,
    /// Its architecture.
    pub architecture: String,
    /// Tokens that the KV cache holds.
    pub context_length: u64,
    /// Tokens that a prefill step takes.
    pub batch_size: u64,
    /// Palette bits of the decoder layers; 0 where they are not palettized.
    pub lut_ffn: u32,
    /// Palette bits of the LM head; 0 where it is not palettized.
    pub lut_lmhead: u32,
    /// The engine and its numerics, such as `reference f32`.
    pub backend: String,
}

/// When and how a model was verified.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Made {
    /// The day, such as `2026-02-28`.
    pub date: String,
    /// The command line.
    pub command: String,
    /// The checkpoint, as it was named there.
    pub checkpoint: String,
    /// SHA-256 of the checksum file of the directory, which tells the conversion; absent where there is no such file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checksums_sha256: Option<String>,
}

/// What model and checkpoint go on with after a prompt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// The prompt, without the chat template around it.
    pub prompt: String,
    /// What the model says.
    pub model: String,
    /// What the checkpoint says.
    pub reference: String,
}

/// What a model was compared with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReportedReference {
    /// `model_type` of the checkpoint.
    pub model_type: String,
    /// Whose forward pass computed it, such as `candle-transformers llama`.
    pub implementation: String,
}

/// The tokens that were computed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReportedTokens {
    /// Where they come from: a file name, or the name of the text that ships.
    pub source: String,
    /// Tokens of each window; windows are independent.
    pub windows: Vec<u64>,
}

/// How well logits agree, over all positions of all windows.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Agreement {
    /// Positions that were compared.
    pub positions: u64,
    /// Mean Kullback-Leibler divergence from the reference, in nats.
    pub kl_mean: f64,
    /// Largest divergence of a position.
    pub kl_max: f64,
    /// Share of positions with the same most likely token.
    pub top1: f64,
    /// Largest absolute difference of a logit.
    pub logit_error_max: f64,
    /// Mean absolute difference of the logits.
    pub logit_error_mean: f64,
    /// Perplexity of the reference; absent where no token follows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub perplexity_reference: Option<f64>,
    /// Perplexity of the model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub perplexity_model: Option<f64>,
    /// Divergence of every position, by window.
    pub kl: Vec<Vec<f32>>,
}

/// How well batches agree with single tokens and with the reference.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PrefillAgreement {
    /// Logits after prefill against the reference.
    pub agreement: Agreement,
    /// Largest absolute difference of a logit after prefill and after decoding alone.
    pub logit_difference: f64,
    /// Largest absolute difference of a state after prefill and after decoding alone.
    pub state_difference: f64,
    /// Largest magnitude of that state, for scale.
    pub state_largest: f64,
}

/// What became of activations.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Activations {
    /// Finite values that fp16 cannot hold: counted as they were rounded, or as they would have been.
    pub overflows: u64,
    /// Values that are not a number.
    pub nans: u64,
    /// The largest magnitudes, by operation, largest first.
    pub largest: Vec<Activation>,
}

/// The largest magnitude that an operation gave.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Activation {
    /// The model.
    pub part: String,
    /// The function.
    pub function: String,
    /// The op.
    pub op: String,
    /// Its result.
    pub name: String,
    /// Largest finite magnitude.
    pub magnitude: f64,
    /// Finite values beyond fp16.
    pub overflows: u64,
}

/// A stored weight against that of the checkpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WeightQuality {
    /// The model.
    pub part: String,
    /// The constant.
    pub name: String,
    /// The tensor of the checkpoint.
    pub tensor: String,
    /// Number of the decoder layer; absent outside of layers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layer: Option<u64>,
    /// Rows and columns.
    pub shape: Vec<u64>,
    /// Element type of what is stored, such as `uint4`.
    pub encoding: String,
    /// Signal-to-noise ratio in decibels; absent where nothing was lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snr_db: Option<f64>,
    /// Largest absolute error of an element.
    pub error_max: f64,
    /// Elements to which another value of their row's palette is clearly nearer; 0 where there is no palette.
    pub misassigned: u64,
    /// The most such elements in one row. A wrong entry shows here, however many rows there are.
    #[serde(default)]
    pub misassigned_in_row: u64,
}

/// A table of sines or cosines against what the configuration asks for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TableQuality {
    /// The model.
    pub part: String,
    /// The constant.
    pub name: String,
    /// Positions.
    pub rows: u64,
    /// Largest absolute error of an element.
    pub error_max: f64,
}

/// How stored weights were matched with tensors of the checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origins {
    /// By what.
    pub matched_by: MatchedBy,
    /// Stored weights without a known origin, and known origins without a stored weight, a sentence each.
    pub findings: Vec<String>,
}

/// By what stored weights are matched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MatchedBy {
    /// `provenance.json` of the directory.
    Provenance,
    /// Their names, where the directory has no such file.
    Names,
}

/// Size of a model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PartSize {
    /// Its name.
    pub part: String,
    /// What it does, such as `chunk 1`.
    pub role: String,
    /// Bytes on disk.
    pub bytes: u64,
    /// The first differences of its compiled form from its package; absent where only one of them is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub differences: Option<Vec<String>>,
}

/// What a device did.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DeviceReport {
    /// Version and build of the system.
    pub system: String,
    /// The processors that the model was allowed.
    pub units: String,
    /// Each model against the reference engine, given the same inputs.
    pub agreement: Vec<PartAgreement>,
    /// Predictions that were made one after another.
    pub predictions: u64,
    /// Of them, those whose logits are not all finite.
    pub not_finite: u64,
    /// Of them, those whose logits differ from those of the same tokens before.
    pub differing: u64,
    /// Where each function runs.
    pub plans: Vec<FunctionPlan>,
}

/// How well a model agrees with the reference engine, over all tokens that were given.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PartAgreement {
    /// What the model does, such as `chunk 1`.
    pub role: String,
    /// The result.
    pub output: String,
    /// Cosine of the angle between both results; the worst token.
    pub cosine: f64,
    /// Peak signal-to-noise ratio in decibels of the worst token; absent where all are equal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub psnr_db: Option<f64>,
}

/// Where a function runs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FunctionPlan {
    /// The model.
    pub part: String,
    /// The function.
    pub function: String,
    /// How much runs on each processor.
    pub devices: Vec<DeviceUse>,
    /// Share of the Neural Engine, of operations or of cost, whichever is smaller; absent where nothing is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub neural_engine: Option<f64>,
    /// Operations that run elsewhere.
    pub elsewhere: Vec<OperationElsewhere>,
}

/// How much runs on a processor.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DeviceUse {
    /// `CPU`, `GPU` or `ANE`.
    pub device: String,
    /// Operations.
    pub operations: u64,
    /// Share of the operations that run.
    pub share: f64,
    /// Share of the estimated cost.
    pub cost: f64,
}

/// An operation that does not run on the Neural Engine.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct OperationElsewhere {
    /// The op.
    pub op: String,
    /// Its result.
    pub result: String,
    /// Where it runs.
    pub device: String,
    /// Whether the Neural Engine could run it, too.
    pub supported: bool,
    /// Rules of `anec lint` that it breaks.
    pub rules: Vec<String>,
}

/// A requirement.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Check {
    /// What is measured, such as `decode.kl_mean`.
    pub name: String,
    /// What it means, in a few words.
    pub meaning: String,
    /// `at most` or `at least`.
    pub bound: Bound,
    /// The limit.
    pub limit: f64,
    /// What was found.
    pub found: f64,
    /// Whether the requirement holds.
    pub passed: bool,
}

/// On which side of a limit a value must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    /// Not above.
    AtMost,
    /// Not below.
    AtLeast,
}

/// A report that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// Malformed.
    #[error("`{REPORT_JSON}` is malformed")]
    Json(#[from] serde_json::Error),
    /// Of another version.
    #[error("`{REPORT_JSON}` has version {found}, expected {REPORT_VERSION}")]
    Version {
        /// The version.
        found: u32,
    },
}

impl Report {
    /// Reads the text of a report.
    ///
    /// # Errors
    /// The text is malformed, or of another version.
    pub fn from_json(text: &str) -> Result<Self, ReportError> {
        let report: Self = serde_json::from_str(text)?;
        if report.version != REPORT_VERSION {
            return Err(ReportError::Version { found: report.version });
        }
        Ok(report)
    }

    /// The text of the report.
    ///
    /// # Errors
    /// A number cannot be written.
    pub fn to_json(&self) -> Result<String, ReportError> {
        let mut text = serde_json::to_string_pretty(self)?;
        text.push('\n');
        Ok(text)
    }
}

impl Check {
    /// A requirement that a value is not above a limit; a value that is not a number fails.
    pub fn at_most(name: &str, meaning: &str, found: f64, limit: f64) -> Self {
        Self::new(name, meaning, Bound::AtMost, found, limit, found <= limit)
    }

    /// A requirement that a value is not below a limit; a value that is not a number fails.
    pub fn at_least(name: &str, meaning: &str, found: f64, limit: f64) -> Self {
        Self::new(name, meaning, Bound::AtLeast, found, limit, found >= limit)
    }

    fn new(name: &str, meaning: &str, bound: Bound, found: f64, limit: f64, passed: bool) -> Self {
        // JSON has no infinity and no NaN; the largest number says the same to a reader.
        let found = if found.is_finite() { found } else { f64::MAX };
        Self { name: name.to_owned(), meaning: meaning.to_owned(), bound, limit, found, passed }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_a_number_fails_every_check() {
        assert!(!Check::at_most("kl", "", f64::NAN, 1.0).passed);
        assert!(!Check::at_least("top1", "", f64::NAN, 0.0).passed);
        assert!(Check::at_most("kl", "", 1.0, 1.0).passed);
    }

    #[test]
    fn other_versions_are_refused() {
        assert!(matches!(Report::from_json("{}"), Err(ReportError::Json(_))));
    }
}
