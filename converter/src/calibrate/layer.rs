//! One decoder layer: from weights and the tokens that reach it to palettes and the tokens that leave it.

use std::borrow::Cow;

use anec_quantize::compensate::{
    CompensateError, Compensated, Factor, GroupPalettes, compensate, palettize_groups, refit,
};

use super::error::CalibrateError;
use super::forward::add_scaled;
use super::product::{cross, gram, multiply};
use super::result::CalibratedTensor;
use super::settings::{PaletteShape, Palettes, Strength, TensorRows};
use super::shape::{LayerShape, Rotations};
use super::weights::{Branch, LayerWeights, Projection};
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
    pub(super) rotations: &'a Rotations,
    /// Tokens of a window.
    pub(super) length: usize,
    /// Called between stages; its error ends the layer.
    pub(super) proceed: &'a (dyn Fn() -> Result<(), CalibrateError> + Sync),
}

/// Inputs of a stage, of the quantized stream and of the checkpoint's.
struct Inputs<'a> {
    quantized: &'a [f32],
    reference: Option<&'a [f32]>,
    channels: usize,
}

/// What is known of a stage's inputs, to quantize its weights by.
struct Stage {
    factor: Factor,
    /// Where targets lean on the checkpoint: the factor that they are solved with, and `C - H`.
    lean: Option<(Factor, Vec<f32>)>,
    /// `(r_fp - r_q)ᵀ x_q / tokens`, for weights that write to the residual stream: `[hidden, channels]`.
    residual: Option<Vec<f32>>,
}

/// Quantizes a layer, in place, and takes the residual through it.
pub(super) fn calibrate_layer(
    layer: usize,
    shape: &LayerShape,
    weights: &mut LayerWeights,
    residual: &mut Residual,
    context: &Context<'_>,
) -> Result<Vec<CalibratedTensor>, CalibrateError> {
    let mut results = Vec::new();
    let length = context.length;
    let both = |residual: &Residual, branch, weights: &LayerWeights| {
        let enter = |residual: &[f32]| weights.enter(branch, residual, shape).into_owned();
        (enter(&residual.quantized), residual.reference.as_deref().map(enter))
    };

    let (x, x_ref) = both(residual, Branch::Attention, weights);
    let attended_ref = x_ref.as_deref().map(|x| weights.attend(x, shape, context.rotations, length));
    let inputs = Inputs { quantized: &x, reference: x_ref.as_deref(), channels: shape.hidden };
    let stage = Stage::new(layer, "queries, keys and values", &inputs, None, context)?;
    for weight in [&mut weights.q, &mut weights.k, &mut weights.v] {
        results.extend(stage.quantize(weight, context)?);
    }
    let attended = weights.attend(&x, shape, context.rotations, length);
    drop((x, x_ref, stage));

    let out_ref = attended_ref.as_deref().map(|x| weights.o.apply(x));
    let inputs = Inputs { quantized: &attended, reference: attended_ref.as_deref(), channels: shape.q_size() };
    let lagging = writes_plainly(weights, Branch::Attention, shape).then_some(&*residual);
    let scales = token_scales(&residual.quantized, shape.hidden, context.strength.balance);
    let stage = Stage::balanced(layer, "output of attention", &inputs, lagging, scales.as_deref(), context)?;
    results.extend(stage.quantize(&mut weights.o, context)?);
    weights.leave(Branch::Attention, weights.o.apply(&attended), &mut residual.quantized, shape);
    if let (Some(residual), Some(out)) = (&mut residual.reference, out_ref) {
        weights.leave(Branch::Attention, out, residual, shape);
    }
    drop((attended, attended_ref, stage));

    let (x, x_ref) = both(residual, Branch::Mlp, weights);
    let inner_ref = x_ref.as_deref().map(|x| weights.expand(x, shape));
    let inputs = Inputs { quantized: &x, reference: x_ref.as_deref(), channels: shape.hidden };
    let stage = Stage::new(layer, "gate and up", &inputs, None, context)?;
    for weight in [&mut weights.gate, &mut weights.up] {
        results.extend(stage.quantize(weight, context)?);
    }
    let inner = weights.expand(&x, shape);
    drop((x, x_ref, stage));

    let out_ref = inner_ref.as_deref().map(|x| weights.down.apply(x));
    let inputs = Inputs { quantized: &inner, reference: inner_ref.as_deref(), channels: shape.intermediate };
    let lagging = writes_plainly(weights, Branch::Mlp, shape).then_some(&*residual);
    let scales = token_scales(&residual.quantized, shape.hidden, context.strength.balance);
    let stage = Stage::balanced(layer, "down", &inputs, lagging, scales.as_deref(), context)?;
    results.extend(stage.quantize(&mut weights.down, context)?);
    weights.leave(Branch::Mlp, weights.down.apply(&inner), &mut residual.quantized, shape);
    if let (Some(residual), Some(out)) = (&mut residual.reference, out_ref) {
        weights.leave(Branch::Mlp, out, residual, shape);
    }
    Ok(results)
}

