//! What `anec convert` says of its own result: how far it is from the checkpoint on text that it was not calibrated with.

use std::path::Path;

use anec_mil::evaluate::{Accumulator, Numerics};
use anec_runtime::ModelDirectory;
use anec_runtime::oracle::{Implementation, Oracle};
use anec_runtime::tokenizer::{SpecialTokens, TextTokenizer, TokenizerConfig};
use anec_runtime::verify::{TEXT, TEXT_NAME, Thresholds, TokenWindows, Verification, VerifyOptions};
use anec_schemas::report::Agreement;

use crate::console::Console;
use crate::error::render;
use crate::model::decoder_plan::DecoderPlan;
use crate::source;
use crate::source::checkpoint::Checkpoint;

/// Tokens that are compared, each a step of decoding.
const TOKENS: usize = 192;

/// Parameters beyond which the checkpoint's own forward pass would take too much memory: six bytes each.
const MOST_PARAMETERS: usize = 2_000_000_000;

/// Beyond these, answers are not those of the checkpoint any more.
const MOST_KL: f64 = 0.2;
const MOST_PERPLEXITY: f64 = 1.2;

/// Says in one line how far an output is from its checkpoint, and warns where it should not be shipped.
pub(super) fn run(output: &Path, checkpoint: &Checkpoint, plan: &DecoderPlan, console: Console) {
    let layer = 2 * plan.hidden_size * (plan.q_size() + plan.kv_size()) + 3 * plan.hidden_size * plan.intermediate_size;
    if plan.num_hidden_layers * layer + plan.vocab_size * plan.hidden_size > MOST_PARAMETERS {
        console.status("not checked against the checkpoint, which is large: `anec verify` does it");
        return;
    }
    match compare(output, checkpoint, console) {
        Ok(agreement) => tell(&agreement, console),
        Err(problem) => console.warning(&format!("the result could not be checked against the checkpoint: {problem}")),
    }
}

fn compare(output: &Path, checkpoint: &Checkpoint, console: Console) -> Result<Agreement, String> {
    fn message(error: impl std::error::Error) -> String {
        render(&error)
    }
    let directory = ModelDirectory::open(output).map_err(message)?;
    let companions = checkpoint.companions().map_err(message)?;
    let tokenizer = TextTokenizer::open(companions).map_err(message)?;
    // Clients start with it, and it holds activations that no other first token does.
    let config = TokenizerConfig::open(companions).map_err(message)?;
    let bos = config.special_token("bos_token").and_then(|spelling| tokenizer.token(spelling));
    let text = tokenizer.encode(TEXT, SpecialTokens::Present).map_err(message)?;
    let tokens: Vec<u32> = bos.into_iter().chain(text).take(TOKENS).collect();
    let context = usize::try_from(directory.meta().model_info.parameters.context_length).unwrap_or(usize::MAX);
    let windows = tokens.chunks(context.max(1)).map(<[u32]>::to_vec).filter(|window| window.len() > 1).collect();
    let tokens = TokenWindows { source: TEXT_NAME.to_owned(), windows };
    let (config, checkpoint) = source::open_for_oracle(checkpoint).map_err(message)?;
    let numerics = Numerics::Fp16(Accumulator::F32);
    let thresholds = Thresholds::for_model(16, config.num_hidden_layers, numerics);
    let mut oracle = Oracle::new(config, &checkpoint, Implementation::Automatic).map_err(message)?;
    let options = VerifyOptions { numerics, thresholds, generator: String::new() };
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
    Ok(report.decode)
}

fn tell(found: &Agreement, console: Console) {
    let ratio = found.perplexity_reference.zip(found.perplexity_model);
    let perplexity = ratio.map_or_else(String::new, |(reference, model)| {
        format!("perplexity {reference:.2} of the checkpoint, {model:.2} of the result; ")
    });
    console.status(&format!(
        "On {} tokens that it was not calibrated with: {perplexity}divergence {:.4} nats; same best token {:.1} %",
        found.positions,
        found.kl_mean,
        100.0 * found.top1
    ));
    if found.kl_mean > MOST_KL || ratio.is_some_and(|(reference, model)| model > MOST_PERPLEXITY * reference) {
        console.warning(
            "the result is far from the checkpoint: `--lut 6` or fewer rows a palette (`--group-size`) mend it",
        );
    }
}
