//! Checkpoints whose weights others have quantized: decoded while they are read, a block of rows at a time.
//!
//! A way of quantizing is a file and a row of [`METHODS`]. Its config says which tensors stand for a weight; what they say
//! is an affine map of integers or small floats in all of them but bitsandbytes' ([`affine`]). Decoded weights are fp32;
//! the inputs of a layer are not quantized here, whatever the config says of activations.

mod affine;
mod awq;
mod bitsandbytes;
mod compressed_tensors;
mod fp8;
mod gptq;
mod mlx;
mod numbers;
mod parts;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use self::parts::Parts;
use super::checkpoint::{CheckpointError, Entry, Shard, Tensor};
use super::config::ConfigError;

/// Keys of config.json that say how weights are quantized: transformers and compressed-tensors write the first, MLX the
/// second, and older compressed-tensors the third.
const KEYS: [&str; 3] = ["quantization_config", "quantization", "compression_config"];

/// A way of quantizing.
trait Method: Sync {
    /// What reads the tensors, where the config is of this method; or what it says that is not known.
    fn scheme(&self, config: &QuantizationConfig) -> Option<Result<Box<dyn Scheme>, ConfigError>>;
}

/// All ways.
static METHODS: &[&dyn Method] = &[
    &awq::Awq,
    &bitsandbytes::BitsAndBytes,
    &compressed_tensors::CompressedTensors,
    &fp8::Fp8,
    &gptq::Gptq,
    &mlx::Mlx,
];

/// What reads the tensors of a checkpoint.
pub(super) trait Scheme {
    /// What was found, in one line.
    fn found(&self) -> String;

    /// Ends of the names of tensors that only a quantized weight has, one for each.
    fn markers(&self) -> &'static [&'static str];

    /// The weight `module.weight`, made of what is stored for it, which is taken from the parts.
    fn weight(&self, module: &str, parts: &mut Parts<'_>) -> Result<Tensor, CheckpointError>;

    /// Ends of the names of tensors that say nothing of a weight, such as the scales of activations.
    fn ignored(&self) -> &'static [&'static str] {
        &[]
    }
}

/// What config.json says of the quantization.
pub(super) struct QuantizationConfig {
    key: &'static str,
    map: Map<String, Value>,
}

impl QuantizationConfig {
    fn method(&self) -> Option<&str> {
        self.map.get("quant_method").and_then(Value::as_str)
    }

    fn text(&self, key: &str) -> Option<&str> {
        self.map.get(key).and_then(Value::as_str)
    }

    fn size(&self, key: &str) -> Option<usize> {
        self.map.get(key).and_then(Value::as_u64).and_then(|size| usize::try_from(size).ok())
    }

    fn is_set(&self, key: &str) -> bool {
        self.map.get(key).and_then(Value::as_bool) == Some(true)
    }

    /// An error about a value that is not known.
    fn unknown(&self, key: &str, expected: &'static str) -> ConfigError {
        let found = self.map.get(key).map_or_else(|| "nothing".to_owned(), super::config::shortened);
        ConfigError::Quantization { key: format!("{}.{key}", self.key), expected, found }
    }
}

/// Takes what a config says of quantization out of it; none where it says nothing.
///
/// # Errors
/// The way of quantizing is not known, or not in this form.
pub(super) fn take(config: &mut Map<String, Value>) -> Result<Option<Box<dyn Scheme>>, ConfigError> {
    let mut found = None;
    for key in KEYS {
        let Some(value) = config.get(key) else { continue };
        let Value::Object(map) = value else {
            if super::config::is_unset(value) {
                continue;
            }
            return Err(ConfigError::Quantized { key, method: None });
        };
        if map.is_empty() {
            continue;
        }
        let quantization = QuantizationConfig { key, map: map.clone() };
        // MLX says the same under two keys.
        match METHODS.iter().find_map(|method| method.scheme(&quantization)) {
            Some(scheme) => found = Some(scheme?),
            None => return Err(ConfigError::Quantized { key, method: quantization.method().map(str::to_owned) }),
        }
    }
    if found.is_some() {
        for key in KEYS {
            config.remove(key);
        }
    }
    Ok(found)
}

/// The tensors of a quantized checkpoint as a model asks for them.
///
/// # Errors
/// Parts of a weight are missing or do not fit, or nothing is quantized at all.
pub(super) fn tensors(
    scheme: &dyn Scheme,
    stored: BTreeMap<String, (usize, Entry)>,
    shards: &[Shard],
) -> Result<BTreeMap<String, Tensor>, CheckpointError> {
    let module = |name: &String| scheme.markers().iter().find_map(|end| name.strip_suffix(end)).map(str::to_owned);
    let modules: BTreeSet<String> = stored.keys().filter_map(module).collect();
    if modules.is_empty() {
        return Err(CheckpointError::NotQuantized { expected: scheme.found(), markers: scheme.markers() });
    }
    let mut parts = Parts::new(stored, shards);
    let mut tensors = BTreeMap::new();
    for module in modules {
        let tensor = scheme.weight(&module, &mut parts)?;
        tensors.insert(format!("{module}.weight"), tensor);
    }
    let is_ignored = |name: &str| scheme.ignored().iter().any(|end| name.ends_with(end));
    for (name, (shard, entry)) in parts.rest() {
        if !is_ignored(&name) {
            tensors.insert(name, Tensor::plain(shard, entry));
        }
    }
    Ok(tensors)
}
