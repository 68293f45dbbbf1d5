use serde_json::json;

use super::*;
use crate::error::Hint as _;
use crate::model::decoder_plan::{AttentionKind, FusedRows, NormPlacement, QkNorm};
use crate::model::rope::{Llama3, LongRope, RopePlan, RopeScaling};

/// A config that every adapter accepts under its `model_type`.
fn config(model_type: &str, changes: &Value) -> Map<String, Value> {
    let base = json!({
        "architectures": null, "model_type": model_type, "vocab_size": 128, "hidden_size": 64, "intermediate_size": 96,
        "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 512,
        "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "hidden_act": "silu", "torch_dtype": "bfloat16",
        "transformers_version": "4.57.6", "use_cache": true, "initializer_range": 0.02, "attention_dropout": 0.0,
        "bos_token_id": 1, "eos_token_id": [2, 3], "pad_token_id": null, "tie_word_embeddings": false,
    });
    let mut base = base.as_object().expect("an object").clone();
    for (key, value) in changes.as_object().expect("an object") {
        base.insert(key.clone(), value.clone());
    }
    base
}

fn plan_of(model_type: &str, changes: &Value) -> Result<DecoderPlan, ConfigError> {
    plan(ArchChoice::Auto, &config(model_type, changes), &[])
}

fn violated_keys(model_type: &str, changes: &Value) -> Vec<String> {
    match plan_of(model_type, changes) {
        Err(ConfigError::Violations(violations)) => violations.into_iter().map(|violation| violation.key).collect(),
        other => panic!("expected violations, found {other:?}"),
    }
}

/// The rotary embedding that all layers have.
fn rope(plan: &DecoderPlan) -> &RopePlan {
    match plan.ropes()[..] {
        [rope] => rope,
        ref ropes => panic!("expected one rotary embedding, found {ropes:?}"),
    }
}

fn attention_of(plan: &DecoderPlan) -> Vec<AttentionKind> {
    plan.layers.iter().map(|layer| layer.attention).collect()
}

const SLIDING: fn(usize) -> AttentionKind = |window| AttentionKind::Sliding { window };

#[test]
fn every_adapter_accepts_its_own_model_type_and_class() {
    for arch in ARCHS {
        for model_type in arch.model_types() {
            let class = arch.architectures().first().expect("a class");
            let mut changes = json!({"architectures": [class]});
            if arch.family() == "gemma" {
                changes["hidden_act"] = Value::Null;
            }
            let plan = plan_of(model_type, &changes).expect("a plan");
            assert_eq!(plan.model_type, *model_type);
            assert_eq!(plan.layers.len(), plan.num_hidden_layers);
            assert!(plan.ropes().iter().all(|rope| rope.rotary_dim == plan.head_dim));
            if !class.ends_with("ForCausalLM") {
                continue;
            }
            let bare = json!([class.replace("ForCausalLM", "Model")]);
            changes["architectures"] = bare;
            assert!(plan_of(model_type, &changes).is_ok(), "{model_type}");
        }
    }
}

#[test]
fn olmo2_normalizes_behind_its_branches_and_over_all_heads() {
    let plan = plan_of("olmo2", &json!({"attention_bias": true})).expect("a plan");
    assert_eq!((plan.norm_placement, plan.qk_norm), (NormPlacement::Post, QkNorm::Whole));
    assert_eq!(plan.qk_norm_sizes(), Some([64, 32]));
    assert!(plan.qkv_bias && plan.o_bias && !plan.mlp_bias);
    let mut config = config("olmo2", &json!({}));
    config.shift_remove("rms_norm_eps");
    let plan = self::plan(ArchChoice::Family("olmo"), &config, &[]).expect("a plan");
    assert_eq!(plan.rms_norm_eps.to_bits(), 1e-5_f64.to_bits());
}

