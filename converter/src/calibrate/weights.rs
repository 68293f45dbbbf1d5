//! Weights of one layer, in f32: as they are stored where nothing is quantized.

use std::borrow::Cow;

use half::f16;
use half::slice::HalfFloatSliceExt as _;
use rayon::prelude::*;

use super::error::CalibrateError;
use super::forward::{add_scaled, attention, gated, rms_norm, rms_norm_in_place, rotate};
use super::shape::{LayerShape, Rotations};
use crate::graph::weight_rows;
use crate::model::decoder_plan::{DecoderPlan, NormKind, WeightPath};
use crate::output::emit::read::read;
use crate::product::project;
use crate::source::checkpoint::Checkpoint;
use crate::weights::rows::Rows;
use crate::weights::transform::Transform;

/// Elements that are read at a time.
const PIECE: u64 = 1 << 18;

/// A projection: its weight, `[outputs, inputs]`, and its bias.
#[derive(Clone, Debug)]
pub(super) struct Projection {
    /// Where it is in the checkpoint.
    pub(super) rows: Rows,
    pub(super) weight: Vec<f32>,
    pub(super) bias: Option<Vec<f32>>,
    pub(super) inputs: usize,
}

impl Projection {
    pub(super) fn apply(&self, x: &[f32]) -> Vec<f32> {
        project(x, &self.weight, self.bias.as_deref(), self.inputs)
    }
}

/// The weights of a decoder layer.
#[derive(Clone, Debug)]
pub(super) struct LayerWeights {
    before_attention: Option<Vec<f32>>,
    after_attention: Option<Vec<f32>>,
    before_mlp: Option<Vec<f32>>,
    after_mlp: Option<Vec<f32>>,
    pub(super) q: Projection,
    pub(super) k: Projection,
    pub(super) v: Projection,
    pub(super) q_norm: Option<Vec<f32>>,
    pub(super) k_norm: Option<Vec<f32>>,
    pub(super) o: Projection,
    pub(super) gate: Projection,
    pub(super) up: Projection,
    pub(super) down: Projection,
}

/// Where in a layer a branch of the residual starts or ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Branch {
    Attention,
    Mlp,
}

