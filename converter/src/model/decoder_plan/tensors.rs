//! The weights of a decoder: roles, names in the checkpoint, shapes.
//!
//! # Source
//! Names: the module paths that transformers saves for `LlamaForCausalLM`, `MistralForCausalLM`, `Qwen2ForCausalLM` and
//! `Qwen3ForCausalLM`, which are the same for all four.

use super::DecoderPlan;

/// The role of a weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// Token embeddings.
    EmbedTokens,
    /// A weight of a layer.
    Layer {
        /// The layer, from 0.
        index: usize,
        /// Which one.
        weight: LayerWeight,
    },
    /// The norm after the last layer.
    Norm,
    /// The head over the vocabulary.
    LmHead,
}

/// A weight of a layer, in the order of use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LayerWeight {
    /// The norm before attention.
    InputLayernorm,
    /// Queries.
    QProj,
    /// Queries' bias.
    QProjBias,
    /// Keys.
    KProj,
    /// Keys' bias.
    KProjBias,
    /// Values.
    VProj,
    /// Values' bias.
    VProjBias,
    /// The norm of queries, by head.
    QNorm,
    /// The norm of keys, by head.
    KNorm,
    /// Output of attention.
    OProj,
    /// Its bias.
    OProjBias,
    /// The norm before the MLP.
    PostAttentionLayernorm,
    /// The gate of the MLP.
    GateProj,
    /// Its bias.
    GateProjBias,
    /// What the gate multiplies.
    UpProj,
    /// Its bias.
    UpProjBias,
    /// Output of the MLP.
    DownProj,
    /// Its bias.
    DownProjBias,
}

/// A weight that a checkpoint must have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorSpec {
    /// What it is for.
    pub role: Part,
    /// Its name in the checkpoint.
    pub name: String,
    /// Its shape; of a projection `[out, in]`.
    pub shape: Vec<usize>,
}

impl LayerWeight {
    /// All of them, in order.
    pub const ALL: [Self; 18] = [
        Self::InputLayernorm,
        Self::QProj,
        Self::QProjBias,
        Self::KProj,
        Self::KProjBias,
        Self::VProj,
        Self::VProjBias,
        Self::QNorm,
        Self::KNorm,
        Self::OProj,
        Self::OProjBias,
        Self::PostAttentionLayernorm,
        Self::GateProj,
        Self::GateProjBias,
        Self::UpProj,
        Self::UpProjBias,
        Self::DownProj,
        Self::DownProjBias,
    ];

    /// The name within a layer of the checkpoint.
    pub fn path(self) -> &'static str {
        match self {
            Self::InputLayernorm => "input_layernorm.weight",
            Self::QProj => "self_attn.q_proj.weight",
            Self::QProjBias => "self_attn.q_proj.bias",
            Self::KProj => "self_attn.k_proj.weight",
            Self::KProjBias => "self_attn.k_proj.bias",
            Self::VProj => "self_attn.v_proj.weight",
            Self::VProjBias => "self_attn.v_proj.bias",
            Self::QNorm => "self_attn.q_norm.weight",
            Self::KNorm => "self_attn.k_norm.weight",
            Self::OProj => "self_attn.o_proj.weight",
            Self::OProjBias => "self_attn.o_proj.bias",
            Self::PostAttentionLayernorm => "post_attention_layernorm.weight",
            Self::GateProj => "mlp.gate_proj.weight",
            Self::GateProjBias => "mlp.gate_proj.bias",
            Self::UpProj => "mlp.up_proj.weight",
            Self::UpProjBias => "mlp.up_proj.bias",
            Self::DownProj => "mlp.down_proj.weight",
            Self::DownProjBias => "mlp.down_proj.bias",
        }
    }

    /// The module's own name, such as `q_proj`; for a bias `q_proj_bias`.
    pub fn short_name(self) -> &'static str {
        match self {
            Self::InputLayernorm => "input_layernorm",
            Self::QProj => "q_proj",
            Self::QProjBias => "q_proj_bias",
            Self::KProj => "k_proj",
            Self::KProjBias => "k_proj_bias",
            Self::VProj => "v_proj",
            Self::VProjBias => "v_proj_bias",
            Self::QNorm => "q_norm",
            Self::KNorm => "k_norm",
            Self::OProj => "o_proj",
            Self::OProjBias => "o_proj_bias",
            Self::PostAttentionLayernorm => "post_attention_layernorm",
            Self::GateProj => "gate_proj",
            Self::GateProjBias => "gate_proj_bias",
            Self::UpProj => "up_proj",
            Self::UpProjBias => "up_proj_bias",
            Self::DownProj => "down_proj",
            Self::DownProjBias => "down_proj_bias",
        }
    }
}

