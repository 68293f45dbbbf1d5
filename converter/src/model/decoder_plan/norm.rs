//! Norms: what their weights mean, and where in a layer they stand.

/// What the stored weight of a norm means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NormKind {
    /// RMSNorm times the weight.
    #[default]
    Rms,
    /// RMSNorm times one more than the weight, as Gemma stores it.
    RmsOnePlus,
}

/// How queries and keys are normalized before they are rotated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum QkNorm {
    /// Not at all.
    #[default]
    None,
    /// Each head by itself, by a weight that all heads share.
    Heads,
    /// All heads of a token together, by a weight of as many channels, as in OLMo 2.
    Whole,
}

/// Where the norms of a layer stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NormPlacement {
    /// Before attention and before the MLP.
    #[default]
    Pre,
    /// Before and after attention, before and after the MLP, as in Gemma 2 and 3.
    PreAndPost,
    /// After attention and after the MLP, before the residual is added, as in OLMo 2.
    Post,
}

/// The norms of a layer by their modules in the checkpoint, where it has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayerNorms {
    /// Of the input of attention.
    pub before_attention: Option<&'static str>,
    /// Of the output of attention.
    pub after_attention: Option<&'static str>,
    /// Of the input of the MLP.
    pub before_mlp: Option<&'static str>,
    /// Of the output of the MLP.
    pub after_mlp: Option<&'static str>,
}

impl NormPlacement {
    /// The norms of a layer.
    ///
    /// # Source
    /// Module names of `LlamaDecoderLayer`, `Gemma3DecoderLayer` and `Olmo2DecoderLayer` in transformers 4.57.
    pub fn norms(self) -> LayerNorms {
        match self {
            Self::Pre => LayerNorms {
                before_attention: Some("input_layernorm"),
                after_attention: None,
                before_mlp: Some("post_attention_layernorm"),
                after_mlp: None,
            },
            Self::PreAndPost => LayerNorms {
                before_attention: Some("input_layernorm"),
                after_attention: Some("post_attention_layernorm"),
                before_mlp: Some("pre_feedforward_layernorm"),
                after_mlp: Some("post_feedforward_layernorm"),
            },
            Self::Post => LayerNorms {
                before_attention: None,
                after_attention: Some("post_attention_layernorm"),
                before_mlp: None,
                after_mlp: Some("post_feedforward_layernorm"),
            },
        }
    }
}