impl LayerWeights {
    pub(super) fn read(checkpoint: &Checkpoint, plan: &DecoderPlan, layer: usize) -> Result<Self, CalibrateError> {
        let norms = plan.norm_placement.norms();
        let norm = |module: Option<&'static str>| {
            module.map(|module| norm_weight(checkpoint, plan, &WeightPath::weight(layer, module), plan.hidden_size))
        };
        let head_norm = |module: &'static str, channels: fn([usize; 2]) -> usize| {
            let path = WeightPath::weight(layer, module);
            plan.qk_norm_sizes().map(|sizes| norm_weight(checkpoint, plan, &path, channels(sizes)))
        };
        let (hidden, inner) = (plan.hidden_size, plan.intermediate_size);
        let projection = |module, outputs, inputs, biased: bool| -> Result<Projection, CalibrateError> {
            let rows = matrix_rows(plan, &WeightPath::weight(layer, module), [outputs, inputs]);
            let bias = biased
                .then(|| whole(checkpoint, &weight_rows(plan, &WeightPath::bias(layer, module), outputs as u64, 1).0));
            Ok(Projection { weight: whole(checkpoint, &rows)?, rows, bias: bias.transpose()?, inputs })
        };
        Ok(Self {
            before_attention: norm(norms.before_attention).transpose()?,
            after_attention: norm(norms.after_attention).transpose()?,
            before_mlp: norm(norms.before_mlp).transpose()?,
            after_mlp: norm(norms.after_mlp).transpose()?,
            q: projection("self_attn.q_proj", plan.q_size(), hidden, plan.qkv_bias)?,
            k: projection("self_attn.k_proj", plan.kv_size(), hidden, plan.qkv_bias)?,
            v: projection("self_attn.v_proj", plan.kv_size(), hidden, plan.qkv_bias)?,
            q_norm: head_norm("self_attn.q_norm", |[query, _]| query).transpose()?,
            k_norm: head_norm("self_attn.k_norm", |[_, key]| key).transpose()?,
            o: projection("self_attn.o_proj", hidden, plan.q_size(), plan.o_bias)?,
            gate: projection("mlp.gate_proj", inner, hidden, plan.mlp_bias)?,
            up: projection("mlp.up_proj", inner, hidden, plan.mlp_bias)?,
            down: projection("mlp.down_proj", hidden, inner, plan.mlp_bias)?,
        })
    }

    /// The projections, in the order of use.
    pub(super) fn projections(&mut self) -> [&mut Projection; 7] {
        [&mut self.q, &mut self.k, &mut self.v, &mut self.o, &mut self.gate, &mut self.up, &mut self.down]
    }

    /// What a branch makes of the residual first.
    pub(super) fn enter<'a>(&self, branch: Branch, residual: &'a [f32], shape: &LayerShape) -> Cow<'a, [f32]> {
        match self.norm_before(branch) {
            Some(norm) => Cow::Owned(rms_norm(residual, norm, shape.eps)),
            None => Cow::Borrowed(residual),
        }
    }

    /// The norm between the residual and what a branch makes of it.
    pub(super) fn norm_before(&self, branch: Branch) -> Option<&[f32]> {
        match branch {
            Branch::Attention => self.before_attention.as_deref(),
            Branch::Mlp => self.before_mlp.as_deref(),
        }
    }

    /// Adds what a branch made to the residual.
    pub(super) fn leave(&self, branch: Branch, mut made: Vec<f32>, residual: &mut [f32], shape: &LayerShape) {
        if let Some(norm) = self.norm_after(branch) {
            rms_norm_in_place(&mut made, norm, shape.eps);
        }
        add_scaled(residual, &made, shape.residual_multiplier);
    }

    /// The norm between what a branch makes and the residual.
    pub(super) fn norm_after(&self, branch: Branch) -> Option<&[f32]> {
        match branch {
            Branch::Attention => self.after_attention.as_deref(),
            Branch::Mlp => self.after_mlp.as_deref(),
        }
    }

    /// Attention up to its output projection, in windows of `length` tokens.
    pub(super) fn attend(&self, x: &[f32], shape: &LayerShape, rotations: &Rotations, length: usize) -> Vec<f32> {
        let [mut q, mut k] = [self.q.apply(x), self.k.apply(x)];
        self.norm_heads(&mut q, &mut k, shape);
        if let Some(rotation) = rotations.get(shape) {
            rotate(&mut q, shape.head_dim, shape.q_size(), length, rotation);
            rotate(&mut k, shape.head_dim, shape.kv_size(), length, rotation);
        }
        attention(&q, &k, &self.v.apply(x), length, shape)
    }

    /// Normalizes queries and keys over as many channels as their norms have, where the layer does.
    pub(super) fn norm_heads(&self, q: &mut [f32], k: &mut [f32], shape: &LayerShape) {
        for (heads, norm) in [(q, &self.q_norm), (k, &self.k_norm)] {
            if let Some(norm) = norm {
                rms_norm_in_place(heads, norm, shape.eps);
            }
        }
    }

    /// Takes the residual stream through the layer. `seen` gets each input with the projections that multiply it.
    pub(super) fn pass(
        &self,
        residual: &mut [f32],
        shape: &LayerShape,
        rotations: &Rotations,
        length: usize,
        mut seen: impl FnMut(&[f32], &[&Projection]),
    ) {
        let x = self.enter(Branch::Attention, residual, shape);
        seen(&x, &[&self.q, &self.k, &self.v]);
        let attended = self.attend(&x, shape, rotations, length);
        drop(x);
        seen(&attended, &[&self.o]);
        self.leave(Branch::Attention, self.o.apply(&attended), residual, shape);
        let x = self.enter(Branch::Mlp, residual, shape);
        seen(&x, &[&self.gate, &self.up]);
        let inner = self.expand(&x, shape);
        drop(x);
        seen(&inner, &[&self.down]);
        self.leave(Branch::Mlp, self.down.apply(&inner), residual, shape);
    }

    /// The MLP up to its output projection.
    pub(super) fn expand(&self, x: &[f32], shape: &LayerShape) -> Vec<f32> {
        let mut gate = self.gate.apply(x);
        gated(&mut gate, &self.up.apply(x), shape.activation);
        gate
    }
}

/// Where a matrix is in the checkpoint.
pub(super) fn matrix_rows(plan: &DecoderPlan, path: &WeightPath, [rows, columns]: [usize; 2]) -> Rows {
    weight_rows(plan, path, rows as u64, columns as u64).0
}

/// The factors of a norm.
pub(super) fn norm_weight(
    checkpoint: &Checkpoint,
    plan: &DecoderPlan,
    path: &WeightPath,
    channels: usize,
) -> Result<Vec<f32>, CalibrateError> {
    let (mut rows, _) = weight_rows(plan, path, channels as u64, 1);
    if plan.norm_kind == NormKind::RmsOnePlus {
        rows.transforms.insert(0, Transform::add(1.0));
    }
    whole(checkpoint, &rows)
}

/// Rows of the checkpoint as they are converted, fp16, widened.
pub(super) fn whole(checkpoint: &Checkpoint, rows: &Rows) -> Result<Vec<f32>, CalibrateError> {
    let columns = usize::try_from(rows.columns).unwrap_or(usize::MAX).max(1);
    let count = usize::try_from(rows.count()).unwrap_or(usize::MAX);
    let step = (PIECE / rows.columns.max(1)).max(1);
    let mut wide = vec![0.0; count.saturating_mul(columns)];
    let piece = usize::try_from(step).unwrap_or(usize::MAX).saturating_mul(columns);
    wide.par_chunks_mut(piece).enumerate().try_for_each_init(Vec::new, |narrow: &mut Vec<f16>, (piece, out)| {
        let start = rows.rows.start + piece as u64 * step;
        let end = (start + step).min(rows.rows.end);
        read(checkpoint, rows, &(start..end), narrow)?;
        narrow.convert_to_f32_slice(out);
        Ok::<(), CalibrateError>(())
    })?;
    Ok(wide)
}
