//! `meta.yaml` and `meta.json`: what a client has to know to drive the models. A contract other than the stateful one is
//! named there, with its files by role.

use std::collections::BTreeMap;
use std::path::Path;

use anec_mil::compiled::COMPILED_EXTENSION;
use anec_mil::package::PACKAGE_EXTENSION;
use anec_schemas::contract::coreml_llm_cli::sequoia;
use anec_schemas::contract::monolithic::{self, MODEL};
use anec_schemas::contract::stateful::{self, CHUNK, EMBEDDINGS, LM_HEAD, names};
use anec_schemas::contract::{Role, coreml_llm_cli, host_cache, kernels, prefill};
use anec_schemas::meta::{META_JSON, META_VERSION, META_YAML};
use anec_schemas::{LutBits, MetaYaml, ModelInfo, Parameters, RecommendedSampling};
use fs_err as fs;

use super::{SideFile, SideFileError, anemll, kernels as kernels_layout};
use crate::graph::layers::mask;
use crate::model::decoder_plan::AttentionKind;
use crate::options::{Functions, KvWrite, WindowForm};
use crate::plan::ConversionPlan;
use crate::source::hub;
use crate::weights::storage::Storage;

/// The name of a model whose directory has none.
const UNNAMED: &str = "model";

/// Both files for clients of anec's own names, which open the compiled form where there is one.
pub(super) fn own(plan: &ConversionPlan, checkpoint: &Path) -> Result<Vec<SideFile>, SideFileError> {
    let compiled = plan.options.emit.has(COMPILED_EXTENSION);
    let extension = if compiled { COMPILED_EXTENSION } else { PACKAGE_EXTENSION };
    side_files(plan, checkpoint, anemll::prefix(&plan.decoder.model_type), extension)
}

/// Both files; `prefix` is what names of models start with, `extension` that of the form that they name.
pub(super) fn side_files(
    plan: &ConversionPlan,
    checkpoint: &Path,
    prefix: &str,
    extension: &str,
) -> Result<Vec<SideFile>, SideFileError> {
    let parameters = parameters(plan, checkpoint, prefix, extension);
    let meta = MetaYaml { model_info: model_info(plan, checkpoint, parameters) };
    Ok(vec![
        SideFile { name: META_YAML, text: meta.to_yaml(&conversion_parameters(plan))? },
        SideFile { name: META_JSON, text: meta.to_json()? },
    ])
}

fn model_info(plan: &ConversionPlan, checkpoint: &Path, parameters: Parameters) -> ModelInfo {
    let options = &plan.options;
    let model = model_name(checkpoint);
    let is_monolithic = parameters.monolithic_model.is_some();
    let kind = if is_monolithic {
        "Type: Monolithic (embeddings, layers and head in one file)".to_owned()
    } else if plan.contract.name == kernels::CONTRACT.name {
        format!("Kernels: {}", plan.files.len())
    } else {
        format!("Chunks: {}", plan.chunk_count())
    };
    let description = format!(
        "{model} for Core ML\nContext length: {}\nBatch size: {}\n{kind}",
        options.context_length, options.batch_size,
    );
    let suffix = if is_monolithic { "-monolithic" } else { "" };
    ModelInfo {
        name: format!("anec-{model}-ctx{}{suffix}", options.context_length),
        version: META_VERSION.to_owned(),
        description,
        license: "see the model's own licence".to_owned(),
        author: "anec".to_owned(),
        framework: "Core ML".to_owned(),
        language: "Rust".to_owned(),
        architecture: plan.decoder.model_type.clone(),
        model_type: is_monolithic.then(|| monolithic::CONTRACT.name.to_owned()),
        parameters,
    }
}

