//! Weights of one layer, in f32.

use half::f16;
use half::slice::HalfFloatSliceExt as _;
use rayon::prelude::*;

use super::error::CalibrateError;
use super::layer::Projection;
use super::shape::layer_tensor;
use crate::model::decoder_plan::{DecoderPlan, LayerWeight};
use crate::source::checkpoint::Checkpoint;

/// Elements that are read at a time.
const PIECE: usize = 1 << 18;

/// The weights of a decoder layer.
#[derive(Clone, Debug)]
pub(super) struct LayerWeights {
    pub(super) input_norm: Vec<f32>,
    pub(super) q: Projection,
    pub(super) k: Projection,
    pub(super) v: Projection,
    pub(super) q_norm: Option<Vec<f32>>,
    pub(super) k_norm: Option<Vec<f32>>,
    pub(super) o: Projection,
    pub(super) mlp_norm: Vec<f32>,
    pub(super) gate: Projection,
    pub(super) up: Projection,
    pub(super) down: Projection,
}

impl LayerWeights {
    pub(super) fn read(checkpoint: &Checkpoint, plan: &DecoderPlan, layer: usize) -> Result<Self, CalibrateError> {
        let vector = |weight| match layer_tensor(plan, layer, weight) {
            None => Ok(None),
            Some((name, _)) => rows(checkpoint, &name, None).map(Some),
        };
        let required = |weight| vector(weight).map(Option::unwrap_or_default);
        let projection = |weight, bias| -> Result<Projection, CalibrateError> {
            let (name, shape) = layer_tensor(plan, layer, weight).unwrap_or_default();
            let inputs = shape.last().copied().unwrap_or_default();
            let weight = rows(checkpoint, &name, None)?;
            Ok(Projection { name, weight, bias: vector(bias)?, inputs })
        };
        Ok(Self {
            input_norm: required(LayerWeight::InputLayernorm)?,
            q: projection(LayerWeight::QProj, LayerWeight::QProjBias)?,
            k: projection(LayerWeight::KProj, LayerWeight::KProjBias)?,
            v: projection(LayerWeight::VProj, LayerWeight::VProjBias)?,
            q_norm: vector(LayerWeight::QNorm)?,
            k_norm: vector(LayerWeight::KNorm)?,
            o: projection(LayerWeight::OProj, LayerWeight::OProjBias)?,
            mlp_norm: required(LayerWeight::PostAttentionLayernorm)?,
            gate: projection(LayerWeight::GateProj, LayerWeight::GateProjBias)?,
            up: projection(LayerWeight::UpProj, LayerWeight::UpProjBias)?,
            down: projection(LayerWeight::DownProj, LayerWeight::DownProjBias)?,
        })
    }
}

/// Rows of a tensor as they are converted, fp16, widened; all where none are named.
pub(super) fn rows(
    checkpoint: &Checkpoint,
    name: &str,
    rows: Option<std::ops::Range<usize>>,
) -> Result<Vec<f32>, CalibrateError> {
    let shape = checkpoint.tensor(name).map(|info| info.shape.to_vec()).unwrap_or_default();
    let columns = shape.iter().skip(1).product::<usize>().max(1);
    let rows = rows.unwrap_or(0..shape.first().copied().unwrap_or_default());
    let step = (PIECE / columns).max(1);
    let mut wide = vec![0.0; rows.len() * columns];
    wide.par_chunks_mut(step * columns).enumerate().try_for_each_init(Vec::new, |narrow: &mut Vec<f16>, (piece, out)| {
        let start = rows.start + piece * step;
        checkpoint.rows_f16(name, start..start + out.len() / columns, narrow)?;
        narrow.convert_to_f32_slice(out);
        Ok::<(), CalibrateError>(())
    })?;
    checkpoint.release_rows(name, rows);
    Ok(wide)
}
