//! Phi-3, Phi-3.5 and Phi-4-mini, text only: one weight for queries, keys and values, one for gate and up, rotation of a part
//! of a head, frequencies with factors of their own.

use serde_json::json;

use super::Arch;
use super::base::{Defaults, base, with_attention};
use crate::model::decoder_plan::{AttentionKind, DecoderPlan, FusedRows, WeightNames};
use crate::source::config::ConfigReader;

const WINDOW_LIMIT: usize = 1 << 30;

/// How `phi3` differs from the base plan.
///
/// # Source
/// `Phi3Config` and `Phi3ForCausalLM` in transformers 4.57.
pub(super) struct Phi3;

impl Arch for Phi3 {
    fn name(&self) -> &'static str {
        "Phi-3 and Phi-4-mini"
    }

    fn family(&self) -> &'static str {
        "phi"
    }

    fn model_types(&self) -> &'static [&'static str] {
        &["phi3"]
    }

    fn architectures(&self) -> &'static [&'static str] {
        &["Phi3ForCausalLM"]
    }

    fn plan(&self, config: &mut ConfigReader<'_>) -> DecoderPlan {
        let defaults = Defaults {
            max_position_embeddings: 4096,
            rms_norm_eps: 1e-5,
            rotates_part: true,
            original_max_position_embeddings: Some(4096),
            ..Defaults::LLAMA
        };
        let base = base(config, &defaults);
        for key in ["attention_bias", "mlp_bias", "lm_head_bias"] {
            config.only(key, &json!(false));
        }
        // Keys of the model's own code, which transformers does not read; other values are of no published model.
        for key in ["full_attn_mod", "interpolate_factor"] {
            config.only(key, &json!(1));
        }
        config.value("auto_map");
        let window = config.optional_size("sliding_window", WINDOW_LIMIT);
        let attention = window.map_or(AttentionKind::Full, |window| AttentionKind::Sliding { window });
        let weights = WeightNames { fused: fused(&base), ..WeightNames::default() };
        DecoderPlan { layers: with_attention(&base, |_| attention), weights, ..base }
    }
}

/// Queries, keys and values one behind the other in one weight, gate and up in another.
fn fused(base: &DecoderPlan) -> Vec<FusedRows> {
    let (q, kv, inner) = (base.q_size(), base.kv_size(), base.intermediate_size);
    let of = |tensor_module, tensor_rows| {
        move |(module, first_row)| FusedRows { module, tensor_module, first_row, tensor_rows }
    };
    let attention = [("self_attn.q_proj", 0), ("self_attn.k_proj", q), ("self_attn.v_proj", q + kv)];
    let mlp = [("mlp.gate_proj", 0), ("mlp.up_proj", inner)];
    let attention = attention.map(of("self_attn.qkv_proj", q + 2 * kv));
    attention.into_iter().chain(mlp.map(of("mlp.gate_up_proj", 2 * inner))).collect()
}
