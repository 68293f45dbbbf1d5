//! `anec train`.

use std::path::PathBuf;
use std::process::ExitCode;

use anec_mil::evaluate::Numerics;
use anec_runtime::backend::{Engine, ReferenceBackend, ReferenceOptions};
use clap::Args;

use super::backend_arguments::BackendArguments;
use super::numerics_argument::NumericsArgument;
use crate::console::{Console, Failure};
use crate::interrupt::{self, Interrupt};
use crate::model::arch::{self, ArchChoice};
use crate::source::checkpoint::Checkpoint;
use crate::training::TrainingShape;
use crate::training::train::{self, Rates, Settings, Start, StepReport};

/// Steps between two lines of a terminal.
const STEPS_OF_A_LINE: u64 = 10;

/// Factor of a loss whose gradients are rounded to fp16, at the beginning.
const FP16_LOSS_SCALE: f32 = 1024.0;

/// Arguments of `anec train`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  anec tokenize book.txt --tokenizer ./stories -o book.bin
  anec train stories15M.bin --data book.bin -o trained --steps 200 --lr 3e-4
  anec train ./config.json --data book.bin -o trained --steps 2000 --batch 8 --warmup 100
  anec train ./config.json --data book.bin -o trained --steps 4000 --batch 8 --warmup 100 --resume

Writes model.bin as llama2.c has it, model.safetensors and config.json for `anec convert`, state.bin for `--resume`, and a line
for each step in log.jsonl. The layers and their gradients are the programs of `anec convert --layout training`.")]
pub struct Arguments {
    /// A checkpoint of llama2.c, or a config.json of a Llama with as many heads of keys as of queries, to start from random weights.
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

    /// How the reference engine computes. Rounded to fp16, the loss is scaled, and steps that overflow are left out.
    #[command(flatten)]
    numerics: NumericsArgument,

    #[command(flatten)]
    backend: BackendArguments,
}

/// Trains.
pub fn run(arguments: &Arguments, console: Console) -> Result<ExitCode, Failure> {
    let numerics = arguments.numerics.numerics();
    let device = arguments.backend.core_ml(&[])?;
    let rounds = device.is_some() || numerics != Numerics::F32;
    let reference = ReferenceBackend::new(ReferenceOptions { numerics, ..ReferenceOptions::default() });
    let engine: &dyn Engine = match &device {
        Some(device) => device,
        None => &reference,
    };
    let sequence = arguments.sequence as usize;
    let rates = Rates {
        rate: arguments.lr,
        warmup: arguments.warmup,
        steps: arguments.steps,
        decay: arguments.weight_decay,
        clip: arguments.clip,
        ..Rates::default()
    };
    let settings = Settings {
        start: start(arguments, console)?,
        data: arguments.data.clone(),
        sequence,
        rope: !arguments.no_rope,
        batch: arguments.batch as usize,
        rates,
        loss_scale: if rounds { FP16_LOSS_SCALE } else { 1.0 },
        save_every: arguments.save_every,
        output: arguments.output.clone(),
        resume: arguments.resume,
    };
    let interrupt = Interrupt::on_signal().unwrap_or_else(|error| {
        console.warning(&format!("an interrupt will be taken for a kill: {error}"));
        Interrupt::default()
    });
    let last = arguments.steps;
    let trained = train::train(&settings, engine, &interrupt, |report| {
        if report.step == 1 || report.step == last || report.step.is_multiple_of(STEPS_OF_A_LINE) {
            console.status(&line(report, last));
        }
    })?;
    console.status(train::plot(&trained.losses).trim_end());
    for (kind, calls, seconds) in &trained.times {
        console.status(&format!("{kind:<9} {calls:>7} calls  {seconds:>8.2} s"));
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
    if path.extension().is_none_or(|extension| extension != "json") && path.is_file() {
        return Ok(Start::Checkpoint(path.clone()));
    }
    let (decoder, unread) = arch::plan_and_unread(
        ArchChoice::Auto,
        &Checkpoint::read_config(path)?,
        &[],
        crate::source::config::UnknownKeys::Tell,
    )?;
    for key in unread {
        console.warning(&format!("config.json: the key {key} is not read"));
    }
    let shape = TrainingShape::of(&decoder, arguments.sequence as usize, !arguments.no_rope)?;
    let (tied, positions) = (decoder.tie_word_embeddings, decoder.max_position_embeddings);
    Ok(Start::Random { shape, tied, positions, seed: arguments.seed })
}

fn line(report: &StepReport, last: u64) -> String {
    let StepReport { step, loss, lr, tokens_per_second, .. } = report;
    let norm =
        report.grad_norm.map_or_else(|| "overflowed, nothing moved".to_owned(), |norm| format!("norm {norm:.3}"));
    format!("step {step}/{last}  loss {loss:.4}  lr {lr:.2e}  {norm}  {tokens_per_second:.0} tokens/s")
}
