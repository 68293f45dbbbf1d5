//! One decoder layer: from weights and the tokens that reach it to palettes and the tokens that leave it.

use std::ops::Range;

use anec_quantize::compensate::{
    CompensateError, Compensated, Factor, GroupPalettes, Importance, compensate, palettize_groups, refit,
};
use rayon::prelude::*;

use super::buffers::{Buffer, Buffers};
use super::error::CalibrateError;
use super::forward::{PIECE, add_scaled};
use super::result::CalibratedTensor;
use super::settings::{PaletteShape, Palettes, Strength, TensorRows};
use super::shape::LayerShape;
use super::weights::{Branch, LayerWeights, Projection, Windows};
use crate::product::{copy, cross, gram, multiply};
use crate::weights::rows::Rows;

/// The residual stream of all calibration tokens: `[tokens, hidden]`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Residual {
    /// As the quantized layers leave it.
    pub(super) quantized: Vec<f32>,
    /// As the checkpoint leaves it; none where targets do not lean on it.
    pub(super) reference: Option<Vec<f32>>,
}

/// What does not change from layer to layer.
pub(super) struct Context<'a> {
    pub(super) palettes: &'a Palettes,
    pub(super) strength: Strength,
    pub(super) windows: Windows<'a>,
    /// Called between stages; its error ends the layer.
    pub(super) proceed: &'a (dyn Fn() -> Result<(), CalibrateError> + Sync),
}

/// Projections that share an input are quantized together: what is known of the input is large.
struct Stage<'a> {
    layer: usize,
    what: &'static str,
    /// The inputs as the quantized layers give them: `[tokens, channels]`.
    inputs: &'a [f32],
    /// The inputs as the checkpoint has them, where targets lean on it; they are gone before matrices are factorized.
    reference: Option<Buffer<'a>>,
    channels: usize,
    /// The residual stream, whose error projections that write to it make up for.
    residual: Option<&'a Residual>,
    /// How much each token counts; alike where none.
    counts: Option<Vec<f32>>,
    context: &'a Context<'a>,
}

/// Quantizes a layer and takes the residual through it. The weights are gone afterwards.
pub(super) fn calibrate_layer(
    layer: usize,
    shape: &LayerShape,
    weights: &mut LayerWeights,
    residual: &mut Residual,
    context: &Context<'_>,
) -> Result<Vec<CalibratedTensor>, CalibrateError> {
    let mut results = Vec::new();
    let windows = &context.windows;
    let buffers = windows.buffers;
    let both = |residual: &Residual, branch, weights: &LayerWeights| {
        let enter = |residual: &[f32]| weights.enter(branch, residual, shape, buffers);
        (enter(&residual.quantized), residual.reference.as_deref().map(enter))
    };

    let (x, x_ref) = both(residual, Branch::Attention, weights);
    let attended_ref = x_ref.as_deref().map(|x| weights.attend(x, shape, windows));
    let stage = Stage {
        layer,
        what: "queries, keys and values",
        inputs: &x,
        reference: x_ref,
        channels: shape.hidden,
        residual: None,
        counts: None,
        context,
    };
    results.extend(stage.quantize(&mut [&mut weights.q, &mut weights.k, &mut weights.v])?);
    let attended = weights.attend(&x, shape, windows);
    drop(x);

    let after = behind(weights, Branch::Attention, attended_ref.as_deref(), residual, shape, buffers);
    let plainly = writes_plainly(weights, Branch::Attention, shape);
    let stage = Stage {
        layer,
        what: "output of attention",
        inputs: &attended,
        reference: attended_ref,
        channels: shape.q_size(),
        residual: plainly.then_some(&*residual),
        counts: after.as_deref().filter(|_| plainly).map(|after| token_counts(after, shape.hidden, context.strength)),
        context,
    };
    results.extend(stage.quantize(&mut [&mut weights.o])?);
    weights.add(Branch::Attention, &attended, &mut residual.quantized, shape);
    residual.set_reference(after, buffers);
    drop(attended);
    release([&mut weights.q, &mut weights.k, &mut weights.v, &mut weights.o]);

    let (x, x_ref) = both(residual, Branch::Mlp, weights);
    let inner_ref = x_ref.as_deref().map(|x| weights.expand(x, shape, buffers));
    let stage = Stage {
        layer,
        what: "gate and up",
        inputs: &x,
        reference: x_ref,
        channels: shape.hidden,
        residual: None,
        counts: None,
        context,
    };
    results.extend(stage.quantize(&mut [&mut weights.gate, &mut weights.up])?);
    let inner = weights.expand(&x, shape, buffers);
    drop(x);
    release([&mut weights.gate, &mut weights.up]);

    let after = behind(weights, Branch::Mlp, inner_ref.as_deref(), residual, shape, buffers);
    let plainly = writes_plainly(weights, Branch::Mlp, shape);
    let stage = Stage {
        layer,
        what: "down",
        inputs: &inner,
        reference: inner_ref,
        channels: shape.intermediate,
        residual: plainly.then_some(&*residual),
        counts: after.as_deref().filter(|_| plainly).map(|after| token_counts(after, shape.hidden, context.strength)),
        context,
    };
    results.extend(stage.quantize(&mut [&mut weights.down])?);
    weights.add(Branch::Mlp, &inner, &mut residual.quantized, shape);
    residual.set_reference(after, buffers);
    Ok(results)
}

