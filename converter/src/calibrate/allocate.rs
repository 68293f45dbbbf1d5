//! Which tensor gets how many bits: the most that a budget buys.
//!
//! From the smallest way to store every tensor on, the step that saves the most divergence for each bit is taken, as long
//! as it fits: the greedy solution of a knapsack with several choices for each item, which differs from the optimum by at
//! most one step.

use super::sensitivity::{Choice, TensorChoices};
use crate::error::Hint;
use crate::weights::recipe::{Recipe, WeightKind};
use crate::weights::storage::Storage;

/// What an allocation must keep to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Budget {
    /// Average bits of a weight, palettes and scales included.
    Bits(f64),
    /// Predicted divergence, in nats a token.
    Divergence(f64),
}

/// A budget that cannot be kept.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum AllocateError {
    /// Too few bits for the smallest storage of every tensor.
    #[error("Cannot store layers and head with {bits} bits a weight, expected at least {least:.3}")]
    TooFew {
        /// The budget.
        bits: f64,
        /// What the smallest storages take.
        least: f64,
    },
    /// A tensor that no candidate can store.
    #[error("Cannot store `{tensor}` in any of the ways to choose from")]
    NoChoice {
        /// The tensor.
        tensor: String,
    },
}

impl Hint for AllocateError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::TooFew { .. } => Some("give more bits, or larger groups: `--group-size 32`".to_owned()),
            Self::NoChoice { .. } => Some("its weights are not finite, or too large for fp16".to_owned()),
        }
    }
}

/// What was chosen.
#[derive(Clone, Debug, PartialEq)]
pub struct Allocation {
    /// For each tensor, which of its choices.
    pub chosen: Vec<usize>,
    /// Average bits of a weight.
    pub bits: f64,
    /// The sum of what all tensors add to the divergence: a prediction.
    pub divergence: f64,
}

/// Chooses a storage for every tensor.
///
/// # Errors
/// A tensor has no choices, or the budget is too small for the smallest ones.
pub fn allocate(tensors: &[TensorChoices], budget: Budget) -> Result<Allocation, AllocateError> {
    let smallest = |tensor: &TensorChoices| {
        let choices = tensor.choices.iter().enumerate();
        let least = choices.min_by(|(_, a), (_, b)| a.bits.cmp(&b.bits).then(a.divergence.total_cmp(&b.divergence)));
        least.map(|(index, _)| index).ok_or_else(|| AllocateError::NoChoice { tensor: tensor.tensor.clone() })
    };
    let mut chosen = tensors.iter().map(smallest).collect::<Result<Vec<_>, _>>()?;
    let elements: u64 = tensors.iter().map(|tensor| tensor.elements).sum();
    let mut used: u64 = each(tensors, &chosen).map(|choice| choice.bits).sum();
    let most = match budget {
        Budget::Bits(bits) => {
            let most = whole_bits(bits, elements);
            if used > most {
                return Err(AllocateError::TooFew { bits, least: average(used, elements) });
            }
            most
        }
        Budget::Divergence(_) => u64::MAX,
    };
    loop {
        let divergence: f64 = each(tensors, &chosen).map(|choice| choice.divergence).sum();
        let is_enough = matches!(budget, Budget::Divergence(wanted) if divergence <= wanted);
        match best_step(tensors, &chosen, most - used).filter(|_| !is_enough) {
            None => return Ok(Allocation { chosen, bits: average(used, elements), divergence }),
            Some((tensor, choice)) => {
                let Some(slot) = chosen.get_mut(tensor) else { continue };
                let choices = &tensors[tensor].choices;
                used += choices[choice].bits - choices[*slot].bits;
                *slot = choice;
            }
        }
    }
}

/// The step with the most gain for each bit, of those that fit; the first of several.
fn best_step(tensors: &[TensorChoices], chosen: &[usize], room: u64) -> Option<(usize, usize)> {
    let mut best: Option<(f64, usize, usize)> = None;
    for (number, (tensor, at)) in tensors.iter().zip(chosen).enumerate() {
        let Some(now) = tensor.choices.get(*at) else { continue };
        for (index, choice) in tensor.choices.iter().enumerate() {
            let more = choice.bits.saturating_sub(now.bits);
            let gain = now.divergence - choice.divergence;
            if more == 0 || more > room || gain <= 0.0 {
                continue;
            }
            #[expect(clippy::cast_precision_loss, reason = "a rate")]
            let rate = gain / more as f64;
            if best.is_none_or(|(most, ..)| rate > most) {
                best = Some((rate, number, index));
            }
        }
    }
    best.map(|(_, tensor, choice)| (tensor, choice))
}