#[test]
fn phi3_has_its_projections_in_two_weights() {
    let plan = plan_of("phi3", &json!({"sliding_window": 64, "auto_map": {"AutoConfig": "x"}})).expect("a plan");
    assert_eq!(attention_of(&plan), vec![SLIDING(64); 3]);
    let of = |module| plan.weights.fused.iter().copied().find(|fused| fused.module == module);
    let qkv = "self_attn.qkv_proj";
    let rows =
        |module, tensor_module, first_row, tensor_rows| FusedRows { module, tensor_module, first_row, tensor_rows };
    assert_eq!(of("self_attn.q_proj"), Some(rows("self_attn.q_proj", qkv, 0, 128)));
    assert_eq!(of("self_attn.k_proj"), Some(rows("self_attn.k_proj", qkv, 64, 128)));
    assert_eq!(of("self_attn.v_proj"), Some(rows("self_attn.v_proj", qkv, 96, 128)));
    assert_eq!(of("mlp.up_proj"), Some(rows("mlp.up_proj", "mlp.gate_up_proj", 96, 192)));
    assert_eq!(attention_of(&plan_of("phi3", &json!({})).expect("a plan")), vec![AttentionKind::Full; 3]);
    for key in ["attention_bias", "mlp_bias", "lm_head_bias", "full_attn_mod", "interpolate_factor"] {
        assert_eq!(violated_keys("phi3", &json!({key: 2})), [key]);
    }
}

#[test]
fn phi3_rotates_a_part_of_a_head_by_the_list_for_its_context() {
    let scaling = json!({"type": "longrope", "short_factor": vec![1.0; 6], "long_factor": vec![4.0; 6]});
    let changes = json!({
        "partial_rotary_factor": 0.75, "rope_scaling": scaling, "original_max_position_embeddings": 128,
    });
    let plan = plan_of("phi3", &changes).expect("a plan");
    assert_eq!((plan.head_dim, rope(&plan).rotary_dim), (16, 12));
    let stretch = (1.0 + 4_f64.ln() / 128_f64.ln()).sqrt();
    let RopeScaling::LongRope(LongRope { attention_factor, original_max_position_embeddings, .. }) =
        rope(&plan).scaling
    else {
        panic!("longrope")
    };
    assert!((attention_factor - stretch).abs() < 1e-12);
    assert_eq!(original_max_position_embeddings, 128);
    let (short, long) = (rope(&plan).frequencies(128), rope(&plan).frequencies(129));
    assert!(short.inv_freq.iter().zip(&long.inv_freq).all(|(short, long)| (short / long - 4.0).abs() < 1e-12));
    let of_whole_head = json!({"type": "longrope", "short_factor": vec![1.0; 8], "long_factor": vec![4.0; 8]});
    let changes = json!({"partial_rotary_factor": 0.75, "rope_scaling": of_whole_head});
    assert_eq!(violated_keys("phi3", &changes), ["rope_scaling.long_factor", "rope_scaling.short_factor"]);
}

#[test]
fn llama_takes_biases_head_dim_and_llama3_scaling_from_its_config() {
    let plan = plan_of(
        "llama",
        &json!({
            "attention_bias": true, "mlp_bias": true, "head_dim": 32, "pretraining_tp": 1, "rope_theta": 5e5,
            "rope_scaling": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                             "original_max_position_embeddings": 128},
        }),
    )
    .expect("a plan");
    assert!(plan.qkv_bias && plan.o_bias && plan.mlp_bias && plan.qk_norm == QkNorm::None);
    assert_eq!((plan.head_dim, plan.q_size()), (32, 128));
    let llama3 =
        Llama3 { factor: 8.0, low_freq_factor: 1.0, high_freq_factor: 4.0, original_max_position_embeddings: 128 };
    assert_eq!(rope(&plan).scaling, RopeScaling::Llama3(llama3));
}

