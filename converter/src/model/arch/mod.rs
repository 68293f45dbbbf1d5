//! The supported architectures: one adapter each, one line each in [`ARCHS`].
//!
//! An adapter owns what the keys of its config.json mean. Its [`DecoderPlan`] is all that the rest of anec knows of an
//! architecture, and only one with layers that no other has builds something of them itself ([`Arch::layer_hook`]).
//!
//! # Example
//! An architecture with Gemma's norms and activation, in Llama's place:
//! ```
//! use anec_converter::model::arch::{Arch, Defaults, base};
//! use anec_converter::model::decoder_plan::{Activation, DecoderPlan, NormKind};
//! use anec_converter::source::config::ConfigReader;
//!
//! struct Toy;
//!
//! impl Arch for Toy {
//!     fn name(&self) -> &'static str {
//!         "Toy"
//!     }
//!
//!     fn family(&self) -> &'static str {
//!         "llama"
//!     }
//!
//!     fn model_types(&self) -> &'static [&'static str] {
//!         &["toy"]
//!     }
//!
//!     fn architectures(&self) -> &'static [&'static str] {
//!         &["ToyForCausalLM"]
//!     }
//!
//!     fn plan(&self, config: &mut ConfigReader<'_>) -> DecoderPlan {
//!         let activation = ("hidden_activation", Activation::GeluTanh);
//!         let base = base(config, &Defaults { activation, tie_word_embeddings: true, ..Defaults::LLAMA });
//!         DecoderPlan { norm_kind: NormKind::RmsOnePlus, ..base }
//!     }
//! }
//!
//! let config = serde_json::json!({
//!     "model_type": "toy", "vocab_size": 128, "hidden_size": 64, "intermediate_size": 96,
//!     "num_hidden_layers": 2, "num_attention_heads": 4, "hidden_activation": "gelu_pytorch_tanh",
//! });
//! let plan = Toy.plan(&mut ConfigReader::new(config.as_object().unwrap(), &[]));
//! assert_eq!((plan.activation, plan.num_key_value_heads), (Activation::GeluTanh, 4));
//! ```

mod base;
mod gemma3;
mod gemma3_multimodal;
mod granite;
mod llama;
mod mistral;
mod olmo2;
mod phi3;
mod qwen2;
mod qwen3;
mod select;
mod smollm3;
#[cfg(test)]
mod tests;

use serde_json::{Map, Value};

use crate::graph::LayerHook;
use crate::model::decoder_plan::DecoderPlan;
use crate::source::config::{ConfigError, ConfigReader, UnknownKey, UnknownKeys, check_kind};

pub use self::base::{Defaults, base};
pub use self::select::{ArchChoice, select};

/// An architecture.
pub trait Arch: Sync {
    /// The name that people use, such as `Qwen3`.
    fn name(&self) -> &'static str;

    /// The word of `--arch` that takes it in.
    fn family(&self) -> &'static str;

    /// Values of `model_type` in config.json.
    fn model_types(&self) -> &'static [&'static str];

    /// Model classes in `architectures` of config.json.
    fn architectures(&self) -> &'static [&'static str];

    /// The config of the decoder, where it stands within that of a model that takes more than text.
    fn text_config(&self, _config: &Map<String, Value>) -> Option<Map<String, Value>> {
        None
    }

    /// Reads the keys of config.json into a plan. Values that are not as they have to be stay with the reader.
    fn plan(&self, config: &mut ConfigReader<'_>) -> DecoderPlan;

    /// What builds its decoder layers, where they are made of more than a plan can say.
    fn layer_hook(&self) -> Option<LayerHook> {
        None
    }
}

/// All adapters.
pub static ARCHS: &[&dyn Arch] = &[
    &gemma3::Gemma3,
    &gemma3_multimodal::Gemma3Multimodal,
    &granite::Granite,
    &llama::Llama,
    &mistral::Mistral,
    &olmo2::Olmo2,
    &phi3::Phi3,
    &qwen2::Qwen2,
    &qwen3::Qwen3,
    &smollm3::SmolLm3,
];

/// Picks the adapter for a config and lets it read it.
///
/// Keys in `ignored` are accepted without being known; a key inside an object is written with a dot, such as
/// `rope_scaling.finetuned`.
///
/// # Errors
/// The architecture is not supported or not the one chosen, a value is not as it has to be, or a key is unknown.
///
/// # Example
/// ```
/// use anec_converter::model::arch::{self, ArchChoice};
///
/// let config = serde_json::json!({
///     "model_type": "llama", "vocab_size": 128, "hidden_size": 64, "intermediate_size": 96,
///     "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
/// });
/// let plan = arch::plan(ArchChoice::Auto, config.as_object().unwrap(), &[])?;
/// assert_eq!(plan.head_dim, 16);
/// # Ok::<(), anec_converter::source::config::ConfigError>(())
/// ```
pub fn plan(choice: ArchChoice, config: &Map<String, Value>, ignored: &[String]) -> Result<DecoderPlan, ConfigError> {
    Ok(plan_and_unread(choice, config, ignored, UnknownKeys::Tell)?.0)
}

/// As [`plan`], with the keys that were not read and that the user should hear of, sorted.
///
/// # Errors
/// As [`plan`]; with [`UnknownKeys::Refuse`] also for the keys that would be told.
pub fn plan_and_unread(
    choice: ArchChoice,
    config: &Map<String, Value>,
    ignored: &[String],
    unknown_keys: UnknownKeys,
) -> Result<(DecoderPlan, Vec<UnknownKey>), ConfigError> {
    let text = text_config(config);
    let config = text.as_ref().unwrap_or(config);
    check_kind(config)?;
    let arch = select(choice, config)?;
    check_model_class(arch, config, ignored)?;
    let mut reader = ConfigReader::new(config, ignored);
    let plan = arch.plan(&mut reader);
    Ok((plan, reader.finish(unknown_keys)?))
}

/// The config of a decoder within that of a larger model, where there is an adapter for it.
fn text_config(config: &Map<String, Value>) -> Option<Map<String, Value>> {
    let model_type = config.get("model_type")?.as_str()?;
    ARCHS.iter().find(|arch| arch.model_types().contains(&model_type))?.text_config(config)
}

/// What builds the layers of a decoder, where its architecture has layers that no other has.
pub(crate) fn layer_hook(plan: &DecoderPlan) -> Option<LayerHook> {
    let arch = ARCHS.iter().find(|arch| arch.model_types().contains(&plan.model_type.as_str()))?;
    arch.layer_hook()
}

/// Refuses classifiers and reward models by their name: their weights would only be called missing.
fn check_model_class(arch: &dyn Arch, config: &Map<String, Value>, ignored: &[String]) -> Result<(), ConfigError> {
    let expected = arch.architectures();
    let classes = config.get("architectures").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    if classes.is_empty() || ignored.iter().any(|key| key == "architectures") {
        return Ok(());
    }
    // Embedding models are saved by the class of the decoder without its head.
    let bare = |class: &str| {
        let of_class = class.strip_suffix("Model");
        of_class.is_some_and(|name| expected.iter().any(|known| known.strip_suffix("ForCausalLM") == Some(name)))
    };
    let known = |class: &Value| class.as_str().is_some_and(|class| expected.contains(&class) || bare(class));
    match classes.iter().find(|class| !known(class)) {
        None => Ok(()),
        Some(class) => {
            let found = class.as_str().map_or_else(|| class.to_string(), str::to_owned);
            Err(ConfigError::ModelClass { found, expected })
        }
    }
}
