//! Scales of activations in int8, by what a checkpoint's projections are given on calibration tokens.

use half::f16;
use rayon::prelude::*;

use super::buffers::Buffers;
use super::engine::{Tokens, embed};
use super::error::CalibrateError;
use super::forward::rms_norm_in_place;
use super::shape::{LayerShape, Rotations};
use super::weights::{LayerWeights, Projection, Windows, matrix_rows, norm_weight};
use crate::model::arch;
use crate::model::decoder_plan::{DecoderPlan, WeightPath};
use crate::options::{ActivationScales, INT8_MOST};
use crate::source::checkpoint::Checkpoint;

/// Numbers of an input that are looked at, evenly from all of them.
const LOOKED_AT: usize = 1 << 20;

/// Scales that are tried, each this factor of the one before, from that of the largest number on.
const TRIED: i32 = 17;
const FACTOR: f32 = 0.84;

/// The scale of the input of each projection and of the head: the one that leaves the least square error, few large numbers being
/// cut off where that serves the others.
///
/// # Errors
/// The checkpoint cannot be read, its layers are not known here, or a token is outside of its vocabulary.
pub fn activation_scales(
    checkpoint: &Checkpoint,
    plan: &DecoderPlan,
    tokens: &Tokens,
) -> Result<ActivationScales, CalibrateError> {
    if arch::layer_hook(plan).is_some() {
        return Err(CalibrateError::Unsupported { model_type: plan.model_type.clone() });
    }
    let mut scales = ActivationScales::default();
    let mut set = |inputs: &[f32], projections: &[&Projection]| {
        let scale = scale_of(inputs);
        for projection in projections {
            scales.insert(&projection.rows.tensor, scale);
        }
    };
    let rotations = Rotations::of(plan, tokens.length);
    let buffers = Buffers::default();
    let windows = Windows { rotations: &rotations, length: tokens.length, buffers: &buffers };
    let mut residual = embed(checkpoint, plan, &tokens.tokens)?;
    for layer in 0..plan.num_hidden_layers {
        let shape = LayerShape::of(plan, layer);
        let weights = LayerWeights::read(checkpoint, plan, layer)?;
        weights.pass(&mut residual, &shape, &windows, &mut set);
    }
    let norm = norm_weight(checkpoint, plan, &WeightPath::NORM, plan.hidden_size)?;
    #[expect(clippy::cast_possible_truncation, reason = "f32 is what is computed in")]
    rms_norm_in_place(&mut residual, &norm, plan.rms_norm_eps as f32);
    let head = matrix_rows(plan, &WeightPath::LM_HEAD, [plan.vocab_size, plan.hidden_size]);
    scales.insert(&head.tensor, scale_of(&residual));
    Ok(scales)
}

/// The scale of some numbers, an fp16.
fn scale_of(values: &[f32]) -> f32 {
    let step = values.len().div_ceil(LOOKED_AT).max(1);
    let most = values.iter().fold(0.0_f32, |most, value| most.max(value.abs()));
    if most == 0.0 {
        return 1.0;
    }
    let tried: Vec<(f64, f32)> = (0..TRIED)
        .into_par_iter()
        .map(|index| {
            // No smaller than numbers that fp16 has in full.
            let scale = f16::from_f32(most / INT8_MOST * FACTOR.powi(index)).max(f16::MIN_POSITIVE).to_f32();
            let error = values.iter().step_by(step).map(|value| {
                let rounded = (value / scale).round_ties_even().clamp(-INT8_MOST - 1.0, INT8_MOST) * scale;
                let error = f64::from(value - rounded);
                error * error
            });
            (error.sum(), scale)
        })
        .collect();
    let best = tried.into_iter().min_by(|a, b| a.0.total_cmp(&b.0));
    best.map_or(1.0, |(_, scale)| scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn even_numbers_take_the_scale_of_the_largest() {
        let values: Vec<f32> = (-127_i8..=127).map(|value| f32::from(value) / 127.0 * 4.0).collect();
        let scale = scale_of(&values);
        assert!((scale - 4.0 / 127.0).abs() < 1e-4, "{scale}");
    }

    #[test]
    fn one_large_number_among_many_is_cut_off() {
        let few: Vec<f32> = (0_u8..200).map(|index| f32::from(index) / 100.0 - 1.0).collect();
        let mut values = few.repeat(1000);
        values.push(20.0);
        let scale = scale_of(&values);
        assert!(scale < 0.1 && scale > 1.0 / 127.0, "{scale}");
        assert_eq!(scale_of(&[0.0; 8]), 1.0);
    }
}