#[test]
fn llama_of_the_first_release_has_a_key_head_for_each_query_head() {
    let mut config = config("llama", &json!({}));
    for key in ["num_key_value_heads", "rope_theta", "max_position_embeddings", "rms_norm_eps", "hidden_act"] {
        config.shift_remove(key);
    }
    let plan = plan(ArchChoice::Family("llama"), &config, &[]).expect("a plan");
    assert_eq!((plan.num_key_value_heads, plan.group(), plan.head_dim), (4, 1, 16));
    assert_eq!((plan.max_position_embeddings, rope(&plan).theta.to_bits()), (2048, 10_000_f64.to_bits()));
}

#[test]
fn qwen2_has_biases_on_queries_keys_and_values_only() {
    let plan = plan_of("qwen2", &json!({"use_mrope": false})).expect("a plan");
    assert!(plan.qkv_bias && !plan.o_bias && !plan.mlp_bias && plan.qk_norm == QkNorm::None);
}

#[test]
fn qwen3_normalizes_heads_of_128_channels_by_default() {
    let plan = plan_of("qwen3", &json!({})).expect("a plan");
    assert!(plan.qk_norm == QkNorm::Heads && !plan.qkv_bias && !plan.o_bias);
    assert_eq!((plan.head_dim, plan.q_size(), plan.hidden_size), (128, 512, 64));
    let plan = plan_of("qwen3", &json!({"head_dim": 16, "attention_bias": true})).expect("a plan");
    assert!(plan.qkv_bias && plan.o_bias && plan.head_dim == 16);
    assert_eq!(violated_keys("qwen3", &json!({"head_dim": null})), ["head_dim"]);
}

#[test]
fn qwen_windows_act_only_where_they_are_in_use() {
    let attention = |changes: &Value| plan_of("qwen2", changes).map(|plan| attention_of(&plan));
    let full = vec![AttentionKind::Full; 3];
    assert_eq!(attention(&json!({"sliding_window": 64, "max_window_layers": 1})), Ok(full.clone()));
    assert_eq!(
        attention(&json!({"use_sliding_window": true, "sliding_window": null, "max_window_layers": 1})),
        Ok(full.clone())
    );
    assert_eq!(attention(&json!({"use_sliding_window": true, "sliding_window": 64})), Ok(full.clone()));
    let upper = vec![AttentionKind::Full, SLIDING(64), SLIDING(64)];
    assert_eq!(
        attention(&json!({"use_sliding_window": true, "sliding_window": 64, "max_window_layers": 1})),
        Ok(upper)
    );
    assert_eq!(attention(&json!({"use_sliding_window": true, "max_window_layers": 0})), Ok(vec![SLIDING(4096); 3]));
    let types = json!(["sliding_attention", "full_attention", "sliding_attention"]);
    let mixed = vec![SLIDING(64), AttentionKind::Full, SLIDING(64)];
    assert_eq!(
        attention(
            &json!({"use_sliding_window": true, "sliding_window": 64, "max_window_layers": 1, "layer_types": types})
        ),
        Ok(mixed)
    );
}

#[test]
fn layer_types_that_cannot_be_are_refused() {
    for types in [
        json!(["sliding_attention", "full_attention", "full_attention"]),
        json!(["full_attention"]),
        json!(["full_attention", "full_attention", "linear_attention"]),
        json!("full_attention"),
        json!([]),
    ] {
        assert_eq!(violated_keys("qwen3", &json!({"layer_types": types})), ["layer_types"]);
    }
    assert_eq!(violated_keys("qwen2", &json!({"max_window_layers": -1})), ["max_window_layers"]);
}

