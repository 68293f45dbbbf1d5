//! Runs a model and the checkpoint over the same tokens.

use anec_mil::evaluate::Tensor;
use anec_schemas::report::{Agreement, PrefillAgreement};

use super::metrics::{Comparison, finite, negative_log_likelihood};
use super::{Progress, TokenWindows, VerifyError};
use crate::backend::Tensors;
use crate::oracle::Oracle;
use crate::session::{Output, Session, SessionError};

/// What a comparison of logits found.
#[derive(Clone, Debug, PartialEq)]
pub struct Compared {
    /// Tokens of each window that were computed.
    pub windows: Vec<u64>,
    /// Token by token.
    pub decode: Agreement,
    /// After batches; `None` where the model has no prefill or no window is long enough.
    pub prefill: Option<PrefillAgreement>,
}

/// Compares logits over all windows, which are cut to what the model and the checkpoint can take.
///
/// # Errors
/// There is nothing to compare, or either side fails.
pub fn compare(
    session: &mut dyn Session,
    oracle: &mut Oracle,
    tokens: &TokenWindows,
    progress: &mut dyn FnMut(Progress),
) -> Result<Compared, VerifyError> {
    let expected = oracle.config().vocab_size;
    let capabilities = session.capabilities().clone();
    if let Some(found) = capabilities.vocab_size.filter(|found| *found != expected) {
        return Err(VerifyError::Vocabulary { expected, found });
    }
    let limit = capabilities.context_length.min(oracle.config().max_position_embeddings);
    let windows: Vec<&[u32]> =
        tokens.windows.iter().map(|window| &window[..window.len().min(limit)]).filter(|w| !w.is_empty()).collect();
    if windows.is_empty() {
        return Err(VerifyError::NoTokens);
    }
    let all = windows.iter().map(|window| window.len()).sum();
    let mut done = 0;
    let (mut decode, mut after_prefill) = (Comparison::default(), Comparison::default());
    let mut prefill: Option<PrefillAgreement> = None;
    for window in &windows {
        progress(Progress::Reference(window.len()));
        let reference = oracle.logits(window)?;
        decode.begin_window();
        session.reset()?;
        let mut decoded = Vec::with_capacity(window.len());
        for (position, (token, reference)) in window.iter().zip(&reference).enumerate() {
            let logits = logits_of(session.infer(*token, position)?, oracle)?;
            if logits.len() != reference.len() {
                return Err(VerifyError::Vocabulary { expected: reference.len(), found: logits.len() });
            }
            decode.add(reference, &logits, window.get(position + 1).copied());
            decoded.push(logits);
            done += 1;
            progress(Progress::Compared(done, all));
        }
        let batch_size = capabilities.batch_size.unwrap_or(usize::MAX);
        let batched = window.len().saturating_sub(1) / batch_size * batch_size;
        if batched > 0 {
            let decoded_state = session.read_cache()?;
            let found = prefill.get_or_insert_default();
            after_prefill.begin_window();
            session.reset()?;
            for (index, batch) in window[..batched].chunks(batch_size).enumerate() {
                session.prefill(batch, index * batch_size)?;
            }
            for position in batched..window.len() {
                let logits = logits_of(session.infer(window[position], position)?, oracle)?;
                after_prefill.add(&reference[position], &logits, window.get(position + 1).copied());
                found.logit_difference = found.logit_difference.max(largest_difference(&decoded[position], &logits));
            }
            let (difference, largest) = state_difference(&decoded_state, &session.read_cache()?);
            found.state_difference = finite(found.state_difference.max(difference));
            found.state_largest = found.state_largest.max(largest);
        }
    }
    if let Some(prefill) = &mut prefill {
        prefill.agreement = after_prefill.finish();
    }
    let windows = windows.iter().map(|window| window.len() as u64).collect();
    Ok(Compared { windows, decode: decode.finish(), prefill })
}

