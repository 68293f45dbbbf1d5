//! `anec compare`.

mod columns;
mod prompts;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anec_runtime::ModelDirectory;
use anec_runtime::backend::{ReferenceBackend, ReferenceOptions};
use anec_runtime::generate::GenerationConfig;
use anec_runtime::oracle::{Implementation, Oracle};
use anec_runtime::session::{Gives, Session};
use anec_runtime::tokenizer::TextTokenizer;
use anec_runtime::verify::{Other, SideBySide, VerifyError, side_by_side};
use anec_schemas::meta::META_YAML;
use clap::Args;
use serde::Serialize;

use self::prompts::Prompt;
use super::locate::locate;
use super::numerics_argument::NumericsArgument;
use super::run::{RunError, Texts};
use crate::console::{Console, Failure, printable};
use crate::source;
use crate::source::checkpoint::Checkpoint;
use crate::source::hub::Wanted;

/// Arguments of `anec compare`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  anec compare out4 out6 --prompts questions.txt
  anec compare out ./Qwen2.5-0.5B --prompts questions.txt --tokens 64
  anec compare out Qwen/Qwen2.5-0.5B --prompts chats.jsonl --json

Each side takes its most likely token. The divergence is how far the predictions of the first are from those of the second,
in nats a token, along the answer of the second; the second is the one that is taken for right. The tokenizer and the chat
template of the first are used for both.")]
pub struct Arguments {
    /// A converted directory.
    first: PathBuf,

    /// Another, or a checkpoint: a directory, a GGUF file or a model of the hub.
    second: PathBuf,

    /// Prompts, one a line; in a file with the extension jsonl each a JSON string, or an object with `prompt` or `messages`.
    #[arg(long, value_name = "FILE")]
    prompts: PathBuf,

    /// Tokens of an answer at most.
    #[arg(long, value_name = "N", default_value_t = 48, value_parser = clap::value_parser!(u32).range(1..))]
    tokens: u32,

    /// Continue the prompts as they are, without the chat template.
    #[arg(long)]
    raw: bool,

    #[command(flatten)]
    numerics: NumericsArgument,

    /// Print as JSON.
    #[arg(long)]
    json: bool,
}

/// What both sides made of all prompts.
#[derive(Serialize)]
struct Report {
    first: String,
    second: String,
    prompts: Vec<Compared>,
    /// Prompts to which both answers are the same.
    same_answers: usize,
    /// Means over all tokens; none where a side gives no logits.
    kl_mean: Option<f64>,
    top1: Option<f64>,
}

/// What both sides made of a prompt.
#[derive(Serialize)]
struct Compared {
    prompt: String,
    first: String,
    second: String,
    /// Tokens of both answers, and those at the beginning that are the same.
    tokens: [usize; 2],
    same_tokens: usize,
    kl_mean: Option<f64>,
    kl_max: Option<f64>,
    top1: Option<f64>,
    #[serde(skip)]
    positions: u64,
}

/// Compares two sides.
pub fn run(arguments: &Arguments, console: Console) -> Result<(), Failure> {
    let prompts = prompts::read(&arguments.prompts)?;
    let first = ModelDirectory::open(&arguments.first)?;
    let numerics = arguments.numerics.numerics();
    let engine = ReferenceBackend::new(ReferenceOptions { numerics, statistics: false });
    let mut session = first.session(&engine).map_err(VerifyError::from)?;
    check_head(&*session, &arguments.first)?;
    let vocabulary = session.capabilities().vocab_size;
    let report = if arguments.second.join(META_YAML).is_file() {
        let second = ModelDirectory::open(&arguments.second)?;
        let mut other = second.session(&engine).map_err(VerifyError::from)?;
        check_head(&*other, &arguments.second)?;
        check_vocabulary(arguments, vocabulary, other.capabilities().vocab_size)?;
        compare(arguments, &mut *session, &mut Other::Model(&mut *other), &prompts, console)?
    } else {
        let path = locate(&arguments.second, Wanted::Checkpoint, console)?;
        console.status(&format!("Reading {}", path.display()));
        let (config, checkpoint) = source::open_for_oracle(&Checkpoint::open(&path)?)?;
        check_vocabulary(arguments, vocabulary, Some(config.vocab_size))?;
        let mut oracle = Oracle::new(config, &checkpoint, Implementation::Automatic)?;
        compare(arguments, &mut *session, &mut Other::Checkpoint(&mut oracle), &prompts, console)?
    };
    let text = if arguments.json {
        serde_json::to_string_pretty(&report).map_err(|error| failed(error.to_string()))? + "\n"
    } else {
        describe(&report)
    };
    console.data(&text).map_err(|error| failed(error.to_string()))
}

fn failed(message: String) -> Failure {
    Failure { message, hint: None }
}

/// Requires that a model says which token comes next.
fn check_head(session: &dyn Session, path: &Path) -> Result<(), Failure> {
    if session.capabilities().gives == Gives::HiddenState {
        return Err(failed(format!(
            "Cannot compare `{}`: the model has no LM head, and so gives no tokens",
            path.display()
        )));
    }
    Ok(())
}