fn parameters(plan: &ConversionPlan, checkpoint: &Path, prefix: &str, extension: &str) -> Parameters {
    let options = &plan.options;
    let first = |role: Role| {
        let file = plan.files.iter().find(|file| file.label.role == role);
        file.map(|file| format!("{}.{extension}", file.stem))
    };
    let is_stateful = plan.contract.name == stateful::CONTRACT.name;
    let is_monolithic = plan.contract.name == monolithic::CONTRACT.name;
    // Clients that keep the cache need its sizes, and what masks they must make.
    let is_kernels = plan.contract.name == kernels::CONTRACT.name;
    let keeps_cache = is_kernels
        || [host_cache::CONTRACT.name, coreml_llm_cli::CONTRACT.name, sequoia::CONTRACT.name, prefill::CONTRACT.name]
            .contains(&plan.contract.name);
    let decoder = &plan.decoder;
    let window = plan.caches.window.as_ref();
    let ring = window.filter(|window| window.form == WindowForm::Ring);
    let sized = |size: usize| keeps_cache.then_some(size as u64);
    let listed = |sizes: Vec<u64>| if keeps_cache { sizes } else { Vec::new() };
    let (ffn_bits, ffn_per_channel) = (bits(&options.storage.ffn), per_channel(&options.storage.ffn));
    // Directories of ANEMLL's contracts name their files by keys of their own.
    let is_listed = !is_stateful && !is_monolithic;
    let mut files: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for file in plan.files.iter().filter(|_| is_listed) {
        files.entry(file.label.role.to_string()).or_default().push(file.stem.clone());
    }
    Parameters {
        context_length: u64::from(options.context_length),
        batch_size: u64::from(options.batch_size),
        max_positions: plan.max_positions().filter(|_| keeps_cache || plan.caches.is_endless()),
        lut_bits: is_monolithic.then_some(ffn_bits),
        lut_per_channel: ffn_per_channel.filter(|_| is_monolithic),
        lut_embeddings: bits(&options.storage.embeddings),
        lut_embeddings_per_channel: per_channel(&options.storage.embeddings),
        lut_ffn: (!is_monolithic).then_some(ffn_bits),
        lut_ffn_per_channel: ffn_per_channel.filter(|_| !is_monolithic),
        lut_lmhead: bits(&options.storage.lm_head),
        lut_lmhead_per_channel: per_channel(&options.storage.lm_head),
        num_chunks: if is_monolithic || is_kernels { 0 } else { plan.chunk_count() as u64 },
        model_prefix: prefix.to_owned(),
        embeddings: first(EMBEDDINGS).filter(|_| !is_listed),
        lm_head: first(LM_HEAD).filter(|_| !is_listed),
        ffn: first(CHUNK).filter(|_| !is_listed),
        monolithic_model: first(MODEL).filter(|_| !is_listed),
        split_lm_head: plan.has_head().then_some(plan.head.sizes.len() as u64),
        argmax_in_model: options.argmax,
        vocab_size: Some(plan.decoder.vocab_size as u64),
        lm_head_chunk_sizes: if plan.has_head() { plan.head.sizes.clone() } else { Vec::new() },
        // Clients that see the key call functions that shift; a ring changes the graphs, not what a client feeds.
        sliding_window: window.filter(|window| window.form == WindowForm::Rotate).map(|window| window.shape.positions),
        single_cache: plan.caches.kept_whole.is_some(),
        verify_length: options.functions.verify_rows().map(u64::from),
        ring_length: ring.map(|ring| ring.shape.positions),
        ring_window: ring.map(|ring| ring.window),
        prefill_dynamic_slice: !keeps_cache,
        functions: if is_monolithic { monolithic_functions(plan) } else { Vec::new() },
        query_length: match options.functions {
            _ if is_kernels => Some(u64::from(options.batch_size)),
            Functions::InferPrefill | Functions::InferPrefillVerify(_) => None,
            Functions::Single => Some(u64::from(options.batch_size)),
        },
        hidden_size: sized(decoder.hidden_size),
        num_key_value_heads: sized(decoder.num_key_value_heads),
        head_dim: sized(decoder.head_dim),
        chunk_layers: if is_kernels {
            Vec::new()
        } else {
            listed(plan.chunks().map(|file| file.label.layers.len() as u64).collect())
        },
        attention_windows: if is_kernels {
            Vec::new()
        } else {
            listed(mask::windows(decoder, u64::from(options.context_length)))
        },
        rotary_dims: listed(decoder.ropes().iter().map(|rope| rope.rotary_dim as u64).collect()),
        contract: (!is_stateful).then(|| plan.contract.name.to_owned()),
        files,
        glue: is_kernels.then(|| kernels_layout::glue(plan)),
        recommended_sampling: recommended_sampling(checkpoint),
    }
}

