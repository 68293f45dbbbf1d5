//! A small decoder for unit tests.

use super::{Activation, AttentionKind, DecoderPlan, LayerKind, NormKind, NormPlacement, QkNorm, WeightNames};
use crate::model::rope::{RopePlan, RopeScaling};

/// Two layers of eight channels without biases.
pub(crate) fn plan() -> DecoderPlan {
    let rope = RopePlan { theta: 1e4, rotary_dim: 4, scaling: RopeScaling::Default };
    DecoderPlan {
        model_type: "llama".to_owned(),
        hidden_size: 8,
        intermediate_size: 12,
        num_hidden_layers: 2,
        num_attention_heads: 4,
        num_key_value_heads: 2,
        head_dim: 4,
        vocab_size: 10,
        max_position_embeddings: 64,
        rms_norm_eps: 1e-6,
        stream_norm_eps: 1e-6,
        qkv_bias: false,
        o_bias: false,
        mlp_bias: false,
        qk_norm: QkNorm::None,
        activation: Activation::Silu,
        norm_kind: NormKind::Rms,
        norm_placement: NormPlacement::Pre,
        query_scale: 0.5,
        embedding_scale: 1.0,
        residual_multiplier: 1.0,
        logit_scale: 1.0,
        attention_softcap: None,
        logit_softcap: None,
        layers: vec![LayerKind { attention: AttentionKind::Full, rope: Some(rope) }; 2],
        tie_word_embeddings: false,
        weights: WeightNames::default(),
    }
}
