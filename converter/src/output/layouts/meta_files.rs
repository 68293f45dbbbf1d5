//! `meta.yaml` and `meta.json`: what a client has to know to drive the models. A contract other than the stateful one is
//! named there, with its files by role.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::Path;

use anec_mil::compiled::COMPILED_EXTENSION;
use anec_mil::package::PACKAGE_EXTENSION;
use anec_schemas::contract::coreml_llm_cli::sequoia;
use anec_schemas::contract::monolithic::{self, MODEL};
use anec_schemas::contract::stateful::{self, CHUNK, EMBEDDINGS, LM_HEAD, names};
use anec_schemas::contract::{Cache, Role, coreml_llm_cli, host_cache, kernels, prefill};
use anec_schemas::meta::{META_JSON, META_VERSION, META_YAML};
use anec_schemas::{LutBits, MetaYaml, ModelInfo, Origin, Parameters, RecommendedSampling};
use fs_err as fs;

use super::{SideFile, SideFileError, anemll, kernels as kernels_layout};
use crate::graph::layers::mask;
use crate::model::decoder_plan::AttentionKind;
use crate::options::{Functions, KvWrite, WindowForm, shell_word};
use crate::plan::ConversionPlan;
use crate::source::checkpoint::README;
use crate::source::hub;
use crate::weights::storage::Storage;

/// As much of a checkpoint's model card as is read.
const CARD_BYTES: u64 = 1 << 16;

/// Longest identifier of a licence.
const LONGEST_LICENSE: usize = 64;

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
        license: license(checkpoint).unwrap_or_else(|| "see the model's own licence".to_owned()),
        author: "anec".to_owned(),
        framework: "Core ML".to_owned(),
        language: "Rust".to_owned(),
        architecture: plan.decoder.model_type.clone(),
        model_type: is_monolithic.then(|| monolithic::CONTRACT.name.to_owned()),
        parameters,
        origin: Some(origin(plan, checkpoint)),
    }
}

/// What the model is made of.
fn origin(plan: &ConversionPlan, checkpoint: &Path) -> Origin {
    let path = fs::canonicalize(checkpoint).unwrap_or_else(|_| checkpoint.to_owned());
    let (source, source_revision) = match hub::cached_repository(&path) {
        Some((repository, commit)) => (repository, Some(commit)),
        None => (model_name(checkpoint), None),
    };
    Origin {
        converter: format!("anec {}", env!("CARGO_PKG_VERSION")),
        command: Some(command(&source, &plan.options.given)),
        source,
        source_revision,
        calibration: plan.options.calibration.clone(),
        eos_token_ids: eos_token_ids(checkpoint),
    }
}

/// The command that makes a model of this source with these options.
fn command(source: &str, given: &str) -> String {
    format!("anec convert {} {given}", shell_word(source)).trim_end().to_owned()
}

/// The licence that the model card of a checkpoint names, by the identifier of model hubs.
fn license(checkpoint: &Path) -> Option<String> {
    let mut text = String::new();
    fs::File::open(checkpoint.join(README)).ok()?.take(CARD_BYTES).read_to_string(&mut text).ok()?;
    let (head, _) = text.strip_prefix("---")?.split_once("\n---")?;
    let value = |key: &str| {
        let value = head.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
        let value = value.trim().trim_matches(['"', '\'']);
        let is_name = |character: char| character.is_ascii_alphanumeric() || "-._".contains(character);
        (!value.is_empty() && value.len() <= LONGEST_LICENSE && value.chars().all(is_name)).then(|| value.to_owned())
    };
    value("license").filter(|license| license != "other").or_else(|| value("license_name"))
}

/// Tokens that end an answer: those of `generation_config.json`, or else of `config.json`.
fn eos_token_ids(checkpoint: &Path) -> Vec<u64> {
    let found = ["generation_config.json", "config.json"].iter().find_map(|name| {
        let config: serde_json::Value = serde_json::from_slice(&fs::read(checkpoint.join(name)).ok()?).ok()?;
        let ids = match config.get("eos_token_id")? {
            serde_json::Value::Array(ids) => ids.iter().filter_map(serde_json::Value::as_u64).collect(),
            id => vec![id.as_u64()?],
        };
        Some(ids)
    });
    found.unwrap_or_default()
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
    let keeps_cache = plan.contract.cache == Cache::Client;
    let decoder = &plan.decoder;
    let window = plan.caches.window.as_ref();
    let ring = window.filter(|window| window.form == WindowForm::Ring);
    let sized = |size: usize| keeps_cache.then_some(size as u64);
    let listed = |sizes: Vec<u64>| if keeps_cache { sizes } else { Vec::new() };
    let (ffn_bits, ffn_per_channel) = (bits(&options.storage.ffn), per_channel(&options.storage.ffn));
    // Directories of ANEMLL's contracts name their files by keys of their own.
    let is_listed = !is_stateful && !is_monolithic;
    let split_rotate = options.split_rotate && plan.caches.rotates();
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
        pf: split_rotate.then(|| anemll::prompt_file(plan, extension)).flatten(),
        split_rotate,
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
        prefill_dynamic_slice: plan.contract.cache == Cache::State,
        functions: if is_monolithic { monolithic_functions(plan) } else { Vec::new() },
        query_length: match options.functions {
            _ if is_kernels => Some(u64::from(options.batch_size)),
            Functions::InferPrefill | Functions::InferPrefillVerify(_) => None,
            Functions::Single => Some(u64::from(options.batch_size)),
        },
        hidden_size: (plan.contract.cache != Cache::State).then_some(decoder.hidden_size as u64),
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
    if plan.contract.name == prefill::CONTRACT.name || plan.contract.cache == Cache::Nobody {
        return names::MAIN.to_owned();
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_licence_is_that_of_the_model_card() {
        let directory = tempfile::tempdir().expect("temporary");
        let found = |text: &str| {
            fs::write(directory.path().join(README), text).expect("writable");
            license(directory.path())
        };
        assert_eq!(found("---\nlanguage: en\nlicense: apache-2.0\n---\n# Model").as_deref(), Some("apache-2.0"));
        let named = "---\nlicense: other\nlicense_name: \"qwen-research\"\n---\n";
        assert_eq!(found(named).as_deref(), Some("qwen-research"));
        for none in ["", "# Model\nlicense: mit\n", "---\nlicense: [mit\n---\n", "---\nlicense: mit\n"] {
            assert_eq!(found(none), None, "{none}");
        }
    }

    #[test]
    fn the_tokens_that_end_an_answer_are_those_of_the_generation_config() {
        let directory = tempfile::tempdir().expect("temporary");
        let write = |name: &str, text: &str| fs::write(directory.path().join(name), text).expect("writable");
        write("config.json", r#"{"eos_token_id": 2}"#);
        assert_eq!(eos_token_ids(directory.path()), [2]);
        write("generation_config.json", r#"{"eos_token_id": [7, 9]}"#);
        assert_eq!(eos_token_ids(directory.path()), [7, 9]);
    }
}
