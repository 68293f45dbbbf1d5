//! `config.json` as the forward passes need it.

use std::path::Path;

use fs_err as fs;
use serde_json::Value;

use super::OracleError;
use super::kinds::{self, Kind, Slides};

/// The configuration of a decoder.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the keys of `config.json`")]
pub struct OracleConfig {
    pub model_type: String,
    pub hidden_size: usize,
    pub intermediate_size: usize,
    pub num_hidden_layers: usize,
    pub num_attention_heads: usize,
    pub num_key_value_heads: usize,
    pub head_dim: usize,
    pub vocab_size: usize,
    pub max_position_embeddings: usize,
    pub rms_norm_eps: f64,
    pub tie_word_embeddings: bool,
    pub rope_theta: f64,
    pub rope_scaling: RopeScaling,
    /// Base of the rotation of layers with a window, which is not stretched; `None` where all layers turn alike.
    pub rope_local_base_freq: Option<f64>,
    /// Factor of the scores of attention.
    pub query_scale: f64,
    /// What the model type means beyond the file.
    pub(super) kind: &'static Kind,
    /// Channels of a head that are rotated, the first ones.
    pub rotary_dim: usize,
    /// Factor of the token embeddings.
    pub embedding_scale: f64,
    /// Factor of what attention and MLP add to the residual.
    pub residual_multiplier: f64,
    /// Divisor of the logits.
    pub logits_scaling: f64,
    /// Which layers rotate queries and keys.
    pub rotates: Vec<bool>,
    /// Tokens that each layer sees, the current one included; `None` sees all.
    pub windows: Vec<Option<usize>>,
}

/// How RoPE is stretched.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the keys of `rope_scaling`")]
pub enum RopeScaling {
    None,
    Linear {
        factor: f64,
    },
    Llama3 {
        factor: f64,
        low_freq_factor: f64,
        high_freq_factor: f64,
        original_max_position_embeddings: f64,
    },
    Yarn {
        factor: f64,
        beta_fast: f64,
        beta_slow: f64,
        original_max_position_embeddings: f64,
        attention_factor: f64,
        truncate: bool,
    },
    LongRope {
        short_factor: Vec<f64>,
        long_factor: Vec<f64>,
        original_max_position_embeddings: f64,
        attention_factor: f64,
    },
}

/// Most heads, layers, channels or tokens that any of the numbers may say.
const LARGEST: u64 = 1 << 24;

impl OracleConfig {
    /// Reads a `config.json`.
    ///
    /// # Errors
    /// The file cannot be read, or says something that is not understood.
    pub fn read(path: &Path) -> Result<Self, OracleError> {
        let text = fs::read_to_string(path).map_err(|source| OracleError::Io { path: path.to_owned(), source })?;
        let json = serde_json::from_str(&text).map_err(|source| OracleError::Json { path: path.to_owned(), source })?;
        Self::from_json(&json)
    }