#[test]
fn mistral_slides_in_every_layer_unless_its_window_is_null() {
    let attention = |changes: &Value| plan_of("mistral", changes).map(|plan| attention_of(&plan));
    assert_eq!(attention(&json!({"sliding_window": 64})), Ok(vec![SLIDING(64); 3]));
    assert_eq!(attention(&json!({"sliding_window": null})), Ok(vec![AttentionKind::Full; 3]));
    assert_eq!(attention(&json!({})), Ok(vec![SLIDING(4096); 3]));
    assert_eq!(violated_keys("mistral", &json!({"sliding_window": 0})), ["sliding_window"]);
    let nemo = plan_of("mistral", &json!({"head_dim": 32, "sliding_window": null})).expect("a plan");
    assert_eq!((nemo.head_dim, nemo.q_size()), (32, 128));
}

/// A Gemma 3 of the base config, which has another name for the activation.
fn gemma(changes: &Value) -> Value {
    let mut all = json!({"hidden_act": null, "hidden_activation": "gelu_pytorch_tanh", "num_hidden_layers": 6});
    for (key, value) in changes.as_object().expect("an object") {
        all[key] = value.clone();
    }
    all
}

#[test]
fn gemma3_turns_its_sliding_layers_by_another_base() {
    let linear = json!({"rope_type": "linear", "factor": 8.0});
    let changes = json!({"sliding_window": 64, "rope_theta": 1e6, "rope_scaling": linear, "head_dim": 32});
    let plan = plan_of("gemma3_text", &gemma(&changes)).expect("a plan");
    let mut attention = vec![SLIDING(64); 5];
    attention.push(AttentionKind::Full);
    assert_eq!(attention_of(&plan), attention);
    let local = RopePlan { theta: 1e4, rotary_dim: 32, scaling: RopeScaling::Default };
    let global = RopePlan { theta: 1e6, rotary_dim: 32, scaling: RopeScaling::Linear { factor: 8.0 } };
    assert_eq!(plan.ropes(), [&local, &global]);
}

#[test]
fn gemma3_has_the_defaults_of_transformers() {
    let mut config = config("gemma3_text", &gemma(&json!({})));
    for key in
        ["num_key_value_heads", "rope_theta", "max_position_embeddings", "tie_word_embeddings", "hidden_activation"]
    {
        config.shift_remove(key);
    }
    let plan = plan(ArchChoice::Family("gemma"), &config, &[]).expect("a plan");
    assert_eq!((plan.num_key_value_heads, plan.head_dim, plan.max_position_embeddings), (4, 256, 131_072));
    assert!(plan.tie_word_embeddings && plan.qk_norm == QkNorm::Heads && !plan.qkv_bias);
    assert_eq!(plan.query_scale.to_bits(), 0.0625_f64.to_bits());
    assert_eq!(attention_of(&plan)[..2], [SLIDING(4096); 2]);
    let bases: Vec<f64> = plan.ropes().iter().map(|rope| rope.theta).collect();
    assert_eq!(bases, [1e4, 1e6]);
}

#[test]
fn gemma3_kinds_of_layers_come_from_their_list_before_the_pattern() {
    let types = json!(["full_attention", "sliding_attention", "full_attention"]);
    let of = |changes: &Value| plan_of("gemma3_text", &gemma(changes)).map(|plan| attention_of(&plan));
    let mixed = vec![AttentionKind::Full, SLIDING(64), AttentionKind::Full];
    let listed = json!({
        "sliding_window": 64, "num_hidden_layers": 3, "layer_types": types, "sliding_window_pattern": 3,
        "_sliding_window_pattern": 6,
    });
    assert_eq!(of(&listed), Ok(mixed));
    let pattern = json!({"sliding_window": 64, "num_hidden_layers": 3, "sliding_window_pattern": 2});
    assert_eq!(of(&pattern), Ok(vec![SLIDING(64), AttentionKind::Full, SLIDING(64)]));
}

