//! Bits that are shared out by what they save: the options, and the work that answers them.

use std::collections::BTreeMap;

use clap::Args;

use super::storage_arguments::StorageArguments;
use crate::calibrate::allocate::{Allocation, Budget, allocate, recipe};
use crate::calibrate::sensitivity::{Sensitivity, TensorChoices};
use crate::calibrate::{CalibrationSource, Strength, sample_tokens};
use crate::console::{Console, Failure};
use crate::model::decoder_plan::DecoderPlan;
use crate::source::checkpoint::Checkpoint;
use crate::weights::encodings::calibrated;
use crate::weights::recipe::Recipe;
use crate::weights::storage::{GroupSize, Storage};

/// Bits of the palettes to choose from.
const PALETTE_BITS: [u8; 4] = [3, 4, 6, 8];

/// How many bits layers and head take together.
#[derive(Debug, Args)]
#[command(next_help_heading = "Weights")]
pub struct AllocationArguments {
    /// Average bits of a weight of the layers and the LM head, palettes and scales included: every tensor gets palettes of 3,
    /// 4, 6 or 8 bits, int8 or fp16, so that least is lost. Finding out takes about as long as calibration does.
    #[arg(long, value_name = "BITS", value_parser = positive, conflicts_with_all = CONTRADICTED)]
    pub bits: Option<f64>,

    /// Divergence from the checkpoint, in nats a token, that is predicted to be reached with the fewest bits, as for --bits:
    /// 0.1 is that of calibrated palettes of 4 bits on a small model, 0.01 that of 6.
    #[arg(long, value_name = "NATS", value_parser = positive, conflicts_with_all = CONTRADICTED, conflicts_with = "bits")]
    pub quality: Option<f64>,
}

/// Options that say themselves how layers and head are stored.
const CONTRADICTED: [&str; 9] =
    ["ffn", "lm_head", "lut", "lut_ffn", "lut_lm_head", "palette", "channel_scale", "uniform", "recipe"];

fn positive(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if number > 0.0 && number.is_finite() => Ok(number),
        _ => Err("expected a number above 0".to_owned()),
    }
}

impl AllocationArguments {
    fn budget(&self) -> Option<Budget> {
        self.bits.map(Budget::Bits).or(self.quality.map(Budget::Divergence))
    }

    /// Whether bits are to be shared out.
    pub(super) fn is_given(&self) -> bool {
        self.budget().is_some()
    }

    /// Shares the bits out; none where that was not asked for.
    ///
    /// # Errors
    /// The budget is too small, calibration is switched off, or the checkpoint cannot be calibrated.
    pub(super) fn recipe(
        &self,
        checkpoint: &Checkpoint,
        decoder: &DecoderPlan,
        storage: &StorageArguments,
        embeddings: Storage,
        console: Console,
    ) -> Result<Option<Recipe>, Failure> {
        let Some(budget) = self.budget() else { return Ok(None) };
        let source = match &storage.calibration {
            Some(CalibrationSource::None) => {
                return Err(Failure {
                    message: "Bits are shared out between calibrated palettes, which `--calibration none` rules out"
                        .to_owned(),
                    hint: Some("leave out `--calibration`, or give a file".to_owned()),
                });
            }
            source => source.clone().unwrap_or(CalibrationSource::Builtin),
        };
        let candidates = candidates(storage.group_size.unwrap_or_default());
        let tokens = sample_tokens(&source, checkpoint, decoder)?;
        let progress = console.count_progress();
        progress.set_message("Weighing precision");
        let sensitivity = Sensitivity {
            checkpoint,
            plan: decoder,
            candidates: &candidates,
            strength: Strength::default(),
            tokens: &tokens.tokens,
            proceed: &|| Ok(()),
        };
        let tensors = sensitivity.measure(&mut |at| {
            progress.set_length(at.total as u64);
            progress.set_position(at.done as u64);
        })?;
        progress.finish_and_clear();
        let allocation = allocate(&tensors, budget)?;
        console.status(&summary(&tensors, &allocation));
        Ok(Some(recipe(&tensors, &allocation, embeddings)))
    }
}

/// Ways to store a tensor.
fn candidates(group_size: GroupSize) -> Vec<Storage> {
    let palettes = PALETTE_BITS.iter().map(|bits| format!("lut{bits}:{group_size}{}", calibrated::SUFFIX));
    // Groups of whole tensors are not calibrated.
    palettes.chain(["int8".to_owned(), "fp16".to_owned()]).filter_map(|text| text.parse().ok()).collect()
}

/// The choice in one line.
fn summary(tensors: &[TensorChoices], allocation: &Allocation) -> String {
    let mut counts = BTreeMap::<&Storage, usize>::new();
    for (tensor, choice) in tensors.iter().zip(&allocation.chosen) {
        if let Some(choice) = tensor.choices.get(*choice) {
            *counts.entry(&choice.storage).or_default() += 1;
        }
    }
    let counts: Vec<String> = counts.iter().map(|(storage, count)| format!("{count} as {storage}")).collect();
    format!(
        "{:.3} bits a weight in layers and head, a predicted divergence of {:.3} nats a token; tensors: {}",
        allocation.bits,
        allocation.divergence,
        counts.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_candidate_is_a_storage() {
        let names: Vec<String> = candidates(GroupSize::default()).iter().map(ToString::to_string).collect();
        assert_eq!(
            names,
            ["lut3:8+calibrated", "lut4:8+calibrated", "lut6:8+calibrated", "lut8:8+calibrated", "int8", "fp16"]
        );
    }

    #[test]
    fn a_budget_is_a_positive_number() {
        assert_eq!(positive("4.6"), Ok(4.6));
        for wrong in ["0", "-1", "nan", "inf", "four"] {
            assert!(positive(wrong).is_err(), "{wrong}");
        }
    }
}
