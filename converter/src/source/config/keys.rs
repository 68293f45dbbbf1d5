//! Keys of config.json that do not change what a forward pass computes, by the reason why.
//!
//! # Source
//! `PretrainedConfig` of transformers 4.57, and what the hub's Llama, Qwen and Mistral checkpoints carry besides.

/// All harmless keys. Keys that start with an underscore are harmless too: they are private to the tool that wrote them.
pub(super) const HARMLESS: [&[&str]; 7] = [BOOKKEEPING, PRECISION, TRAINING, TOKENS, GENERATION, OUTPUTS, SUPERSEDED];

/// Fragments of names that are about what a forward pass computes. A key that nothing is known about and that has one
/// of them may change the result.
const MATHS: &[&str] = &[
    "act",
    "alibi",
    "auto_map",
    "alpha",
    "attention",
    "attn",
    "beta",
    "bias",
    "cache",
    "cap",
    "chunk",
    "clip",
    "conv",
    "dim",
    "eps",
    "expert",
    "factor",
    "ffn",
    "gate",
    "gating",
    "glu",
    "group",
    "head",
    "hidden",
    "interleave",
    "kv",
    "layer",
    "linear",
    "lora",
    "logit",
    "mamba",
    "mlp",
    "moe",
    "mult",
    "mup",
    "norm",
    "parallel",
    "percent",
    "pct",
    "position",
    "pre_attn",
    "qk",
    "ratio",
    "residual",
    "rms",
    "rope",
    "rotary",
    "router",
    "scal",
    "scale_emb",
    "shared",
    "sink",
    "skip",
    "sliding",
    "softmax",
    "sparse",
    "ssm",
    "temperature",
    "theta",
    "tie_",
    "tied",
    "topk",
    "window",
];

/// Whether a key sounds like maths: an unknown one is then an error, and a warning otherwise.
pub(super) fn sounds_like_maths(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    MATHS.iter().any(|fragment| key.contains(fragment)) || key.contains("emb") || key.contains("vocab")
}

/// Where the file comes from and which tool wrote it.
const BOOKKEEPING: &[&str] = &[
    "architectures",
    "custom_pipelines",
    "internal_version",
    "is_llama_config",
    "language",
    "license",
    "model_name",
    "model_type",
    "name",
    "task_specific_params",
    "tags",
    "tokenizer",
    "tokenizer_class",
    "transformers.js_config",
    "transformers_version",
    "unsloth_fixed",
    "unsloth_version",
];

/// How transformers would store and run the weights: the values are in the files, the way to run them is ours.
///
/// `pretraining_tp` cuts products into sums over devices, which is the same product; transformers dropped it.
const PRECISION: &[&str] = &[
    "attn_implementation",
    "cache_implementation",
    "dtype",
    "flash_attention",
    "fused_mlp",
    "fused_rotary_emb",
    "move_model_to_device",
    "pretraining_tp",
    "torch_dtype",
    "use_bfloat16",
    "use_cache",
    "use_flash_attention",
    "use_flash_attention_2",
    "use_flash_attn",
    "use_fused_rms_norm",
    "use_fused_rope",
    "use_kernel",
    "use_sdpa",
];

/// Initialization and dropout: nothing of it acts at inference.
const TRAINING: &[&str] = &[
    "attention_dropout",
    "embd_pdrop",
    "gradient_checkpointing",
    "hidden_dropout",
    "hidden_dropout_prob",
    "attention_probs_dropout_prob",
    "attn_pdrop",
    "initializer_range",
    "loss_type",
    "neftune_noise_alpha",
    "resid_pdrop",
];

/// Token numbers: for the tokenizer and the sampling loop.
const TOKENS: &[&str] = &[
    "bos_token_id",
    "decoder_start_token_id",
    "eos_token_id",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "pad_token_id",
    "prefix",
    "sep_token_id",
    "unk_token_id",
];

/// Defaults of `generate()`, from before generation_config.json.
const GENERATION: &[&str] = &[
    "bad_words_ids",
    "begin_suppress_tokens",
    "diversity_penalty",
    "do_sample",
    "early_stopping",
    "encoder_no_repeat_ngram_size",
    "exponential_decay_length_penalty",
    "length_penalty",
    "max_length",
    "max_new_tokens",
    "max_sequence_length",
    "min_new_tokens",
    "min_p",
    "model_max_length",
    "min_length",
    "no_repeat_ngram_size",
    "num_beam_groups",
    "num_beams",
    "num_return_sequences",
    "remove_invalid_values",
    "repetition_penalty",
    "suppress_tokens",
    "temperature",
    "top_k",
    "top_p",
    "typical_p",
];

/// What transformers returns, and heads of other tasks.
const OUTPUTS: &[&str] = &[
    "chunk_size_feed_forward",
    "finetuning_task",
    "id2label",
    "keys_to_ignore_at_inference",
    "label2id",
    "mask_value",
    "num_labels",
    "output_attentions",
    "output_hidden_states",
    "output_scores",
    "problem_type",
    "return_dict",
    "return_dict_in_generate",
    "torchscript",
];

/// What architectures without these features carry from the config of another. Qwen, which has windows, asks for it.
const SUPERSEDED: &[&str] = &["max_window_layers"];