#[test]
fn the_text_of_a_gemma3_with_pictures_is_that_of_gemma3() {
    let text = json!({
        "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 6, "model_type": "gemma3_text", "head_dim": 16,
        "rope_scaling": {"rope_type": "linear", "factor": 8.0}, "sliding_window": 64,
    });
    let whole = |text: &Value| {
        let config = json!({
            "architectures": ["Gemma3ForConditionalGeneration"], "model_type": "gemma3", "text_config": text,
            "vision_config": {"hidden_size": 32}, "mm_tokens_per_image": 256, "boi_token_index": 5,
        });
        plan(ArchChoice::Family("gemma"), config.as_object().expect("an object"), &[])
    };
    let plan = whole(&text).expect("a plan");
    assert_eq!((plan.num_attention_heads, plan.num_key_value_heads, plan.vocab_size), (8, 4, 262_208));
    assert!(plan.tie_word_embeddings && plan.weights.other_parts.contains(&"vision_tower."));
    assert_eq!(attention_of(&plan)[4..], [SLIDING(64), AttentionKind::Full]);
    let error = whole(&json!({"hidden_size": 64, "unheard_of_norm": 2})).expect_err("unknown");
    assert!(matches!(error, ConfigError::UnknownKeys(keys) if keys[0].key == "unheard_of_norm"));
    assert!(matches!(whole(&json!(3)), Err(ConfigError::Violations(_))));
}

#[test]
fn a_scaled_stream_leaves_norms_as_they_were() {
    let plan = plan_of("gemma3_text", &gemma(&json!({"rms_norm_eps": 1e-6}))).expect("a plan");
    // The root of 64 channels over 16.
    assert_eq!(plan.embedding_scale.to_bits(), 0.5_f32.to_bits());
    assert_eq!(plan.stream_norm_eps.to_bits(), (1e-6_f64 / 256.0).to_bits());
    let scaled: Vec<&str> = plan.weights.transforms.iter().map(|of| of.module).collect();
    assert_eq!(scaled, ["post_attention_layernorm", "post_feedforward_layernorm"]);
}

#[test]
fn what_gemma3_does_not_compute_here_is_refused() {
    for (key, value) in [
        ("final_logit_softcapping", json!(30.0)),
        ("attn_logit_softcapping", json!(50.0)),
        ("use_bidirectional_attention", json!(true)),
        ("query_pre_attn_scalar", json!(0)),
        ("sliding_window", json!(null)),
        ("sliding_window_pattern", json!(0)),
        ("rope_local_base_freq", json!(1)),
        ("hidden_activation", json!("gelu")),
    ] {
        assert_eq!(violated_keys("gemma3_text", &gemma(&json!({key: value}))), [key]);
    }
    let known = gemma(&json!({"final_logit_softcapping": null, "use_bidirectional_attention": false}));
    assert!(plan_of("gemma3_text", &known).is_ok());
}

#[test]
fn values_that_do_not_fit_together_are_refused() {
    assert_eq!(violated_keys("llama", &json!({"num_key_value_heads": 3})), ["num_key_value_heads"]);
    assert_eq!(violated_keys("llama", &json!({"hidden_size": 66})), ["hidden_size"]);
    assert_eq!(violated_keys("llama", &json!({"head_dim": 15})), ["head_dim"]);
    assert_eq!(violated_keys("llama", &json!({"hidden_act": "gelu"})), ["hidden_act"]);
    assert_eq!(violated_keys("llama", &json!({"rms_norm_eps": 0.0})), ["rms_norm_eps"]);
    assert_eq!(violated_keys("llama", &json!({"tie_word_embeddings": "yes"})), ["tie_word_embeddings"]);
    assert_eq!(
        violated_keys("llama", &json!({"head_dim": 2, "rope_scaling": {"type": "dynamic", "factor": 2.0}})),
        ["head_dim"]
    );
    let many =
        json!({"vocab_size": -1, "hidden_size": 1_u64 << 40, "num_hidden_layers": 0, "num_attention_heads": "4"});
    let expected = ["hidden_size", "num_attention_heads", "num_hidden_layers", "vocab_size"];
    assert_eq!(violated_keys("llama", &many), expected);
}

