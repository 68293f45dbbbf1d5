//! How the vocabulary is split over the parts of the LM head.
//!
//! Clients join the logits of the parts, or add offsets to the best token of each. Some assume parts of equal size, so
//! the planner prefers a number of parts that divides the vocabulary; where there is none, every token still belongs to
//! a part and `lm_head_chunk_sizes` in meta.yaml says how many each has. A part that is on the notch is split again
//! along its input channels, which clients do not see.

use std::ops::Range;

use anec_mil::rules::Chip;
use anec_mil::rules::limits::WEIGHT_BYTES;

use crate::model::decoder_plan::DecoderPlan;
use crate::model::decoder_plan::WeightPath;
use crate::options::{Count, Options};
use crate::plan::PlanError;
use crate::weights::recipe::WeightKind;
use crate::weights::storage::Storage;

/// The most parts that are tried for an even split.
const MAX_PARTS: u64 = 64;

/// Rows of each part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeadSplit {
    /// Tokens in each part, in order of token id.
    pub sizes: Vec<u64>,
    /// Why there are so many parts.
    pub reason: Reason,
}

/// Why there are so many parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// They were asked for.
    Asked,
    /// Clients expect as many, or nearly.
    Expected,
    /// The chip takes no fewer.
    Fewest,
}

impl HeadSplit {
    /// Token ids of each part.
    pub(crate) fn parts(&self) -> Vec<Range<u64>> {
        let mut end = 0;
        let part = |size: &u64| {
            end += size;
            end - size..end
        };
        self.sizes.iter().map(part).collect()
    }

    /// Whether all parts have the same size.
    pub fn is_even(&self) -> bool {
        self.sizes.windows(2).all(|pair| pair[0] == pair[1])
    }
}

/// Splits the vocabulary; `expected` parts where clients expect some number and nothing else is asked for.
pub(crate) fn split(plan: &DecoderPlan, options: &Options, expected: Option<u64>) -> Result<HeadSplit, PlanError> {
    let vocab_size = plan.vocab_size as u64;
    // Parts are made of whole palette groups, where the vocabulary is. Where it is not, equal parts come first: each may
    // end in a short group, which costs it the bytes of less than a group.
    let row_unit = storage(plan, options).encoding().row_unit().max(1);
    let unit = if vocab_size.is_multiple_of(row_unit) { row_unit } else { 1 };
    let max_rows = (max_rows(options) / row_unit).max(1).saturating_mul(row_unit);
    let (parts, reason) = match (options.lm_head_splits, expected) {
        (Count::Exactly(count), _) => (u64::from(count.get()), Reason::Asked),
        (Count::Auto, Some(parts)) => (even_parts(vocab_size / unit, unit, parts, max_rows), Reason::Expected),
        (Count::Auto, None) => {
            (even_parts(vocab_size / unit, unit, fewest_parts(plan, options), max_rows), Reason::Fewest)
        }
    };
    let most = vocab_size / unit;
    if parts > most {
        return Err(PlanError::Option {
            option: "--lm-head-splits",
            value: parts.to_string(),
            expected: format!("the vocabulary of {vocab_size} makes at most {most} parts"),
        });
    }
    Ok(HeadSplit { sizes: sizes(vocab_size, row_unit, parts), reason })
}

/// The rows of each of `parts`: as many in all where that divides the vocabulary, and otherwise whole groups in all but the
/// last.
fn sizes(vocab_size: u64, row_unit: u64, parts: u64) -> Vec<u64> {
    if vocab_size.is_multiple_of(parts)
        && (!vocab_size.is_multiple_of(row_unit) || (vocab_size / parts).is_multiple_of(row_unit))
    {
        return vec![vocab_size / parts; usize::try_from(parts).unwrap_or_default()];
    }
    let unit = if vocab_size.div_ceil(row_unit) >= parts { row_unit } else { 1 };
    let units = vocab_size.div_ceil(unit);
    let size = |part: u64| unit * (units / parts + u64::from(part < units % parts));
    let excess = |part: u64| if part + 1 == parts { units * unit - vocab_size } else { 0 };
    (0..parts).map(|part| size(part) - excess(part)).collect()
}