    /// Takes what `config.json` says.
    ///
    /// # Errors
    /// A key is missing, or says something that is not understood.
    pub fn from_json(json: &Value) -> Result<Self, OracleError> {
        let text = text_of(json);
        let json = text.as_ref().unwrap_or(json);
        let keys = Keys { json };
        let model_type = keys.text("model_type")?;
        let Some(kind) = kinds::find(&model_type) else {
            return Err(refused("model_type", &kinds::model_types(), model_type));
        };
        let gemma = model_type == "gemma3_text";
        let (key, expected) = kind.activation;
        // Two names of one function.
        let same = |activation: &Value| activation == expected || (expected == "silu" && activation == "swish");
        if let Some(activation) = keys.get(key).filter(|activation| !same(activation)) {
            return Err(refused(key, expected, activation.to_string()));
        }
        for key in ["final_logit_softcapping", "attn_logit_softcapping"] {
            if let Some(cap) = keys.get(key) {
                return Err(refused(key, "null", cap.to_string()));
            }
        }
        if json.get("use_bidirectional_attention").and_then(Value::as_bool) == Some(true) {
            return Err(refused("use_bidirectional_attention", "false", "true".to_owned()));
        }
        let hidden_size = keys.size("hidden_size")?;
        let num_attention_heads = keys.size("num_attention_heads")?;
        let num_hidden_layers = keys.size("num_hidden_layers")?;
        let head_dim = keys.optional_size("head_dim")?.or(kind.head_dim).unwrap_or(hidden_size / num_attention_heads);
        let said_key_heads = keys.optional_size("num_key_value_heads")?;
        let num_key_value_heads = said_key_heads.or(kind.num_key_value_heads).unwrap_or(num_attention_heads);
        if !num_attention_heads.is_multiple_of(num_key_value_heads) {
            let expected = format!("a divisor of {num_attention_heads}");
            return Err(refused("num_key_value_heads", &expected, num_key_value_heads.to_string()));
        }
        let rope =
            ["rope_parameters", "rope_scaling"].into_iter().find(|key| json.get(*key).is_some_and(Value::is_object));
        let rope_keys = rope.and_then(|key| json.get(key)).map(|json| Keys { json });
        let theta = match &rope_keys {
            Some(rope) if rope.json.get("rope_theta").is_some() => rope.number("rope_theta")?,
            _ => keys.optional_number("rope_theta")?.unwrap_or(kind.rope_theta),
        };
        #[expect(clippy::cast_precision_loss, reason = "at most 2^24")]
        let query_scale = match model_type.as_str() {
            "gemma3_text" => keys.optional_number("query_pre_attn_scalar")?.unwrap_or(256.0).sqrt().recip(),
            "granite" => keys.optional_number("attention_multiplier")?.unwrap_or(1.0),
            _ => (head_dim as f64).sqrt().recip(),
        };
        let granite = |key| match keys.optional_number(key) {
            Ok(factor) if model_type == "granite" => Ok(factor.unwrap_or(1.0)),
            Ok(_) => Ok(1.0),
            Err(error) => Err(error),
        };
        let (residual_multiplier, logits_scaling) = (granite("residual_multiplier")?, granite("logits_scaling")?);
        #[expect(clippy::cast_precision_loss, reason = "at most 2^24")]
        let embedding_scale = if gemma { (hidden_size as f64).sqrt() } else { granite("embedding_multiplier")? };
        let max_position_embeddings = keys.size("max_position_embeddings")?;
        let rope_scaling = match &rope_keys {
            Some(rope) => scaling(rope, &keys, max_position_embeddings)?,
            None => RopeScaling::None,
        };
        let inner = rope_keys.as_ref().map(|rope| rope.optional_number("partial_rotary_factor")).transpose()?.flatten();
        let factor = keys.optional_number("partial_rotary_factor")?.or(inner);
        Ok(Self {
            kind,
            rotary_dim: factor.map_or(head_dim, |factor| part_of(head_dim, factor)),
            windows: windows(&keys, kind, num_hidden_layers)?,
            rotates: rotates(&keys, kind, num_hidden_layers)?,
            embedding_scale,
            residual_multiplier,
            logits_scaling,
            model_type,
            hidden_size,
            intermediate_size: keys.size("intermediate_size")?,
            num_hidden_layers,
            num_attention_heads,
            num_key_value_heads,
            head_dim,
            vocab_size: keys.size("vocab_size")?,
            max_position_embeddings,
            rms_norm_eps: keys.number("rms_norm_eps")?,
            tie_word_embeddings: json
                .get("tie_word_embeddings")
                .and_then(Value::as_bool)
                .unwrap_or(kind.tie_word_embeddings),
            rope_theta: theta,
            rope_scaling,
            rope_local_base_freq: match keys.optional_number("rope_local_base_freq")? {
                None if gemma => Some(10_000.0),
                given => given.filter(|_| gemma),
            },
            query_scale,
        })
    }
}

/// Channels of a head that are rotated; a fraction of a channel is dropped.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "at most 2^24, and a part of it"
)]
fn part_of(head_dim: usize, factor: f64) -> usize {
    (head_dim as f64 * factor.clamp(0.0, 1.0)) as usize
}

