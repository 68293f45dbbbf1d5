//! The sizes of a model's training step.

use anec_schemas::training::TrainingShape;

use super::TrainingError;
use crate::model::decoder_plan::{Activation, AttentionKind, DecoderPlan, NormKind, NormPlacement, QkNorm};
use crate::model::rope::RopeScaling;

/// The longest axis of a program.
const LONGEST_AXIS: usize = 1 << 20;

/// The shape of a model, over calls of `sequence` tokens.
///
/// # Errors
/// The model has what the programs do not.
#[expect(clippy::cast_precision_loss, reason = "heads are short")]
pub fn shape_of(plan: &DecoderPlan, sequence: usize, with_rope: bool) -> Result<TrainingShape, TrainingError> {
    let refuse =
        |key, expected: &str, found: String| Err(TrainingError::Config { key, expected: expected.to_owned(), found });
    if plan.num_key_value_heads != plan.num_attention_heads {
        let expected = format!("{}, as many as `num_attention_heads`", plan.num_attention_heads);
        return refuse("num_key_value_heads", &expected, plan.num_key_value_heads.to_string());
    }
    if plan.q_size() != plan.hidden_size {
        let expected = (plan.hidden_size / plan.num_attention_heads).to_string();
        return refuse("head_dim", &expected, plan.head_dim.to_string());
    }
    if plan.qkv_bias || plan.o_bias || plan.mlp_bias {
        return refuse("attention_bias", "no biases", "true".to_owned());
    }
    if plan.qk_norm != QkNorm::None
        || plan.norm_kind != NormKind::Rms
        || plan.norm_placement != NormPlacement::Pre
        || plan.activation != Activation::Silu
    {
        return refuse("model_type", "a model of Llama's layers", plan.model_type.clone());
    }
    for (key, found, expected) in [
        ("query_scale", plan.query_scale, (plan.head_dim as f64).powf(-0.5)),
        ("embedding_scale", f64::from(plan.embedding_scale), 1.0),
        ("residual_multiplier", plan.residual_multiplier, 1.0),
        ("logit_scale", plan.logit_scale, 1.0),
    ] {
        if (found - expected).abs() > 1e-6 * expected {
            return refuse(key, &expected.to_string(), found.to_string());
        }
    }
    if plan.attention_softcap.is_some() || plan.logit_softcap.is_some() {
        return refuse("softcap", "none", "some".to_owned());
    }
    let mut rope_theta = None;
    for layer in &plan.layers {
        if layer.attention != AttentionKind::Full {
            return refuse("sliding_window", "none", "some".to_owned());
        }
        if !with_rope {
            continue;
        }
        let Some(rope) = &layer.rope else {
            return refuse("no_rope_layers", "every layer rotated", "one that is not".to_owned());
        };
        if rope.scaling != RopeScaling::Default || rope.rotary_dim != plan.head_dim {
            return refuse("rope_scaling", "none, of all channels of a head", "another".to_owned());
        }
        if rope_theta.is_some_and(|theta| theta != rope.theta) {
            return refuse("rope_theta", "one for all layers", "several".to_owned());
        }
        rope_theta = Some(rope.theta);
    }
    let shape = TrainingShape {
        dim: plan.hidden_size,
        hidden: plan.intermediate_size,
        heads: plan.num_attention_heads,
        layers: plan.num_hidden_layers,
        sequence,
        vocabulary: plan.vocab_size,
        norm_eps: plan.rms_norm_eps,
        rope_theta,
    };
    check(&shape)?;
    Ok(shape)
}

/// Requires sizes that programs can have.
///
/// # Errors
/// A size is zero, odd where it must not be, or too large.
fn check(shape: &TrainingShape) -> Result<(), TrainingError> {
    let refuse =
        |key, expected: String, found: usize| Err(TrainingError::Config { key, expected, found: found.to_string() });
    for (key, size) in [
        ("hidden_size", shape.dim),
        ("intermediate_size", shape.hidden),
        ("num_attention_heads", shape.heads),
        ("num_hidden_layers", shape.layers),
        ("vocab_size", shape.vocabulary),
        ("sequence", shape.sequence),
    ] {
        if !(1..=LONGEST_AXIS).contains(&size) {
            return refuse(key, format!("1 to {LONGEST_AXIS}"), size);
        }
    }
    if !shape.dim.is_multiple_of(2 * shape.heads) {
        return refuse("hidden_size", format!("a multiple of twice the {} heads", shape.heads), shape.dim);
    }
    let widest = shape.heads.saturating_mul(shape.sequence).max(shape.dim.saturating_mul(8)).max(shape.hidden * 4);
    if widest > LONGEST_AXIS {
        return refuse("sequence", format!("one with axes up to {LONGEST_AXIS}"), shape.sequence);
    }
    Ok(())
}