/// Whether what a branch makes is added to the residual as it is, so that its projection can make up for an error there.
fn writes_plainly(weights: &LayerWeights, branch: Branch, shape: &LayerShape) -> bool {
    weights.norm_after(branch).is_none() && shape.residual_multiplier.total_cmp(&1.0).is_eq()
}

/// What each token's inputs are multiplied with, so that it counts by the size of the residual stream that it has; none where
/// all count alike.
///
/// # Shapes
/// `residual: [tokens, hidden]`; `[tokens]`, of mean square 1.
#[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "f32 is what is computed in")]
fn token_scales(residual: &[f32], hidden: usize, balance: f64) -> Option<Vec<f32>> {
    if balance <= 0.0 {
        return None;
    }
    let weights: Vec<f64> = residual
        .chunks_exact(hidden)
        .map(|row| {
            let square: f64 = row.iter().map(|value| f64::from(*value) * f64::from(*value)).sum();
            (square / hidden as f64).max(f64::MIN_POSITIVE).powf(-balance)
        })
        .collect();
    let mean = weights.iter().sum::<f64>() / weights.len().max(1) as f64;
    Some(weights.iter().map(|weight| (weight / mean).sqrt() as f32).collect())
}

/// Rows, each multiplied with its factor.
fn scaled<'a>(rows: &'a [f32], columns: usize, factors: Option<&[f32]>) -> Cow<'a, [f32]> {
    let Some(factors) = factors else { return Cow::Borrowed(rows) };
    let rows = rows.chunks_exact(columns).zip(factors);
    Cow::Owned(rows.flat_map(|(row, factor)| row.iter().map(move |value| value * factor)).collect())
}

impl Stage {
    /// Of inputs whose tokens count as `scales` say, where there are some.
    fn balanced(
        layer: usize,
        what: &'static str,
        inputs: &Inputs<'_>,
        residual: Option<&Residual>,
        scales: Option<&[f32]>,
        context: &Context<'_>,
    ) -> Result<Self, CalibrateError> {
        let quantized = scaled(inputs.quantized, inputs.channels, scales);
        let reference = inputs.reference.map(|reference| scaled(reference, inputs.channels, scales));
        let inputs = Inputs { quantized: &quantized, reference: reference.as_deref(), channels: inputs.channels };
        let hidden = |values: &[f32]| values.len() / (inputs.quantized.len() / inputs.channels).max(1);
        let residual = residual.map(|residual| Residual {
            quantized: scaled(&residual.quantized, hidden(&residual.quantized), scales).into_owned(),
            reference: residual.reference.as_deref().map(|values| scaled(values, hidden(values), scales).into_owned()),
        });
        Self::new(layer, what, &inputs, residual.as_ref(), context)
    }

