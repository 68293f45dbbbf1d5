//! What a decoder-only transformer is made of, as plain data: the only thing that leaves an architecture adapter.
//!
//! Owns the sizes, the switches, and where each weight is. Never reads a file and never knows an op.

mod activation;
mod layer_kind;
mod norm;
#[cfg(test)]
pub(crate) mod testing;
mod weight_map;
mod weight_source;

pub use self::activation::Activation;
pub use self::layer_kind::{AttentionKind, LayerKind};
pub use self::norm::{LayerNorms, NormKind, NormPlacement, QkNorm};
pub use self::weight_map::{
    MissingTensor, SkipReason, TensorSpec, UnknownTensor, UnusableTensor, WeightMap, WeightMapError, WrongShape,
};
pub use self::weight_source::{FusedRows, WeightNames, WeightPath, WeightSource, WeightTransform};

use crate::model::rope::RopePlan;

/// A decoder: token embeddings, layers of attention and gated MLP, a norm, a head over the vocabulary.
///
/// Fields have the names of config.json where it has them. An adapter takes a base from its config and states what differs:
/// `DecoderPlan { qkv_bias: true, ..base }`.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own in config.json or in the model's class")]
pub struct DecoderPlan {
    /// `model_type` of config.json.
    pub model_type: String,
    /// Channels between layers.
    pub hidden_size: usize,
    /// Channels within an MLP.
    pub intermediate_size: usize,
    /// Layers.
    pub num_hidden_layers: usize,
    /// Query heads of a layer.
    pub num_attention_heads: usize,
    /// Key heads, and value heads, of a layer; a divisor of the query heads.
    pub num_key_value_heads: usize,
    /// Channels of a head; even, and not always `hidden_size / num_attention_heads`.
    pub head_dim: usize,
    /// Tokens of the vocabulary.
    pub vocab_size: usize,
    /// Positions that the model was trained for.
    pub max_position_embeddings: usize,
    /// Added to the mean square in the norms of heads, and of what attention and MLP give.
    pub rms_norm_eps: f64,
    /// Added to the mean square in the norms that read the residual; another than `rms_norm_eps` where weights are stored such
    /// that the residual has another magnitude than in the checkpoint.
    pub stream_norm_eps: f64,
    /// Whether the query, key and value projections have biases.
    pub qkv_bias: bool,
    /// Whether the output projection of attention has a bias.
    pub o_bias: bool,
    /// Whether the projections of the MLP have biases.
    pub mlp_bias: bool,
    /// How queries and keys are normalized before they are rotated.
    pub qk_norm: QkNorm,
    /// The activation of the MLP.
    pub activation: Activation,
    /// What the weights of norms mean.
    pub norm_kind: NormKind,
    /// Where the norms of a layer stand.
    pub norm_placement: NormPlacement,
    /// Factor of the scores of attention; `head_dim^-0.5` in most models.
    pub query_scale: f64,
    /// Factor of the token embeddings.
    pub embedding_scale: f32,
    /// Factor of what attention and MLP add to the residual.
    pub residual_multiplier: f64,
    /// Factor of the logits.
    pub logit_scale: f64,
    /// Bound of the scores of attention: `cap * tanh(scores / cap)` before the mask.
    pub attention_softcap: Option<f64>,
    /// Bound of the logits, likewise.
    pub logit_softcap: Option<f64>,
    /// What each layer is.
    pub layers: Vec<LayerKind>,
    /// Whether the head's weight is that of the token embeddings.
    pub tie_word_embeddings: bool,
    /// Where the weights are in the checkpoint.
    pub weights: WeightNames,
}

impl DecoderPlan {
    /// Query heads that share a key head.
    pub fn group(&self) -> usize {
        self.num_attention_heads / self.num_key_value_heads
    }

    /// Channels of all query heads.
    pub fn q_size(&self) -> usize {
        self.num_attention_heads * self.head_dim
    }

    /// Channels of all key heads, and of all value heads.
    pub fn kv_size(&self) -> usize {
        self.num_key_value_heads * self.head_dim
    }

    /// Channels that the norms of queries and of keys go over, where there are such norms.
    pub fn qk_norm_sizes(&self) -> Option<[usize; 2]> {
        match self.qk_norm {
            QkNorm::None => None,
            QkNorm::Heads => Some([self.head_dim; 2]),
            QkNorm::Whole => Some([self.q_size(), self.kv_size()]),
        }
    }

    /// Every rotary embedding once, in the order of the layers that first use it.
    pub fn ropes(&self) -> Vec<&RopePlan> {
        let mut ropes: Vec<&RopePlan> = Vec::new();
        for rope in self.layers.iter().filter_map(|layer| layer.rope.as_ref()) {
            if !ropes.contains(&rope) {
                ropes.push(rope);
            }
        }
        ropes
    }
}
