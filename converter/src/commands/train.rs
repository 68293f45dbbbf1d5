//! `anec train`.

mod dashboard;
mod progress;

use std::io::{self, IsTerminal as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anec_mil::evaluate::Numerics;
use anec_runtime::backend::{Engine, ReferenceBackend, ReferenceOptions};
use anec_runtime::tokenizer::TextTokenizer;
use clap::Args;

use self::dashboard::Dashboard;
use self::progress::Progress;
use super::backend_arguments::BackendArguments;
use super::numerics_argument::NumericsArgument;
use super::table::table;
use super::tokenize;
use crate::console::{Console, Failure, printable};
use crate::interrupt::{self, Interrupt};
use crate::model::arch::{self, ArchChoice};
use crate::source::checkpoint::Checkpoint;
use crate::source::config::UnknownKeys;
use crate::training::shape_of;
use crate::training::train::{self, Event, KindTime, Rates, Samples, Settings, Start, StepReport, Weights};

/// Steps between two lines of a terminal.
const STEPS_OF_A_LINE: u64 = 10;

/// Tokens of a text that a model writes while it is trained.
const SAMPLE_TOKENS: usize = 32;

/// Factor of a loss whose gradients are rounded to fp16, at the beginning.
const FP16_LOSS_SCALE: f32 = 1024.0;

/// Arguments of `anec train`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  anec tokenize book.txt --tokenizer ./stories -o book.bin
  anec train stories15M.bin --data book.bin -o trained --steps 200 --lr 3e-4
  anec train ./config.json --data book.bin -o trained --steps 2000 --batch 8 --warmup 100 --tokenizer ./stories
  anec train ./SmolLlama --data book.bin -o trained --steps 200 --lr 1e-4
  anec train ./config.json --data book.bin -o trained --steps 4000 --batch 8 --warmup 100 --resume

Writes model.safetensors and config.json for `anec convert`, model.bin where llama2.c computes the same with it, state.bin for
`--resume`, and a line for each step in log.jsonl. The layers and their gradients are the programs of `anec convert --layout
training`. In a terminal, a dashboard shows the loss, the time of each program and what the model writes.")]
pub struct Arguments {
    /// A checkpoint to go on from, as `anec convert` takes it, of a Llama with as many heads of keys as of queries; or the config.json
    /// of one, to start from random weights.
    model: PathBuf,

    /// Tokens to train on: flat little-endian uint16, as `anec tokenize` writes them.
    #[arg(long, value_name = "FILE")]
    data: PathBuf,

    /// Directory to write.
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,

    /// Steps in all.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    steps: u64,

    /// Highest learning rate.
    #[arg(long, value_name = "RATE", default_value_t = 5e-4)]
    lr: f64,

    /// Steps over which the rate rises; behind that it falls to a tenth along a cosine.
    #[arg(long, value_name = "N", default_value_t = 0)]
    warmup: u64,

    /// Sequences of a step, whose gradients are added up.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    batch: u32,

    /// Tokens of a sequence.
    #[arg(long, value_name = "TOKENS", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    sequence: u32,

    /// Largest norm of the gradients; 0 for none.
    #[arg(long, value_name = "NORM", default_value_t = 1.0)]
    clip: f64,

    /// How much smaller matrices become at each step, beside the rate.
    #[arg(long, value_name = "RATE", default_value_t = 0.0)]
    weight_decay: f64,

    /// What random weights follow from.
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,

    /// Do not rotate queries and keys, as the original programs. The result is no Llama then.
    #[arg(long)]
    no_rope: bool,

    /// Steps between two checkpoints.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
    save_every: u64,

    /// Go on with a training that was stopped; the result is the same as without the stop.
    #[arg(long)]
    resume: bool,

    /// Directory with tokenizer.json, or that file: the model writes texts meanwhile, and the output has the tokenizer.
    #[arg(long, value_name = "PATH")]
    tokenizer: Option<PathBuf>,

    /// Steps between two texts.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
    sample_every: u64,

    /// Print lines in a terminal, too.
    #[arg(long)]
    no_dashboard: bool,

    /// How the reference engine computes. Rounded to fp16, the loss is scaled, and steps that overflow are left out.
    #[command(flatten)]
    numerics: NumericsArgument,

    #[command(flatten)]
    backend: BackendArguments,
}

/// Trains.
pub fn run(arguments: &Arguments, console: Console) -> Result<ExitCode, Failure> {
    let numerics = arguments.numerics.numerics();
    let device = arguments.backend.device_for_training()?;
    let rounds = device.is_some() || numerics != Numerics::F32;
    let reference = ReferenceBackend::new(ReferenceOptions { numerics, ..ReferenceOptions::default() });
    let engine: &dyn Engine = match &device {
        Some(device) => device.engine(),
        None => &reference,
    };
    let rates = Rates {
        rate: arguments.lr,
        warmup: arguments.warmup,
        steps: arguments.steps,
        decay: arguments.weight_decay,
        clip: arguments.clip,
        ..Rates::default()
    };
    let tokenizer = arguments.tokenizer.as_deref().map(tokenize::open).transpose()?;
    let settings = Settings {
        start: start(arguments, console)?,
        data: arguments.data.clone(),
        batch: arguments.batch as usize,
        rates,
        loss_scale: if rounds { FP16_LOSS_SCALE } else { 1.0 },
        save_every: arguments.save_every,
        samples: tokenizer.is_some().then_some(Samples { every: arguments.sample_every, tokens: SAMPLE_TOKENS }),
        output: arguments.output.clone(),
        resume: arguments.resume,
    };
    let interrupt = Interrupt::on_signal_after(dashboard::give_back).unwrap_or_else(|error| {
        console.warning(&format!("an interrupt will be taken for a kill: {error}"));
        Interrupt::default()
    });
    let mut view = View::new(arguments, console, &interrupt, tokenizer.as_ref());
    let trained = train::train(&settings, engine, &interrupt, &mut |event| view.observe(event));
    // Gives the terminal back.
    drop(view);
    let trained = trained?;
    console.status(train::plot(&trained.losses).trim_end());
    console.status(times(&trained.times).trim_end());
    if let Some(tokenizer) = &arguments.tokenizer {
        tokenize::copy(tokenizer, &arguments.output)?;
    }
    console.status(&format!("Wrote `{}`", arguments.output.display()));
    if trained.interrupted {
        console.error("Interrupted", Some("go on by adding `--resume` to the same command"));
        return Ok(ExitCode::from(interrupt::EXIT_CODE));
    }
    Ok(ExitCode::SUCCESS)
}

fn start(arguments: &Arguments, console: Console) -> Result<Start, Failure> {
    let path = &arguments.model;
    let is_config = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json"));
    let (config, weights) = if is_config {
        (Checkpoint::read_config(path)?, Weights::Random(arguments.seed))
    } else {
        let checkpoint = Checkpoint::open(path)?;
        (checkpoint.config_json().clone(), Weights::Checkpoint(Box::new(checkpoint)))
    };
    let (decoder, unread) = arch::plan_and_unread(ArchChoice::Auto, &config, &[], UnknownKeys::Tell)?;
    for key in unread {
        console.warning(&format!("config.json: the key {key} is not read"));
    }
    let shape = shape_of(&decoder, arguments.sequence as usize, !arguments.no_rope)?;
    let (tied, positions) = (decoder.tie_word_embeddings, decoder.max_position_embeddings);
    Ok(Start { shape, tied, positions, weights })
}

/// What is shown of a training while it goes on.
struct View<'a> {
    console: Console,
    tokenizer: Option<&'a TextTokenizer>,
    /// In a terminal; lines elsewhere.
    dashboard: Option<Dashboard>,
    progress: Progress,
    started: Instant,
}

