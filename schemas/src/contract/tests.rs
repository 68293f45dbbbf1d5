use super::*;

/// A small model with a head of two parts.
fn small() -> Instance {
    Instance::default()
        .with_size(Size::CONTEXT_LENGTH, 256)
        .with_size(Size::CACHE_LENGTH, 256)
        .with_size(Size::BATCH_SIZE, 64)
        .with_size(Size::HIDDEN_SIZE, 32)
        .with_size(Size::NUM_HIDDEN_LAYERS, 4)
        .with_size(Size::NUM_KEY_VALUE_HEADS, 2)
        .with_size(Size::HEAD_DIM, 16)
        .with_size(Size::SPLIT_LM_HEAD, 2)
        .with_sizes(Size::LM_HEAD_CHUNK_SIZES, &[51, 50])
}

fn texts(tensors: Result<Vec<ResolvedTensor>, ContractError>) -> Vec<String> {
    tensors.expect("all counts are known").iter().map(ResolvedTensor::to_string).collect()
}

#[test]
fn a_chunk_takes_what_anemll_clients_feed() {
    let infer = stateful::CONTRACT.function(stateful::CHUNK, "infer", &small()).expect("there");
    assert_eq!(
        texts(infer.inputs_in(&small())),
        [
            "hidden_states fp16 [1, 1, 32]",
            "position_ids int32 [1]",
            "causal_mask fp16 [1, 1, 1, 256]",
            "current_pos int32 [1]"
        ]
    );
    assert_eq!(texts(infer.states_in(&small())), ["model_model_kv_cache_0 fp16 [8, 2, 256, 16]"]);
}

#[test]
fn only_the_last_chunk_gives_one_row_of_a_prompt() {
    let prefill = stateful::CONTRACT.function(stateful::CHUNK, "prefill", &small()).expect("there");
    assert_eq!(texts(prefill.outputs_in(&small())), ["output_hidden_states fp16 [1, 64, 32]"]);
    let last = small().with_variant(stateful::LAST_CHUNK, true);
    assert_eq!(texts(prefill.outputs_in(&last)), ["output_hidden_states fp16 [1, 1, 32]"]);
}

#[test]
fn each_part_of_the_head_has_its_own_size() {
    let main = stateful::CONTRACT.function(stateful::LM_HEAD, "main", &small()).expect("there");
    assert_eq!(texts(main.outputs_in(&small())), ["logits1 fp16 [1, 1, 51]", "logits2 fp16 [1, 1, 50]"]);
    let best = small().with_variant(stateful::ARGMAX, true);
    assert_eq!(texts(main.outputs_in(&best)), ["argmax_idx int32 [2]", "argmax_val fp16 [2]"]);
}

#[test]
fn tokens_come_one_at_a_time_or_in_batches() {
    let main = stateful::CONTRACT.function(stateful::EMBEDDINGS, "main", &small()).expect("there");
    let inputs = main.inputs_in(&small()).expect("one input");
    assert_eq!(inputs[0].shapes(), Some(vec![vec![1, 1], vec![1, 64]]));
    assert!(inputs[0].allows(&[1, 64]) && !inputs[0].allows(&[1, 2]) && !inputs[0].allows(&[64]));
    let of_one = main.inputs_in(&small().with_size(Size::BATCH_SIZE, 1)).expect("one input");
    assert_eq!(of_one[0].axes, [Axis::One(1), Axis::One(1)]);
}

#[test]
fn a_length_of_a_size_that_is_not_known_may_be_anything() {
    let infer = stateful::CONTRACT.function(stateful::CHUNK, "infer", &Instance::default()).expect("there");
    let states = infer.states_in(&Instance::default()).expect("one state");
    assert!(states[0].allows(&[8, 2, 256, 16]) && !states[0].allows(&[8, 2, 256]));
    let main = stateful::CONTRACT.function(stateful::LM_HEAD, "main", &Instance::default()).expect("there");
    let error = main.outputs_in(&Instance::default()).expect_err("nobody knows how many");
    assert_eq!(error.to_string(), "the number of tensors `logits` depends on `split_lm_head`, which is not known");
}

