//! The rotary embedding as config.json writes it.
//!
//! Up to version 4 transformers writes `rope_theta` beside `rope_scaling`, which is null or an object with `rope_type`, once
//! called `type`; from version 5 on it writes one object `rope_parameters` with all of them. Either is read, and both where they agree.

use serde_json::{Value, json};

use super::{Llama3, LongRope, RopePlan, RopeScaling, Yarn, float};
use crate::source::config::{ConfigReader, shortened};

/// Base of the wavelengths where config.json has none.
///
/// # Source
/// The config classes of all supported models in transformers 4.57.
const DEFAULT_THETA: f64 = 10_000.0;

const SUPPORTED: &str = "default, linear, dynamic, yarn, llama3 or longrope";

const POSITIONS_LIMIT: usize = 1 << 30;

/// The heads that are rotated.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RopeHeads {
    /// Channels of a head.
    pub(crate) head_dim: usize,
    /// Whether the config may say that some of them are not rotated.
    pub(crate) rotates_part: bool,
}

/// Lengths that the config says outside of the keys about rotary embeddings.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RopeLengths {
    /// Positions that the model was trained for.
    pub(crate) max_position_embeddings: usize,
    /// Positions of its first training, where the config says them there.
    pub(crate) original_max_position_embeddings: Option<usize>,
}

impl RopePlan {
    /// Reads the keys about rotary embeddings.
    pub(crate) fn read(config: &mut ConfigReader<'_>, heads: RopeHeads, lengths: RopeLengths) -> Self {
        let head_dim = heads.head_dim;
        let rotary_dim = rotary_dim(config, heads);
        let outer_theta = optional_theta(config);
        let sizes = Sizes { heads, lengths, rotary_dim };
        let scaling = config.object("rope_scaling", |inner| read_object(inner, None, sizes));
        let parameters = config.object("rope_parameters", |inner| read_object(inner, Some("default"), sizes));
        let mut theta = outer_theta;
        for (key, object) in [("rope_scaling", &scaling), ("rope_parameters", &parameters)] {
            let Some(inner) = object.as_ref().and_then(|object| object.theta) else { continue };
            let outer = *theta.get_or_insert(inner);
            if outer.total_cmp(&inner).is_ne() {
                config.violation(
                    &format!("{key}.rope_theta"),
                    format!("{outer}, as in `rope_theta`"),
                    inner.to_string(),
                );
            }
        }
        if let (Some(scaling), Some(parameters)) = (&scaling, &parameters)
            && scaling.scaling != parameters.scaling
        {
            config.violation("rope_parameters", "the same as in `rope_scaling`", format!("{:?}", parameters.scaling));
        }
        let scaling = parameters.or(scaling).map_or(RopeScaling::Default, |object| object.scaling);
        if matches!(scaling, RopeScaling::Dynamic { .. }) && head_dim <= 2 {
            config.violation("head_dim", "more than 2 for dynamic rope scaling", head_dim.to_string());
        }
        Self { theta: theta.unwrap_or(DEFAULT_THETA), rotary_dim, scaling }
    }
}

/// What an object about rotary embeddings is read with.
#[derive(Clone, Copy)]
struct Sizes {
    heads: RopeHeads,
    lengths: RopeLengths,
    rotary_dim: usize,
}

/// Channels of a head that are rotated: a part of them where the architecture allows it.
fn rotary_dim(config: &mut ConfigReader<'_>, heads: RopeHeads) -> usize {
    const KEY: &str = "partial_rotary_factor";
    let RopeHeads { head_dim, rotates_part } = heads;
    if !rotates_part {
        config.only(KEY, &json!(1.0));
        return head_dim;
    }
    let factor = config.optional_number(KEY, "a number above 0, at most 1", |factor| factor > 0.0 && factor <= 1.0);
    let Some(factor) = factor else { return head_dim };
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "heads have at most 2^10 channels, and transformers drops the fraction too"
    )]
    let rotary_dim = (head_dim as f64 * factor) as usize;
    if rotary_dim >= 2 && rotary_dim.is_multiple_of(2) {
        return rotary_dim;
    }
    let expected = format!("an even number of the {head_dim} channels of a head");
    config.violation(KEY, expected, format!("{factor}, which is {rotary_dim}"));
    head_dim
}