impl DecoderPlan {
    /// Whether the layers have this weight.
    pub fn has(&self, weight: LayerWeight) -> bool {
        match weight {
            LayerWeight::QProjBias | LayerWeight::KProjBias | LayerWeight::VProjBias => self.qkv_bias,
            LayerWeight::OProjBias => self.o_bias,
            LayerWeight::GateProjBias | LayerWeight::UpProjBias | LayerWeight::DownProjBias => self.mlp_bias,
            LayerWeight::QNorm | LayerWeight::KNorm => self.qk_norm,
            LayerWeight::InputLayernorm
            | LayerWeight::QProj
            | LayerWeight::KProj
            | LayerWeight::VProj
            | LayerWeight::OProj
            | LayerWeight::PostAttentionLayernorm
            | LayerWeight::GateProj
            | LayerWeight::UpProj
            | LayerWeight::DownProj => true,
        }
    }

    /// The tensor in a role. Of a tied head it is that of the token embeddings.
    pub fn tensor(&self, role: Part) -> TensorSpec {
        let table = || vec![self.vocab_size, self.hidden_size];
        let (name, shape) = match role {
            Part::LmHead if !self.tie_word_embeddings => ("lm_head.weight".to_owned(), table()),
            Part::EmbedTokens | Part::LmHead => ("model.embed_tokens.weight".to_owned(), table()),
            Part::Norm => ("model.norm.weight".to_owned(), vec![self.hidden_size]),
            Part::Layer { index, weight } => {
                (format!("model.layers.{index}.{}", weight.path()), self.layer_shape(weight))
            }
        };
        TensorSpec { role, name, shape }
    }

    /// All tensors that a checkpoint must have. A tied head is not among them.
    pub fn tensors(&self) -> Vec<TensorSpec> {
        let layers = (0..self.num_hidden_layers).flat_map(|index| {
            let weights = LayerWeight::ALL.into_iter().filter(|weight| self.has(*weight));
            weights.map(move |weight| Part::Layer { index, weight })
        });
        let head = (!self.tie_word_embeddings).then_some(Part::LmHead);
        let roles = [Part::EmbedTokens].into_iter().chain(layers).chain([Part::Norm]).chain(head);
        roles.map(|role| self.tensor(role)).collect()
    }

    fn layer_shape(&self, weight: LayerWeight) -> Vec<usize> {
        let (hidden, intermediate) = (self.hidden_size, self.intermediate_size);
        match weight {
            LayerWeight::InputLayernorm
            | LayerWeight::PostAttentionLayernorm
            | LayerWeight::OProjBias
            | LayerWeight::DownProjBias => vec![hidden],
            LayerWeight::QProj => vec![self.q_size(), hidden],
            LayerWeight::QProjBias => vec![self.q_size()],
            LayerWeight::KProj | LayerWeight::VProj => vec![self.kv_size(), hidden],
            LayerWeight::KProjBias | LayerWeight::VProjBias => vec![self.kv_size()],
            LayerWeight::QNorm | LayerWeight::KNorm => vec![self.head_dim],
            LayerWeight::OProj => vec![hidden, self.q_size()],
            LayerWeight::GateProj | LayerWeight::UpProj => vec![intermediate, hidden],
            LayerWeight::GateProjBias | LayerWeight::UpProjBias => vec![intermediate],
            LayerWeight::DownProj => vec![hidden, intermediate],
        }
    }
}
