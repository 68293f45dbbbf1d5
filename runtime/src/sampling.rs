//! Choosing the next token.
//!
//! The order is that of transformers: repetition penalty, temperature, top-k, top-p. All of it is computed in f64 with
//! software functions, and the random numbers are those of ChaCha8, so that the same logits and the same seed give the same
//! token on every machine.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};

use crate::session::Output;

/// How the next token is chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SamplingOptions {
    /// Divisor of the logits; 0 takes the most likely token.
    pub temperature: f64,
    /// Number of tokens to choose from; 0 for all.
    pub top_k: usize,
    /// Probability mass to choose from, above 0 and up to 1.
    pub top_p: f64,
    /// What positive logits of tokens that were seen are divided by, and negative ones multiplied with; 1 for none.
    pub repetition_penalty: f64,
    /// Which random numbers.
    pub seed: u64,
}

impl Default for SamplingOptions {
    /// Always the most likely token.
    fn default() -> Self {
        Self { temperature: 0.0, top_k: 0, top_p: 1.0, repetition_penalty: 1.0, seed: 0 }
    }
}

impl SamplingOptions {
    /// Whether the most likely token is taken.
    pub fn is_greedy(&self) -> bool {
        self.temperature == 0.0
    }

    /// Whether the best token alone is not enough to choose.
    pub fn needs_logits(&self) -> bool {
        !self.is_greedy() || self.repetition_penalty != 1.0
    }
}

/// A token that cannot be chosen.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum SamplingError {
    /// An option is outside of its range. The user's or the meta file's fault.
    #[error("`{option}` is {found}, expected {expected}")]
    Option {
        /// The option.
        option: &'static str,
        /// Its range.
        expected: &'static str,
        /// Its value.
        found: f64,
    },
    /// The model computed a logit that is no number.
    #[error("the logit of token {token} is {found}")]
    NotFinite {
        /// The token.
        token: usize,
        /// The logit.
        found: f32,
    },
    /// The model gives no logits at all, or rules out every token.
    #[error("the model gives no token a chance")]
    NoToken,
    /// The model gives no logits.
    #[error("the LM head gives the best token only (`argmax_in_model`), so nothing but the best token can be chosen")]
    BestOnly,
    /// The model has no head.
    #[error("the model has no LM head, so no token can be chosen")]
    NoHead,
}

/// Chooses tokens, with the random numbers of one seed.
#[derive(Clone, Debug)]
pub struct Sampler {
    options: SamplingOptions,
    random: ChaCha8Rng,
}

/// A token that may be chosen, with its logit or its weight.
type Candidate = (u32, f64);

impl Sampler {
    /// A sampler.
    ///
    /// # Errors
    /// An option is outside of its range.
    pub fn new(options: SamplingOptions) -> Result<Self, SamplingError> {
        let SamplingOptions { temperature, top_p, repetition_penalty, .. } = options;
        let check = |option, found: f64, holds: bool, expected| {
            if holds { Ok(()) } else { Err(SamplingError::Option { option, expected, found }) }
        };
        check("temperature", temperature, temperature.is_finite() && temperature >= 0.0, "a number from 0 on")?;
        check("top_p", top_p, top_p > 0.0 && top_p <= 1.0, "a number above 0 and up to 1")?;
        let positive = repetition_penalty.is_finite() && repetition_penalty > 0.0;
        check("repetition_penalty", repetition_penalty, positive, "a number above 0")?;
        // The generator's own way from 64 bits to a seed may change between its versions; this one does not.
        let mut seed = [0; 32];
        for (byte, value) in seed.iter_mut().zip(options.seed.to_le_bytes()) {
            *byte = value;
        }
        Ok(Self { options, random: ChaCha8Rng::from_seed(seed) })
    }

    /// The options.
    pub fn options(&self) -> &SamplingOptions {
        &self.options
    }

    /// Chooses the token that follows `seen`, the prompt and everything after it.
    ///
    /// # Errors
    /// A logit is not a number, or the options need logits that the model does not give.
    pub fn choose(&mut self, output: &Output, seen: &[u32]) -> Result<u32, SamplingError> {
        let logits = match output {
            Output::Logits(logits) => logits,
            Output::Best { .. } if self.options.needs_logits() => return Err(SamplingError::BestOnly),
            Output::Best { token, logit } => {
                let broken = SamplingError::NotFinite { token: *token as usize, found: *logit };
                return if logit.is_finite() { Ok(*token) } else { Err(broken) };
            }
            Output::HiddenState(_) => return Err(SamplingError::NoHead),
        };
        let candidates = candidates(logits, seen, self.options.repetition_penalty)?;
        if self.options.is_greedy() {
            return best(&candidates).ok_or(SamplingError::NoToken);
        }
        let weights = weights(candidates, &self.options);
        self.draw(&weights).ok_or(SamplingError::NoToken)
    }

