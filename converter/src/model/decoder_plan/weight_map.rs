//! Every tensor of a checkpoint accounted for: asked for, skipped for a reason, or an error.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::{DecoderPlan, WeightPath};
use crate::error::Hint;
use crate::source::checkpoint::{Checkpoint, listed};

/// A tensor that a model's programs ask for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TensorSpec {
    /// Its name in the checkpoint.
    pub name: String,
    /// Its shape; of a projection `[out, in]`.
    pub shape: Vec<usize>,
}

/// Which tensors of a checkpoint are converted, and which are not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WeightMap {
    mapped: Vec<TensorSpec>,
    skipped: BTreeMap<String, SkipReason>,
}

/// Why a tensor is not converted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SkipReason {
    /// Rotary frequencies that old versions of transformers saved; they are computed from config.json.
    RotaryFrequencies,
    /// Positions that old versions of transformers saved: the numbers from 0 on.
    PositionIds,
    /// The head of a model whose head is its token embeddings.
    TiedHead,
    /// The head of a model that is converted without one.
    Head,
    /// Parts of a model that takes more than text.
    OtherPart,
}

impl fmt::Display for SkipReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::RotaryFrequencies => "rotary frequencies, which are computed from config.json",
            Self::PositionIds => "position numbers, which are counted",
            Self::TiedHead => "LM head, which is tied to the token embeddings",
            Self::Head => "LM head, which this layout has not",
            Self::OtherPart => "parts for pictures and sound, which are not converted",
        })
    }
}

/// A checkpoint whose tensors are not those of its config.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "Cannot match the checkpoint's tensors with its config.json: {} missing, {} unknown, {} of another shape{}{}",
    .missing.len(), .unknown.len(), .shapes.len(), unusable_count(.unusable),
    details(.missing, .unknown, .shapes, .unusable)
)]
pub struct WeightMapError {
    /// Tensors that the config asks for, sorted by name.
    pub missing: Vec<MissingTensor>,
    /// Tensors that nothing asks for, sorted by name.
    pub unknown: Vec<UnknownTensor>,
    /// Tensors of another shape, sorted by name.
    pub shapes: Vec<WrongShape>,
    /// Tensors that the config asks for and whose elements cannot be converted, sorted by name.
    pub unusable: Vec<UnusableTensor>,
}

/// Every problem on a line; a prefix that accounts for all of them is named once.
fn details(
    missing: &[MissingTensor],
    unknown: &[UnknownTensor],
    shapes: &[WrongShape],
    unusable: &[UnusableTensor],
) -> String {
    match common_prefix(missing, unknown).filter(|_| shapes.is_empty() && unusable.is_empty()) {
        Some(prefix) => format!("\n  the missing tensors are there under names that begin with `{prefix}`"),
        None => [listed(missing), listed(unknown), listed(shapes), listed(unusable)].concat(),
    }
}

/// What stands before the names of all missing tensors in the checkpoint.
fn common_prefix<'a>(missing: &[MissingTensor], unknown: &'a [UnknownTensor]) -> Option<&'a str> {
    let first = missing.first()?;
    let prefixes = unknown.iter().filter_map(|unknown| unknown.0.strip_suffix(first.0.as_str()));
    let names: BTreeSet<&str> = unknown.iter().map(|unknown| unknown.0.as_str()).collect();
    prefixes
        .filter(|prefix| !prefix.is_empty())
        .find(|prefix| missing.iter().all(|missing| names.contains(format!("{prefix}{}", missing.0).as_str())))
}

/// A tensor whose elements cannot be converted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct UnusableTensor {
    /// Its name.
    pub name: String,
    /// What is wrong with it.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl fmt::Display for UnusableTensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// The part of the message about unusable tensors, which are rare.
fn unusable_count(unusable: &[UnusableTensor]) -> String {
    if unusable.is_empty() { String::new() } else { format!(", {} unusable", unusable.len()) }
}

/// A tensor that is not in the checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MissingTensor(
    /// Its name.
    pub String,
);

/// A tensor that is in the checkpoint and that nothing asks for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct UnknownTensor(
    /// Its name.
    pub String,
);

/// A tensor of another shape.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct WrongShape {
    /// Its name.
    pub name: String,
    /// The shape that is asked for.
    pub expected: Vec<usize>,
    /// The shape in the checkpoint.
    pub found: Vec<usize>,
}

impl fmt::Display for MissingTensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is missing", self.0)
    }
}

impl fmt::Display for UnknownTensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is unknown", self.0)
    }
}

impl fmt::Display for WrongShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, expected, found } = self;
        write!(f, "`{name}` has shape {found:?}, expected {expected:?}")
    }
}