fn storage<'a>(plan: &DecoderPlan, options: &'a Options) -> &'a Storage {
    options.storage.of(WeightKind::LmHead, &plan.source(&WeightPath::LM_HEAD).tensor)
}

/// The most rows that one part may have on the chip.
pub(crate) fn max_rows(options: &Options) -> u64 {
    if options.target.is_neural_engine() { options.chip.facts().max_head_rows } else { u64::MAX }
}

/// The fewest parts that the chip takes.
fn fewest_parts(plan: &DecoderPlan, options: &Options) -> u64 {
    if !options.target.is_neural_engine() {
        return 1;
    }
    let rows = plan.vocab_size as u64;
    let bits = u64::from(storage(plan, options).bits());
    let bytes = (rows.saturating_mul(plan.hidden_size as u64)).saturating_mul(bits).div_ceil(8);
    rows.div_ceil(max_rows(options)).max(bytes.div_ceil(WEIGHT_BYTES))
}

/// Whether the chip takes so few rows that most vocabularies need about as many parts as clients expect.
pub(crate) fn needs_many_parts(options: &Options) -> bool {
    max_rows(options) <= Chip::Generic.facts().max_head_rows
}

/// The number of equal parts nearest to `default` from above, else from below; `default` where none is small enough.
fn even_parts(units: u64, unit: u64, default: u64, max_rows: u64) -> u64 {
    let default = default.min(units).max(1);
    let fits = |parts: &u64| units.is_multiple_of(*parts) && units / parts * unit <= max_rows;
    (default..=MAX_PARTS.max(default))
        .find(fits)
        .or_else(|| (1..default).rev().find(fits))
        .unwrap_or_else(|| default.max((units * unit).div_ceil(max_rows)).min(units))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vocabularies_of_real_models_split_evenly() {
        for (vocab_size, default, expected) in
            [(151_936_u64, 16, 16), (128_256, 8, 8), (32_000, 8, 8), (32_768, 8, 8), (131_072, 8, 8), (152_064, 16, 16)]
        {
            assert_eq!(even_parts(vocab_size / 8, 8, default, 16_384), expected, "{vocab_size}");
        }
    }

    #[test]
    fn a_vocabulary_that_the_default_does_not_divide_gets_another_even_split() {
        assert_eq!(even_parts(2050, 1, 8, 16_384), 10);
        assert_eq!(even_parts(49_155, 1, 8, 16_384), 15);
    }

    #[test]
    fn parts_hold_every_token_once_for_every_vocabulary_and_group() {
        for vocab_size in [1, 7, 8, 9, 63, 64, 65, 32_001, 32_002, 32_003, 64_001, 128_257, 151_669] {
            for row_unit in [1, 2, 8, 24, 32, 1024] {
                for parts in [1, 2, 3, 7, 8, 16, 47] {
                    if parts > vocab_size {
                        continue;
                    }
                    let sizes = sizes(vocab_size, row_unit, parts);
                    assert_eq!(sizes.len() as u64, parts);
                    assert_eq!(sizes.iter().sum::<u64>(), vocab_size, "{vocab_size} {row_unit} {parts}");
                    assert!(sizes.iter().all(|size| *size > 0), "{vocab_size} {row_unit} {parts}: {sizes:?}");
                }
            }
        }
    }

    #[test]
    fn a_prime_vocabulary_keeps_every_token() {
        let parts = even_parts(32_003, 1, 8, 16_384);
        assert_eq!(parts, 8);
        let sizes = sizes(32_003, 8, parts);
        assert_eq!(sizes, [4008, 4000, 4000, 4000, 4000, 4000, 4000, 3995]);
        assert!(!HeadSplit { sizes, reason: Reason::Expected }.is_even());
    }
}