    fn new(
        layer: usize,
        what: &'static str,
        inputs: &Inputs<'_>,
        residual: Option<&Residual>,
        context: &Context<'_>,
    ) -> Result<Self, CalibrateError> {
        (context.proceed)()?;
        check_finite(inputs.quantized, inputs.channels, context.length, layer, what)?;
        let Strength { inputs: alpha, residual: rho, damping, target_damping, .. } = context.strength;
        let channels = inputs.channels;
        let h = gram(inputs.quantized, channels);
        let failed = |source| CalibrateError::Gram { layer, what, source };
        let factor = Factor::new(&h, channels, damping).map_err(failed)?;
        (context.proceed)()?;
        let mut lean = None;
        let mut lagging = None;
        if let Some(reference) = inputs.reference {
            let is_same = reference == inputs.quantized;
            if alpha > 0.0 && !is_same {
                let mut c = cross(reference, inputs.quantized, [channels, channels]);
                c.iter_mut().zip(&h).for_each(|(c, h)| *c = narrow(alpha) * (*c - h));
                lean = Some((Factor::new(&h, channels, target_damping).map_err(failed)?, c));
            }
            if let Some(Residual { quantized, reference: Some(reference) }) = residual.filter(|_| rho > 0.0 && !is_same)
            {
                let difference: Vec<f32> =
                    reference.iter().zip(quantized).map(|(a, b)| narrow(rho) * (a - b)).collect();
                let hidden = quantized.len() / (inputs.quantized.len() / channels);
                lagging = Some(cross(&difference, inputs.quantized, [hidden, channels]));
            }
        }
        Ok(Self { factor, lean, residual: lagging })
    }

    /// Replaces a weight by what its palettes make of it.
    fn quantize(
        &self,
        projection: &mut Projection,
        context: &Context<'_>,
    ) -> Result<Option<CalibratedTensor>, CalibrateError> {
        (context.proceed)()?;
        let Some(shape) = context.palettes.get(&TensorRows::of(&projection.rows)) else { return Ok(None) };
        let failed = |source| CalibrateError::Weight { tensor: projection.rows.tensor.clone(), source };
        let target = self.target(&projection.weight).map_err(failed)?;
        let target = target.as_ref().unwrap_or(&projection.weight);
        let result = calibrated(&projection.rows, target, *shape, &self.factor, context.strength).map_err(failed)?;
        projection.weight = result.weights();
        Ok(Some(result))
    }

    /// The weight, moved to where the checkpoint's inputs would have led; none where it stays.
    fn target(&self, weight: &[f32]) -> Result<Option<Vec<f32>>, CompensateError> {
        let Some((factor, difference)) = &self.lean else { return Ok(None) };
        let mut moved = multiply(weight, difference, factor.channels());
        if let Some(residual) = &self.residual {
            add_scaled(&mut moved, residual, 1.0);
        }
        factor.solve_rows(&mut moved)?;
        add_scaled(&mut moved, weight, 1.0);
        Ok(Some(moved))
    }
}

/// Palettes for a weight and its indices in them.
pub(super) fn calibrated(
    rows: &Rows,
    target: &[f32],
    shape: PaletteShape,
    factor: &Factor,
    strength: Strength,
) -> Result<CalibratedTensor, CompensateError> {
    let (palettes, found) = assigned(target, shape, factor, strength)?;
    Ok(CalibratedTensor { rows: TensorRows::of(rows), columns: factor.channels(), palettes, indices: found.indices })
}

/// Palettes for a weight, and what became of its elements.
pub(super) fn assigned(
    target: &[f32],
    shape: PaletteShape,
    factor: &Factor,
    strength: Strength,
) -> Result<(GroupPalettes, Compensated), CompensateError> {
    let PaletteShape { bits, group_rows } = shape;
    let mut palettes: GroupPalettes = palettize_groups(target, factor.importance(), bits, group_rows)?;
    let mut found = compensate(target, &palettes, factor)?;
    for _ in 0..strength.refits {
        palettes = refit(&palettes, &found.targets, &found.indices, &factor.remaining_importance())?;
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
    match x.iter().position(|value| !value.is_finite()) {
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
