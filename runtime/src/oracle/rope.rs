//! Rotation frequencies, written down from the papers and from what transformers computes.

use std::f64::consts::TAU;

use super::config::{OracleConfig, RopeScaling};

/// Whose rotation it is, where a model has two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Of the layers that see everything; of all layers in most models.
    Global,
    /// Of the layers with a window, where they have their own.
    Local,
}

/// A table `[rows, width]` of `function`, a sine or cosine, as models read it: row by position, each frequency once or, where
/// `width` is `rotary_dim`, in both halves.
#[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "computed in f64, kept in f32")]
pub(crate) fn rotation_table(
    config: &OracleConfig,
    turn: Turn,
    rows: usize,
    width: usize,
    function: fn(f64) -> f64,
) -> Vec<f32> {
    let (frequencies, factor) = frequencies(config, turn, rows);
    let row = |position: usize| {
        let values = frequencies.iter().map(move |frequency| (function(position as f64 * frequency) * factor) as f32);
        values.cycle().take(width)
    };
    (0..rows).flat_map(row).collect()
}

/// Inverse frequencies `[rotary_dim / 2]` in a context of so many positions, and the factor that sines and cosines are
/// multiplied by.
#[expect(clippy::cast_precision_loss, reason = "heads and contexts are small")]
fn frequencies(config: &OracleConfig, turn: Turn, context: usize) -> (Vec<f64>, f64) {
    let width = config.rotary_dim as f64;
    let (theta, scaling) = match (turn, config.rope_local_base_freq) {
        (Turn::Local, Some(theta)) => (theta, &RopeScaling::None),
        _ => (config.rope_theta, &config.rope_scaling),
    };
    let base: Vec<f64> = (0..config.rotary_dim / 2).map(|pair| theta.powf(-2.0 * pair as f64 / width)).collect();
    match *scaling {
        RopeScaling::None => (base, 1.0),
        RopeScaling::LongRope {
            ref short_factor,
            ref long_factor,
            original_max_position_embeddings,
            attention_factor,
        } => {
            let is_long = context as f64 > original_max_position_embeddings;
            let factors = if is_long { long_factor } else { short_factor };
            let divided = base.into_iter().zip(factors).map(|(frequency, factor)| frequency / factor);
            (divided.collect(), attention_factor)
        }
        RopeScaling::Linear { factor } => (base.into_iter().map(|frequency| frequency / factor).collect(), 1.0),
        RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_max_position_embeddings } => {
            let stretched = |frequency: f64| {
                let turns = original_max_position_embeddings * frequency / TAU;
                let share = (turns - low_freq_factor) / (high_freq_factor - low_freq_factor);
                let keep = share.clamp(0.0, 1.0);
                keep * frequency + (1.0 - keep) * frequency / factor
            };
            (base.into_iter().map(stretched).collect(), 1.0)
        }
        RopeScaling::Yarn {
            factor,
            beta_fast,
            beta_slow,
            original_max_position_embeddings,
            attention_factor,
            truncate,
        } => {
            // The pair that makes so many turns within the trained length.
            let pair_of =
                |turns: f64| width * (original_max_position_embeddings / (turns * TAU)).ln() / (2.0 * theta.ln());
            let (mut low, mut high) = (pair_of(beta_fast), pair_of(beta_slow));
            if truncate {
                (low, high) = (low.floor(), high.ceil());
            }
            (low, high) = (low.max(0.0), high.min(width - 1.0));
            if low >= high {
                high = low + 0.001;
            }
            let stretched = |(pair, frequency): (usize, f64)| {
                let keep = 1.0 - ((pair as f64 - low) / (high - low)).clamp(0.0, 1.0);
                keep * frequency + (1.0 - keep) * frequency / factor
            };
            (base.into_iter().enumerate().map(stretched).collect(), attention_factor)
        }
    }
}
