use std::path::Path;

use super::*;
use crate::model::decoder_plan::{LayerKind, NormPlacement, QkNorm, testing};
use crate::plan::inventory;
use crate::source::checkpoint::testing::{Source, write_config, write_tensors};

fn tensors(plan: &DecoderPlan) -> Vec<TensorSpec> {
    inventory::tensors(plan).expect("programs that can be built")
}

fn sources(plan: &DecoderPlan) -> Vec<Source> {
    tensors(plan).iter().map(|spec| Source::zeros(&spec.name, &spec.shape)).collect()
}

fn map(plan: &DecoderPlan, sources: &[Source]) -> Result<WeightMap, WeightMapError> {
    let directory = tempfile::tempdir().expect("a temporary directory");
    write(directory.path(), sources);
    WeightMap::new(&Checkpoint::open(directory.path()).expect("a sound checkpoint"), plan, tensors(plan))
}

fn write(directory: &Path, sources: &[Source]) {
    write_config(directory, "{}");
    write_tensors(&directory.join("model.safetensors"), sources);
}

#[test]
fn shapes_are_those_that_the_programs_ask_for() {
    let plan = DecoderPlan { qkv_bias: true, o_bias: true, qk_norm: QkNorm::Heads, ..testing::plan() };
    let tensors = tensors(&plan);
    let shape = |name: &str| {
        let found = tensors.iter().find(|spec| spec.name == name);
        found.map_or_else(|| panic!("{name}"), |spec| spec.shape.as_slice())
    };
    assert_eq!(shape("model.layers.1.self_attn.q_proj.weight"), [16, 8]);
    assert_eq!(shape("model.layers.1.self_attn.k_proj.weight"), [8, 8]);
    assert_eq!(shape("model.layers.1.self_attn.v_proj.bias"), [8]);
    assert_eq!(shape("model.layers.1.self_attn.o_proj.weight"), [8, 16]);
    assert_eq!(shape("model.layers.1.self_attn.o_proj.bias"), [8]);
    assert_eq!(shape("model.layers.1.self_attn.q_norm.weight"), [4]);
    assert_eq!(shape("model.layers.0.mlp.gate_proj.weight"), [12, 8]);
    assert_eq!(shape("model.layers.0.mlp.down_proj.weight"), [8, 12]);
    assert_eq!(shape("model.embed_tokens.weight"), [10, 8]);
    assert_eq!(shape("model.norm.weight"), [8]);
    assert_eq!(shape("lm_head.weight"), [10, 8]);
    assert_eq!((plan.group(), plan.q_size(), plan.kv_size()), (2, 16, 8));
}

#[test]
fn switches_add_exactly_their_tensors() {
    let count = |change: fn(&mut DecoderPlan)| {
        let mut plan = testing::plan();
        change(&mut plan);
        tensors(&plan).len()
    };
    let plain = count(|_| {});
    assert_eq!(plain, 3 + 2 * 9);
    assert_eq!(count(|plan| plan.qkv_bias = true), plain + 2 * 3);
    assert_eq!(count(|plan| plan.o_bias = true), plain + 2);
    assert_eq!(count(|plan| plan.mlp_bias = true), plain + 2 * 3);
    assert_eq!(count(|plan| plan.qk_norm = QkNorm::Heads), plain + 2 * 2);
    assert_eq!(count(|plan| plan.qk_norm = QkNorm::Whole), plain + 2 * 2);
    assert_eq!(count(|plan| plan.norm_placement = NormPlacement::PreAndPost), plain + 2 * 2);
    assert_eq!(count(|plan| plan.norm_placement = NormPlacement::Post), plain);
    assert_eq!(count(|plan| plan.tie_word_embeddings = true), plain - 1);
    let without_rope = |layer: &LayerKind| LayerKind { rope: None, ..layer.clone() };
    let plan = testing::plan();
    let layers = plan.layers.iter().map(without_rope).collect();
    assert_eq!(tensors(&DecoderPlan { layers, ..plan }).len(), plain);
}

#[test]
fn a_complete_checkpoint_maps_every_tensor() {
    let plan = testing::plan();
    let map = map(&plan, &sources(&plan)).expect("a match");
    assert_eq!(map.mapped().count(), tensors(&plan).len());
    assert_eq!(map.skipped().count(), 0);
}

#[test]
fn rotary_frequencies_and_a_tied_head_are_skipped_with_their_reasons() {
    let plan = DecoderPlan { tie_word_embeddings: true, ..testing::plan() };
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
    let plan = testing::plan();
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
    let plan = testing::plan();
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
    let plan = testing::plan();
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
    let plan = testing::plan();
    let mut all = sources(&plan);
    let norm = all.iter_mut().find(|source| source.name == "model.norm.weight").expect("it is there");
    (norm.dtype, norm.bytes) = ("F64", vec![0; 64]);
    let error = map(&plan, &all).expect_err("not usable");
    assert_eq!(error.unusable.len(), 1);
    assert!(error.to_string().contains("1 unusable"), "{error}");
    assert_eq!(error.hint().as_deref(), Some("save the model as bfloat16, float16 or float32"));
}