struct RopeObject {
    theta: Option<f64>,
    scaling: RopeScaling,
}

fn optional_theta(config: &mut ConfigReader<'_>) -> Option<f64> {
    // YaRN divides by the logarithm of the base, so that 1 is as bad as 0.
    config.optional_number("rope_theta", "a number above 1", |theta| theta > 1.0)
}

fn read_object(object: &mut ConfigReader<'_>, default_type: Option<&'static str>, sizes: Sizes) -> RopeObject {
    let max_position_embeddings = sizes.lengths.max_position_embeddings;
    // Version 5 of transformers writes it here.
    if object.value("partial_rotary_factor").is_some_and(|factor| !factor.is_null()) {
        let inner = rotary_dim(object, sizes.heads);
        if inner != sizes.rotary_dim && sizes.heads.rotates_part {
            let expected = format!("{} channels of a head, as beside it", sizes.rotary_dim);
            object.violation("partial_rotary_factor", expected, inner.to_string());
        }
    }
    // A note of whoever extended the context; no code reads it.
    object.value("finetuned");
    let theta = optional_theta(object);
    let scaling = match rope_type(object, default_type) {
        Some("linear") => RopeScaling::Linear { factor: factor(object) },
        Some("dynamic") => {
            // transformers computes with `max_position_embeddings` and leaves this key unread.
            object.only("original_max_position_embeddings", &json!(max_position_embeddings));
            RopeScaling::Dynamic { factor: factor(object), max_position_embeddings }
        }
        Some("yarn") => RopeScaling::Yarn(read_yarn(object, max_position_embeddings)),
        Some("llama3") => RopeScaling::Llama3(read_llama3(object)),
        Some("longrope") => RopeScaling::LongRope(read_longrope(object, sizes)),
        // `default`, or none that is supported, which is recorded.
        _ => RopeScaling::Default,
    };
    RopeObject { theta, scaling }
}

/// The type, if it is one that is supported.
fn rope_type<'a>(object: &mut ConfigReader<'a>, default: Option<&'static str>) -> Option<&'a str> {
    let (new, old) = (object.set_value("rope_type"), object.set_value("type"));
    if let (Some(new), Some(old)) = (new, old)
        && new != old
    {
        object.violation("type", format!("{new}, as in `rope_type`"), shortened(old));
    }
    let Some(value) = new.or(old) else {
        if default.is_none() {
            object.violation("rope_type", SUPPORTED, "nothing");
        }
        return default;
    };
    let known = ["default", "linear", "dynamic", "yarn", "llama3", "longrope"];
    let supported = value.as_str().filter(|name| known.contains(name));
    if supported.is_none() {
        object.violation("rope_type", SUPPORTED, shortened(value));
    }
    supported
}

fn factor(object: &mut ConfigReader<'_>) -> f64 {
    object.number("factor", "a number of at least 1", |factor| factor >= 1.0, None)
}

fn positive(object: &mut ConfigReader<'_>, key: &str) -> Option<f64> {
    object.optional_number(key, "a number above 0", |value| value > 0.0)
}

/// As transformers does, takes 0 for absence.
fn nonzero(object: &mut ConfigReader<'_>, key: &str) -> Option<f64> {
    object.optional_number(key, "a number of at least 0", |value| value >= 0.0).filter(|value| *value > 0.0)
}