/// Requires that both sides have the same tokens, as far as they tell.
fn check_vocabulary(arguments: &Arguments, first: Option<usize>, second: Option<usize>) -> Result<(), Failure> {
    match first.zip(second) {
        Some((first, second)) if first != second => Err(Failure {
            message: format!(
                "Cannot compare `{}` and `{}`: they have {first} and {second} tokens",
                arguments.first.display(),
                arguments.second.display()
            ),
            hint: Some("only models with the same tokens can be compared".to_owned()),
        }),
        _ => Ok(()),
    }
}

fn compare(
    arguments: &Arguments,
    session: &mut dyn Session,
    other: &mut Other<'_>,
    prompts: &[Prompt],
    console: Console,
) -> Result<Report, Failure> {
    let path = &arguments.first;
    let tokenizer = TextTokenizer::open(path).map_err(RunError::from)?;
    let mut texts = Texts::open(path, &[], None)?;
    if arguments.raw {
        texts.without_template();
    }
    let stops = GenerationConfig::open(path).map_err(RunError::from)?.stop_tokens(texts.config(), &tokenizer);
    let text = |tokens: &[u32]| tokenizer.decode(tokens).map_err(RunError::from);
    let bar = console.count_progress();
    bar.set_message("Comparing");
    bar.set_length(prompts.len() as u64);
    let mut compared = Vec::new();
    for prompt in prompts {
        let encoded = texts.encode(&prompt.turns, &tokenizer)?;
        let context = session.capabilities().context_length;
        if encoded.tokens.is_empty() || encoded.tokens.len() >= context {
            return Err(failed(format!(
                "Cannot compare line {} of `{}`: it has {} tokens, expected 1 to {}",
                prompt.line,
                arguments.prompts.display(),
                encoded.tokens.len(),
                context.saturating_sub(1)
            )));
        }
        let found = side_by_side(session, other, &encoded.tokens, &stops, arguments.tokens as usize)?;
        compared.push(Compared::new(prompt, &found, text(&found.model)?, text(&found.other)?));
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(Report::new(arguments, compared))
}

impl Compared {
    fn new(prompt: &Prompt, found: &SideBySide, first: String, second: String) -> Self {
        let agreement = found.agreement.as_ref();
        Self {
            prompt: prompt.text.clone(),
            first,
            second,
            tokens: [found.model.len(), found.other.len()],
            same_tokens: found.same_tokens(),
            kl_mean: agreement.map(|agreement| agreement.kl_mean),
            kl_max: agreement.map(|agreement| agreement.kl_max),
            top1: agreement.map(|agreement| agreement.top1),
            positions: agreement.map_or(0, |agreement| agreement.positions),
        }
    }

    fn is_same(&self) -> bool {
        self.tokens == [self.same_tokens; 2]
    }
}

impl Report {
    fn new(arguments: &Arguments, prompts: Vec<Compared>) -> Self {
        let positions: u64 = prompts.iter().map(|prompt| prompt.positions).sum();
        #[expect(clippy::cast_precision_loss, reason = "counts of tokens")]
        let mean = |figure: &dyn Fn(&Compared) -> Option<f64>| {
            let sum: Option<f64> = prompts.iter().map(|prompt| Some(figure(prompt)? * prompt.positions as f64)).sum();
            sum.filter(|_| positions > 0).map(|sum| sum / positions as f64)
        };
        Self {
            first: arguments.first.display().to_string(),
            second: arguments.second.display().to_string(),
            same_answers: prompts.iter().filter(|prompt| prompt.is_same()).count(),
            kl_mean: mean(&|prompt| prompt.kl_mean),
            top1: mean(&|prompt| prompt.top1),
            prompts,
        }
    }
}

/// The answers in two columns, and a line of figures for each prompt and for all.
fn describe(report: &Report) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    for compared in &report.prompts {
        let _ = writeln!(text, "> {}\n", printable(&compared.prompt));
        text.push_str(&columns::beside(&[&report.first, &report.second]));
        text.push_str(&columns::beside(&[&printable(&compared.first), &printable(&compared.second)]));
        let same = if compared.is_same() {
            "the same answer".to_owned()
        } else {
            format!("the first {} of {} tokens are the same", compared.same_tokens, compared.tokens[1])
        };
        let _ = writeln!(text, "\n  {same}{}\n", figures(compared.kl_mean, compared.top1));
    }
    let count = report.prompts.len();
    let _ = writeln!(
        text,
        "{} of {count} answers are the same{}",
        report.same_answers,
        figures(report.kl_mean, report.top1)
    );
    text
}

fn figures(kl: Option<f64>, top1: Option<f64>) -> String {
    match kl.zip(top1) {
        Some((kl, top1)) => format!("; divergence {kl:.4} nats; same best token {:.1} %", 100.0 * top1),
        None => String::new(),
    }
}
