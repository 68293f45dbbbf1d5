//! One answer: tokens to text to the terminal, and how long it took.

use std::time::{Duration, Instant};

use anec_runtime::generate::{Calls, Finish, StopTexts};
use anec_runtime::tokenizer::Detokenizer;
use serde_json::json;

use super::Run;
use super::error::RunError;
use super::texts::Prompt;
use crate::console::{Console, counted, printable};
use crate::interrupt::Interrupt;

/// Where the text goes as it comes.
#[derive(Clone, Copy)]
pub(super) enum Writer {
    Console(Console),
    Nothing,
}

/// An answer.
pub(super) struct Answer {
    pub(super) text: String,
    /// `None` where a stop text or the user ended it.
    pub(super) finish: Option<Finish>,
    /// Whether the user ended it.
    pub(super) is_interrupted: bool,
    prompt_tokens: usize,
    reused_tokens: usize,
    tokens: Vec<u32>,
    /// Tokens that were fed after the prompt.
    steps: usize,
    calls: Calls,
    prefill: Duration,
    decode: Duration,
}

/// Generates until something ends it.
pub(super) fn generate(run: &mut Run<'_>, prompt: &Prompt, writer: Writer) -> Result<Answer, RunError> {
    let mut detokenizer = Detokenizer::new(&run.tokenizer, prompt.context());
    let mut stops = StopTexts::new(run.stops.iter().cloned());
    let mut text = String::new();
    let mut write = |piece: &str| {
        text.push_str(piece);
        match writer {
            Writer::Console(console) if !piece.is_empty() => {
                console.stream(&printable(piece)).map_err(RunError::Output)
            }
            _ => Ok(()),
        }
    };
    let started = Instant::now();
    let mut generation = run.generator.start(&prompt.tokens, &mut run.sampler, &run.limits)?;
    let prefill = started.elapsed();
    let started = Instant::now();
    let (mut stopped, mut is_interrupted) = (false, false);
    while !stopped
        && !is_interrupted
        && let Some(token) = generation.next_token()?
    {
        let passed = stops.push(&detokenizer.push(token)?);
        write(&passed.text)?;
        stopped = passed.stopped;
        is_interrupted = run.interrupt.as_ref().is_some_and(Interrupt::take);
    }
    let decode = started.elapsed();
    if !stopped {
        let passed = stops.push(&detokenizer.finish()?);
        write(&passed.text)?;
        stopped = passed.stopped;
        if !stopped {
            write(&stops.finish())?;
        }
    }
    let tokens = generation.tokens().to_vec();
    let chosen = tokens.len() + usize::from(matches!(generation.finish(), Some(Finish::StopToken(_))));
    Ok(Answer {
        calls: generation.calls(),
        finish: generation.finish().filter(|_| !stopped),
        is_interrupted,
        prompt_tokens: generation.prompt_tokens(),
        reused_tokens: generation.reused_tokens(),
        tokens,
        steps: chosen.saturating_sub(1),
        prefill,
        decode,
        text,
    })
}

impl Answer {
    /// How fast it was, for people.
    pub(super) fn speed(&self) -> String {
        let speed = |rate: Option<f64>| rate.map_or_else(String::new, |rate| format!(", {rate:.1} tokens/s"));
        let reused = match self.reused_tokens {
            0 => String::new(),
            reused => format!(" ({reused} kept from before)"),
        };
        format!(
            "prompt: {}{reused}{}; answer: {}{}{}",
            counted(self.prompt_tokens, "token"),
            speed(self.prefill_rate()),
            counted(self.tokens.len(), "token"),
            speed(self.decode_rate()),
            self.saved()
        )
    }

    /// What drafts saved; nothing where there were none.
    fn saved(&self) -> String {
        let Calls { made, tokens, drafted, kept } = self.calls;
        if drafted == 0 {
            return String::new();
        }
        format!("; {} of {tokens} saved, {kept} of {drafted} drafted tokens kept", counted(tokens - made, "call"))
    }

    /// Everything, in a line.
    pub(super) fn to_json(&self) -> String {
        let finish = match self.finish {
            None if self.is_interrupted => "interrupted",
            None => "stop_text",
            Some(Finish::StopToken(_)) => "stop_token",
            Some(Finish::MaxTokens) => "max_tokens",
            Some(Finish::ContextFull) => "context_full",
        };
        json!({
            "text": self.text,
            "finish": finish,
            "prompt_tokens": self.prompt_tokens,
            "reused_tokens": self.reused_tokens,
            "tokens": self.tokens.len(),
            "token_ids": self.tokens,
            "calls": self.calls.made,
            "drafted_tokens": self.calls.drafted,
            "kept_draft_tokens": self.calls.kept,
            "prefill_tokens_per_second": self.prefill_rate(),
            "decode_tokens_per_second": self.decode_rate(),
        })
        .to_string()
    }

    fn prefill_rate(&self) -> Option<f64> {
        rate(self.prompt_tokens - self.reused_tokens, self.prefill)
    }

    fn decode_rate(&self) -> Option<f64> {
        rate(self.steps, self.decode)
    }
}

/// Tokens a second; `None` where nothing was measured.
fn rate(tokens: usize, time: Duration) -> Option<f64> {
    #[expect(clippy::cast_precision_loss, reason = "for people")]
    let rate = tokens as f64 / time.as_secs_f64();
    (tokens > 0 && rate.is_finite()).then_some(rate)
}