/// # Source
/// Defaults: `_compute_yarn_parameters` in transformers 4.57.
///
/// transformers reads `attention_factor` and leaves `attn_factor` unread, which DeepSeek's and vLLM's code multiply in.
/// What is converted is what transformers computes, and the user is told.
fn read_yarn(object: &mut ConfigReader<'_>, max_position_embeddings: usize) -> Yarn {
    object.unread("attn_factor");
    let yarn = Yarn {
        factor: factor(object),
        attention_factor: positive(object, "attention_factor"),
        beta_fast: nonzero(object, "beta_fast").unwrap_or(32.0),
        beta_slow: nonzero(object, "beta_slow").unwrap_or(1.0),
        mscale: nonzero(object, "mscale"),
        mscale_all_dim: nonzero(object, "mscale_all_dim"),
        original_max_position_embeddings: object
            .optional_size("original_max_position_embeddings", POSITIONS_LIMIT)
            .unwrap_or(max_position_embeddings),
        truncate: object.boolean("truncate", true),
    };
    if yarn.beta_fast < yarn.beta_slow {
        object.violation("beta_fast", format!("at least `beta_slow`, {}", yarn.beta_slow), yarn.beta_fast.to_string());
    }
    yarn
}

/// # Source
/// Defaults: `_compute_longrope_parameters` in transformers 4.57. Where the length of the first training stands beside the
/// object, the factor is the quotient of both lengths, whatever the object says.
fn read_longrope(object: &mut ConfigReader<'_>, sizes: Sizes) -> LongRope {
    let Sizes {
        lengths: RopeLengths { max_position_embeddings, original_max_position_embeddings }, rotary_dim, ..
    } = sizes;
    let mut factors = |key| {
        let value = object.value(key);
        let number = |value: &Value| value.as_f64().filter(|factor| factor.is_finite() && *factor > 0.0);
        let numbers = value.and_then(Value::as_array).and_then(|list| list.iter().map(number).collect::<Option<_>>());
        numbers.filter(|list: &Vec<f64>| list.len() == rotary_dim / 2).unwrap_or_else(|| {
            let found = value.map_or_else(|| "nothing".to_owned(), shortened);
            object.violation(key, format!("{} numbers above 0", rotary_dim / 2), found);
            vec![1.0; rotary_dim / 2]
        })
    };
    let (short_factor, long_factor) = (factors("short_factor"), factors("long_factor"));
    let said = object.optional_number("factor", "a number of at least 1", |factor| factor >= 1.0);
    let inner = object.optional_size("original_max_position_embeddings", POSITIONS_LIMIT);
    if let (Some(inner), Some(outer)) = (inner, original_max_position_embeddings)
        && inner != outer
    {
        object.violation("original_max_position_embeddings", format!("{outer}, as beside it"), inner.to_string());
    }
    let original = original_max_position_embeddings.or(inner);
    let stretch =
        original.map_or_else(|| said.unwrap_or(1.0), |original| float(max_position_embeddings) / float(original));
    let original = original.unwrap_or(max_position_embeddings);
    let derived = || if stretch <= 1.0 { 1.0 } else { (1.0 + stretch.ln() / float(original).ln()).sqrt() };
    let attention_factor = positive(object, "attention_factor").unwrap_or_else(derived);
    LongRope { short_factor, long_factor, attention_factor, original_max_position_embeddings: original }
}