#[test]
fn keys_of_one_architecture_are_unknown_to_another() {
    let unknown = |model_type: &str, changes: &Value| match plan_of(model_type, changes) {
        Err(ConfigError::UnknownKeys(keys)) => keys.into_iter().map(|key| key.key).collect::<Vec<_>>(),
        other => panic!("expected unknown keys, found {other:?}"),
    };
    assert_eq!(unknown("llama", &json!({"sliding_window": 64})), ["sliding_window"]);
    assert_eq!(unknown("mistral", &json!({"mlp_bias": true, "attention_bias": true})), ["attention_bias", "mlp_bias"]);
    assert_eq!(
        unknown("qwen2", &json!({"auto_map": {"AutoModel": "x"}, "rope_interleaved": true})),
        ["auto_map", "rope_interleaved"]
    );
    let config = config("llama", &json!({"sliding_window": 64}));
    assert!(plan(ArchChoice::Auto, &config, &["sliding_window".to_owned()]).is_ok());
}

#[test]
fn the_flag_must_fit_the_config() {
    let of = |choice, model_type: &str| plan(choice, &config(model_type, &json!({})), &[]);
    assert_eq!(of(ArchChoice::Family("qwen"), "qwen2").map(|plan| plan.qkv_bias), Ok(true));
    assert_eq!(of(ArchChoice::Family("qwen"), "qwen3").map(|plan| plan.qk_norm), Ok(QkNorm::Heads));
    let error = of(ArchChoice::Family("mistral"), "qwen3").expect_err("a mismatch");
    assert_eq!(error.to_string(), "Cannot use `--arch mistral`: config.json has `model_type` `qwen3`");
    assert_eq!(error.hint().as_deref(), Some("use `--arch qwen` or `--arch auto`"));
}

#[test]
fn unknown_model_types_name_the_nearest_and_list_all() {
    let hint = |model_type: &str| plan_of(model_type, &json!({})).expect_err("unknown").hint();
    let all = "upported are gemma3, gemma3_text, granite, llama, mistral, olmo2, phi3, qwen2, qwen3, smollm3";
    assert_eq!(hint("quen3"), Some(format!("did you mean `qwen3`? S{all}")));
    assert_eq!(hint("gpt_neox"), Some(format!("s{all}")));
    let missing = plan_of("llama", &json!({"model_type": null}));
    assert_eq!(missing, Err(ConfigError::MissingModelType));
    assert!(matches!(plan_of("llama", &json!({"model_type": 3})), Err(ConfigError::UnknownModelType { .. })));
}

#[test]
fn other_heads_are_refused_by_the_name_of_their_class() {
    let classifier = json!({"architectures": ["LlamaForSequenceClassification"]});
    let error = plan_of("llama", &classifier).expect_err("a classifier");
    assert_eq!(
        error.to_string(),
        "Cannot convert `LlamaForSequenceClassification`: expected LlamaForCausalLM or LLaMAForCausalLM"
    );
    assert!(plan(ArchChoice::Auto, &config("llama", &classifier), &["architectures".to_owned()]).is_ok());
}

#[test]
fn models_of_other_kinds_are_refused_before_their_keys() {
    for (changes, key) in [
        (json!({"quantization_config": {"quant_method": "awq"}}), "quantization_config"),
        (json!({"quantization_config": {"quant_method": "fp8"}}), "quantization_config"),
        (json!({"quantization_config": {"load_in_4bit": true}}), "quantization_config"),
        (json!({"quantization": {"bits": 4, "group_size": 64}}), "quantization"),
        (json!({"num_local_experts": 8}), "num_local_experts"),
        (json!({"num_experts": 128}), "num_experts"),
        (json!({"vision_config": {"depth": 2}}), "vision_config"),
        (json!({"audio_config": {"depth": 2}}), "audio_config"),
        (json!({"text_config": {"hidden_size": 2}}), "text_config"),
    ] {
        let error = plan_of("llama", &changes).expect_err("another kind");
        let found = match &error {
            ConfigError::Quantized { key, .. }
            | ConfigError::MixtureOfExperts { key, .. }
            | ConfigError::Multimodal { key } => *key,
            other => panic!("{other:?}"),
        };
        assert_eq!(found, key);
        assert!(error.hint().is_some());
    }
    for model_type in ["mixtral", "qwen2_moe", "qwen3_moe"] {
        assert!(matches!(plan_of(model_type, &json!({})), Err(ConfigError::MixtureOfExperts { .. })), "{model_type}");
    }
    assert!(plan_of("llama", &json!({"quantization_config": null, "num_experts": 0, "vision_config": {}})).is_err_and(
        |error| matches!(error, ConfigError::UnknownKeys(keys) if keys.iter().all(|key| key.key == "num_experts"))
    ));
}