fn each<'a>(tensors: &'a [TensorChoices], chosen: &'a [usize]) -> impl Iterator<Item = &'a Choice> {
    tensors.iter().zip(chosen).filter_map(|(tensor, choice)| tensor.choices.get(*choice))
}

#[expect(clippy::cast_precision_loss, reason = "an average")]
fn average(bits: u64, elements: u64) -> f64 {
    bits as f64 / elements.max(1) as f64
}

#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
fn whole_bits(bits: f64, elements: u64) -> u64 {
    (bits * elements as f64).floor() as u64
}

/// The allocation as a recipe: what most tensors of the layers have is what the layers have, and others are named.
pub fn recipe(tensors: &[TensorChoices], allocation: &Allocation, embeddings: Storage) -> Recipe {
    let of_kind = |kind| {
        let all = tensors.iter().zip(each(tensors, &allocation.chosen));
        all.filter(move |(tensor, _)| tensor.kind == kind).map(|(tensor, choice)| (tensor, &choice.storage))
    };
    let mut counts = std::collections::BTreeMap::<&Storage, usize>::new();
    for (_, storage) in of_kind(WeightKind::Layer) {
        *counts.entry(storage).or_default() += 1;
    }
    let most = counts.values().max().copied();
    let usual = counts.iter().find(|(_, count)| Some(**count) == most).map(|(storage, _)| (*storage).clone());
    let head = of_kind(WeightKind::LmHead).map(|(_, storage)| storage.clone()).next();
    let mut recipe = Recipe::new(usual.unwrap_or_default(), head.unwrap_or_default(), embeddings);
    for (tensor, storage) in of_kind(WeightKind::Layer) {
        if *storage != recipe.ffn {
            recipe = recipe.with_tensor(WeightKind::Layer, &tensor.tensor, storage.clone());
        }
    }
    recipe
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(name: &str, kind: WeightKind, choices: &[(&str, u64, f64)]) -> TensorChoices {
        let choice = |(storage, bits, divergence): &(&str, u64, f64)| Choice {
            storage: storage.parse().expect("a storage"),
            bits: *bits,
            divergence: *divergence,
        };
        TensorChoices { kind, tensor: name.to_owned(), elements: 100, choices: choices.iter().map(choice).collect() }
    }

    fn model() -> Vec<TensorChoices> {
        let layer = |name, four: f64| {
            let choices =
                [("lut3:8", 300, 4.0 * four), ("lut4:8", 400, four), ("lut6:8", 600, four / 16.0), ("fp16", 1600, 0.0)];
            tensor(name, WeightKind::Layer, &choices)
        };
        vec![
            layer("a", 0.01),
            layer("b", 0.1),
            layer("c", 0.02),
            tensor("head", WeightKind::LmHead, &[("lut4:8", 400, 0.05), ("lut6:8", 600, 0.001)]),
        ]
    }

    #[test]
    fn the_budget_is_kept_and_no_step_that_fits_is_left() {
        let tensors = model();
        for tenths in 33..120 {
            let bits = f64::from(tenths) / 10.0;
            let found = allocate(&tensors, Budget::Bits(bits)).expect("enough");
            assert!(found.bits <= bits, "{bits}: {}", found.bits);
            let used: u64 = each(&tensors, &found.chosen).map(|choice| choice.bits).sum();
            assert_eq!(best_step(&tensors, &found.chosen, whole_bits(bits, 400) - used), None, "{bits}");
        }
    }

    #[test]
    fn what_counts_most_gets_the_bits_and_the_recipe_says_so() {
        let tensors = model();
        let found = allocate(&tensors, Budget::Bits(5.0)).expect("enough");
        let recipe = recipe(&tensors, &found, Storage::default());
        assert_eq!(recipe.of(WeightKind::Layer, "b").to_string(), "lut6:8");
        assert_eq!(recipe.of(WeightKind::Layer, "a").to_string(), "lut4:8");
        assert_eq!(recipe.lm_head.to_string(), "lut6:8");
        assert!((found.bits - 5.0).abs() < 1e-12);
    }

    #[test]
    fn a_wanted_divergence_is_reached_with_few_bits() {
        let tensors = model();
        let found = allocate(&tensors, Budget::Divergence(0.05)).expect("reached");
        assert!(found.divergence <= 0.05 && found.bits < 6.0, "{found:?}");
        assert!(allocate(&tensors, Budget::Divergence(0.0)).expect("reached").divergence > 0.0, "the head has no more");
    }

    #[test]
    fn too_few_bits_are_refused_with_the_least() {
        let error = allocate(&model(), Budget::Bits(2.0)).expect_err("too few");
        assert_eq!(error.to_string(), "Cannot store layers and head with 2 bits a weight, expected at least 3.250");
    }
}