/// The decoder of a Gemma 3 that takes pictures, as a config of its own, with what `Gemma3TextConfig` has where keys are left
/// out.
fn text_of(json: &Value) -> Option<Value> {
    if json.get("model_type").and_then(Value::as_str) != Some("gemma3") {
        return None;
    }
    let mut text = json.get("text_config")?.as_object()?.clone();
    text.insert("model_type".to_owned(), "gemma3_text".into());
    for (key, default) in [
        ("vocab_size", Value::from(262_208)),
        ("hidden_size", 2304.into()),
        ("intermediate_size", 9216.into()),
        ("num_hidden_layers", 26.into()),
        ("num_attention_heads", 8.into()),
        ("max_position_embeddings", 131_072.into()),
        ("rms_norm_eps", 1e-6.into()),
    ] {
        text.entry(key).or_insert(default);
    }
    Some(Value::Object(text))
}

fn scaling(rope: &Keys<'_>, keys: &Keys<'_>, max_position_embeddings: usize) -> Result<RopeScaling, OracleError> {
    let kind =
        rope.json.get("rope_type").or_else(|| rope.json.get("type")).and_then(Value::as_str).unwrap_or("default");
    #[expect(clippy::cast_precision_loss, reason = "at most 2^24")]
    let default_original = max_position_embeddings as f64;
    let original = rope.optional_number("original_max_position_embeddings")?.unwrap_or(default_original);
    match kind {
        // Within the trained length, which is all that is computed, dynamic scaling changes nothing.
        "default" | "dynamic" => Ok(RopeScaling::None),
        "linear" => Ok(RopeScaling::Linear { factor: rope.number("factor")? }),
        "llama3" => Ok(RopeScaling::Llama3 {
            factor: rope.number("factor")?,
            low_freq_factor: rope.number("low_freq_factor")?,
            high_freq_factor: rope.number("high_freq_factor")?,
            original_max_position_embeddings: original,
        }),
        "yarn" => {
            let factor = rope.number("factor")?;
            let magnitude = |scale: f64| if factor <= 1.0 { 1.0 } else { 0.1 * scale * factor.ln() + 1.0 };
            let attention_factor = match rope.optional_number("attention_factor")? {
                Some(given) => given,
                None => match (rope.optional_number("mscale")?, rope.optional_number("mscale_all_dim")?) {
                    (Some(scale), Some(all)) if scale != 0.0 && all != 0.0 => magnitude(scale) / magnitude(all),
                    _ => magnitude(1.0),
                },
            };
            Ok(RopeScaling::Yarn {
                factor,
                beta_fast: rope.optional_number("beta_fast")?.unwrap_or(32.0),
                beta_slow: rope.optional_number("beta_slow")?.unwrap_or(1.0),
                original_max_position_embeddings: original,
                attention_factor,
                truncate: rope.json.get("truncate").and_then(Value::as_bool).unwrap_or(true),
            })
        }
        "longrope" => {
            let beside = keys.optional_number("original_max_position_embeddings")?;
            let inside = rope.optional_number("original_max_position_embeddings")?;
            // What `Phi3Config` has where nothing is said.
            let of_phi = (keys.text("model_type")? == "phi3").then_some(4096.0);
            let said = beside.or(inside).or(of_phi);
            let stretch = match said {
                Some(original) => default_original / original,
                None => rope.optional_number("factor")?.unwrap_or(1.0),
            };
            let original = said.unwrap_or(default_original);
            let sharpened = || if stretch <= 1.0 { 1.0 } else { (1.0 + stretch.ln() / original.ln()).sqrt() };
            Ok(RopeScaling::LongRope {
                short_factor: rope.numbers("short_factor")?,
                long_factor: rope.numbers("long_factor")?,
                original_max_position_embeddings: original,
                attention_factor: rope.optional_number("attention_factor")?.unwrap_or_else(sharpened),
            })
        }
        other => Err(refused("rope_type", "default, linear, dynamic, llama3, yarn or longrope", other.to_owned())),
    }
}

/// Which layers rotate queries and keys.
fn rotates(keys: &Keys<'_>, kind: &Kind, layers: usize) -> Result<Vec<bool>, OracleError> {
    if kind.model_type != "smollm3" {
        return Ok(vec![true; layers]);
    }
    if let Some(flags) = keys.get("no_rope_layers").and_then(Value::as_array) {
        return Ok((0..layers).map(|layer| flags.get(layer).and_then(Value::as_u64) != Some(0)).collect());
    }
    let interval = keys.optional_size("no_rope_layer_interval")?.unwrap_or(4);
    Ok((1..=layers).map(|number| !number.is_multiple_of(interval)).collect())
}

