//! What a checkpoint is: its config as anec understands it, its tensors, and what would stop a conversion.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anec_runtime::tokenizer::{TOKENIZER_JSON, TextTokenizer};
use serde::Serialize;

use crate::console::counted;
use crate::error::render;
use crate::model::arch::{self, ArchChoice};
use crate::model::decoder_plan::{DecoderPlan, WeightMap};
use crate::plan::inventory;
use crate::source;
use crate::source::checkpoint::{Checkpoint, CheckpointError};

/// A checkpoint.
#[derive(Debug, Serialize)]
pub(super) struct CheckpointReport {
    path: PathBuf,
    /// What it is, where it is no plain directory of safetensors.
    #[serde(skip_serializing_if = "Option::is_none")]
    found: Option<String>,
    /// The model, where anec knows its architecture.
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<ModelSummary>,
    elements: u64,
    /// How many tensors are stored in each way.
    stored: BTreeMap<String, usize>,
    /// Tokens of its tokenizer.json.
    #[serde(skip_serializing_if = "Option::is_none")]
    tokenizer_tokens: Option<usize>,
    /// What would stop a conversion.
    pub(super) problems: Vec<String>,
    tensors: Vec<TensorReport>,
}

/// Sizes of a model, by the names of config.json.
#[derive(Debug, Serialize)]
struct ModelSummary {
    model_type: String,
    num_hidden_layers: usize,
    hidden_size: usize,
    intermediate_size: usize,
    num_attention_heads: usize,
    num_key_value_heads: usize,
    head_dim: usize,
    vocab_size: usize,
    max_position_embeddings: usize,
    tie_word_embeddings: bool,
}

/// A tensor.
#[derive(Debug, Serialize)]
struct TensorReport {
    name: String,
    shape: Vec<usize>,
    stored: String,
    file: String,
}

/// Whether a path that holds no models is meant to be a checkpoint.
pub(super) fn is_checkpoint(path: &Path) -> bool {
    let has_config = || path.join("config.json").is_file();
    let has_gguf = || {
        let entries = path.read_dir().into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).any(|path| path.extension().is_some_and(|extension| extension == "gguf"))
    };
    source::is_checkpoint_file(path) || (path.is_dir() && (has_config() || has_gguf()))
}

/// Reads what a checkpoint is.
///
/// # Errors
/// It cannot be opened at all.
pub(super) fn report(path: &Path) -> Result<CheckpointReport, CheckpointError> {
    let checkpoint = Checkpoint::open(path)?;
    let mut problems = checkpoint.notes().warnings.clone();
    let plan = match arch::plan(ArchChoice::Auto, checkpoint.config_json(), &[]) {
        Ok(plan) => Some(plan),
        Err(error) => {
            problems.push(render(&error));
            None
        }
    };
    if let Some(plan) = &plan {
        match inventory::tensors(plan) {
            Ok(tensors) => {
                let mismatch = WeightMap::new(&checkpoint, plan, tensors).err();
                problems.extend(mismatch.map(|error| render(&error)));
            }
            Err(error) => problems.push(render(&error)),
        }
    }
    let tensors: Vec<TensorReport> = checkpoint.tensor_names().filter_map(|name| tensor(&checkpoint, name)).collect();
    let mut stored: BTreeMap<String, usize> = BTreeMap::new();
    for tensor in &tensors {
        *stored.entry(tensor.stored.clone()).or_default() += 1;
    }
    let elements =
        |tensor: &TensorReport| tensor.shape.iter().fold(1_u64, |all, size| all.saturating_mul(*size as u64));
    let tokenizer_tokens = match checkpoint.companion(TOKENIZER_JSON) {
        Ok(Some(_)) => match checkpoint.companions().map(TextTokenizer::open) {
            Ok(Ok(tokenizer)) => Some(tokenizer.vocabulary_end()),
            Ok(Err(error)) => {
                problems.push(render(&error));
                None
            }
            Err(error) => {
                problems.push(render(&error));
                None
            }
        },
        Ok(None) => None,
        Err(error) => {
            problems.push(render(&error));
            None
        }
    };
    Ok(CheckpointReport {
        path: path.to_owned(),
        found: checkpoint.notes().found.clone(),
        model: plan.as_ref().map(summary),
        elements: tensors.iter().map(elements).fold(0, u64::saturating_add),
        stored,
        tokenizer_tokens,
        problems,
        tensors,
    })
}

fn tensor(checkpoint: &Checkpoint, name: &str) -> Option<TensorReport> {
    let info = checkpoint.tensor(name)?;
    Some(TensorReport {
        name: name.to_owned(),
        shape: info.shape.to_vec(),
        stored: checkpoint.stored_as(name)?,
        file: info.file.file_name()?.to_string_lossy().into_owned(),
    })
}

fn summary(plan: &DecoderPlan) -> ModelSummary {
    ModelSummary {
        model_type: plan.model_type.clone(),
        num_hidden_layers: plan.num_hidden_layers,
        hidden_size: plan.hidden_size,
        intermediate_size: plan.intermediate_size,
        num_attention_heads: plan.num_attention_heads,
        num_key_value_heads: plan.num_key_value_heads,
        head_dim: plan.head_dim,
        vocab_size: plan.vocab_size,
        max_position_embeddings: plan.max_position_embeddings,
        tie_word_embeddings: plan.tie_word_embeddings,
    }
}

/// The report for people; its tensors only as numbers.
pub(super) fn describe(report: &CheckpointReport) -> String {
    let mut text = String::new();
    let name = report.path.file_name().map_or_else(|| report.path.to_string_lossy(), |name| name.to_string_lossy());
    let kind = report.found.as_deref().unwrap_or("safetensors");
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{name}: a checkpoint, {kind}");
    if let Some(model) = &report.model {
        let ModelSummary { model_type, num_hidden_layers, hidden_size, intermediate_size, .. } = model;
        let _ = writeln!(
            text,
            "  model      {model_type}, {} of {hidden_size} and {intermediate_size} channels",
            counted(*num_hidden_layers, "layer")
        );
        let _ = writeln!(
            text,
            "  attention  {} of {} channels, {} for keys and values",
            counted(model.num_attention_heads, "head"),
            model.head_dim,
            model.num_key_value_heads
        );
        let head = if model.tie_word_embeddings { "the token embeddings are the head" } else { "a head of its own" };
        let _ = writeln!(text, "  vocabulary {}, {head}", counted(model.vocab_size, "token"));
        let _ = writeln!(text, "  positions  {}", model.max_position_embeddings);
    }
    let stored: Vec<String> = report.stored.iter().map(|(how, count)| format!("{count} {how}")).collect();
    let count = counted(report.tensors.len(), "tensor");
    let _ = writeln!(text, "  weights    {count} of {} elements: {}", report.elements, stored.join(", "));
    let _ = match report.tokenizer_tokens {
        Some(tokens) => writeln!(text, "  tokenizer  {}", counted(tokens, "token")),
        None => writeln!(text, "  tokenizer  none"),
    };
    for problem in &report.problems {
        let _ = writeln!(text, "  problem: {problem}");
    }
    text
}