impl<'a> View<'a> {
    fn new(
        arguments: &Arguments,
        console: Console,
        interrupt: &Interrupt,
        tokenizer: Option<&'a TextTokenizer>,
    ) -> Self {
        let is_wanted = !arguments.no_dashboard && !console.quiet && io::stdout().is_terminal();
        let dashboard = is_wanted
            .then(|| Dashboard::open(interrupt))
            .and_then(|opened| opened.map_err(|error| console.warning(&format!("no dashboard: {error}"))).ok());
        let progress = Progress { last: arguments.steps, ..Progress::default() };
        Self { console, tokenizer, dashboard, progress, started: Instant::now() }
    }

    fn observe(&mut self, event: Event<'_>) {
        match event {
            Event::Start { shape, parameters, losses } => {
                self.progress.model = progress::described(parameters, shape);
                self.progress.losses = losses.to_vec();
                self.progress.before = losses.len();
                self.started = Instant::now();
            }
            Event::Step { report, times } => {
                self.progress.losses.push(report.loss);
                self.progress.report = Some(report.clone());
                self.progress.times = times.to_vec();
                let last = self.progress.last;
                let is_told = report.step == 1 || report.step == last || report.step.is_multiple_of(STEPS_OF_A_LINE);
                if self.dashboard.is_none() && is_told {
                    self.console.status(&line(report, last));
                }
            }
            Event::Sample { step, prompt, tokens } => {
                let [prompt, text] = self.texts(prompt, tokens);
                if self.dashboard.is_none() {
                    self.console.status(&format!("text after step {step}: {prompt}|{text}"));
                }
                self.progress.sample = Some((step, prompt, text));
            }
        }
        self.progress.elapsed = self.started.elapsed();
        if let Some(dashboard) = &mut self.dashboard {
            dashboard.draw(&mut self.progress);
        }
    }

