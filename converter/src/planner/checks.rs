//! Options that do not fit the model, the layout, or each other.

use anec_mil::Opset;
use anec_mil::rules::limits::STATE_MULTIPLE;

use crate::graph::Tables;
use crate::graph::layers::kv_cache::CacheStates;
use crate::model::decoder_plan::DecoderPlan;
use crate::options::{Count, Functions, Options};
use crate::output::forms;
use crate::output::layouts::Layout;
use crate::plan::PlanError;
use crate::weights::recipe::WeightKind;
use crate::weights::storage::Storage;

pub(super) fn options(layout: &dyn Layout, decoder: &DecoderPlan, options: &Options) -> Result<(), PlanError> {
    if options.batch_size > options.context_length {
        return Err(PlanError::Option {
            option: match options.functions {
                Functions::InferPrefill | Functions::InferPrefillVerify(_) => "--batch-size",
                Functions::Single => "--query-length",
            },
            value: options.batch_size.to_string(),
            expected: format!("it must not exceed the context length of {}", options.context_length),
        });
    }
    if let Some(rows) = options.functions.verify_rows().filter(|rows| *rows > options.context_length) {
        return Err(PlanError::Option {
            option: "--functions",
            value: options.functions.to_string(),
            expected: format!("{rows} rows must not exceed the context length of {}", options.context_length),
        });
    }
    for storage in options.storage.all_of(WeightKind::Embeddings) {
        storage.encoding().check_table().map_err(|problem| PlanError::Option {
            option: "--embeddings",
            value: storage.to_string(),
            expected: problem.to_owned(),
        })?;
    }
    let length = u64::from(options.context_length);
    if options.target.is_neural_engine() && !length.is_multiple_of(STATE_MULTIPLE) {
        return Err(PlanError::Option {
            option: "--context-length",
            value: length.to_string(),
            expected: format!(
                "the Neural Engine refuses states whose sizes are not multiples of {STATE_MULTIPLE}, such as {}",
                length.next_multiple_of(STATE_MULTIPLE)
            ),
        });
    }
    if let Some(expected) = layout.misfit(decoder, options) {
        return Err(PlanError::Option { option: "--layout", value: layout.name().to_owned(), expected });
    }
    let opset = options.target.opset();
    let functions = layout.family().contract().files.iter().flat_map(|file| file.functions);
    if opset < Opset::Ios18 && functions.clone().any(|function| !function.states.is_empty()) {
        return Err(PlanError::Option {
            option: "--target",
            value: options.target.name(),
            expected: format!(
                "the layout `{}` keeps the cache in a state, which needs iOS 18 or macOS 15; `coreml-llm-cli`, \
                 `host-cache` and `prefill` do without",
                layout.name()
            ),
        });
    }
    for (option, kind) in
        [("--ffn", WeightKind::Layer), ("--lm-head", WeightKind::LmHead), ("--embeddings", WeightKind::Embeddings)]
    {
        for storage in options.storage.all_of(kind) {
            storage.encoding().check_opset(opset).map_err(|problem| PlanError::Option {
                option,
                value: storage.to_string(),
                expected: problem.to_owned(),
            })?;
        }
    }
    if options.split_rotate && !layout.splits_rotate() {
        return Err(PlanError::Option {
            option: "--split-rotate",
            value: String::new(),
            expected: format!("the layout `{}` has one file for each chunk; `anemll` takes the option", layout.name()),
        });
    }
    rounded_activations(layout, options)?;
    if let Some(refusal) = layout.refusal(options) {
        return Err(PlanError::Option { option: refusal.option, value: refusal.value, expected: refusal.expected });
    }
    for name in &options.emit.0 {
        if forms::find(name).is_none() || !layout.forms().contains(name) {
            return Err(PlanError::Option {
                option: "--emit",
                value: (*name).to_owned(),
                expected: format!("the layout `{}` takes {}", layout.name(), layout.forms().join(", ")),
            });
        }
    }
    match options.chunks {
        Count::Exactly(count) if count.get() > 1 && !layout.family().cuts_layers() => Err(PlanError::Option {
            option: "--chunks",
            value: count.to_string(),
            expected: format!("the layout `{}` does not cut a model between layers", layout.name()),
        }),
        Count::Exactly(count) if count.get() as usize > decoder.num_hidden_layers => Err(PlanError::Option {
            option: "--chunks",
            value: count.to_string(),
            expected: format!("the model has {} layers", decoder.num_hidden_layers),
        }),
        _ => Ok(()),
    }
}

/// Activations are rounded for calls of many tokens, and multiplied with weights that are integers too.
fn rounded_activations(layout: &dyn Layout, options: &Options) -> Result<(), PlanError> {
    if options.activations.is_none() {
        return Ok(());
    }
    let refuse =
        |expected: String| Err(PlanError::Option { option: "--int8-activations", value: String::new(), expected });
    if !layout.rounds_activations() {
        return refuse(format!(
            "the layout `{}` has fp16 activations; `kernels` and `prefill` take the option",
            layout.name()
        ));
    }
    if !options.storage.all_of(WeightKind::Layer).any(Storage::is_linear_int8) {
        return refuse("integers to multiply with: add `--ffn int8`".to_owned());
    }
    if options.target.opset() < Opset::Ios17 {
        return refuse("`quantize` needs iOS 17 or macOS 14 programs; take a later `--target`".to_owned());
    }
    Ok(())
}

/// Functions that shift a window are there where a window is shifted.
pub(super) fn split_rotate(options: &Options, caches: &CacheStates) -> Result<(), PlanError> {
    if !options.split_rotate || caches.rotates() {
        return Ok(());
    }
    Err(PlanError::Option {
        option: "--split-rotate",
        value: String::new(),
        expected: "a model with layers that shift their window: one shorter than the context, without `--single-cache`"
            .to_owned(),
    })
}

/// Tables for the longest context must hold for the shorter ones too.
pub(super) fn shared_tables(
    decoder: &DecoderPlan,
    options: &Options,
    tables: &Tables,
    longest: u32,
) -> Result<(), PlanError> {
    if options.context_length == longest {
        return Ok(());
    }
    if Tables::new(decoder, options.context_length).begin(tables) {
        return Ok(());
    }
    Err(PlanError::Option {
        option: "--context-length",
        value: format!("{},{longest}", options.context_length),
        expected: "the rotary embedding of this model depends on the length, so convert for one length at a time"
            .to_owned(),
    })
}
