//! Keys of config.json that do not change what a forward pass computes, by the reason why.
//!
//! # Source
//! `PretrainedConfig` of transformers 4.57, and what the hub's Llama, Qwen and Mistral checkpoints carry besides.

/// All harmless keys.
pub(super) const HARMLESS: [&[&str]; 6] = [BOOKKEEPING, PRECISION, TRAINING, TOKENS, GENERATION, OUTPUTS];

/// Where the file comes from and which tool wrote it.
const BOOKKEEPING: &[&str] = &[
    "_attn_implementation_autoset",
    "_commit_hash",
    "_name_or_path",
    "architectures",
    "is_llama_config",
    "model_type",
    "task_specific_params",
    "tokenizer_class",
    "transformers.js_config",
    "transformers_version",
    "unsloth_fixed",
    "unsloth_version",
];

/// How transformers would store and run the weights: the values are in the files, the way to run them is ours.
const PRECISION: &[&str] =
    &["_attn_implementation", "attn_implementation", "dtype", "torch_dtype", "use_bfloat16", "use_cache"];

/// Initialization and dropout: nothing of it acts at inference.
const TRAINING: &[&str] = &[
    "attention_dropout",
    "embd_pdrop",
    "gradient_checkpointing",
    "hidden_dropout",
    "initializer_range",
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
    "label2id",
    "num_labels",
    "output_attentions",
    "output_hidden_states",
    "output_scores",
    "problem_type",
    "return_dict",
    "return_dict_in_generate",
    "torchscript",
];
