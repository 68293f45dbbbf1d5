//! What speaks against a source, said before anything is made of it.

use std::collections::BTreeSet;
use std::path::Path;

use anec_runtime::tokenizer::{SpecialTokens, TextTokenizer, TokenizerConfig, TokenizerError};
use fs_err as fs;

use super::{CalibrationSource, TEXT, calibration_tokens, check_length, check_vocabulary, window};
use crate::calibrate::error::CalibrateError;
use crate::model::decoder_plan::DecoderPlan;
use crate::source::checkpoint::Checkpoint;

/// Share of tokens for what the vocabulary does not have, beyond which a text is of another language.
const MOST_UNKNOWN: f64 = 0.2;

/// How many times fewer bytes of a text a token may stand for than of the text that ships.
const MOST_FRAGMENTED: f64 = 2.5;

/// Bytes of a file that are looked at for that.
const SAMPLE_BYTES: usize = 1 << 16;

/// Fewer different tokens than these say little of a model.
const FEW_TOKENS: usize = 64;

/// Requires that a source gives usable tokens, as far as that can be known without letting the checkpoint answer, and says
/// what makes them doubtful.
///
/// # Errors
/// As [`calibration_tokens`], or most of the text is unknown to the vocabulary.
pub fn check_source(
    source: &CalibrationSource,
    checkpoint: &Checkpoint,
    plan: &DecoderPlan,
) -> Result<Vec<String>, CalibrateError> {
    match source {
        CalibrationSource::None => Ok(Vec::new()),
        CalibrationSource::Builtin => {
            let shipped = TextTokenizer::open(checkpoint.directory())?.encode(TEXT, SpecialTokens::Present)?;
            check_length(shipped.len(), window(plan))?;
            check_vocabulary(&shipped, plan.vocab_size)?;
            Ok(Vec::new())
        }
        CalibrationSource::File(path) => {
            let tokens = calibration_tokens(source, checkpoint, plan, &|| Ok(()))?.tokens.tokens;
            let tokenizer = TextTokenizer::open(checkpoint.directory())?;
            let config = TokenizerConfig::open(checkpoint.directory()).map_err(TokenizerError::from)?;
            let unknown = config.special_token("unk_token").and_then(|spelling| tokenizer.token(spelling));
            check_known(&tokens, unknown)?;
            let mut doubts = Vec::new();
            let different = tokens.iter().collect::<BTreeSet<_>>().len();
            if different < FEW_TOKENS.min(plan.vocab_size / 4) {
                doubts.push(format!(
                    "the calibration text has only {different} different tokens: it tells little of the model"
                ));
            }
            doubts.extend(fragmented(path, &tokenizer)?);
            Ok(doubts)
        }
    }
}

/// Requires that the vocabulary has most of a text.
#[expect(clippy::cast_precision_loss, reason = "a share")]
fn check_known(tokens: &[u32], unknown: Option<u32>) -> Result<(), CalibrateError> {
    let count = tokens.iter().filter(|token| Some(**token) == unknown).count();
    let share = count as f64 / tokens.len().max(1) as f64;
    if share > MOST_UNKNOWN { Err(CalibrateError::Unknown { percent: 100.0 * share }) } else { Ok(()) }
}

/// Says where a text falls into far more tokens than the text that ships does, as languages do that the vocabulary was not
/// made for. Files of chats are not judged: their bytes are not all text.
fn fragmented(path: &Path, tokenizer: &TextTokenizer) -> Result<Option<String>, CalibrateError> {
    if super::is_chat(path) {
        return Ok(None);
    }
    let text = fs::read_to_string(path).map_err(CalibrateError::File)?;
    let sample = text.get(..text.floor_char_boundary(SAMPLE_BYTES)).unwrap_or_default();
    let bytes = |text: &str| {
        Ok::<_, CalibrateError>(bytes_per_token(text, tokenizer.encode(text, SpecialTokens::Present)?.len()))
    };
    let ratio = bytes(TEXT)? / bytes(sample)?;
    Ok((ratio > MOST_FRAGMENTED).then(|| {
        format!("the calibration text takes {ratio:.1} times more tokens than English: is it a language of the model?")
    }))
}

#[expect(clippy::cast_precision_loss, reason = "a ratio")]
fn bytes_per_token(text: &str, tokens: usize) -> f64 {
    text.len() as f64 / tokens.max(1) as f64
}

#[cfg(test)]
mod tests {
    use anec_runtime::verify;

    use super::*;

    #[test]
    fn text_that_is_mostly_unknown_is_refused() {
        let tokens = [vec![0; 30], vec![1; 70]].concat();
        let error = check_known(&tokens, Some(0)).expect_err("a third is unknown");
        assert_eq!(
            error.to_string(),
            "Cannot calibrate: 30 % of the tokens stand for what the vocabulary does not have"
        );
        assert!(check_known(&tokens, None).is_ok() && check_known(&tokens, Some(7)).is_ok());
    }

    #[test]
    fn what_results_are_checked_on_was_not_calibrated_on() {
        /// Words in a row that no two texts share by chance.
        const RUN: usize = 6;
        let words = |text: &'static str| text.split_whitespace().collect::<Vec<_>>();
        let (shipped, held_out) = (words(TEXT), words(verify::TEXT));
        let runs: BTreeSet<&[&str]> = shipped.windows(RUN).collect();
        let common = held_out.windows(RUN).find(|run| runs.contains(run));
        assert_eq!(common, None);
    }
}
