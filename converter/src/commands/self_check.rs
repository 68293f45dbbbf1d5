//! What `anec convert` says of its own result: how far it is from the checkpoint on text that it was not calibrated with.

use std::path::Path;

use anec_mil::evaluate::{Accumulator, Numerics};
use anec_runtime::ModelDirectory;
use anec_runtime::oracle::{Implementation, Oracle};
use anec_runtime::tokenizer::{SpecialTokens, TextTokenizer, TokenizerConfig};
use anec_runtime::verify::{TEXT, TEXT_NAME, Thresholds, TokenWindows, Verification, VerifyOptions};
use anec_schemas::report::Agreement;
use serde::Serialize;

use super::convert::Arguments;
use super::model_arguments::Prepared;
use crate::console::Console;
use crate::error::render;
use crate::model::decoder_plan::DecoderPlan;
use crate::source;
use crate::source::checkpoint::Checkpoint;
use crate::weights::recipe::{Recipe, WeightKind};
use crate::weights::storage::Storage;

/// Tokens that are compared, each a step of decoding.
const TOKENS: usize = 192;

/// Parameters beyond which the checkpoint's own forward pass would take too much memory: six bytes each.
const MOST_PARAMETERS: usize = 2_000_000_000;

/// Beyond these, answers are not those of the checkpoint any more.
const MOST_KL: f64 = 0.2;
const MOST_PERPLEXITY: f64 = 1.2;

/// How far a result is from its checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct CheckReport {
    tokens: u64,
    perplexity_checkpoint: Option<f64>,
    perplexity: Option<f64>,
    kl_mean: f64,
    top1: f64,
}

/// Says in one line how far an output is from its checkpoint, and warns where it should not be shipped.
pub(super) fn run(arguments: &Arguments, prepared: &Prepared, console: Console) -> Option<CheckReport> {
    let plans = &prepared.plans;
    let plan = &plans.longest;
    if parameters(&plan.decoder) > MOST_PARAMETERS {
        console.status("not checked against the checkpoint, which is large: `anec verify` does it");
        return None;
    }
    let output =
        if plans.others.is_empty() { arguments.output.clone() } else { arguments.output.join(plan.directory_name()) };
    match compare(&output, &prepared.checkpoint, console) {
        Ok(found) => {
            console.status(&found.text());
            if found.is_far() {
                let mend = mend(&plan.options.storage, arguments.model.storage.uniform);
                console.warning(&format!("the result is far from the checkpoint; {mend}"));
            }
            Some(found)
        }
        Err(problem) => {
            console.warning(&format!("the result could not be checked against the checkpoint: {problem}"));
            None
        }
    }
}

fn parameters(plan: &DecoderPlan) -> usize {
    let layer = 2 * plan.hidden_size * (plan.q_size() + plan.kv_size()) + 3 * plan.hidden_size * plan.intermediate_size;
    plan.num_hidden_layers * layer + plan.vocab_size * plan.hidden_size
}

fn compare(output: &Path, checkpoint: &Checkpoint, console: Console) -> Result<CheckReport, String> {
    fn message(error: impl std::error::Error) -> String {
        render(&error)
    }
    let directory = ModelDirectory::open(output).map_err(message)?;
    let companions = checkpoint.companions().map_err(message)?;
    let tokenizer = TextTokenizer::open(companions).map_err(message)?;
    let config = TokenizerConfig::open(companions).map_err(message)?;
    let start = config.special_token("bos_token").and_then(|spelling| tokenizer.token(spelling));
    let text = tokenizer.encode(TEXT, SpecialTokens::Present).map_err(message)?;
    let context = usize::try_from(directory.meta().model_info.parameters.context_length).unwrap_or(usize::MAX);
    let tokens = TokenWindows { source: TEXT_NAME.to_owned(), windows: windows(&text, start, context) };
    let (config, checkpoint) = source::open_for_oracle(checkpoint).map_err(message)?;
    let numerics = Numerics::Fp16(Accumulator::F32);
    let thresholds = Thresholds::for_model(16, config.num_hidden_layers, numerics);
    let mut oracle = Oracle::new(config, &checkpoint, Implementation::Automatic).map_err(message)?;
    let options = VerifyOptions { numerics, thresholds, generator: String::new(), logits_only: true };
    let progress = console.count_progress();
    progress.set_message("Checking");
    let verification = Verification {
        directory: &directory,
        checkpoint: &checkpoint,
        oracle: &mut oracle,
        tokens: &tokens,
        options: &options,
        progress: &mut |_| progress.tick(),
    };
    let report = verification.on_reference().map_err(message)?;
    progress.finish_and_clear();
    Ok(CheckReport::of(&report.decode))
}