/// Gives back the memory of weights that nothing goes through any more.
fn release<const N: usize>(projections: [&mut Projection; N]) {
    for projection in projections {
        projection.weight = Vec::new();
    }
}

impl Residual {
    fn set_reference(&mut self, reference: Option<Buffer<'_>>, buffers: &Buffers) {
        if let Some(old) = std::mem::replace(&mut self.reference, reference.map(Buffer::into_vec)) {
            buffers.give(old);
        }
    }
}

/// The checkpoint's own residual stream behind a branch whose last projection gets `inputs`, before it is quantized.
fn behind<'a>(
    weights: &LayerWeights,
    branch: Branch,
    inputs: Option<&[f32]>,
    residual: &Residual,
    shape: &LayerShape,
    buffers: &'a Buffers,
) -> Option<Buffer<'a>> {
    let mut after = buffers.copy(residual.reference.as_deref()?);
    weights.add(branch, inputs?, &mut after, shape);
    Some(after)
}

/// How much an error that is added to each token of a residual stream counts: what reads the stream divides it by its root
/// mean square, so little where that is large. One on average.
#[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "counts and weights")]
fn token_counts(stream: &[f32], hidden: usize, strength: Strength) -> Vec<f32> {
    let count = |token: &[f32]| {
        let square: f64 = token.iter().map(|value| f64::from(*value) * f64::from(*value)).sum();
        (square / hidden as f64 + f64::EPSILON).powf(-strength.stream)
    };
    let counts: Vec<f64> = stream.par_chunks_exact(hidden).map(count).collect();
    let mean = counts.iter().sum::<f64>() / counts.len().max(1) as f64;
    counts.into_iter().map(|count| (count / mean) as f32).collect()
}

/// Whether what a branch makes is added to the residual as it is, so that its projection can make up for an error there.
fn writes_plainly(weights: &LayerWeights, branch: Branch, shape: &LayerShape) -> bool {
    weights.norm_after(branch).is_none() && shape.residual_multiplier.total_cmp(&1.0).is_eq()
}

impl Stage<'_> {
    /// Replaces weights by what their palettes make of them.
    fn quantize(mut self, projections: &mut [&mut Projection]) -> Result<Vec<CalibratedTensor>, CalibrateError> {
        let Context { palettes, strength, windows: Windows { length, .. }, proceed } = *self.context;
        proceed()?;
        check_finite(self.inputs, self.channels, length, self.layer, self.what)?;
        let shape_of = |projection: &Projection| palettes.get(&TensorRows::of(&projection.rows)).copied();
        if !projections.iter().any(|projection| shape_of(projection).is_some()) {
            return Ok(Vec::new());
        }
        let h = gram(self.inputs, self.counts.as_deref(), self.channels);
        // Targets first: what they are solved with is as large as what weights are quantized by.
        let reference = self.reference.take();
        let targets = self.targets(reference, &h, projections)?;
        proceed()?;
        let factor = self.factor(&h, strength.damping)?;
        drop(h);
        let mut results = Vec::new();
        for (projection, target) in projections.iter_mut().zip(targets) {
            proceed()?;
            let Some(shape) = shape_of(projection) else { continue };
            let failed = |source| CalibrateError::Weight { tensor: projection.rows.tensor.clone(), source };
            let target = target.as_ref().unwrap_or(&projection.weight);
            let result = calibrated(&projection.rows, target, None, shape, &factor, strength).map_err(failed)?;
            projection.weight = result.weights();
            results.push(result);
        }
        Ok(results)
    }

    /// The weights, moved to where the checkpoint's inputs would have led; none for those that stay.
    fn targets(
        &self,
        reference: Option<Buffer<'_>>,
        h: &[f32],
        projections: &[&mut Projection],
    ) -> Result<Vec<Option<Vec<f32>>>, CalibrateError> {
        let Strength { inputs: alpha, residual: rho, target_damping, .. } = self.context.strength;
        let none = || projections.iter().map(|_| None).collect();
        let Some(reference) = reference.filter(|reference| alpha > 0.0 && **reference != *self.inputs) else {
            return Ok(none());
        };
        let channels = self.channels;
        let of_reference = |elements, out: &mut [f32]| copy(&reference, elements, out);
        let mut difference = cross(of_reference, self.inputs, self.counts.as_deref(), [channels, channels]);
        drop(reference);
        difference.iter_mut().zip(h).for_each(|(c, h)| *c = narrow(alpha) * (*c - h));
        let lagging = self.residual.filter(|_| rho > 0.0).and_then(|residual| self.lagging(residual, rho));
        let moved = |projection: &&mut Projection| {
            let mut moved = multiply(&projection.weight, &difference, channels);
            if let Some(lagging) = &lagging {
                add_scaled(&mut moved, lagging, 1.0);
            }
            moved
        };
        let is_quantized =
            |projection: &&mut Projection| self.context.palettes.contains_key(&TensorRows::of(&projection.rows));
        let mut targets: Vec<Option<Vec<f32>>> =
            projections.iter().map(|projection| is_quantized(projection).then(|| moved(projection))).collect();
        drop((difference, lagging));
        let factor = self.factor(h, target_damping)?;
        for (target, projection) in targets.iter_mut().zip(projections) {
            if let Some(target) = target {
                let failed = |source| CalibrateError::Weight { tensor: projection.rows.tensor.clone(), source };
                factor.solve_rows(target).map_err(failed)?;
                add_scaled(target, &projection.weight, 1.0);
            }
        }
        Ok(targets)
    }

    /// `(r_fp - r_q)ᵀ x_q / tokens`, tokens as they count, times a strength: `[hidden, channels]`.
    fn lagging(&self, residual: &Residual, rho: f64) -> Option<Vec<f32>> {
        let Residual { quantized, reference: Some(reference) } = residual else { return None };
        let difference = |elements: Range<usize>, out: &mut [f32]| {
            let both = reference[elements.clone()].iter().zip(&quantized[elements]);
            out.iter_mut().zip(both).for_each(|(out, (reference, quantized))| {
                *out = narrow(rho) * (reference - quantized);
            });
        };
        let hidden = quantized.len() / (self.inputs.len() / self.channels);
        Some(cross(difference, self.inputs, self.counts.as_deref(), [hidden, self.channels]))
    }

    fn factor(&self, h: &[f32], damping: f64) -> Result<Factor, CalibrateError> {
        let failed = |source| CalibrateError::Gram { layer: self.layer, what: self.what, source };
        Factor::new(h, self.channels, damping).map_err(failed)
    }
}

