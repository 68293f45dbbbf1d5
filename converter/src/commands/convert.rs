//! `anec convert`.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use clap::Args;
use serde::Serialize;

use super::calibration;
use super::convert_part;
use super::model_arguments::{ModelArguments, OUTPUT, Prepared, WORK};
use super::plan;
use super::plan_report::PlanReport;
use super::self_check::{self, CheckReport};
use super::tokenizer_check;
use super::training;
use crate::calibrate::CalibrateError;
use crate::console::{Console, Failure};
use crate::error::render;
use crate::interrupt::{self, Interrupt};
use crate::options::{ByteSize, Part};
use crate::output::conversion::{self, ConversionError, Written};
use crate::output::emit::Context;
use crate::output::free_space;
use crate::output::staging::{Identity, Kind, Left, Staging, StagingError, Unfinished};

/// The output directory where none is given.
const DEFAULT_OUTPUT: &str = "converted_model";

/// Arguments of `anec convert`.
#[expect(clippy::struct_excessive_bools, reason = "switches of a command line")]
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  anec convert ./Qwen2.5-0.5B -o out --lut 4
  anec convert --arch qwen --lut 6 --chunks 2          # inside a checkpoint; writes ./converted_model
  anec convert ./Llama-3.2-1B -o out --lut-ffn 4 --lut-lm-head 6 --context-length 1024
  anec convert ./Mistral-7B -o out --lut 4 --layout anemll --target macos15
  anec convert ./Llama-3.3-70B -o part-3 --lut 4 --calibration none --part 3/8   # see docs/scale.md")]
pub struct Arguments {
    #[command(flatten)]
    pub(super) model: ModelArguments,

    /// Directory to write.
    #[arg(help_heading = OUTPUT, short, long, value_name = "DIR", default_value = DEFAULT_OUTPUT)]
    pub(super) output: PathBuf,

    /// Replace an output that exists.
    #[arg(help_heading = OUTPUT, long)]
    pub(super) force: bool,

    /// Go on with a conversion that was interrupted; the result is the same as without the interruption.
    #[arg(help_heading = WORK, long)]
    pub(super) resume: bool,

    /// Do a part of the conversion: the I-th share of the weights of N, or the `calibration` that the shares need. `anec
    /// assemble` puts the parts together.
    #[arg(help_heading = WORK, long, value_name = "I/N|calibration")]
    pub(super) part: Option<Part>,

    /// The directory of `--part calibration`. Without it, every part calibrates the whole model by itself.
    #[arg(help_heading = WORK, long, value_name = "DIR", requires = "part")]
    pub(super) calibrated: Option<PathBuf>,

    /// Do not compare the result with the checkpoint, which follows a calibration.
    #[arg(help_heading = WORK, long)]
    no_check: bool,

    /// Threads that encode weights [default: one per core]; the result does not depend on it.
    #[arg(help_heading = WORK, long, value_name = "N")]
    threads: Option<NonZeroUsize>,

    /// Print a summary as JSON when done.
    #[arg(help_heading = OUTPUT, long)]
    pub(super) json: bool,
}

#[derive(Serialize)]
struct Report<'a> {
    output: &'a Path,
    #[serde(flatten)]
    plan: PlanReport<'a>,
    source_bytes: u64,
    seconds: f64,
    quantized: Vec<QuantizedReport<'a>>,
    /// How far the result is from the checkpoint, where that was measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    check: Option<CheckReport>,
}

#[derive(Serialize)]
struct QuantizedReport<'a> {
    tensor: &'a str,
    rows: [u64; 2],
    bits: u8,
    snr_db: f64,
}

/// The most threads for a core: blocks wait for the disk now and then, and every thread has a block in memory.
const THREADS_PER_CORE: usize = 4;

