//! Seconds of repetitions.

use serde_json::{Value, json};

/// Seconds of each repetition.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Times(pub(super) Vec<f64>);

impl Times {
    /// Minimum, median and maximum.
    pub(super) fn spread(&self) -> [f64; 3] {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let at = |index: usize| sorted.get(index).copied().unwrap_or(f64::NAN);
        [at(0), at(sorted.len() / 2), at(sorted.len().saturating_sub(1))]
    }

    /// The spread as data.
    pub(super) fn seconds(&self) -> Value {
        let [fastest, median, slowest] = self.spread();
        json!({ "min": fastest, "median": median, "max": slowest })
    }

    /// What repetitions of so many tokens say, as data.
    pub(super) fn json(&self, tokens: f64) -> Value {
        let [_, median, _] = self.spread();
        json!({ "tokens": tokens, "seconds": self.seconds(), "tokens_per_second": tokens / median })
    }

    /// The same as a line.
    pub(super) fn line(&self, what: &str, tokens: f64) -> String {
        let [fastest, median, slowest] = self.spread();
        format!(
            "{what:<8} {:>9.1} tokens/s  ({tokens} tokens in {median:.3} s, {fastest:.3} to {slowest:.3})\n",
            tokens / median
        )
    }
}
