use std::path::Path;

use super::*;
use crate::model::decoder_plan::{AttentionKind, LayerWeight};
use crate::model::rope::{RopePlan, RopeScaling};
use crate::source::checkpoint::testing::{Source, write_config, write_tensors};

fn plan() -> DecoderPlan {
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
        qkv_bias: false,
        o_bias: false,
        mlp_bias: false,
        qk_norm: false,
        rope: RopePlan { theta: 1e4, head_dim: 4, scaling: RopeScaling::Default },
        attention: vec![AttentionKind::Full; 2],
        tie_word_embeddings: false,
    }
}

fn sources(plan: &DecoderPlan) -> Vec<Source> {
    plan.tensors().iter().map(|spec| Source::zeros(&spec.name, &spec.shape)).collect()
}

fn map(plan: &DecoderPlan, sources: &[Source]) -> Result<WeightMap, WeightMapError> {
    let directory = tempfile::tempdir().expect("a temporary directory");
    write(directory.path(), sources);
    WeightMap::new(&Checkpoint::open(directory.path()).expect("a sound checkpoint"), plan)
}

fn write(directory: &Path, sources: &[Source]) {
    write_config(directory, "{}");
    write_tensors(&directory.join("model.safetensors"), sources);
}

#[test]
fn shapes_follow_from_the_plan() {
    let plan = plan();
    let shape = |weight| plan.tensor(Part::Layer { index: 1, weight }).shape;
    assert_eq!(shape(LayerWeight::QProj), [16, 8]);
    assert_eq!(shape(LayerWeight::KProj), [8, 8]);
    assert_eq!(shape(LayerWeight::VProjBias), [8]);
    assert_eq!(shape(LayerWeight::OProj), [8, 16]);
    assert_eq!(shape(LayerWeight::OProjBias), [8]);
    assert_eq!(shape(LayerWeight::QNorm), [4]);
    assert_eq!(shape(LayerWeight::GateProj), [12, 8]);
    assert_eq!(shape(LayerWeight::DownProj), [8, 12]);
    assert_eq!(plan.tensor(Part::LmHead).shape, [10, 8]);
    assert_eq!((plan.group(), plan.q_size(), plan.kv_size()), (2, 16, 8));
    let name = plan.tensor(Part::Layer { index: 1, weight: LayerWeight::UpProj }).name;
    assert_eq!(name, "model.layers.1.mlp.up_proj.weight");
}

#[test]
fn switches_add_exactly_their_tensors() {
    let count = |change: fn(&mut DecoderPlan)| {
        let mut plan = plan();
        change(&mut plan);
        plan.tensors().len()
    };
    let plain = plan().tensors().len();
    assert_eq!(plain, 3 + 2 * 9);
    assert_eq!(count(|plan| plan.qkv_bias = true), plain + 2 * 3);
    assert_eq!(count(|plan| plan.o_bias = true), plain + 2);
    assert_eq!(count(|plan| plan.mlp_bias = true), plain + 2 * 3);
    assert_eq!(count(|plan| plan.qk_norm = true), plain + 2 * 2);
    assert_eq!(count(|plan| plan.tie_word_embeddings = true), plain - 1);
}

#[test]
fn a_complete_checkpoint_maps_in_the_order_of_use() {
    let plan = plan();
    let map = map(&plan, &sources(&plan)).expect("a match");
    let names: Vec<&str> = map.mapped().map(|spec| spec.name.as_str()).collect();
    assert_eq!(names.first(), Some(&"model.embed_tokens.weight"));
    assert_eq!(names.last(), Some(&"lm_head.weight"));
    assert_eq!(names.len(), plan.tensors().len());
    assert_eq!(map.skipped().count(), 0);
}

