//! candle-transformers' model code, for the configurations that it implements.

use candle_core::{DType, Tensor};
use candle_nn::Activation;
use candle_transformers::models::{llama, mistral, qwen2, qwen3};

use super::checkpoint::{Checkpoint, MODEL};
use super::config::{OracleConfig, RopeScaling};
use super::{DEVICE, OracleError};

/// A model of candle-transformers.
pub(super) enum LibraryModel {
    Llama { model: Box<llama::Llama>, config: llama::Config },
    Mistral(Box<mistral::Model>),
    Qwen2 { model: Box<qwen2::Model>, head: Tensor },
    Qwen3 { model: Box<qwen3::Model>, head: Tensor },
}

impl LibraryModel {
    /// The model, or `None` where the library computes something else than the configuration says.
    pub(super) fn new(config: &OracleConfig, checkpoint: &Checkpoint) -> Result<Option<Self>, OracleError> {
        // The library's windows are one token longer than those of the models, and it forgets them in single steps.
        let slides = config.windows.iter().any(Option::is_some);
        let derived_head_dim = config.head_dim * config.num_attention_heads == config.hidden_size;
        let biased = |name: &str| checkpoint.has(&format!("model.layers.0.{name}.bias"));
        let qkv_biases = ["q_proj", "k_proj", "v_proj"].map(|name| biased(&format!("self_attn.{name}")));
        let other_biases = biased("self_attn.o_proj") || biased("mlp.gate_proj") || biased("mlp.down_proj");
        let is_renamed = checkpoint.prefix() != MODEL;
        if is_renamed || slides || other_biases || qkv_biases != [config.model_type == "qwen2"; 3] {
            return Ok(None);
        }
        let model = match (config.model_type.as_str(), &config.rope_scaling) {
            ("llama", RopeScaling::None | RopeScaling::Llama3 { .. }) if derived_head_dim => {
                let config = llama_config(config);
                let model = llama::Llama::load(checkpoint.variables(), &config)?;
                Self::Llama { model: Box::new(model), config }
            }
            ("mistral", RopeScaling::None) if !config.tie_word_embeddings => {
                Self::Mistral(Box::new(mistral::Model::new(&mistral_config(config), checkpoint.variables())?))
            }
            ("qwen2", RopeScaling::None) if derived_head_dim => {
                let model = qwen2::Model::new(&qwen2_config(config), checkpoint.variables())?;
                Self::Qwen2 { model: Box::new(model), head: head(config, checkpoint)? }
            }
            ("qwen3", RopeScaling::None) => {
                let model = qwen3::Model::new(&qwen3_config(config), checkpoint.variables())?;
                Self::Qwen3 { model: Box::new(model), head: head(config, checkpoint)? }
            }
            _ => return Ok(None),
        };
        Ok(Some(model))
    }

    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Llama { .. } => "llama",
            Self::Mistral(_) => "mistral",
            Self::Qwen2 { .. } => "qwen2",
            Self::Qwen3 { .. } => "qwen3",
        }
    }

    pub(super) fn logits(&mut self, tokens: &[u32]) -> Result<Vec<Vec<f32>>, candle_core::Error> {
        let single = |token: u32| Tensor::new(&[[token]], &DEVICE);
        match self {
            // These two give the logits after the last token only, so tokens go one by one.
            Self::Llama { model, config } => {
                let mut cache = llama::Cache::new(true, DType::F32, config, &DEVICE)?;
                let step = |(position, token): (usize, &u32)| {
                    model.forward(&single(*token)?, position, &mut cache)?.flatten_all()?.to_vec1()
                };
                tokens.iter().enumerate().map(step).collect()
            }
            Self::Mistral(model) => {
                model.clear_kv_cache();
                let step = |(position, token): (usize, &u32)| {
                    model.forward(&single(*token)?, position)?.flatten_all()?.to_vec1()
                };
                tokens.iter().enumerate().map(step).collect()
            }
            Self::Qwen2 { model, head } => {
                model.clear_kv_cache();
                let tokens = Tensor::new(tokens, &DEVICE)?.unsqueeze(0)?;
                model.forward(&tokens, 0, None)?.squeeze(0)?.matmul(&head.t()?)?.to_vec2()
            }
            Self::Qwen3 { model, head } => {
                // The model keeps its cache to itself; a fresh clone has an empty one.
                let mut model = model.clone();
                let tokens = Tensor::new(tokens, &DEVICE)?.unsqueeze(0)?;
                model.forward(&tokens, 0)?.squeeze(0)?.matmul(&head.t()?)?.to_vec2()
            }
        }
    }
}