#[test]
fn keys_that_change_nothing_are_accepted_in_silence() {
    let harmless = json!({
        "_model_name_or_path": "x", "_flash_attn_2_enabled": true, "use_flash_attn": true, "tokenizer": "x",
        "mask_value": -1e4, "move_model_to_device": true, "model_max_length": 4096, "license": "mit",
        "neftune_noise_alpha": 5, "keys_to_ignore_at_inference": ["past_key_values"], "loss_type": "x", "min_p": 0.1,
        "model_name": "x", "language": ["en"], "max_window_layers": 2, "sliding_window": 64,
        "use_sliding_window": false, "hidden_act": "swish", "internal_version": "1", "max_sequence_length": 512,
        "pretraining_tp": 2, "architectures": ["LLaMAForCausalLM"],
        "rope_scaling": {"type": "linear", "factor": 2.0, "finetuned": true},
    });
    let (plan, unread) =
        plan_and_unread(ArchChoice::Auto, &config("llama", &harmless), &[], UnknownKeys::Tell).expect("a plan");
    assert_eq!(attention_of(&plan), vec![AttentionKind::Full; 3]);
    assert_eq!(unread, []);
}

#[test]
fn keys_that_sound_like_maths_are_refused_until_an_architecture_reads_them() {
    for key in [
        "bias",
        "rotary_pct",
        "rope_percent",
        "residual_multiplier",
        "logit_scale",
        "logits_scaling",
        "embedding_multiplier",
        "final_logit_softcapping",
        "attn_logit_softcapping",
        "query_pre_attn_scalar",
        "no_rope_layers",
        "clip_qkv",
        "scale_emb",
        "qk_norm",
        "rope_interleaved",
        "attention_chunk_size",
        "use_alibi",
        "num_kv_shared_layers",
    ] {
        let found = plan_of("llama", &json!({key: 2}));
        assert!(matches!(&found, Err(ConfigError::UnknownKeys(keys)) if keys[0].key == key), "{key}: {found:?}");
    }
    assert_eq!(violated_keys("llama", &json!({"partial_rotary_factor": 0.5})), ["partial_rotary_factor"]);
    let types = json!({"layer_types": ["full_attention", "full_attention", "full_attention"]});
    assert!(matches!(plan_of("mistral", &types), Err(ConfigError::UnknownKeys(_))));
}

#[test]
fn an_attention_factor_that_transformers_does_not_read_is_told() {
    let yarn = json!({"rope_scaling": {"rope_type": "yarn", "factor": 4.0, "attn_factor": 0.88}});
    let (_, unread) =
        plan_and_unread(ArchChoice::Auto, &config("qwen3", &yarn), &[], UnknownKeys::Tell).expect("a plan");
    assert_eq!(unread.iter().map(|key| key.key.as_str()).collect::<Vec<_>>(), ["rope_scaling.attn_factor"]);
    let refused = plan_and_unread(ArchChoice::Auto, &config("qwen3", &yarn), &[], UnknownKeys::Refuse);
    assert!(matches!(refused, Err(ConfigError::UnknownKeys(_))));
}
