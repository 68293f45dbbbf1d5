//! One decoder layer: from weights and the tokens that reach it to palettes and the tokens that leave it.

use anec_quantize::compensate::{CompensateError, Factor, GroupPalettes, compensate, palettize_groups, refit};

use super::error::CalibrateError;
use super::forward::{add, attention, gated, rms_norm, rotate};
use super::product::{cross, gram, multiply, project};
use super::result::CalibratedTensor;
use super::settings::{PaletteShape, Palettes, Strength};
use super::shape::{LayerShape, Rotation};
use super::weights::LayerWeights;

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
    pub(super) rotation: &'a Rotation,
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
    let (hidden, length) = (shape.hidden, context.length);
    let (q_size, kv_size) = (shape.q_size(), shape.kv_size());

    // Queries, keys and values.
    let x = rms_norm(&residual.quantized, &weights.input_norm, shape.eps);
    let x_ref = residual.reference.as_ref().map(|r| rms_norm(r, &weights.input_norm, shape.eps));
    let inputs = Inputs { quantized: &x, reference: x_ref.as_deref(), channels: hidden };
    let attend = |weights: &LayerWeights, x: &[f32]| {
        let head_norm = |values: &mut Vec<f32>, norm: &Option<Vec<f32>>| {
            if let Some(norm) = norm {
                super::forward::rms_norm_in_place(values, norm, shape.eps);
            }
        };
        let mut q = weights.q.apply(x);
        head_norm(&mut q, &weights.q_norm);
        rotate(&mut q, shape.head_dim, q_size, length, context.rotation);
        let mut k = weights.k.apply(x);
        head_norm(&mut k, &weights.k_norm);
        rotate(&mut k, shape.head_dim, kv_size, length, context.rotation);
        let v = weights.v.apply(x);
        attention(&q, &k, &v, length, shape)
    };
    let attended_ref = x_ref.as_deref().map(|x| attend(weights, x));
    let stage = Stage::new(layer, "input_layernorm", &inputs, None, context)?;
    for weight in [&mut weights.q, &mut weights.k, &mut weights.v] {
        results.extend(stage.quantize(weight, context)?);
    }
    let attended = attend(weights, &x);
    drop((x, x_ref, stage));

    // Output of attention.
    let inputs = Inputs { quantized: &attended, reference: attended_ref.as_deref(), channels: q_size };
    let out_ref = attended_ref.as_deref().map(|x| weights.o.apply(x));
    let stage = Stage::new(layer, "attention", &inputs, Some(residual), context)?;
    results.extend(stage.quantize(&mut weights.o, context)?);
    add(&mut residual.quantized, &weights.o.apply(&attended));
    residual.reference.iter_mut().zip(&out_ref).for_each(|(residual, out)| add(residual, out));
    drop((attended, attended_ref, out_ref, stage));

    // Gate and up.
    let x = rms_norm(&residual.quantized, &weights.mlp_norm, shape.eps);
    let x_ref = residual.reference.as_ref().map(|r| rms_norm(r, &weights.mlp_norm, shape.eps));
    let expand = |weights: &LayerWeights, x: &[f32]| {
        let mut gate = weights.gate.apply(x);
        gated(&mut gate, &weights.up.apply(x));
        gate
    };
    let inner_ref = x_ref.as_deref().map(|x| expand(weights, x));
    let inputs = Inputs { quantized: &x, reference: x_ref.as_deref(), channels: hidden };
    let stage = Stage::new(layer, "post_attention_layernorm", &inputs, None, context)?;
    for weight in [&mut weights.gate, &mut weights.up] {
        results.extend(stage.quantize(weight, context)?);
    }
    let inner = expand(weights, &x);
    drop((x, x_ref, stage));

    // Down.
    let inputs = Inputs { quantized: &inner, reference: inner_ref.as_deref(), channels: shape.intermediate };
    let out_ref = inner_ref.as_deref().map(|x| weights.down.apply(x));
    let stage = Stage::new(layer, "mlp", &inputs, Some(residual), context)?;
    results.extend(stage.quantize(&mut weights.down, context)?);
    add(&mut residual.quantized, &weights.down.apply(&inner));
    residual.reference.iter_mut().zip(&out_ref).for_each(|(residual, out)| add(residual, out));
    Ok(results)
}

/// A projection that is quantized by what reaches it: its weight, `[outputs, inputs]`, and its bias.
#[derive(Clone, Debug)]
pub(super) struct Projection {
    pub(super) name: String,
    pub(super) weight: Vec<f32>,
    pub(super) bias: Option<Vec<f32>>,
    pub(super) inputs: usize,
}

impl Projection {
    pub(super) fn apply(&self, x: &[f32]) -> Vec<f32> {
        project(x, &self.weight, self.bias.as_deref(), self.inputs)
    }
}

impl Stage {
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
            if let Some(Residual { quantized, reference: Some(reference) }) = residual.filter(|_| rho > 0.0 && !is_same) {
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
        let Some(shape) = context.palettes.get(&projection.name) else { return Ok(None) };
        let failed = |source| CalibrateError::Weight { tensor: projection.name.clone(), source };
        let target = self.target(&projection.weight).map_err(failed)?;
        let result = calibrated(&projection.name, target.as_ref().unwrap_or(&projection.weight), *shape, &self.factor, context.strength)
            .map_err(failed)?;
        projection.weight = result.weights();
        Ok(Some(result))
    }

    /// The weight, moved to where the checkpoint's inputs would have led; none where it stays.
    fn target(&self, weight: &[f32]) -> Result<Option<Vec<f32>>, CompensateError> {
        let Some((factor, difference)) = &self.lean else { return Ok(None) };
        let mut moved = multiply(weight, difference, factor.channels());
        if let Some(residual) = &self.residual {
            add(&mut moved, residual);
        }
        factor.solve_rows(&mut moved)?;
        add(&mut moved, weight);
        Ok(Some(moved))
    }
}

/// Palettes for a weight and its indices in them.
pub(super) fn calibrated(
    name: &str,
    target: &[f32],
    shape: PaletteShape,
    factor: &Factor,
    strength: Strength,
) -> Result<CalibratedTensor, CompensateError> {
    let PaletteShape { bits, group_rows } = shape;
    let mut palettes: GroupPalettes = palettize_groups(target, factor.importance(), bits, group_rows)?;
    let mut found = compensate(target, &palettes, factor)?;
    for _ in 0..strength.refits {
        palettes = refit(&palettes, &found.targets, &found.indices, &factor.remaining_importance())?;
        found = compensate(target, &palettes, factor)?;
    }
    Ok(CalibratedTensor { name: name.to_owned(), columns: factor.channels(), palettes, indices: found.indices })
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