#[test]
fn rotary_frequencies_and_a_tied_head_are_skipped_with_their_reasons() {
    let mut plan = plan();
    plan.tie_word_embeddings = true;
    assert_eq!(plan.tensor(Part::LmHead).name, "model.embed_tokens.weight");
    let mut sources = sources(&plan);
    for name in ["model.layers.0.self_attn.rotary_emb.inv_freq", "model.layers.1.self_attn.rotary_emb.inv_freq"] {
        sources.push(Source::zeros(name, &[2]));
    }
    sources.push(Source::zeros("lm_head.weight", &[10, 8]));
    let map = map(&plan, &sources).expect("a match");
    let counts: Vec<_> = map.skipped_by_reason().into_iter().collect();
    assert_eq!(counts, [(SkipReason::RotaryFrequencies, 2), (SkipReason::TiedHead, 1)]);
}

#[test]
fn every_difference_is_reported_at_once_and_sorted() {
    let plan = plan();
    let mut sources = sources(&plan);
    sources.retain(|source| source.name != "model.norm.weight" && source.name != "lm_head.weight");
    sources.retain(|source| source.name != "model.layers.1.self_attn.q_proj.weight");
    sources.push(Source::zeros("model.layers.1.self_attn.q_proj.weight", &[8, 8]));
    sources.push(Source::zeros("model.layers.2.input_layernorm.weight", &[8]));
    sources.push(Source::zeros("model.layers.0.self_attn.q_proj.bias", &[16]));
    let error = map(&plan, &sources).expect_err("differences");
    assert_eq!(
        error.to_string(),
        "Cannot match the checkpoint's tensors with its config.json: 2 missing, 2 unknown, 1 of another shape\n  \
         `lm_head.weight` is missing\n  `model.norm.weight` is missing\n  \
         `model.layers.0.self_attn.q_proj.bias` is unknown\n  `model.layers.2.input_layernorm.weight` is unknown\n  \
         `model.layers.1.self_attn.q_proj.weight` has shape [8, 8], expected [16, 8]"
    );
}

#[test]
fn a_missing_head_and_a_bare_decoder_get_their_own_hints() {
    let plan = plan();
    let mut without_head = sources(&plan);
    without_head.retain(|source| source.name != "lm_head.weight");
    let hint = map(&plan, &without_head).expect_err("a missing head").hint();
    assert!(hint.is_some_and(|hint| hint.contains("tie_word_embeddings")));
    let mut bare = sources(&plan);
    for source in &mut bare {
        source.name = source.name.replace("model.", "");
    }
    let hint = map(&plan, &bare).expect_err("other names").hint();
    assert!(hint.is_some_and(|hint| hint.contains("AutoModelForCausalLM")));
}

#[test]
fn tensors_that_nobody_uses_may_be_of_any_dtype() {
    let plan = plan();
    let mut all = sources(&plan);
    let frequencies =
        |name: &str, dtype, shape: Vec<usize>, bytes| Source { name: name.to_owned(), dtype, shape, bytes };
    all.push(frequencies("model.layers.0.self_attn.rotary_emb.inv_freq", "F64", vec![2], vec![0; 16]));
    all.push(frequencies("model.layers.1.self_attn.rotary_emb.inv_freq", "F32", vec![0], Vec::new()));
    all.push(frequencies("model.embeddings.position_ids", "I64", vec![1, 2], vec![0; 16]));
    let map = map(&plan, &all).expect("complete");
    assert_eq!(map.skipped().count(), 3);
}

#[test]
fn a_weight_of_another_dtype_is_named_with_what_to_do() {
    let plan = plan();
    let mut all = sources(&plan);
    let norm = all.iter_mut().find(|source| source.name == "model.norm.weight").expect("it is there");
    (norm.dtype, norm.bytes) = ("F64", vec![0; 64]);
    let error = map(&plan, &all).expect_err("not usable");
    assert_eq!(error.unusable.len(), 1);
    assert!(error.to_string().contains("1 unusable"), "{error}");
    assert_eq!(error.hint().as_deref(), Some("save the model as bfloat16, float16 or float32"));
}