impl Hint for WeightMapError {
    fn hint(&self) -> Option<String> {
        let unprefixed = |missing: &MissingTensor| {
            missing.0.strip_prefix("model.").is_some_and(|name| self.unknown.iter().any(|unknown| unknown.0 == name))
        };
        let is_head = |missing: &MissingTensor| missing.0 == "lm_head.weight";
        let only_unusable = self.missing.is_empty() && self.unknown.is_empty() && self.shapes.is_empty();
        if let Some(prefix) = common_prefix(&self.missing, &self.unknown) {
            return Some(format!("`--strip-prefix {prefix}` leaves it out"));
        }
        let hint = if let Some(tensor) = self.unusable.first().filter(|_| only_unusable) {
            return tensor.hint.clone();
        } else if self.missing.iter().any(unprefixed) {
            "the checkpoint was saved from the decoder without its head; load it as `AutoModelForCausalLM` and save that"
        } else if self.missing.len() == 1 && self.missing.iter().all(is_head) {
            "if the head is meant to be the token embeddings, set `tie_word_embeddings` to true in config.json; an embedding \
             model has none, and is converted with `--layout embedding`"
        } else if self.unknown.iter().any(|unknown| unknown.0.contains("lora_")) {
            "merge the LoRA weights with PEFT's `merge_and_unload()` and save the result"
        } else {
            "the weights and config.json are not of the same model, or the model has parts that anec does not know"
        };
        Some(hint.to_owned())
    }
}

impl WeightMap {
    /// Accounts for every tensor of a checkpoint, where `tensors` are those that the model's programs ask for.
    ///
    /// # Errors
    /// Tensors are missing, not asked for, or of another shape; all of them are in the error.
    pub fn new(checkpoint: &Checkpoint, plan: &DecoderPlan, tensors: Vec<TensorSpec>) -> Result<Self, WeightMapError> {
        let (mut missing, mut unknown, mut shapes) = (Vec::new(), Vec::new(), Vec::new());
        let mut unusable = Vec::new();
        let names: BTreeSet<&str> = tensors.iter().map(|spec| spec.name.as_str()).collect();
        for spec in &tensors {
            match checkpoint.tensor(&spec.name) {
                None => missing.push(MissingTensor(spec.name.clone())),
                Some(info) if info.shape != spec.shape => shapes.push(WrongShape {
                    name: spec.name.clone(),
                    expected: spec.shape.clone(),
                    found: info.shape.to_vec(),
                }),
                Some(_) => unusable.extend(checkpoint.check_usable(&spec.name).err().map(|error| UnusableTensor {
                    name: spec.name.clone(),
                    message: error.to_string(),
                    hint: error.hint(),
                })),
            }
        }
        let mut skipped = BTreeMap::new();
        for name in checkpoint.tensor_names().filter(|name| !names.contains(name)) {
            match skip_reason(name, plan) {
                Some(reason) => {
                    skipped.insert(name.to_owned(), reason);
                }
                None => unknown.push(UnknownTensor(name.to_owned())),
            }
        }
        if missing.is_empty() && unknown.is_empty() && shapes.is_empty() && unusable.is_empty() {
            return Ok(Self { mapped: tensors, skipped });
        }
        missing.sort();
        unknown.sort();
        shapes.sort();
        unusable.sort();
        Err(WeightMapError { missing, unknown, shapes, unusable })
    }

    /// The tensors that are converted, in the order that they were given in.
    pub fn mapped(&self) -> impl Iterator<Item = &TensorSpec> {
        self.mapped.iter()
    }

    /// The tensors that are not converted, sorted by name.
    pub fn skipped(&self) -> impl Iterator<Item = (&str, SkipReason)> {
        self.skipped.iter().map(|(name, reason)| (name.as_str(), *reason))
    }

    /// How many tensors are not converted for each reason.
    pub fn skipped_by_reason(&self) -> BTreeMap<SkipReason, usize> {
        let mut counts = BTreeMap::new();
        for reason in self.skipped.values() {
            *counts.entry(*reason).or_default() += 1;
        }
        counts
    }
}

fn skip_reason(name: &str, plan: &DecoderPlan) -> Option<SkipReason> {
    if name.ends_with(".rotary_emb.inv_freq") {
        return Some(SkipReason::RotaryFrequencies);
    }
    if name.ends_with(".position_ids") {
        return Some(SkipReason::PositionIds);
    }
    if plan.weights.other_parts.iter().any(|part| name.starts_with(part)) {
        return Some(SkipReason::OtherPart);
    }
    let untied = || DecoderPlan { tie_word_embeddings: false, ..plan.clone() }.source(&WeightPath::LM_HEAD).tensor;
    let reason = if plan.tie_word_embeddings { SkipReason::TiedHead } else { SkipReason::Head };
    (name == untied()).then_some(reason)
}

#[cfg(test)]
mod tests;