    /// What [`Self::choose`] chooses from: one token where the best is taken.
    ///
    /// # Errors
    /// As [`Self::choose`].
    pub fn distribution(&mut self, output: &Output, seen: &[u32]) -> Result<Distribution, SamplingError> {
        if self.options.is_greedy() {
            return self.choose(output, seen).map(Distribution::certain);
        }
        let Output::Logits(logits) = output else { return self.choose(output, seen).map(Distribution::certain) };
        let weights = weights(candidates(logits, seen, self.options.repetition_penalty)?, &self.options);
        Distribution::of_weights(weights).ok_or(SamplingError::NoToken)
    }

    /// A token of a distribution.
    pub fn draw_from(&mut self, distribution: &Distribution) -> u32 {
        match distribution.0[..] {
            [(token, _)] => token,
            _ => self.draw(&distribution.0).expect("a distribution has a token"),
        }
    }

    /// A random number from 0 to before 1.
    pub fn uniform(&mut self) -> f64 {
        // 53 bits are what f64 has for the numbers from 0 up to 1 at one distance.
        #[expect(clippy::cast_precision_loss, reason = "53 bits are exact")]
        let random = (self.random.next_u64() >> 11) as f64 * (f64::EPSILON / 2.0);
        random
    }

    /// A token with a probability proportional to its weight.
    fn draw(&mut self, weights: &[Candidate]) -> Option<u32> {
        let random = self.uniform();
        let total: f64 = weights.iter().map(|(_, weight)| weight).sum();
        let mut rest = random * total;
        for (token, weight) in weights {
            rest -= weight;
            if rest < 0.0 {
                return Some(*token);
            }
        }
        // Rounding left a rest: the last token is where it belongs.
        weights.last().map(|(token, _)| *token)
    }
}

/// Tokens with their probabilities, at least one.
#[derive(Clone, Debug, PartialEq)]
pub struct Distribution(Vec<Candidate>);

impl Distribution {
    /// One token.
    fn certain(token: u32) -> Self {
        Self(vec![(token, 1.0)])
    }

    /// Probabilities that are proportional to weights; `None` where there is no weight.
    fn of_weights(mut weights: Vec<Candidate>) -> Option<Self> {
        let total: f64 = weights.iter().map(|(_, weight)| weight).sum();
        if !(total > 0.0 && total.is_finite()) {
            return None;
        }
        for (_, weight) in &mut weights {
            *weight /= total;
        }
        Some(Self(weights))
    }

    /// The probability of a token.
    pub fn of(&self, token: u32) -> f64 {
        self.0.iter().find(|(other, _)| *other == token).map_or(0.0, |(_, probability)| *probability)
    }

    /// Where this one gives tokens more than the other: `max(p - q, 0)`, normalized. Where rounding leaves nothing, this one.
    #[must_use]
    pub fn beyond(&self, other: &Self) -> Self {
        let rest = |(token, p): &Candidate| Some((*token, p - other.of(*token))).filter(|(_, rest)| *rest > 0.0);
        Self::of_weights(self.0.iter().filter_map(rest).collect()).unwrap_or_else(|| self.clone())
    }
}

/// Every token that the model does not rule out, in the order of the vocabulary, with the penalty applied once to those seen.
fn candidates(logits: &[f32], seen: &[u32], penalty: f64) -> Result<Vec<Candidate>, SamplingError> {
    let mut penalized = vec![false; if penalty == 1.0 { 0 } else { logits.len() }];
    for token in seen {
        if let Some(flag) = penalized.get_mut(*token as usize) {
            *flag = true;
        }
    }
    let mut candidates = Vec::with_capacity(logits.len());
    for (token, logit) in (0_u32..).zip(logits) {
        if logit.is_nan() || *logit == f32::INFINITY {
            return Err(SamplingError::NotFinite { token: token as usize, found: *logit });
        }
        if *logit == f32::NEG_INFINITY {
            continue;
        }
        let logit = f64::from(*logit);
        let seen = penalized.get(token as usize).copied().unwrap_or(false);
        let factor = match seen {
            false => 1.0,
            true if logit > 0.0 => 1.0 / penalty,
            true => penalty,
        };
        candidates.push((token, logit * factor));
    }
    if candidates.is_empty() {
        return Err(SamplingError::NoToken);
    }
    Ok(candidates)
}

/// The first of the most likely.
fn best(candidates: &[Candidate]) -> Option<u32> {
    let mut best: Option<Candidate> = None;
    for candidate in candidates {
        if best.is_none_or(|best| candidate.1 > best.1) {
            best = Some(*candidate);
        }
    }
    best.map(|(token, _)| token)
}

