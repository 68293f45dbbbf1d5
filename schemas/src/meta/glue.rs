//! What a client computes between programs that are projections and nothing else.

use serde::{Deserialize, Serialize};

/// The numbers and switches of what stands between the projections of a decoder.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Glue {
    /// Heads of queries.
    pub num_attention_heads: u64,
    /// Channels within an MLP.
    pub intermediate_size: u64,
    /// The activation of the gate, by its name in config.json: `silu` or `gelu_pytorch_tanh`.
    pub activation: String,
    /// Added to the mean square in the norms of heads, and of what attention and MLP give.
    pub rms_norm_eps: f64,
    /// Added to the mean square in the norms that read the residual.
    pub stream_norm_eps: f64,
    /// Factor of the scores of attention.
    pub query_scale: f64,
    /// Factor of what attention and MLP add to the residual.
    pub residual_multiplier: f64,
    /// Factor of the logits.
    pub logit_scale: f64,
    /// Bound of the scores of attention, `cap * tanh(scores / cap)`; none where it is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attention_softcap: Option<f64>,
    /// Bound of the logits, likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logit_softcap: Option<f64>,
    /// Whether queries and keys are normalized head by head, before they are rotated.
    #[serde(default)]
    pub head_norms: bool,
    /// The norms of each layer, in the order in which their weights stand: those of [`BEFORE_ATTENTION`](Self::BEFORE_ATTENTION),
    /// [`AFTER_ATTENTION`](Self::AFTER_ATTENTION), [`BEFORE_MLP`](Self::BEFORE_MLP) and [`AFTER_MLP`](Self::AFTER_MLP) that it has.
    pub norms: Vec<String>,
    /// Tokens that each layer looks back over, itself included; 0 for all.
    pub layer_windows: Vec<u64>,
    /// The rotary embedding of each layer, from 1; 0 for none.
    pub layer_rotations: Vec<u64>,
}

impl Glue {
    /// Of the input of attention.
    pub const BEFORE_ATTENTION: &'static str = "before_attention";
    /// Of what attention gives.
    pub const AFTER_ATTENTION: &'static str = "after_attention";
    /// Of the input of the MLP.
    pub const BEFORE_MLP: &'static str = "before_mlp";
    /// Of what the MLP gives.
    pub const AFTER_MLP: &'static str = "after_mlp";

    /// Its fractions, by their keys, those that are there.
    pub(super) fn numbers(&self) -> Vec<(&'static str, f64)> {
        let mut numbers = vec![
            ("rms_norm_eps", self.rms_norm_eps),
            ("stream_norm_eps", self.stream_norm_eps),
            ("query_scale", self.query_scale),
            ("residual_multiplier", self.residual_multiplier),
            ("logit_scale", self.logit_scale),
        ];
        numbers.extend(self.attention_softcap.map(|cap| ("attention_softcap", cap)));
        numbers.extend(self.logit_softcap.map(|cap| ("logit_softcap", cap)));
        numbers
    }
}
