//! What calibration needs to know of a decoder: the only file here, with `weights.rs`, that reads a `DecoderPlan`.

use std::collections::BTreeMap;

use crate::model::decoder_plan::{Activation, AttentionKind, DecoderPlan};
use crate::model::rope::RopePlan;

/// Sizes and switches of a layer.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct LayerShape {
    pub(super) hidden: usize,
    pub(super) intermediate: usize,
    pub(super) heads: usize,
    pub(super) kv_heads: usize,
    pub(super) head_dim: usize,
    pub(super) eps: f32,
    pub(super) activation: Activation,
    /// Factor of the scores.
    pub(super) query_scale: f32,
    /// Bound of the scores.
    pub(super) softcap: Option<f32>,
    /// Factor of what is added to the residual.
    pub(super) residual_multiplier: f32,
    /// How many positions a query sees, its own included; all where none.
    pub(super) window: Option<usize>,
    /// Which of the [`Rotations`] it has.
    pub(super) rotation: Option<usize>,
}

impl LayerShape {
    #[expect(clippy::cast_possible_truncation, reason = "f32 is what is computed in")]
    pub(super) fn of(plan: &DecoderPlan, layer: usize) -> Self {
        let kind = plan.layers.get(layer);
        let ropes = plan.ropes();
        let rope = kind.and_then(|kind| kind.rope.as_ref());
        Self {
            hidden: plan.hidden_size,
            intermediate: plan.intermediate_size,
            heads: plan.num_attention_heads,
            kv_heads: plan.num_key_value_heads,
            head_dim: plan.head_dim,
            eps: plan.rms_norm_eps as f32,
            activation: plan.activation,
            query_scale: plan.query_scale as f32,
            softcap: plan.attention_softcap.map(|cap| cap as f32),
            residual_multiplier: plan.residual_multiplier as f32,
            window: match kind.map(|kind| kind.attention) {
                Some(AttentionKind::Sliding { window }) => Some(window),
                _ => None,
            },
            rotation: rope.and_then(|rope| ropes.iter().position(|other| *other == rope)),
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

/// Cosines and sines of the first positions, `[positions, pairs]` each.
#[derive(Clone, Debug)]
pub(super) struct Rotation {
    /// Pairs of channels that are turned: channel `i` with channel `i + pairs`.
    pub(super) pairs: usize,
    pub(super) cos: Vec<f32>,
    pub(super) sin: Vec<f32>,
}

/// Every rotation of a model once, by the number that [`LayerShape`] has.
#[derive(Clone, Debug)]
pub(super) struct Rotations(BTreeMap<usize, Rotation>);

impl Rotations {
    pub(super) fn of(plan: &DecoderPlan, positions: usize) -> Self {
        let rotation = |rope: &RopePlan| Rotation::new(rope, positions);
        Self(plan.ropes().into_iter().map(rotation).enumerate().collect())
    }

    /// The rotation of a layer, where it has one.
    pub(super) fn get(&self, shape: &LayerShape) -> Option<&Rotation> {
        self.0.get(&shape.rotation?)
    }
}

impl Rotation {
    #[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "f32 is what is computed in")]
    fn new(rope: &RopePlan, positions: usize) -> Self {
        let frequencies = rope.frequencies(positions);
        let table = |function: fn(f64) -> f64| {
            let angles = (0..positions).flat_map(|at| frequencies.inv_freq.iter().map(move |f| at as f64 * f));
            angles.map(|angle| (function(angle) * frequencies.attention_scaling) as f32).collect()
        };
        Self { pairs: frequencies.inv_freq.len(), cos: table(f64::cos), sin: table(f64::sin) }
    }
}