#[test]
fn a_single_function_takes_the_place_of_two() {
    let single = small().with_variant(stateful::SINGLE, true).with_size(Size::QUERY_LENGTH, 16);
    let chunk = stateful::CONTRACT.file(stateful::CHUNK).expect("there");
    assert_eq!(chunk.functions_in(&single).map(|function| function.name).collect::<Vec<_>>(), ["main"]);
    let error = stateful::CONTRACT.function(stateful::CHUNK, "infer", &single).expect_err("not there");
    assert_eq!(error.to_string(), "the contract `stateful` gives the chunk no function `infer` in this conversion");
}

#[test]
fn a_directory_that_names_no_contract_is_stateful_and_one_that_names_another_is_refused() {
    let named = |contract: Option<&str>| Parameters { contract: contract.map(str::to_owned), ..Parameters::default() };
    assert_eq!(Contract::of(&named(None)).map(|contract| contract.name), Ok("stateful"));
    assert_eq!(Contract::of(&named(Some("stateful"))).map(|contract| contract.name), Ok("stateful"));
    let error = Contract::of(&named(Some("other"))).expect_err("unknown");
    assert_eq!(
        error.to_string(),
        "`contract` of the meta file is `other`, expected one of `stateful`, `monolithic`, `host-cache`, `coreml-llm-cli`, `coreml-llm-cli-sequoia`, `prefill`, `embedding`, `kernels`"
    );
}

#[test]
fn a_directory_of_anemll_with_a_model_in_one_file_names_no_contract_and_is_monolithic() {
    let monolithic_model = Some("qwen_monolithic_full.mlmodelc".to_owned());
    let parameters = Parameters { monolithic_model, ..Parameters::default() };
    assert_eq!(Contract::of(&parameters).map(|contract| contract.name), Ok("monolithic"));
}

#[test]
fn a_model_in_one_file_gives_the_same_for_a_token_and_for_a_batch() {
    for (name, tokens) in [("infer", 1), ("prefill", 64)] {
        let function = monolithic::CONTRACT.function(monolithic::MODEL, name, &small()).expect("there");
        let inputs = texts(function.inputs_in(&small()));
        assert_eq!(inputs[0], format!("input_ids int32 [1, {tokens}]"));
        assert_eq!(texts(function.outputs_in(&small())), ["logits1 fp16 [1, 1, 51]", "logits2 fp16 [1, 1, 50]"]);
    }
}

#[test]
fn a_chunk_without_a_state_takes_the_caches_of_its_layers_and_gives_their_new_columns() {
    let chunk = small()
        .with_size(Size::CHUNK_LAYERS, 2)
        .with_size(Size::ATTENTION_MASKS, 1)
        .with_size(Size::ROTARY_EMBEDDINGS, 1)
        .with_sizes(Size::ROTARY_DIMS, &[16]);
    let function = host_cache::CONTRACT.function(host_cache::CHUNK, "query_8", &chunk).expect("there");
    assert_eq!(
        texts(function.inputs_in(&chunk)),
        [
            "hidden_states fp16 [1, 8, 32]",
            "mask1 fp16 [1, 1, 8, 264]",
            "cos1 fp16 [1, 1, 8, 16]",
            "sin1 fp16 [1, 1, 8, 16]",
            "k_cache_0 fp16 [1, 32, 1, 256]",
            "k_cache_1 fp16 [1, 32, 1, 256]",
            "v_cache_0 fp16 [1, 32, 1, 256]",
            "v_cache_1 fp16 [1, 32, 1, 256]",
        ]
    );
    assert!(texts(function.states_in(&chunk)).is_empty());
    let outputs = texts(function.outputs_in(&chunk));
    assert_eq!(outputs[..2], ["output_hidden_states fp16 [1, 8, 32]", "new_k_cache_0 fp16 [1, 32, 1, 8]"]);
    let names: Vec<&str> = host_cache::FUNCTIONS.iter().map(|(_, name)| *name).collect();
    let single = chunk.clone().with_variant(stateful::SINGLE, true).with_size(Size::QUERY_LENGTH, 16);
    for role in [host_cache::EMBEDDINGS, host_cache::CHUNK] {
        let file = host_cache::CONTRACT.file(role).expect("there");
        assert_eq!(file.functions_in(&chunk).map(|function| function.name).collect::<Vec<_>>(), names);
        assert_eq!(file.functions_in(&single).map(|function| function.name).collect::<Vec<_>>(), ["main"]);
    }
}

