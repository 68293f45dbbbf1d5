//! The model message of a package: its program with a description of what goes in and out.

use std::collections::BTreeMap;

use anec_mil::Program;
use anec_mil::compiled;
use anec_mil::package::{
    FlexibleInputs, FunctionDescription, Metadata, Model, ModelDescription, ModelError, ShapeFlexibility, SizeRange,
};

use crate::graph::OPSET;
use crate::graph::families::stateful::{chunk, embeddings};
use crate::options::{Functions, Options, Runtime};
use crate::plan::{ConversionPlan, FilePlan, FileRole};

/// Who wrote the package.
const AUTHOR: &str = concat!("Converted with anec v", env!("CARGO_PKG_VERSION"));

/// The model of a planned package.
pub(crate) fn model(plan: &ConversionPlan, file: &FilePlan) -> Result<Model, ModelError> {
    let program: Program = file.program.clone();
    let flexible = flexible_inputs(&plan.options, &file.role);
    let describe =
        |(name, function): (&String, &anec_mil::Function)| FunctionDescription::of(name, function, &flexible);
    let mut functions: Vec<_> = program.functions.iter().map(describe).collect::<Result<_, _>>()?;
    let mut description = if functions.len() == 1 {
        ModelDescription::single(functions.remove(0))
    } else {
        ModelDescription::multiple(functions, chunk::INFER)
    };
    description.metadata = Some(metadata(plan, file));
    Ok(Model { specification_version: OPSET.specification_version(), description, program })
}

/// Token ids come one at a time, or in batches of the prompt. Where it is not known how a compiled model lists these two
/// shapes, it takes those between them too.
fn flexible_inputs(options: &Options, role: &FileRole) -> FlexibleInputs {
    let mut flexible = FlexibleInputs::new();
    if *role == FileRole::Embeddings && options.batch_size > 1 && options.functions == Functions::InferPrefill {
        let batch_size = u64::from(options.batch_size);
        let both = ShapeFlexibility::Enumerated(vec![vec![1, 1], vec![1, batch_size]]);
        let range = |upper| SizeRange { lower: 1, upper: Some(upper) };
        let known = compiled::has_known_form(embeddings::INPUT, &both);
        let shapes = if known { both } else { ShapeFlexibility::Ranges(vec![range(1), range(batch_size)]) };
        flexible.insert(embeddings::INPUT.to_owned(), shapes);
    }
    flexible
}

fn metadata(plan: &ConversionPlan, file: &FilePlan) -> Metadata {
    let short_description = match (&file.role, plan.options.runtime) {
        (FileRole::Embeddings, Runtime::Anemll) => "Anemll Model (Embeddings) converted to CoreML".to_owned(),
        (FileRole::Chunk { .. }, Runtime::Anemll) => "Anemll Model: Multifunction FFN+Prefill".to_owned(),
        (FileRole::LmHead, Runtime::Anemll) => "Anemll Model (LM Head) converted to CoreML".to_owned(),
        (FileRole::Embeddings, Runtime::Default) => format!("{} token embeddings", plan.decoder.model_type),
        (FileRole::Chunk { layers, .. }, Runtime::Default) => {
            format!("{} decoder layers {} to {}", plan.decoder.model_type, layers.start, layers.end - 1)
        }
        (FileRole::LmHead, Runtime::Default) => format!("{} LM head", plan.decoder.model_type),
    };
    Metadata {
        short_description,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        author: AUTHOR.to_owned(),
        license: String::new(),
        user_defined: user_defined(plan, file),
    }
}

/// What clients read from a package where they have no `meta.yaml`.
///
/// # Source
/// ANEMLL 0.3.5 `metadata.py`; anec's own names carry the same under another prefix.
fn user_defined(plan: &ConversionPlan, file: &FilePlan) -> BTreeMap<String, String> {
    let options = &plan.options;
    let prefix = match options.runtime {
        Runtime::Anemll => "com.anemll",
        Runtime::Default => "com.anec",
    };
    let mut entries = vec![
        ("info", AUTHOR.to_owned()),
        ("context_length", options.context_length.to_string()),
        ("num_chunks", plan.chunk_count().to_string()),
        ("vocab_size", plan.decoder.vocab_size.to_string()),
    ];
    let storage = match &file.role {
        FileRole::Embeddings => &options.storage.embeddings,
        FileRole::Chunk { index, .. } => {
            entries.push(("chunk_no", (index + 1).to_string()));
            entries.push(("functions", file.functions().collect::<Vec<_>>().join(",")));
            &options.storage.ffn
        }
        FileRole::LmHead => {
            let sizes: Vec<String> = plan.head.sizes.iter().map(u64::to_string).collect();
            entries.push(("lm_head_chunk_sizes", sizes.join(",")));
            if options.argmax {
                entries.push(("argmax_in_model", "true".to_owned()));
            }
            &options.storage.lm_head
        }
    };
    if file.role != FileRole::LmHead {
        entries.push(("batch_size", options.batch_size.to_string()));
    }
    if let Some(lut) = storage.lut() {
        entries.push(("lut_bits", lut.bits.to_string()));
    }
    entries.into_iter().map(|(key, value)| (format!("{prefix}.{key}"), value)).collect()
}