/// Whether the token embeddings are the weight of the LM head. What a bare decoder gives is told apart by them, whether they
/// were its head or not.
pub(super) fn is_tied(config: &OracleConfig, checkpoint: &Checkpoint) -> bool {
    let is_bare = checkpoint.prefix().is_empty();
    (config.tie_word_embeddings || is_bare) && !checkpoint.has("lm_head.weight")
}

/// The weight of the LM head.
pub(super) fn head(config: &OracleConfig, checkpoint: &Checkpoint) -> Result<Tensor, OracleError> {
    if is_tied(config, checkpoint) {
        return checkpoint.tensor(&format!("{}embed_tokens.weight", checkpoint.prefix()));
    }
    checkpoint.tensor("lm_head.weight")
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the library keeps these in f32 and usize")]
fn llama_config(config: &OracleConfig) -> llama::Config {
    let rope_scaling = match config.rope_scaling {
        RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_max_position_embeddings } => {
            Some(llama::Llama3RopeConfig {
                factor: factor as f32,
                low_freq_factor: low_freq_factor as f32,
                high_freq_factor: high_freq_factor as f32,
                original_max_position_embeddings: original_max_position_embeddings as usize,
                rope_type: llama::Llama3RopeType::Llama3,
            })
        }
        _ => None,
    };
    llama::Config {
        hidden_size: config.hidden_size,
        intermediate_size: config.intermediate_size,
        vocab_size: config.vocab_size,
        num_hidden_layers: config.num_hidden_layers,
        num_attention_heads: config.num_attention_heads,
        num_key_value_heads: config.num_key_value_heads,
        use_flash_attn: false,
        rms_norm_eps: config.rms_norm_eps,
        rope_theta: config.rope_theta as f32,
        bos_token_id: None,
        eos_token_id: None,
        rope_scaling,
        max_position_embeddings: config.max_position_embeddings,
        tie_word_embeddings: config.tie_word_embeddings,
    }
}

fn mistral_config(config: &OracleConfig) -> mistral::Config {
    mistral::Config {
        vocab_size: config.vocab_size,
        hidden_size: config.hidden_size,
        intermediate_size: config.intermediate_size,
        num_hidden_layers: config.num_hidden_layers,
        num_attention_heads: config.num_attention_heads,
        head_dim: Some(config.head_dim),
        num_key_value_heads: config.num_key_value_heads,
        hidden_act: Activation::Silu,
        max_position_embeddings: config.max_position_embeddings,
        rms_norm_eps: config.rms_norm_eps,
        rope_theta: config.rope_theta,
        sliding_window: None,
        use_flash_attn: false,
    }
}

fn qwen2_config(config: &OracleConfig) -> qwen2::Config {
    qwen2::Config {
        vocab_size: config.vocab_size,
        hidden_size: config.hidden_size,
        intermediate_size: config.intermediate_size,
        num_hidden_layers: config.num_hidden_layers,
        num_attention_heads: config.num_attention_heads,
        num_key_value_heads: config.num_key_value_heads,
        max_position_embeddings: config.max_position_embeddings,
        // The library applies the window whatever `use_sliding_window` says.
        sliding_window: config.max_position_embeddings,
        max_window_layers: config.num_hidden_layers,
        tie_word_embeddings: config.tie_word_embeddings,
        rope_theta: config.rope_theta,
        rms_norm_eps: config.rms_norm_eps,
        use_sliding_window: false,
        hidden_act: Activation::Silu,
    }
}

fn qwen3_config(config: &OracleConfig) -> qwen3::Config {
    qwen3::Config {
        vocab_size: config.vocab_size,
        hidden_size: config.hidden_size,
        intermediate_size: config.intermediate_size,
        num_hidden_layers: config.num_hidden_layers,
        num_attention_heads: config.num_attention_heads,
        head_dim: config.head_dim,
        attention_bias: false,
        num_key_value_heads: config.num_key_value_heads,
        max_position_embeddings: config.max_position_embeddings,
        sliding_window: None,
        max_window_layers: config.num_hidden_layers,
        tie_word_embeddings: config.tie_word_embeddings,
        rope_theta: config.rope_theta,
        rms_norm_eps: config.rms_norm_eps,
        use_sliding_window: false,
        hidden_act: Activation::Silu,
    }
}