fn read_llama3(object: &mut ConfigReader<'_>) -> Llama3 {
    let above_zero = "a number above 0";
    let low_freq_factor = object.number("low_freq_factor", above_zero, |value| value > 0.0, None);
    let high_freq_factor = object.number("high_freq_factor", above_zero, |value| value > 0.0, None);
    if low_freq_factor >= high_freq_factor {
        let expected = format!("more than `low_freq_factor`, {low_freq_factor}");
        object.violation("high_freq_factor", expected, high_freq_factor.to_string());
    }
    Llama3 {
        factor: factor(object),
        low_freq_factor,
        high_freq_factor,
        original_max_position_embeddings: object.size("original_max_position_embeddings", POSITIONS_LIMIT, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::config::ConfigError;
    use crate::source::config::UnknownKeys;

    fn read(config: &Value) -> Result<RopePlan, Vec<String>> {
        let mut reader = ConfigReader::new(config.as_object().expect("an object"), &[]);
        let heads = RopeHeads { head_dim: 64, rotates_part: false };
        let lengths = RopeLengths { max_position_embeddings: 4096, original_max_position_embeddings: None };
        let plan = RopePlan::read(&mut reader, heads, lengths);
        match reader.finish(UnknownKeys::Tell) {
            Ok(_) => Ok(plan),
            Err(ConfigError::Violations(violations)) => Err(violations.iter().map(ToString::to_string).collect()),
            Err(ConfigError::UnknownKeys(keys)) => Err(keys.iter().map(ToString::to_string).collect()),
            Err(other) => Err(vec![other.to_string()]),
        }
    }

    fn scaling(config: &Value) -> Result<RopeScaling, Vec<String>> {
        read(config).map(|plan| plan.scaling)
    }

    #[test]
    fn nothing_means_default_frequencies_of_base_10000() {
        for config in [json!({}), json!({"rope_scaling": null}), json!({"rope_scaling": {}})] {
            assert_eq!(read(&config), Ok(RopePlan { theta: 10_000.0, rotary_dim: 64, scaling: RopeScaling::Default }));
        }
    }

    #[test]
    fn the_forms_of_version_4_and_5_mean_the_same() {
        let old = json!({"rope_theta": 5e5, "rope_scaling": {"type": "linear", "factor": 2}});
        let new = json!({"rope_parameters": {"rope_theta": 5e5, "rope_type": "linear", "factor": 2.0}});
        let both = json!({
            "rope_theta": 5e5,
            "rope_scaling": {"type": "linear", "rope_type": "linear", "factor": 2},
            "rope_parameters": {"rope_theta": 5e5, "rope_type": "linear", "factor": 2.0},
        });
        let expected = RopePlan { theta: 5e5, rotary_dim: 64, scaling: RopeScaling::Linear { factor: 2.0 } };
        for config in [old, new, both] {
            assert_eq!(read(&config), Ok(expected.clone()));
        }
        let implicit = json!({"rope_parameters": {"rope_theta": 1e6}});
        assert_eq!(read(&implicit).map(|plan| (plan.theta, plan.scaling)), Ok((1e6, RopeScaling::Default)));
    }

    #[test]
    fn contradictions_are_refused() {
        let theta = json!({"rope_theta": 1e4, "rope_parameters": {"rope_theta": 1e6}});
        assert_eq!(
            read(&theta),
            Err(vec!["`rope_parameters.rope_theta`: expected 10000, as in `rope_theta`, found 1000000".to_owned()])
        );
        let types = json!({"rope_scaling": {"rope_type": "linear", "type": "yarn", "factor": 2.0}});
        assert!(read(&types).is_err_and(|lines| lines.iter().any(|line| line.starts_with("`rope_scaling.type`"))));
        let objects = json!({
            "rope_scaling": {"rope_type": "linear", "factor": 2.0},
            "rope_parameters": {"rope_type": "linear", "factor": 4.0},
        });
        assert!(read(&objects).is_err());
    }

    #[test]
    fn yarn_takes_the_defaults_of_transformers() {
        let config = json!({"rope_scaling": {"type": "yarn", "factor": 4.0, "beta_slow": 0, "mscale": null}});
        let expected = Yarn {
            factor: 4.0,
            attention_factor: None,
            beta_fast: 32.0,
            beta_slow: 1.0,
            mscale: None,
            mscale_all_dim: None,
            original_max_position_embeddings: 4096,
            truncate: true,
        };
        assert_eq!(scaling(&config), Ok(RopeScaling::Yarn(expected)));
    }

    #[test]
    fn longrope_has_a_factor_for_each_pair_and_a_length_to_choose_by() {
        let object = json!({"type": "longrope", "short_factor": vec![1.0; 32], "long_factor": vec![2.0; 32]});
        let of = |key: &str, value: Value| {
            let mut object = object.clone();
            object[key] = value;
            scaling(&json!({"rope_scaling": object}))
        };
        let Ok(RopeScaling::LongRope(plain)) = of("type", json!("longrope")) else { panic!("longrope") };
        assert_eq!((plain.attention_factor.to_bits(), plain.original_max_position_embeddings), (1_f64.to_bits(), 4096));
        let Ok(RopeScaling::LongRope(longer)) = of("original_max_position_embeddings", json!(1024)) else {
            panic!("longrope")
        };
        assert!((longer.attention_factor - (1.0 + 4_f64.ln() / 1024_f64.ln()).sqrt()).abs() < 1e-12);
        for (key, value) in [
            ("short_factor", json!(vec![1.0; 31])),
            ("long_factor", json!(vec![0.0; 32])),
            ("long_factor", json!(null)),
            ("factor", json!(0.5)),
            ("attention_factor", json!(0)),
        ] {
            let lines = of(key, value).expect_err("refused");
            assert!(lines.iter().all(|line| line.starts_with(&format!("`rope_scaling.{key}`"))), "{lines:?}");
        }
    }

    #[test]
    fn a_part_of_a_head_is_rotated_where_the_architecture_allows_it() {
        let read = |factor: Value| {
            let config = json!({"partial_rotary_factor": factor});
            let mut reader = ConfigReader::new(config.as_object().expect("an object"), &[]);
            let heads = RopeHeads { head_dim: 64, rotates_part: true };
            let lengths = RopeLengths { max_position_embeddings: 4096, original_max_position_embeddings: None };
            let plan = RopePlan::read(&mut reader, heads, lengths);
            reader.finish(UnknownKeys::Tell).map(|_| plan.rotary_dim)
        };
        assert_eq!(read(json!(0.75)), Ok(48));
        assert_eq!(read(json!(null)), Ok(64));
        // Half a channel is dropped, as transformers drops it; one channel of a pair cannot be.
        assert_eq!(read(json!(0.133)), Ok(8));
        for factor in [json!(0.05), json!(0), json!(1.5), json!("half")] {
            assert!(read(factor.clone()).is_err(), "{factor}");
        }
    }

    #[test]
    fn kinds_that_are_not_supported_are_refused() {
        for name in ["su", "mrope", "proportional"] {
            let lines = read(&json!({"rope_scaling": {"rope_type": name}}));
            let expected = format!("`rope_scaling.rope_type`: expected {SUPPORTED}, found \"{name}\"");
            assert_eq!(lines, Err(vec![expected]));
        }
        assert!(read(&json!({"rope_scaling": {"factor": 2.0}})).is_err());
        assert!(read(&json!({"rope_scaling": "linear"})).is_err());
        assert!(read(&json!({"partial_rotary_factor": 0.5})).is_err());
        assert!(read(&json!({"rope_parameters": {"partial_rotary_factor": 0.5}})).is_err());
        let sections = json!({"rope_scaling": {"rope_type": "default", "mrope_section": [16, 24, 24]}});
        assert_eq!(read(&sections), Err(vec!["`rope_scaling.mrope_section`: [16,24,24]".to_owned()]));
        let per_layer = json!({"rope_parameters": {"full_attention": {"rope_theta": 1e6}}});
        assert!(read(&per_layer).is_err());
    }

    #[test]
    fn values_out_of_range_are_refused() {
        let yarn = |key: &str, value: Value| {
            let mut object = json!({"rope_type": "yarn", "factor": 2.0});
            object[key] = value;
            json!({"rope_scaling": object})
        };
        assert!(read(&yarn("beta_fast", json!(8.0))).is_ok());
        for (key, value) in [
            ("factor", json!(0.5)),
            ("factor", json!(null)),
            ("beta_fast", json!(0.5)),
            ("beta_slow", json!(-1)),
            ("attention_factor", json!(0)),
            ("truncate", json!("no")),
            ("original_max_position_embeddings", json!(0)),
        ] {
            assert!(read(&yarn(key, value.clone())).is_err(), "{key} {value}");
        }
        assert!(read(&json!({"rope_theta": 1})).is_err());
        let llama3 = json!({"rope_scaling": {
            "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 4.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192,
        }});
        assert!(read(&llama3).is_err());
    }
}