/// Converts a checkpoint.
pub fn run(arguments: &Arguments, console: Console) -> Result<ExitCode, Failure> {
    if arguments.model.layout == training::LAYOUT {
        return training::run(arguments, console);
    }
    let started = Instant::now();
    if let Some(threads) = arguments.threads {
        let most = std::thread::available_parallelism().map_or(1, NonZeroUsize::get) * THREADS_PER_CORE;
        if threads.get() > most {
            console.status(&format!("{most} threads instead of {threads}: more than that wait for each other"));
        }
        // Fails only where the pool exists already, which a fresh process rules out.
        let _ = rayon::ThreadPoolBuilder::new().num_threads(threads.get().min(most)).build_global();
    }
    let kind = if arguments.part.is_some() { Kind::Part } else { Kind::Converted };
    if Staging::check(kind, &arguments.output, arguments.force)? == Left::Published && arguments.resume {
        console.status(&format!("`{}` was complete", arguments.output.display()));
        return Ok(ExitCode::SUCCESS);
    }
    for path in Staging::edited(&arguments.output)? {
        console.warning(&format!("`--force` replaces `{path}`, which was edited since it was written"));
    }
    let prepared = arguments.model.prepare(console)?;
    if let Some(part) = arguments.part {
        return convert_part::run(arguments, &prepared, part, console);
    }
    for warning in tokenizer_check::warnings(&prepared.checkpoint, prepared.plans.longest.decoder.vocab_size) {
        console.warning(&warning);
    }
    let plans: Vec<_> = prepared.plans.iter().collect();
    if !arguments.resume {
        free_space::require(&arguments.output, conversion::bytes_on_disk(&prepared.plans.longest))?;
    }
    console.status(&format!(
        "Converting a {} model of {} layers to {} packages, {} of weights",
        prepared.plans.longest.decoder.model_type,
        prepared.plans.longest.decoder.num_hidden_layers,
        plans.iter().map(|plan| plan.files.len()).sum::<usize>(),
        ByteSize(prepared.plans.longest.total_bytes())
    ));
    let calibration = calibration::Calibrating::new(&arguments.model.storage, &prepared, console)?;
    let identity = Identity::new(&prepared.checkpoint, &plans, &calibration.identity()?).map_err(StagingError::from)?;
    let unfinished = if arguments.resume { Unfinished::Resume } else { Unfinished::Discard };
    let staging = Staging::open(Kind::Converted, &arguments.output, arguments.force, unfinished, &identity)?;
    let interrupt = Interrupt::on_signal().unwrap_or_else(|error| {
        console.warning(&format!("an interrupt will be taken for a kill: {error}"));
        Interrupt::default()
    });
    let calibrated = match calibration.run(&staging.calibration(), &identity, &interrupt, console) {
        Ok(calibrated) => calibrated,
        Err(error) if error.may_pass() => {
            let is_interrupt = matches!(error, CalibrateError::Interrupted);
            return Ok(stopped(staging, &error, is_interrupt, console));
        }
        Err(error) => return Err(error.into()),
    };
    let progress = console.byte_progress(conversion::source_bytes(&prepared.plans.longest));
    let context = Context {
        checkpoint: &prepared.checkpoint,
        progress: &progress,
        journal: staging.journal(),
        interrupt: &interrupt,
        calibration: calibrated.as_ref(),
    };
    let result = conversion::write(&plans, &context, &staging.path());
    progress.finish_and_clear();
    match result {
        Ok(written) => {
            staging.publish()?;
            report(arguments, &prepared, &written, started, console);
            let is_checked = calibrated.is_some() && !arguments.no_check && !console.quiet;
            let check = if is_checked { self_check::run(arguments, &prepared, console) } else { None };
            if arguments.json {
                print_json(arguments, &prepared, &written, started, check, console)?;
            }
            Ok(ExitCode::SUCCESS)
        }
        Err(error) if error.may_pass() => {
            let is_interrupt = matches!(error, ConversionError::Interrupted);
            Ok(stopped(staging, &error, is_interrupt, console))
        }
        Err(error) => Err(error.into()),
    }
}

/// Keeps what is finished, and says how to go on.
pub(super) fn stopped(
    staging: Staging,
    error: &dyn std::error::Error,
    is_interrupt: bool,
    console: Console,
) -> ExitCode {
    let work = staging.keep();
    let hint = format!("go on by adding `--resume` to the same command, or remove `{}`", work.display());
    console.error(&render(error), Some(&hint));
    if is_interrupt { ExitCode::from(interrupt::EXIT_CODE) } else { ExitCode::FAILURE }
}

/// Says what was written.
fn report(arguments: &Arguments, prepared: &Prepared, written: &Written, started: Instant, console: Console) {
    let seconds = started.elapsed().as_secs_f64();
    let source = conversion::source_bytes(&prepared.plans.longest);
    #[expect(clippy::cast_precision_loss, reason = "for people")]
    let rate = source as f64 / 1e6 / seconds;
    for plan in prepared.plans.iter() {
        console.status(plan::table(plan).trim_end());
    }
    for (reason, count) in prepared.weights.skipped_by_reason() {
        console.status(&format!("skipped {count} tensors: {reason}"));
    }
    for warning in &written.warnings {
        console.warning(warning);
    }
    if let Some(worst) = written.worst_quantized() {
        console.status(&format!(
            "lowest signal-to-noise ratio of a quantized weight: {:.1} dB, `{}`",
            worst.stats.snr_db(),
            worst.tensor
        ));
    }
    console
        .status(&format!("Wrote `{}` in {seconds:.1} s ({rate:.0} MB/s of weights read)", arguments.output.display()));
}

fn print_json(
    arguments: &Arguments,
    prepared: &Prepared,
    written: &Written,
    started: Instant,
    check: Option<CheckReport>,
    console: Console,
) -> Result<(), Failure> {
    let quantized = written.quantized.iter().map(|weight| QuantizedReport {
        tensor: &weight.tensor,
        rows: [weight.rows.start, weight.rows.end],
        bits: weight.bits,
        snr_db: weight.stats.snr_db(),
    });
    let report = Report {
        output: &arguments.output,
        plan: PlanReport::new(&prepared.plans.longest, &prepared.plans.others),
        source_bytes: conversion::source_bytes(&prepared.plans.longest),
        seconds: started.elapsed().as_secs_f64(),
        quantized: quantized.collect(),
        check,
    };
    let failed = |message: String| Failure { message, hint: None };
    let json = serde_json::to_string_pretty(&report).map_err(|error| failed(error.to_string()))?;
    console.data(&(json + "\n")).map_err(|error| failed(error.to_string()))
}
