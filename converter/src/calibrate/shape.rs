//! What calibration needs to know of a decoder: the only file here that reads a `DecoderPlan`.

use crate::model::decoder_plan::{AttentionKind, DecoderPlan, LayerWeight, Part};

/// Sizes and switches of a layer.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct LayerShape {
    pub(super) hidden: usize,
    pub(super) intermediate: usize,
    pub(super) heads: usize,
    pub(super) kv_heads: usize,
    pub(super) head_dim: usize,
    pub(super) eps: f32,
    /// Factor of the scores.
    pub(super) query_scale: f32,
    /// How many positions a query sees, its own included; all where none.
    pub(super) window: Option<usize>,
}

impl LayerShape {
    pub(super) fn of(plan: &DecoderPlan, layer: usize) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "head sizes are small")]
        let query_scale = (plan.head_dim as f32).sqrt().recip();
        #[expect(clippy::cast_possible_truncation, reason = "f32 is what is computed in")]
        let eps = plan.rms_norm_eps as f32;
        Self {
            hidden: plan.hidden_size,
            intermediate: plan.intermediate_size,
            heads: plan.num_attention_heads,
            kv_heads: plan.num_key_value_heads,
            head_dim: plan.head_dim,
            eps,
            query_scale,
            window: match plan.attention.get(layer) {
                Some(AttentionKind::Sliding { window }) => Some(*window),
                _ => None,
            },
        }
    }

    /// Channels of all query heads.
    pub(super) fn q_size(&self) -> usize {
        self.heads * self.head_dim
    }

    /// Channels of all key heads.
    pub(super) fn kv_size(&self) -> usize {
        self.kv_heads * self.head_dim
    }
}

/// Cosines and sines of the first positions, `[positions, head_dim / 2]` each.
#[derive(Clone, Debug)]
pub(super) struct Rotation {
    pub(super) cos: Vec<f32>,
    pub(super) sin: Vec<f32>,
}

impl Rotation {
    #[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "f32 is what is computed in")]
    pub(super) fn of(plan: &DecoderPlan, positions: usize) -> Self {
        let frequencies = plan.rope.frequencies(positions.min(plan.max_position_embeddings));
        let table = |function: fn(f64) -> f64| {
            let angles = (0..positions).flat_map(|at| frequencies.inv_freq.iter().map(move |f| at as f64 * f));
            angles.map(|angle| (function(angle) * frequencies.attention_scaling) as f32).collect()
        };
        Self { cos: table(f64::cos), sin: table(f64::sin) }
    }
}

/// The tensor of a layer's weight, where the layer has it: its name and shape.
pub(super) fn layer_tensor(plan: &DecoderPlan, layer: usize, weight: LayerWeight) -> Option<(String, Vec<usize>)> {
    plan.has(weight).then(|| {
        let spec = plan.tensor(Part::Layer { index: layer, weight });
        (spec.name, spec.shape)
    })
}

/// The name of the tensor of the head, embeddings or last norm.
pub(super) fn tensor_name(plan: &DecoderPlan, part: Part) -> String {
    plan.tensor(part).name
}