/// The logits of an output; of a model without a head, by that of the checkpoint.
fn logits_of(output: Output, oracle: &Oracle) -> Result<Vec<f32>, VerifyError> {
    if let Output::HiddenState(state) = &output
        && let Some(logits) = oracle.head_logits(state)?
    {
        return Ok(logits);
    }
    Ok(output.into_logits()?)
}

/// A perplexity, and what it was computed from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PerplexityResult {
    /// `exp` of the mean negative log-likelihood.
    pub perplexity: f64,
    /// Tokens that were scored: all but the first of each window.
    pub tokens: usize,
}

/// What a model gave over one window.
#[derive(Clone, Debug)]
pub struct WindowOutput {
    /// Of each token, `vocab_size` logits.
    pub logits: Vec<Vec<f32>>,
    /// The states after the last token, by name.
    pub state: Tensors,
}

/// The perplexity of a model alone, over windows that are cut to its context. What it gave is added to `keep`.
///
/// # Errors
/// There is nothing to score, or the model fails.
pub fn perplexity(
    session: &mut dyn Session,
    tokens: &TokenWindows,
    mut keep: Option<&mut Vec<WindowOutput>>,
    progress: &mut dyn FnMut(Progress),
) -> Result<PerplexityResult, VerifyError> {
    let limit = session.capabilities().context_length;
    let windows: Vec<&[u32]> = tokens.windows.iter().map(|window| &window[..window.len().min(limit)]).collect();
    // The last token of a window is scored, but not fed.
    let vocab_size = session.capabilities().vocab_size.unwrap_or(usize::MAX);
    if let Some(token) = windows.iter().copied().flatten().find(|token| **token as usize >= vocab_size) {
        return Err(SessionError::Token { token: *token, vocab_size }.into());
    }
    let all = windows.iter().map(|window| window.len().saturating_sub(1)).sum();
    let (mut sum, mut scored) = (0.0, 0);
    for window in windows {
        session.reset()?;
        let mut kept = Vec::new();
        for (position, token) in window.iter().enumerate() {
            let next = window.get(position + 1);
            if next.is_none() && keep.is_none() {
                break;
            }
            let logits = session.infer(*token, position).and_then(Output::into_logits)?;
            if let Some(next) = next {
                sum += negative_log_likelihood(&logits, *next);
                scored += 1;
                progress(Progress::Compared(scored, all));
            }
            if keep.is_some() {
                kept.push(logits);
            }
        }
        if let Some(keep) = &mut keep {
            keep.push(WindowOutput { logits: kept, state: session.read_cache()? });
        }
    }
    if scored == 0 {
        return Err(VerifyError::NoTokens);
    }
    #[expect(clippy::cast_precision_loss, reason = "a count of tokens")]
    let perplexity = (sum / scored as f64).exp();
    Ok(PerplexityResult { perplexity, tokens: scored })
}

fn largest_difference(a: &[f32], b: &[f32]) -> f64 {
    let difference = |(a, b): (&f32, &f32)| if a == b { 0.0 } else { f64::from((a - b).abs()) };
    let largest =
        a.iter().zip(b).map(difference).fold(0.0, |a: f64, b| if b.is_nan() { f64::INFINITY } else { a.max(b) });
    if a.len() == b.len() { finite(largest) } else { f64::MAX }
}

/// The largest difference between two states, and their largest magnitude.
fn state_difference(a: &Tensors, b: &Tensors) -> (f64, f64) {
    let (mut difference, mut largest) = (0.0_f64, 0.0_f64);
    for (name, a) in a {
        match (a.as_floats(), b.get(name).map(Tensor::as_floats)) {
            (Ok(a), Some(Ok(b))) => {
                difference = difference.max(largest_difference(&a, &b));
                largest = a.iter().fold(largest, |largest, value| largest.max(f64::from(value.abs())));
            }
            _ => difference = f64::MAX,
        }
    }
    (difference, largest)
}