/// What remains after top-k and top-p, most likely first, with weights that are proportional to the probabilities.
fn weights(mut candidates: Vec<Candidate>, options: &SamplingOptions) -> Vec<Candidate> {
    let by_logit = |a: &Candidate, b: &Candidate| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
    if options.top_k > 0 && options.top_k < candidates.len() {
        candidates.select_nth_unstable_by(options.top_k - 1, by_logit);
        candidates.truncate(options.top_k);
    }
    candidates.sort_unstable_by(by_logit);
    let largest = candidates.first().map_or(0.0, |(_, logit)| *logit);
    for (_, value) in &mut candidates {
        *value = libm::exp((*value - largest) / options.temperature);
    }
    if options.top_p < 1.0 {
        let mass = options.top_p * candidates.iter().map(|(_, weight)| weight).sum::<f64>();
        let mut before = 0.0;
        let mut kept = 0;
        // A token stays while those before it do not have the mass; so the first always stays.
        for (_, weight) in &candidates {
            if before >= mass {
                break;
            }
            before += weight;
            kept += 1;
        }
        candidates.truncate(kept);
    }
    candidates
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOGITS: [f32; 6] = [1.0, -0.5, 2.0, 0.25, 2.0, -3.0];

    fn options(temperature: f64, top_k: usize, top_p: f64, repetition_penalty: f64) -> SamplingOptions {
        SamplingOptions { temperature, top_k, top_p, repetition_penalty, seed: 7 }
    }

    /// The probabilities by their definitions, one after the other, over the whole vocabulary.
    fn probabilities(logits: &[f32], seen: &[u32], options: &SamplingOptions) -> Vec<f64> {
        let softmax = |scores: &[f64]| -> Vec<f64> {
            let total: f64 = scores.iter().map(|score| score.exp()).sum();
            scores.iter().map(|score| score.exp() / total).collect()
        };
        let mut scores: Vec<f64> = logits.iter().map(|logit| f64::from(*logit)).collect();
        for (token, score) in scores.iter_mut().enumerate() {
            if seen.iter().any(|other| *other as usize == token) {
                *score = if *score > 0.0 {
                    *score / options.repetition_penalty
                } else {
                    *score * options.repetition_penalty
                };
            }
            *score /= options.temperature;
        }
        let better = |scores: &[f64], token: usize| -> Vec<usize> {
            let other =
                |other: &usize| scores[*other] > scores[token] || (scores[*other] == scores[token] && *other < token);
            (0..scores.len()).filter(other).collect()
        };
        let before = scores.clone();
        for (token, score) in scores.iter_mut().enumerate() {
            if options.top_k > 0 && better(&before, token).len() >= options.top_k {
                *score = f64::NEG_INFINITY;
            }
        }
        let (before, mass) = (scores.clone(), softmax(&scores));
        for (token, score) in scores.iter_mut().enumerate() {
            let ahead: f64 = better(&before, token).iter().map(|other| mass[*other]).sum();
            if ahead >= options.top_p {
                *score = f64::NEG_INFINITY;
            }
        }
        softmax(&scores)
    }

    #[test]
    fn weights_are_the_distribution_of_the_definitions() {
        for temperature in [0.3, 1.0, 2.5] {
            for top_k in [0, 1, 2, 3, 100] {
                for top_p in [0.01, 0.4, 0.75, 0.95, 1.0] {
                    for penalty in [1.0, 1.3, 0.8] {
                        let (options, seen) = (options(temperature, top_k, top_p, penalty), [4, 5, 4]);
                        let expected = probabilities(&LOGITS, &seen, &options);
                        let found = weights(candidates(&LOGITS, &seen, penalty).expect("finite"), &options);
                        let total: f64 = found.iter().map(|(_, weight)| weight).sum();
                        let mut probabilities = vec![0.0; LOGITS.len()];
                        for (token, weight) in found {
                            probabilities[token as usize] = weight / total;
                        }
                        for (found, expected) in probabilities.iter().zip(&expected) {
                            assert!((found - expected).abs() < 1e-12, "{options:?}: {probabilities:?}, {expected:?}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn tokens_are_drawn_as_often_as_they_are_likely() {
        const DRAWS: u32 = 40_000;
        let options = options(1.0, 0, 0.97, 1.0);
        let mut sampler = Sampler::new(options).expect("valid");
        let mut counts = [0_u32; LOGITS.len()];
        for _ in 0..DRAWS {
            counts[sampler.choose(&Output::Logits(LOGITS.to_vec()), &[]).expect("finite") as usize] += 1;
        }
        for (count, expected) in counts.iter().zip(probabilities(&LOGITS, &[], &options)) {
            // Five standard deviations.
            let allowed = 5.0 * (expected * (1.0 - expected) / f64::from(DRAWS)).sqrt();
            assert!((f64::from(*count) / f64::from(DRAWS) - expected).abs() <= allowed, "{counts:?}");
        }
    }

    #[test]
    fn a_draft_of_another_distribution_leaves_the_distribution_of_the_model() {
        const DRAWS: u32 = 40_000;
        let options = options(1.0, 0, 1.0, 1.0);
        let mut sampler = Sampler::new(options).expect("valid");
        let p = sampler.distribution(&Output::Logits(LOGITS.to_vec()), &[]).expect("finite");
        let q = sampler.distribution(&Output::Logits(vec![2.0, 1.0, -1.0, 0.0, 1.0, 0.5]), &[]).expect("finite");
        let mut counts = [0_u32; LOGITS.len()];
        for _ in 0..DRAWS {
            let drafted = sampler.draw_from(&q);
            let kept = sampler.uniform() * q.of(drafted) < p.of(drafted);
            let token = if kept { drafted } else { sampler.draw_from(&p.beyond(&q)) };
            counts[token as usize] += 1;
        }
        for (count, expected) in counts.iter().zip(probabilities(&LOGITS, &[], &options)) {
            // Five standard deviations.
            let allowed = 5.0 * (expected * (1.0 - expected) / f64::from(DRAWS)).sqrt();
            assert!((f64::from(*count) / f64::from(DRAWS) - expected).abs() <= allowed, "{counts:?}");
        }
        assert_eq!(p.beyond(&p), p, "nothing is left, and nothing is divided by");
    }

    #[test]
    fn a_seed_names_one_sequence_on_every_machine() {
        let draw = |seed| {
            let options = SamplingOptions { seed, ..options(1.0, 0, 1.0, 1.0) };
            let mut sampler = Sampler::new(options).expect("valid");
            let output = Output::Logits(vec![0.0; 1000]);
            (0..6).map(|_| sampler.choose(&output, &[]).expect("finite")).collect::<Vec<_>>()
        };
        assert_eq!(draw(0), SEQUENCE_OF_SEED_0);
        assert_eq!(draw(1 << 40), draw(1 << 40));
        assert_ne!(draw(1), draw(2));
    }

    /// The first words of ChaCha8 with a key of zeros, as thousandths of 2^64.
    const SEQUENCE_OF_SEED_0: [u32; 6] = [836, 631, 232, 117, 255, 98];

    #[test]
    fn without_a_temperature_the_first_of_the_best_is_taken() {
        let mut sampler = Sampler::new(SamplingOptions::default()).expect("valid");
        assert_eq!(sampler.choose(&Output::Logits(LOGITS.to_vec()), &[]), Ok(2));
        assert_eq!(sampler.choose(&Output::Best { token: 5, logit: 0.0 }, &[]), Ok(5));
    }

    #[test]
    fn a_penalty_moves_the_best_token_away_from_what_was_seen() {
        let mut sampler = Sampler::new(options(0.0, 0, 1.0, 1.5)).expect("valid");
        assert_eq!(sampler.choose(&Output::Logits(LOGITS.to_vec()), &[2]), Ok(4));
        assert_eq!(sampler.choose(&Output::Logits(vec![-1.0, -1.4]), &[0, 99]), Ok(1));
    }

    #[test]
    fn logits_that_are_no_numbers_are_refused() {
        let mut sampler = Sampler::new(SamplingOptions::default()).expect("valid");
        let refused = sampler.choose(&Output::Logits(vec![0.0, f32::INFINITY]), &[]);
        assert_eq!(refused, Err(SamplingError::NotFinite { token: 1, found: f32::INFINITY }));
        assert!(sampler.choose(&Output::Logits(vec![f32::NAN]), &[]).is_err());
        assert_eq!(sampler.choose(&Output::Logits(vec![]), &[]), Err(SamplingError::NoToken));
        assert_eq!(sampler.choose(&Output::Logits(vec![f32::NEG_INFINITY; 2]), &[]), Err(SamplingError::NoToken));
    }

    #[test]
    fn a_head_that_gives_the_best_token_is_not_sampled() {
        let mut sampler = Sampler::new(options(1.0, 0, 1.0, 1.0)).expect("valid");
        assert_eq!(sampler.choose(&Output::Best { token: 5, logit: 0.0 }, &[]), Err(SamplingError::BestOnly));
    }

    #[test]
    fn options_outside_of_their_range_are_refused_by_name() {
        for (options, name) in [
            (options(-1.0, 0, 1.0, 1.0), "temperature"),
            (options(f64::NAN, 0, 1.0, 1.0), "temperature"),
            (options(1.0, 0, 0.0, 1.0), "top_p"),
            (options(1.0, 0, 1.1, 1.0), "top_p"),
            (options(1.0, 0, 1.0, 0.0), "repetition_penalty"),
        ] {
            let error = Sampler::new(options).expect_err("outside of the range");
            assert!(error.to_string().contains(name), "{error}");
        }
    }
}