/// The first tokens of a text, in windows that fit the context and start as clients start: with a token that holds
/// activations which no other first token does.
fn windows(text: &[u32], start: Option<u32>, context: usize) -> Vec<Vec<u32>> {
    let body = context.saturating_sub(start.iter().len()).max(1);
    let text = &text[..text.len().min(TOKENS)];
    let windows = text.chunks(body).map(|window| start.into_iter().chain(window.iter().copied()).collect::<Vec<_>>());
    windows.filter(|window| window.len() > 1).collect()
}

impl CheckReport {
    fn of(found: &Agreement) -> Self {
        Self {
            tokens: found.positions,
            perplexity_checkpoint: found.perplexity_reference,
            perplexity: found.perplexity_model,
            kl_mean: found.kl_mean,
            top1: found.top1,
        }
    }

    fn text(&self) -> String {
        let perplexity =
            self.perplexity_checkpoint.zip(self.perplexity).map_or_else(String::new, |(reference, model)| {
                format!("perplexity {reference:.2} of the checkpoint, {model:.2} of the result; ")
            });
        format!(
            "On {} tokens that it was not calibrated with: {perplexity}divergence {:.4} nats; same best token {:.1} %",
            self.tokens,
            self.kl_mean,
            100.0 * self.top1
        )
    }

    /// Whether the result should not be shipped.
    fn is_far(&self) -> bool {
        let near = self.kl_mean <= MOST_KL
            && self.perplexity_checkpoint.zip(self.perplexity).is_none_or(|(reference, model)| {
                // Not a number is not near.
                model <= MOST_PERPLEXITY * reference
            });
        !near
    }
}

/// The options that bring a result nearer.
fn mend(recipe: &Recipe, is_uniform: bool) -> String {
    let kinds = [WeightKind::Layer, WeightKind::LmHead];
    let fewest = kinds.into_iter().flat_map(|kind| recipe.all_of(kind)).filter_map(Storage::quantized_bits).min();
    match fewest {
        Some(bits) if bits < 4 => "`--lut 4` brings it nearer, `--lut 6` much nearer".to_owned(),
        Some(bits) if bits < 6 => {
            let mixed = if is_uniform { "leave out `--uniform`, or use " } else { "use " };
            format!(
                "{mixed}more bits: `--bits 5`, `--lut 6`, or `--ffn int8 --lm-head int8`, which loses next to nothing"
            )
        }
        Some(_) => "`--ffn int8 --lm-head int8` loses next to nothing".to_owned(),
        None => "`anec verify` finds out where".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(kl_mean: f64, perplexity: f64) -> CheckReport {
        let perplexity_checkpoint = Some(10.0);
        CheckReport { tokens: 192, perplexity_checkpoint, perplexity: Some(perplexity), kl_mean, top1: 0.9 }
    }

    #[test]
    fn results_that_should_not_be_shipped_are_told_from_others() {
        assert!(!found(0.1, 11.0).is_far());
        assert!(found(0.3, 11.0).is_far() && found(0.1, 13.0).is_far());
        assert!(found(f64::NAN, 11.0).is_far() && found(0.1, f64::NAN).is_far());
        let text = "On 192 tokens that it was not calibrated with: perplexity 10.00 of the checkpoint, 11.00 of the result; \
                    divergence 0.1000 nats; same best token 90.0 %";
        assert_eq!(found(0.1, 11.0).text(), text);
    }

    #[test]
    fn the_advice_has_more_bits_than_the_result() {
        let recipe = |bits: &str| {
            let storage = || format!("lut{bits}:8+calibrated").parse().expect("a storage");
            Recipe::new(storage(), storage(), "fp16".parse().expect("a storage"))
        };
        assert!(mend(&recipe("3"), false).contains("`--lut 4`"));
        assert!(mend(&recipe("4"), true).starts_with("leave out `--uniform`"));
        assert!(mend(&recipe("4"), false).starts_with("use more bits: `--bits 5`, `--lut 6`"));
        assert!(mend(&recipe("6"), false).starts_with("`--ffn int8"));
    }

    #[test]
    fn every_window_fits_the_context_and_starts_as_clients_do() {
        let text: Vec<u32> = (10..300).collect();
        let found = windows(&text, Some(1), 64);
        assert!(found.iter().all(|window| window[0] == 1 && window.len() <= 64));
        assert_eq!(found.iter().map(|window| window.len() - 1).sum::<usize>(), TOKENS);
        assert_eq!(windows(&text, None, 512).len(), 1);
    }
}