/// Which layers see how many tokens.
fn windows(keys: &Keys<'_>, kind: &Kind, layers: usize) -> Result<Vec<Option<usize>>, OracleError> {
    let default = (kind.slides == Slides::Pattern).then_some(4096);
    let window = keys.optional_size("sliding_window")?.or(default);
    let listed = keys.json.get("layer_types").and_then(Value::as_array);
    if let Some(kinds) = listed.filter(|_| kind.slides != Slides::Never) {
        let slides = |layer: usize| kinds.get(layer).and_then(Value::as_str) == Some("sliding_attention");
        return Ok((0..layers).map(|layer| window.filter(|_| slides(layer))).collect());
    }
    let uses_window = keys.json.get("use_sliding_window").and_then(Value::as_bool) == Some(true);
    let slides: Vec<bool> = match kind.slides {
        Slides::Never => vec![false; layers],
        Slides::All => vec![true; layers],
        Slides::Upper => {
            let first = keys.json.get("max_window_layers").and_then(Value::as_u64);
            let first = first.and_then(|layer| usize::try_from(layer).ok()).unwrap_or(28);
            (0..layers).map(|layer| uses_window && layer >= first).collect()
        }
        Slides::Pattern => {
            let pattern = keys.optional_size("sliding_window_pattern")?.unwrap_or(6);
            (1..=layers).map(|number| number % pattern != 0).collect()
        }
        Slides::WithoutRotation => {
            rotates(keys, kind, layers)?.into_iter().map(|rotates| uses_window && !rotates).collect()
        }
    };
    Ok(slides.into_iter().map(|slides| window.filter(|_| slides)).collect())
}

struct Keys<'a> {
    json: &'a Value,
}

impl Keys<'_> {
    fn get(&self, key: &str) -> Option<&Value> {
        self.json.get(key).filter(|value| !value.is_null())
    }

    fn found(&self, key: &str) -> String {
        self.get(key).map_or_else(|| "missing".to_owned(), Value::to_string)
    }

    fn text(&self, key: &str) -> Result<String, OracleError> {
        let text = self.get(key).and_then(Value::as_str);
        text.map(str::to_owned).ok_or_else(|| refused(key, "text", self.found(key)))
    }

    fn optional_size(&self, key: &str) -> Result<Option<usize>, OracleError> {
        if self.get(key).is_none() {
            return Ok(None);
        }
        let size = self.get(key).and_then(Value::as_u64).filter(|size| (1..=LARGEST).contains(size));
        let size = size.and_then(|size| usize::try_from(size).ok());
        size.map(Some).ok_or_else(|| refused(key, &format!("1 to {LARGEST}"), self.found(key)))
    }

    fn size(&self, key: &str) -> Result<usize, OracleError> {
        self.optional_size(key)?.ok_or_else(|| refused(key, "a number", self.found(key)))
    }

    fn optional_number(&self, key: &str) -> Result<Option<f64>, OracleError> {
        if self.get(key).is_none() {
            return Ok(None);
        }
        let number = self.get(key).and_then(Value::as_f64);
        number.map(Some).ok_or_else(|| refused(key, "a number", self.found(key)))
    }

    fn numbers(&self, key: &str) -> Result<Vec<f64>, OracleError> {
        let numbers = self.get(key).and_then(Value::as_array);
        let numbers = numbers.and_then(|list| list.iter().map(Value::as_f64).collect::<Option<Vec<f64>>>());
        numbers.ok_or_else(|| refused(key, "a list of numbers", self.found(key)))
    }

    fn number(&self, key: &str) -> Result<f64, OracleError> {
        self.optional_number(key)?.ok_or_else(|| refused(key, "a number", self.found(key)))
    }
}

fn refused(key: &str, expected: &str, found: String) -> OracleError {
    OracleError::Config { key: key.to_owned(), expected: expected.to_owned(), found }
}