/// Palettes for a weight and its indices in them. `counts` says how much each row counts; alike where none.
pub(super) fn calibrated(
    rows: &Rows,
    target: &[f32],
    counts: Option<&[f32]>,
    shape: PaletteShape,
    factor: &Factor,
    strength: Strength,
) -> Result<CalibratedTensor, CompensateError> {
    let (palettes, found) = assigned(target, counts, shape, factor, strength)?;
    Ok(CalibratedTensor { rows: TensorRows::of(rows), columns: factor.channels(), palettes, indices: found.indices })
}

/// Palettes for a weight, and what became of its elements.
pub(super) fn assigned(
    target: &[f32],
    counts: Option<&[f32]>,
    shape: PaletteShape,
    factor: &Factor,
    strength: Strength,
) -> Result<(GroupPalettes, Compensated), CompensateError> {
    let PaletteShape { bits, group_rows } = shape;
    let remaining = factor.remaining_importance();
    let [before, after] = [factor.importance(), &remaining].map(|columns| Importance { columns, rows: counts });
    let mut palettes = palettize_groups(target, before, bits, group_rows)?;
    let mut found = compensate(target, &palettes, factor)?;
    for _ in 0..strength.refits {
        palettes = refit(&palettes, &found.targets, &found.indices, after)?;
        found = compensate(target, &palettes, factor)?;
    }
    Ok((palettes, found))
}

/// Requires that all inputs are numbers.
pub(super) fn check_finite(
    x: &[f32],
    channels: usize,
    length: usize,
    layer: usize,
    what: &'static str,
) -> Result<(), CalibrateError> {
    let is_bad = |value: &f32| !value.is_finite();
    // A piece without such a number is gone through without a branch.
    let bad = x.par_chunks(PIECE).enumerate().find_map_first(|(piece, values)| {
        let any = values.iter().fold(false, |any, value| any | is_bad(value));
        any.then(|| values.iter().position(is_bad)).flatten().map(|at| piece * PIECE + at)
    });
    match bad {
        None => Ok(()),
        Some(at) => {
            let token = at / channels;
            Err(CalibrateError::NotFinite { layer, what, window: token / length, token: token % length })
        }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "a strength")]
fn narrow(value: f64) -> f32 {
    value as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_with_a_large_stream_count_little_and_all_count_one_on_average() {
        let stream = [1.0, -1.0, 30.0, 40.0, 1.0, 1.0];
        let found = token_counts(&stream, 2, Strength::default());
        assert!((found.iter().sum::<f32>() / 3.0 - 1.0).abs() < 1e-6);
        assert!((found[0] / found[1] - 1250.0_f32.sqrt()).abs() < 1e-3, "{found:?}");
        assert_eq!(found[0], found[2]);
        let alike = Strength { stream: 0.0, ..Strength::default() };
        assert_eq!(token_counts(&stream, 2, alike), [1.0; 3]);
    }

    #[test]
    fn activations_that_are_no_numbers_are_named_by_layer_input_window_and_token() {
        // Two windows of three tokens, of two channels.
        let mut x = [0.0; 12];
        assert!(check_finite(&x, 2, 3, 7, "down_proj").is_ok());
        x[9] = f32::INFINITY;
        let error = check_finite(&x, 2, 3, 7, "down_proj").expect_err("infinite");
        let expected = "Cannot calibrate layer 7: the input `down_proj` of token 1 of window 1 is not finite";
        assert_eq!(error.to_string(), expected);
    }
}