#[test]
fn a_block_of_coreml_llm_cli_lies_as_a_square_and_its_cache_keys_first() {
    let chunk = small()
        .with_size(Size::CACHE_LENGTH, 192)
        .with_size(Size::CHUNK_LAYERS, 1)
        .with_variant(coreml_llm_cli::WHOLE_HEAD, false);
    let function = coreml_llm_cli::CONTRACT.function(coreml_llm_cli::CHUNK, "main", &chunk).expect("there");
    assert_eq!(
        texts(function.inputs_in(&chunk)),
        [
            "x fp16 [1, 32, 8, 8]",
            "cos fp16 [16, 64]",
            "sin fp16 [16, 64]",
            "mask fp16 [1, 256, 1, 64]",
            "k_cache_0 fp16 [1, 192, 1, 32]",
            "v_cache_0 fp16 [1, 32, 1, 192]",
        ]
    );
    assert_eq!(
        texts(function.outputs_in(&chunk)),
        ["new_x fp16 [1, 32, 8, 8]", "new_k_cache_0 fp16 [1, 64, 1, 32]", "new_v_cache_0 fp16 [1, 32, 1, 64]"]
    );
    let head = coreml_llm_cli::CONTRACT.function(coreml_llm_cli::LM_HEAD, "main", &chunk).expect("there");
    assert_eq!(texts(head.outputs_in(&chunk)), ["logits_0 fp16 [1, 64, 51]", "logits_1 fp16 [1, 64, 50]"]);
}

#[test]
fn kernels_of_a_layer_are_seven_or_fused_four() {
    let small = small()
        .with_size(Size::QUERY_LENGTH, 32)
        .with_size(Size::NUM_ATTENTION_HEADS, 4)
        .with_size(Size::INTERMEDIATE_SIZE, 96);
    for (fused, count) in [(false, 7), (true, 4)] {
        let instance = small.clone().with_variant(kernels::FUSED, fused);
        let layer = [kernels::EMBEDDINGS, kernels::NORMS, kernels::LM_HEAD];
        let files = kernels::CONTRACT.files.iter().filter(|file| file.functions_in(&instance).next().is_some());
        let roles: Vec<Role> = files.map(|file| file.role).filter(|role| !layer.contains(role)).collect();
        assert_eq!((roles.len(), roles.as_slice()), (count, kernels::layer_roles(fused)));
    }
    let fused = small.with_variant(kernels::FUSED, true);
    let qkv = kernels::CONTRACT.function(kernels::QKV_PROJ, "main", &fused).expect("there");
    assert_eq!(texts(qkv.inputs_in(&fused)), ["x fp16 [1, 32, 1, 32]"]);
    assert_eq!(
        texts(qkv.outputs_in(&fused)),
        ["k fp16 [1, 32, 1, 32]", "q fp16 [1, 64, 1, 32]", "v fp16 [1, 32, 1, 32]"]
    );
}

#[test]
fn every_row_of_the_table_is_consistent() {
    for contract in CONTRACTS {
        for call in contract.calls {
            let file = contract.file(call.role).expect("calls name roles of the contract");
            assert!(file.functions.iter().any(|function| function.name == call.function), "{}", call.function);
        }
        for file in contract.files {
            assert!(contract.calls.iter().any(|call| call.role == file.role), "{} is never called", file.role);
            let mut names: Vec<&str> = file.functions.iter().map(|function| function.name).collect();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), file.functions.len(), "functions of {} have the same name", file.role);
        }
    }
    let mut names: Vec<&str> = CONTRACTS.iter().map(|contract| contract.name).collect();
    names.dedup();
    assert_eq!(names.len(), CONTRACTS.len());
}
