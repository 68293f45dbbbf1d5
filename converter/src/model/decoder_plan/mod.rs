//! What a decoder-only transformer is made of, as plain data: the only thing that leaves an architecture adapter.
//!
//! Owns the sizes, the switches, and the name and shape of every weight. Never reads a file and never knows an op.

mod tensors;
mod weight_map;

pub use self::tensors::{LayerWeight, Part, TensorSpec};
pub use self::weight_map::{SkipReason, WeightMap, WeightMapError};

use crate::model::rope::RopePlan;

/// A decoder: token embeddings, layers of attention and gated MLP, a norm, a head over the vocabulary.
///
/// Norms are RMSNorm, the activation is SiLU, attention is scaled by `head_dim^-0.5`. Fields have the names of
/// config.json where it has them.
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
    /// Added to the mean square in every norm.
    pub rms_norm_eps: f64,
    /// Whether the query, key and value projections have biases.
    pub qkv_bias: bool,
    /// Whether the output projection of attention has a bias.
    pub o_bias: bool,
    /// Whether the projections of the MLP have biases.
    pub mlp_bias: bool,
    /// Whether queries and keys are normalized, head by head, before they are rotated.
    pub qk_norm: bool,
    /// The rotary embedding.
    pub rope: RopePlan,
    /// What each layer attends to.
    pub attention: Vec<AttentionKind>,
    /// Whether the head's weight is that of the token embeddings.
    pub tie_word_embeddings: bool,
}

/// What the queries of a layer attend to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum AttentionKind {
    /// All positions up to their own.
    #[default]
    Full,
    /// The last positions up to their own.
    Sliding {
        /// How many, their own included.
        window: usize,
    },
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
}
