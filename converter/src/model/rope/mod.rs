//! Rotary position embeddings: frequencies and the tables of cosines and sines.
//!
//! Owns the numbers, in f64 with one rounding to fp16 at the end. Never knows how a graph applies them.
//!
//! # Source
//! Semantics of `ROPE_INIT_FUNCTIONS` in transformers 4.57. There, frequencies and angles are computed in fp32; a position of
//! 10,000 turned by an fp32 frequency is off by up to 6e-4 radians, which is why f64 is used here.

mod config;

use std::cmp::Ordering;
use std::f64::consts::TAU;

use half::f16;

pub(crate) use config::{RopeHeads, RopeLengths};

/// The rotary embedding of a model.
#[derive(Clone, Debug, PartialEq)]
pub struct RopePlan {
    /// Base of the wavelengths.
    pub theta: f64,
    /// Channels of a head that are rotated, the first ones; even.
    pub rotary_dim: usize,
    /// How frequencies are changed for contexts longer than those of the first training.
    pub scaling: RopeScaling,
}

/// A change of frequencies, by the name that config.json gives it.
#[derive(Clone, Debug, PartialEq)]
pub enum RopeScaling {
    /// None.
    Default,
    /// All frequencies divided by a factor.
    Linear {
        /// The factor.
        factor: f64,
    },
    /// A base that grows with the context beyond what the model was trained for.
    ///
    /// transformers raises the base as a sequence grows; a converted model has one context length for all its life, so
    /// its base is the one for that length. Up to `max_position_embeddings` nothing changes; a longer `--context-length`
    /// rotates short sequences, too, as transformers rotates one that fills the context.
    Dynamic {
        /// How much longer contexts may get.
        factor: f64,
        /// Positions up to which the base is unchanged.
        max_position_embeddings: usize,
    },
    /// Low frequencies divided by a factor, high ones kept, a ramp between, and attention sharpened.
    Yarn(Yarn),
    /// Llama 3.1: as YaRN, with a ramp over wavelengths and no change of attention.
    Llama3(Llama3),
    /// Phi-3: every frequency divided by a number of its own, one list of them for contexts of the first training and one for
    /// longer ones, and attention sharpened.
    ///
    /// transformers takes the second list once a sequence is longer than the first training's context. As with
    /// [`Dynamic`](Self::Dynamic), a converted model has the list for its context length, for short sequences too.
    LongRope(LongRope),
}

/// Parameters of YaRN, by their names in config.json, with defaults filled in.
#[derive(Clone, Debug, PartialEq)]
pub struct Yarn {
    /// Divisor of low frequencies.
    pub factor: f64,
    /// Factor of cosines and sines; derived from the others where it is none.
    pub attention_factor: Option<f64>,
    /// Rotations within the original context above which a frequency is kept.
    pub beta_fast: f64,
    /// Rotations within the original context below which a frequency is divided.
    pub beta_slow: f64,
    /// Numerator's weight of the derived attention factor.
    pub mscale: Option<f64>,
    /// Denominator's weight of the derived attention factor.
    pub mscale_all_dim: Option<f64>,
    /// Context length of the first training.
    pub original_max_position_embeddings: usize,
    /// Whether the ends of the ramp are rounded outwards to whole channels.
    pub truncate: bool,
}

/// Parameters of Llama 3's scaling, by their names in config.json.
#[derive(Clone, Debug, PartialEq)]
pub struct Llama3 {
    /// Divisor of low frequencies.
    pub factor: f64,
    /// The original context over this is the wavelength from which frequencies are divided.
    pub low_freq_factor: f64,
    /// The original context over this is the wavelength up to which frequencies are kept.
    pub high_freq_factor: f64,
    /// Context length of the first training.
    pub original_max_position_embeddings: usize,
}

/// Parameters of LongRoPE, by their names in config.json.
#[derive(Clone, Debug, PartialEq)]
pub struct LongRope {
    /// Divisors of the frequencies in contexts up to the original one, one for each pair of channels.
    pub short_factor: Vec<f64>,
    /// Divisors of the frequencies in longer contexts.
    pub long_factor: Vec<f64>,
    /// Factor of cosines and sines.
    pub attention_factor: f64,
    /// Context length of the first training.
    pub original_max_position_embeddings: usize,
}

/// Frequencies of a rotary embedding.
#[derive(Clone, Debug, PartialEq)]
pub struct Frequencies {
    /// Radians per position, of each pair of channels: `rotary_dim / 2` values.
    pub inv_freq: Vec<f64>,
    /// Factor of cosines and sines.
    pub attention_scaling: f64,
}

/// Cosines and sines of every position, for the layout that rotates channel `i` with channel `i + rotary_dim / 2`.
#[derive(Clone, Debug, PartialEq)]
pub struct RopeTables {
    /// `[context_length, rotary_dim]`; the second half of a row repeats the first.
    pub cos: Vec<f16>,
    /// As `cos`.
    pub sin: Vec<f16>,
}

