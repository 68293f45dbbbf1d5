//! Weights of one layer, in f32: as they are stored where nothing is quantized.

use anec_quantize::widen_all;
use half::f16;
use rayon::prelude::*;

use super::buffers::{Buffer, Buffers};
use super::error::CalibrateError;
use super::forward::{
    add_scaled, add_scaled_here, attention, gated_here, rms_norm_here, rms_norm_in_place, rms_norm_into, rotate,
};
use super::shape::{LayerShape, Rotations};
use crate::graph::weight_rows;
use crate::model::decoder_plan::{DecoderPlan, NormKind, WeightPath};
use crate::output::emit::read::read;
use crate::product::{in_pieces, project, project_here};
use crate::source::checkpoint::Checkpoint;
use crate::weights::encodings::blocks::to_usize;
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

    /// As [`apply`](Self::apply), into `result`, on the calling thread.
    fn apply_here(&self, x: &[f32], result: &mut Vec<f32>) {
        result.resize(x.len() / self.inputs * self.outputs(), 0.0);
        project_here(result, x, &self.weight, self.bias.as_deref(), self.inputs);
    }

    fn outputs(&self) -> usize {
        self.weight.len() / self.inputs
    }
}

/// The weights of a decoder layer, its projections as they are needed.
#[derive(Clone, Debug)]
pub(super) struct LayerWeights<P = Projection> {
    before_attention: Option<Vec<f32>>,
    after_attention: Option<Vec<f32>>,
    before_mlp: Option<Vec<f32>>,
    after_mlp: Option<Vec<f32>>,
    pub(super) q: P,
    pub(super) k: P,
    pub(super) v: P,
    pub(super) q_norm: Option<Vec<f32>>,
    pub(super) k_norm: Option<Vec<f32>>,
    pub(super) o: P,
    pub(super) gate: P,
    pub(super) up: P,
    pub(super) down: P,
}

/// How tokens pass through layers, and where what they become is kept.
#[derive(Clone, Copy)]
pub(super) struct Windows<'a> {
    pub(super) rotations: &'a Rotations,
    /// Tokens of a window.
    pub(super) length: usize,
    pub(super) buffers: &'a Buffers,
}

/// Where in a layer a branch of the residual starts or ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Branch {
    Attention,
    Mlp,
}

impl<P> LayerWeights<P> {
    /// Reads the norms; projections are what is made of where they are, their biases and their inputs.
    pub(super) fn read_with(
        checkpoint: &Checkpoint,
        plan: &DecoderPlan,
        layer: usize,
        make: impl Fn(Rows, Option<Vec<f32>>, usize) -> Result<P, CalibrateError>,
    ) -> Result<Self, CalibrateError> {
        let norms = plan.norm_placement.norms();
        let norm = |module: Option<&'static str>| {
            module.map(|module| norm_weight(checkpoint, plan, &WeightPath::weight(layer, module), plan.hidden_size))
        };
        let head_norm = |module: &'static str, channels: fn([usize; 2]) -> usize| {
            let path = WeightPath::weight(layer, module);
            plan.qk_norm_sizes().map(|sizes| norm_weight(checkpoint, plan, &path, channels(sizes)))
        };
        let (hidden, inner) = (plan.hidden_size, plan.intermediate_size);
        let projection = |module, outputs, inputs, biased: bool| -> Result<P, CalibrateError> {
            let rows = matrix_rows(plan, &WeightPath::weight(layer, module), [outputs, inputs]);
            let bias = biased
                .then(|| whole(checkpoint, &weight_rows(plan, &WeightPath::bias(layer, module), outputs as u64, 1).0));
            make(rows, bias.transpose()?, inputs)
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

    /// The norm between the residual and what a branch makes of it.
    pub(super) fn norm_before(&self, branch: Branch) -> Option<&[f32]> {
        match branch {
            Branch::Attention => self.before_attention.as_deref(),
            Branch::Mlp => self.before_mlp.as_deref(),
        }
    }

    /// The norm between what a branch makes and the residual.
    pub(super) fn norm_after(&self, branch: Branch) -> Option<&[f32]> {
        match branch {
            Branch::Attention => self.after_attention.as_deref(),
            Branch::Mlp => self.after_mlp.as_deref(),
        }
    }

    /// What a branch makes of the residual first.
    pub(super) fn enter<'a>(
        &self,
        branch: Branch,
        residual: &[f32],
        shape: &LayerShape,
        buffers: &'a Buffers,
    ) -> Buffer<'a> {
        let Some(norm) = self.norm_before(branch) else { return buffers.copy(residual) };
        let mut entered = buffers.take(residual.len());
        rms_norm_into(&mut entered, residual, norm, shape.eps);
        entered
    }

    /// Adds what a branch made to the residual.
    pub(super) fn leave(&self, branch: Branch, mut made: Vec<f32>, residual: &mut [f32], shape: &LayerShape) {
        if let Some(norm) = self.norm_after(branch) {
            rms_norm_in_place(&mut made, norm, shape.eps);
        }
        add_scaled(residual, &made, shape.residual_multiplier);
    }

    /// Normalizes queries and keys over as many channels as their norms have, where the layer does.
    pub(super) fn norm_heads(&self, q: &mut [f32], k: &mut [f32], shape: &LayerShape) {
        for (heads, norm) in [(q, &self.q_norm), (k, &self.k_norm)] {
            if let Some(norm) = norm {
                rms_norm_here(heads, norm, shape.eps);
            }
        }
    }
}

