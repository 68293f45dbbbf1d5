//! How floats are computed, and what is recorded about them.

use std::collections::BTreeMap;

use half::f16;
use half::slice::HalfFloatSliceExt;

use super::tensor::{Elements, Tensor};
use crate::dtype::DataType;

/// How floats are computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Numerics {
    /// Everything in f32, nothing is rounded: is the graph right?
    #[default]
    F32,
    /// Every fp16 result is rounded to fp16: will it survive on a device that computes in fp16?
    Fp16(Accumulator),
}

/// How the sums of products of `conv`, `linear` and `matmul` are kept under [`Numerics::Fp16`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Accumulator {
    /// In f32, rounded once at the end.
    #[default]
    F32,
    /// In f32, but a partial sum of 32,768 or more becomes infinite and stays so: the strict reading of how matrix products
    /// of the Neural Engine have been seen to saturate. Slow.
    Saturating,
}

/// The magnitude at which [`Accumulator::Saturating`] becomes infinite.
pub(crate) const SATURATION: f32 = 32_768.0;

/// An operation and one of its results, in program order.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Step {
    /// Position in the function.
    pub index: usize,
    /// The op.
    pub op: String,
    /// The result.
    pub result: String,
}

/// What has been seen of one result.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct OpStatistics {
    /// Finite values that fp16 cannot hold: those that became infinite by rounding, or would have.
    pub overflows: u64,
    /// Values that are not a number.
    pub nans: u64,
    /// Largest finite magnitude before rounding.
    pub largest: f32,
}

/// What has been seen of every result that is computed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Statistics {
    /// By operation.
    pub steps: BTreeMap<Step, OpStatistics>,
}

impl Statistics {
    /// Finite values that fp16 cannot hold, in all results.
    pub fn overflows(&self) -> u64 {
        self.steps.values().map(|step| step.overflows).sum()
    }

    /// Values that are not a number, in all results.
    pub fn nans(&self) -> u64 {
        self.steps.values().map(|step| step.nans).sum()
    }

    /// The result with the largest finite magnitude.
    pub fn largest(&self) -> Option<(&Step, f32)> {
        let largest = self.steps.iter().max_by(|a, b| a.1.largest.total_cmp(&b.1.largest));
        largest.map(|(step, statistics)| (step, statistics.largest))
    }

    /// Adds what was seen of `tensor`, which is not rounded yet.
    pub(super) fn record(&mut self, step: &Step, tensor: &Tensor) {
        let Elements::Floats(values) = tensor.elements() else { return };
        let half = tensor.dtype() == DataType::Float16;
        let mut seen = OpStatistics::default();
        for value in values.iter() {
            let magnitude = value.abs();
            if magnitude < f32::INFINITY {
                seen.largest = seen.largest.max(magnitude);
                seen.overflows += u64::from(half && magnitude >= HALF_OVERFLOW);
            } else if value.is_nan() {
                seen.nans += 1;
            }
        }
        let entry = match self.steps.get_mut(step) {
            Some(entry) => entry,
            None => self.steps.entry(step.clone()).or_default(),
        };
        entry.overflows += seen.overflows;
        entry.nans += seen.nans;
        entry.largest = entry.largest.max(seen.largest);
    }
}

/// The least magnitude that rounds to infinity: half way between the largest fp16 and the next power of two.
const HALF_OVERFLOW: f32 = 65_520.0;

/// Rounds to the nearest fp16, ties to even.
pub(super) fn round_to_half(values: &mut [f32]) {
    const BLOCK: usize = 1024;
    let mut halves = [f16::ZERO; BLOCK];
    for block in values.chunks_mut(BLOCK) {
        let halves = halves.get_mut(..block.len()).unwrap_or_default();
        halves.convert_from_f32_slice(block);
        halves.convert_to_f32_slice(block);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_is_to_nearest_even_and_overflows_to_infinity() {
        let mut values = [65_519.9, 65_520.0, 2049.0, 2051.0, f32::NEG_INFINITY, 1e-9];
        round_to_half(&mut values);
        assert_eq!(values, [65_504.0, f32::INFINITY, 2048.0, 2052.0, f32::NEG_INFINITY, 0.0]);
    }

    #[test]
    fn overflow_counts_finite_values_only() {
        let values = vec![65_520.0, -1e9, f32::INFINITY, f32::NAN, 65_519.0];
        let tensor = Tensor::floats(DataType::Float16, &[5], values).expect("5 elements");
        let step = Step { index: 0, op: "add".to_owned(), result: "x".to_owned() };
        let mut statistics = Statistics::default();
        statistics.record(&step, &tensor);
        assert_eq!(statistics.steps[&step], OpStatistics { overflows: 2, nans: 1, largest: 1e9 });
        assert_eq!(statistics.largest(), Some((&step, 1e9)));
    }
}