impl RopePlan {
    /// The frequencies for a context.
    ///
    /// # Units
    /// `context_length` is in tokens; only scalings that [depend on it](Self::depends_on_length) read it.
    pub fn frequencies(&self, context_length: usize) -> Frequencies {
        let default = || unscaled(self.theta, self.rotary_dim);
        let (inv_freq, attention_scaling) = match &self.scaling {
            RopeScaling::Default => (default(), 1.0),
            RopeScaling::Linear { factor } => {
                (default().into_iter().map(|frequency| frequency / factor).collect(), 1.0)
            }
            RopeScaling::Dynamic { factor, max_position_embeddings } => {
                let theta =
                    dynamic_theta(self.theta, self.rotary_dim, *factor, *max_position_embeddings, context_length);
                (unscaled(theta, self.rotary_dim), 1.0)
            }
            RopeScaling::Yarn(yarn) => (yarn.scale(self.theta, self.rotary_dim, &default()), yarn.attention_scaling()),
            RopeScaling::Llama3(llama3) => {
                (default().into_iter().map(|frequency| llama3.scale(frequency)).collect(), 1.0)
            }
            RopeScaling::LongRope(longrope) => {
                let factors = longrope.factors(context_length);
                let divided = default().into_iter().zip(factors).map(|(frequency, factor)| frequency / factor);
                (divided.collect(), longrope.attention_factor)
            }
        };
        Frequencies { inv_freq, attention_scaling }
    }

    /// Whether the rotation of a position is another in longer contexts.
    pub fn depends_on_length(&self) -> bool {
        matches!(self.scaling, RopeScaling::Dynamic { .. } | RopeScaling::LongRope(_))
    }

    /// The tables for a context.
    ///
    /// # Units
    /// `context_length` is in tokens.
    pub fn tables(&self, context_length: usize) -> RopeTables {
        let Frequencies { inv_freq, attention_scaling } = self.frequencies(context_length);
        let table = |function: fn(f64) -> f64| {
            let mut values = Vec::with_capacity(context_length.saturating_mul(2 * inv_freq.len()));
            for position in 0..context_length {
                let start = values.len();
                values.extend(
                    inv_freq
                        .iter()
                        .map(|frequency| f16::from_f64(function(float(position) * frequency) * attention_scaling)),
                );
                values.extend_from_within(start..);
            }
            values
        };
        RopeTables { cos: table(f64::cos), sin: table(f64::sin) }
    }
}

/// `theta^(-2i / rotary_dim)` for each pair of channels `i`.
fn unscaled(theta: f64, rotary_dim: usize) -> Vec<f64> {
    (0..rotary_dim / 2).map(|pair| theta.powf(-float(2 * pair) / float(rotary_dim))).collect()
}

fn dynamic_theta(
    theta: f64,
    rotary_dim: usize,
    factor: f64,
    max_position_embeddings: usize,
    context_length: usize,
) -> f64 {
    if context_length <= max_position_embeddings {
        return theta;
    }
    let stretch = factor * float(context_length) / float(max_position_embeddings) - (factor - 1.0);
    theta * stretch.powf(float(rotary_dim) / (float(rotary_dim) - 2.0))
}

impl Yarn {
    /// What is added to the end of a ramp of length zero.
    const SINGULARITY: f64 = 0.001;

    fn attention_scaling(&self) -> f64 {
        let scale = |mscale: f64| if self.factor <= 1.0 { 1.0 } else { 0.1 * mscale * self.factor.ln() + 1.0 };
        let nonzero = |value: Option<f64>| value.filter(|value| *value != 0.0);
        match (self.attention_factor, nonzero(self.mscale), nonzero(self.mscale_all_dim)) {
            (Some(factor), _, _) => factor,
            (None, Some(mscale), Some(all_dim)) => scale(mscale) / scale(all_dim),
            (None, _, _) => scale(1.0),
        }
    }

    /// The pair of channels, as a fraction, that turns `rotations` times within the original context.
    fn pair_of(&self, rotations: f64, theta: f64, rotary_dim: usize) -> f64 {
        let positions_per_radian = float(self.original_max_position_embeddings) / (rotations * TAU);
        float(rotary_dim) * positions_per_radian.ln() / (2.0 * theta.ln())
    }

    fn scale(&self, theta: f64, rotary_dim: usize, frequencies: &[f64]) -> Vec<f64> {
        let (mut low, mut high) =
            (self.pair_of(self.beta_fast, theta, rotary_dim), self.pair_of(self.beta_slow, theta, rotary_dim));
        if self.truncate {
            (low, high) = (low.floor(), high.ceil());
        }
        // The upper bound counts channels, not pairs of them, in transformers, and so it must here.
        (low, high) = (low.max(0.0), high.min(float(rotary_dim) - 1.0));
        if low.partial_cmp(&high).is_some_and(Ordering::is_eq) {
            high += Self::SINGULARITY;
        }
        let scaled = frequencies.iter().enumerate().map(|(pair, frequency)| {
            let divided = ((float(pair) - low) / (high - low)).clamp(0.0, 1.0);
            frequency / self.factor * divided + frequency * (1.0 - divided)
        });
        scaled.collect()
    }
}

impl LongRope {
    fn factors(&self, context_length: usize) -> &[f64] {
        if context_length > self.original_max_position_embeddings { &self.long_factor } else { &self.short_factor }
    }
}

impl Llama3 {
    fn scale(&self, frequency: f64) -> f64 {
        let wavelength = TAU / frequency;
        let original = float(self.original_max_position_embeddings);
        if wavelength < original / self.high_freq_factor {
            return frequency;
        }
        if wavelength > original / self.low_freq_factor {
            return frequency / self.factor;
        }
        let kept = (original / wavelength - self.low_freq_factor) / (self.high_freq_factor - self.low_freq_factor);
        (1.0 - kept) * frequency / self.factor + kept * frequency
    }
}

/// Positions and channels are far below 2^52.
#[expect(clippy::cast_precision_loss, reason = "positions and channels are far below 2^52")]
fn float(value: usize) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests;