impl LayerWeights {
    pub(super) fn read(checkpoint: &Checkpoint, plan: &DecoderPlan, layer: usize) -> Result<Self, CalibrateError> {
        let make = |rows, bias, inputs| Ok(Projection { weight: whole(checkpoint, &rows)?, rows, bias, inputs });
        Self::read_with(checkpoint, plan, layer, make)
    }

    /// The projections, in the order of use.
    pub(super) fn projections(&mut self) -> [&mut Projection; 7] {
        [&mut self.q, &mut self.k, &mut self.v, &mut self.o, &mut self.gate, &mut self.up, &mut self.down]
    }

    /// The last projection of a branch.
    pub(super) fn last(&self, branch: Branch) -> &Projection {
        match branch {
            Branch::Attention => &self.o,
            Branch::Mlp => &self.down,
        }
    }

    /// Adds what a branch makes of the `inputs` of its last projection to the residual.
    pub(super) fn add(&self, branch: Branch, inputs: &[f32], residual: &mut [f32], shape: &LayerShape) {
        let (last, norm) = (self.last(branch), self.norm_after(branch));
        in_pieces((residual, shape.hidden), (inputs, last.inputs), |made, residual, inputs| {
            last.apply_here(inputs, made);
            if let Some(norm) = norm {
                rms_norm_here(made, norm, shape.eps);
            }
            add_scaled_here(residual, made, shape.residual_multiplier);
        });
    }

    /// Attention up to its output projection.
    pub(super) fn attend<'a>(&self, x: &[f32], shape: &LayerShape, windows: &Windows<'a>) -> Buffer<'a> {
        let Windows { rotations, length, buffers } = *windows;
        let (hidden, q_size, kv_size) = (shape.hidden, shape.q_size(), shape.kv_size());
        let mut result = buffers.take(x.len() / hidden * q_size);
        let pieces = result.par_chunks_mut(length * q_size).zip(x.par_chunks(length * hidden));
        pieces.for_each_init(<[Vec<f32>; 4]>::default, |[q, k, v, scores], (result, x)| {
            self.q.apply_here(x, q);
            self.k.apply_here(x, k);
            self.v.apply_here(x, v);
            self.norm_heads(q, k, shape);
            if let Some(rotation) = rotations.get(shape) {
                rotate(q, shape.head_dim, q_size, rotation);
                rotate(k, shape.head_dim, kv_size, rotation);
            }
            attention([q, k, v], shape, scores, result);
        });
        result
    }

    /// The MLP up to its output projection.
    pub(super) fn expand<'a>(&self, x: &[f32], shape: &LayerShape, buffers: &'a Buffers) -> Buffer<'a> {
        let (hidden, inner) = (shape.hidden, shape.intermediate);
        let mut result = buffers.take(x.len() / hidden * inner);
        in_pieces((&mut result, inner), (x, hidden), |up, gate, x| {
            project_here(gate, x, &self.gate.weight, self.gate.bias.as_deref(), hidden);
            self.up.apply_here(x, up);
            gated_here(gate, up, shape.activation);
        });
        result
    }

    /// Takes the residual stream through the layer. `seen` gets each input with the projections that multiply it.
    pub(super) fn pass(
        &self,
        residual: &mut [f32],
        shape: &LayerShape,
        windows: &Windows<'_>,
        mut seen: impl FnMut(&[f32], &[&Projection]),
    ) {
        let buffers = windows.buffers;
        let x = self.enter(Branch::Attention, residual, shape, buffers);
        seen(&x, &[&self.q, &self.k, &self.v]);
        let attended = self.attend(&x, shape, windows);
        drop(x);
        seen(&attended, &[&self.o]);
        self.add(Branch::Attention, &attended, residual, shape);
        drop(attended);
        let x = self.enter(Branch::Mlp, residual, shape, buffers);
        seen(&x, &[&self.gate, &self.up]);
        let inner = self.expand(&x, shape, buffers);
        drop(x);
        seen(&inner, &[&self.down]);
        self.add(Branch::Mlp, &inner, residual, shape);
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
        widen_all(narrow, out);
        Ok::<(), CalibrateError>(())
    })?;
    give_back(checkpoint, rows);
    Ok(wide)
}

/// Gives the pages of rows that many threads have read back: the system maps those around the ones that are read, so that a
/// thread leaves pages behind of what another has given back already.
pub(super) fn give_back(checkpoint: &Checkpoint, rows: &Rows) {
    checkpoint.release_rows(&rows.tensor, to_usize(rows.rows.start)..to_usize(rows.rows.end));
}