/// The functions of a model in one file, in the order in which ANEMLL lists them.
fn monolithic_functions(plan: &ConversionPlan) -> Vec<String> {
    let order = [names::INFER, names::INFER_ROTATE, names::PREFILL, names::PREFILL_ROTATE];
    let has = |name: &&str| plan.caches.rotates() || [names::INFER, names::PREFILL].contains(name);
    order.into_iter().filter(has).map(str::to_owned).collect()
}

fn bits(storage: &Storage) -> LutBits {
    LutBits(storage.lut().map(|lut| u32::from(lut.bits)))
}

fn per_channel(storage: &Storage) -> Option<u64> {
    storage.lut()?.channels
}

/// The checkpoint directory's name.
fn model_name(checkpoint: &Path) -> String {
    let path = fs::canonicalize(checkpoint).unwrap_or_else(|_| checkpoint.to_owned());
    // A snapshot in a cache of the hub is called by its commit.
    if let Some(name) = hub::cached_name(&path) {
        return name;
    }
    path.file_name().map_or_else(|| UNNAMED.to_owned(), |name| name.to_string_lossy().into_owned())
}

/// What the model's authors suggest for sampling.
fn recommended_sampling(checkpoint: &Path) -> Option<RecommendedSampling> {
    let text = fs::read(checkpoint.join("generation_config.json")).ok()?;
    let config: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(&text).ok()?;
    let sampling = RecommendedSampling {
        do_sample: config.get("do_sample").and_then(serde_json::Value::as_bool),
        temperature: config.get("temperature").and_then(serde_json::Value::as_f64),
        top_p: config.get("top_p").and_then(serde_json::Value::as_f64),
        top_k: config.get("top_k").and_then(serde_json::Value::as_u64),
    };
    let given = sampling.do_sample.is_some()
        || sampling.temperature.is_some()
        || sampling.top_p.is_some()
        || sampling.top_k.is_some();
    given.then_some(sampling)
}

/// The functions of the files that hold layers.
fn functions(plan: &ConversionPlan) -> String {
    if plan.contract.name == host_cache::CONTRACT.name && plan.options.functions != Functions::Single {
        return host_cache::FUNCTIONS.map(|(_, name)| name).join(",");
    }
    if plan.contract.name == coreml_llm_cli::CONTRACT.name {
        return coreml_llm_cli::names::MAIN.to_owned();
    }
    if plan.contract.name == sequoia::CONTRACT.name {
        return [sequoia::PROMPT, sequoia::GENERATION].join(",");
    }
    if plan.contract.name == kernels::CONTRACT.name {
        return kernels::names::MAIN.to_owned();
    }
    if plan.contract.name == prefill::CONTRACT.name {
        return prefill::PREFILL.to_owned();
    }
    plan.options.functions.to_string()
}

/// The conversion's parameters for the comment block.
fn conversion_parameters(plan: &ConversionPlan) -> Vec<(String, String)> {
    let options = &plan.options;
    let windows: Vec<String> = plan
        .decoder
        .layers
        .iter()
        .enumerate()
        .filter_map(|(layer, kind)| match kind.attention {
            AttentionKind::Sliding { window } => Some(format!("{layer}:{window}")),
            AttentionKind::Full => None,
        })
        .collect();
    let mut entries = vec![
        ("anec_version", env!("CARGO_PKG_VERSION").to_owned()),
        ("architecture", plan.decoder.model_type.clone()),
        ("context_length", options.context_length.to_string()),
        ("batch_size", options.batch_size.to_string()),
        ("num_chunks", plan.chunk_count().to_string()),
        ("functions", functions(plan)),
        ("chip", options.chip.to_string()),
        ("embeddings", options.storage.embeddings.description()),
        ("ffn", options.storage.ffn.description()),
        ("lm_head", options.storage.lm_head.description()),
        ("vocab_size", plan.decoder.vocab_size.to_string()),
    ];
    if let Some(exceptions) = options.storage.exceptions() {
        entries.push(("ffn_exceptions", exceptions));
    }
    if options.kv_write == KvWrite::Mask {
        entries.push(("kv", "mask".to_owned()));
    }
    if !windows.is_empty() {
        entries.push(("sliding_window_of_layer", windows.join(" ")));
    }
    entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}
