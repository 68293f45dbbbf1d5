//! How the rotary embedding is stretched.

use serde_json::{Value, json};

use super::error::GgufError;
use super::keys::Keys;

/// What Llama 3.1 and 3.2 are stretched by; the factor is in the file.
///
/// # Source
/// config.json of meta-llama's checkpoints of Llama 3.1 to 3.3.
const LOW_FREQ_FACTOR: f64 = 1.0;
const HIGH_FREQ_FACTOR: f64 = 4.0;
const ORIGINAL_CONTEXT: u32 = 8192;

/// Factors are stored in fp32, and computed in it.
const TOLERANCE: f64 = 1e-4;

/// The value of `rope_scaling`, or null.
pub(super) fn scaling(keys: &mut Keys<'_>) -> Result<Value, GgufError> {
    // Says that the model was trained with the scaling; changes nothing.
    keys.ask("rope.scaling.finetuned");
    let old_linear = keys.float("rope.scale_linear")?;
    let factor = keys.float("rope.scaling.factor")?.or(old_linear);
    let original = keys.size("rope.scaling.original_context_length")?;
    let kind = keys.text("rope.scaling.type")?;
    if let Some(factors) = keys.rope_factors.clone() {
        if kind.is_some_and(|kind| kind != "none") {
            let found = "beside another scaling".to_owned();
            return Err(GgufError::RopeFactors { found });
        }
        let theta = keys.float("rope.freq_base")?.unwrap_or(10_000.0);
        return llama3(&factors, theta);
    }
    match kind {
        None if old_linear.is_some_and(|factor| factor != 1.0) => Ok(json!({"rope_type": "linear", "factor": factor})),
        None | Some("none") => Ok(Value::Null),
        Some("linear") => match factor {
            Some(factor) if factor != 1.0 && factor != 0.0 => Ok(json!({"rope_type": "linear", "factor": factor})),
            _ => Ok(Value::Null),
        },
        Some("yarn") => {
            let factor = factor.ok_or_else(|| keys.wrong("rope.scaling.factor", "a number"))?;
            let mut scaling = json!({"rope_type": "yarn", "factor": factor});
            if let (Some(original), Some(scaling)) = (original, scaling.as_object_mut()) {
                scaling.insert("original_max_position_embeddings".to_owned(), json!(original));
            }
            Ok(scaling)
        }
        Some(_) => Err(keys.wrong("rope.scaling.type", "none, linear or yarn")),
    }
}

/// The config whose factors these are. llama.cpp keeps what Llama 3.1's scaling comes to for every pair of channels, and
/// not what it was computed from; of that only the factor varies among published models.
fn llama3(factors: &[f32], theta: f64) -> Result<Value, GgufError> {
    let factor = factors.iter().copied().fold(1.0, f32::max);
    let expected = llama3_factors(f64::from(factor), factors.len(), theta);
    let differs = |(found, expected): (&f32, &f64)| (f64::from(*found) - expected).abs() > TOLERANCE * expected;
    match factors.iter().zip(&expected).position(|pair| differs((pair.0, pair.1))) {
        None if factors.iter().all(|factor| *factor == 1.0) => Ok(Value::Null),
        None => Ok(json!({
            "rope_type": "llama3",
            "factor": factor,
            "low_freq_factor": LOW_FREQ_FACTOR,
            "high_freq_factor": HIGH_FREQ_FACTOR,
            "original_max_position_embeddings": ORIGINAL_CONTEXT,
        })),
        Some(at) => {
            Err(GgufError::RopeFactors { found: format!("element {at} is {}, expected {}", factors[at], expected[at]) })
        }
    }
}

/// What a scaling of Llama 3.1 divides the frequency of each pair of channels by.
///
/// # Source
/// `_compute_llama3_parameters` in transformers' `modeling_rope_utils.py`.
fn llama3_factors(factor: f64, pairs: usize, theta: f64) -> Vec<f64> {
    #[expect(clippy::cast_precision_loss, reason = "a head has few channels")]
    let frequency = |pair: usize| theta.powf(-(pair as f64) / pairs as f64);
    let original = f64::from(ORIGINAL_CONTEXT);
    let of_pair = |pair| {
        let wavelength = 2.0 * std::f64::consts::PI / frequency(pair);
        if wavelength < original / HIGH_FREQ_FACTOR {
            1.0
        } else if wavelength > original / LOW_FREQ_FACTOR {
            factor
        } else {
            let smooth = (original / wavelength - LOW_FREQ_FACTOR) / (HIGH_FREQ_FACTOR - LOW_FREQ_FACTOR);
            1.0 / ((1.0 - smooth) / factor + smooth)
        }
    };
    (0..pairs).map(of_pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::cast_possible_truncation, reason = "as in the file")]
    fn stored(factor: f64) -> Vec<f32> {
        llama3_factors(factor, 32, 500_000.0).into_iter().map(|factor| factor as f32).collect()
    }

    #[test]
    fn the_scaling_of_llama_3_is_told_by_its_factors() {
        for factor in [8.0, 32.0] {
            let scaling = llama3(&stored(factor), 500_000.0).expect("known");
            assert_eq!(scaling.get("factor").and_then(Value::as_f64), Some(factor));
        }
        assert_eq!(llama3(&[1.0; 32], 500_000.0).expect("known"), Value::Null);
    }

    #[test]
    fn other_factors_are_refused() {
        let mut factors = stored(8.0);
        factors[20] *= 1.01;
        let error = llama3(&factors, 500_000.0).expect_err("unknown").to_string();
        assert!(error.contains("is no scaling of Llama 3.1, element "), "{error}");
    }
}