    /// The text of a prompt, and what follows it.
    fn texts(&self, prompt: &[u16], tokens: &[u16]) -> [String; 2] {
        let Some(tokenizer) = self.tokenizer else { return [String::new(), String::new()] };
        let wide = |tokens: &[u16]| tokens.iter().map(|token| u32::from(*token)).collect::<Vec<_>>();
        let decoded = |tokens: &[u32]| {
            let text = tokenizer.decode(tokens).unwrap_or_else(|error| error.to_string());
            printable(&text).replace('\t', " ")
        };
        let (given, all) = (decoded(&wide(prompt)), decoded(&[wide(prompt), wide(tokens)].concat()));
        let text = all.strip_prefix(&given).map_or_else(|| decoded(&wide(tokens)), str::to_owned);
        [given, text]
    }
}

/// Calls of each program with the seconds that they took, and with those of one.
#[expect(clippy::cast_precision_loss, reason = "for people")]
fn times(times: &[KindTime]) -> String {
    let row = |KindTime { kind, calls, seconds }: &KindTime| {
        let each = 1e3 * seconds / (*calls).max(1) as f64;
        vec![kind.to_string(), calls.to_string(), format!("{seconds:.2}"), format!("{each:.3}")]
    };
    table(&["program", "calls", "seconds", "ms a call"], &times.iter().map(row).collect::<Vec<_>>())
}

fn line(report: &StepReport, last: u64) -> String {
    let StepReport { step, loss, lr, tokens_per_second, .. } = report;
    let norm =
        report.grad_norm.map_or_else(|| "overflowed, nothing moved".to_owned(), |norm| format!("norm {norm:.3}"));
    format!("step {step}/{last}  loss {loss:.4}  lr {lr:.2e}  {norm}  {tokens_per_second:.0} tokens/s")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::training::Kind;

    #[test]
    fn the_columns_of_the_times_line_up() {
        let all: Vec<KindTime> = [1, 123_456]
            .into_iter()
            .zip(Kind::ALL)
            .map(|(calls, kind)| KindTime { kind, calls, seconds: 2.5 })
            .collect();
        let text = times(&all);
        let expected = "\
program   calls  seconds  ms a call
fwdAttn       1     2.50   2500.000
fwdFFN   123456     2.50      0.020
";
        assert_eq!(text, expected);
    }
}
