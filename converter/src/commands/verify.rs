//! `anec verify`.

mod samples;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anec_runtime::ModelDirectory;
use anec_runtime::oracle::{Implementation, Oracle, OracleError};
use anec_runtime::verify::{
    DeviceOptions, Progress, Thresholds, Verification, VerifyError, VerifyOptions, report_page, stored_bits,
};
use anec_schemas::provenance::PROVENANCE_JSON;
use anec_schemas::report::{
    Bound, Check, DeviceReport, DeviceUse, Made, MatchedBy, Origins, REPORT_HTML, REPORT_JSON, Report,
};
use clap::Args;
use fs_err as fs;

use super::backend_arguments::{BackendArguments, Device, DeviceOption, For};
use super::locate::locate;
use super::numerics_argument::NumericsArgument;
use super::token_arguments::TokenArguments;
use crate::console::{Console, Failure, Stages, counted};
use crate::error::Hint;
use crate::options::shell_word;
use crate::output::checksums::{self, CHECKSUMS};
use crate::source;
use crate::source::checkpoint::Checkpoint;
use crate::source::hub::Wanted;

/// Arguments of `anec verify`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  anec verify out --against ~/models/Qwen2.5-0.5B-Instruct
  anec verify out --against checkpoint --quick             # does it compute the same at all?
  anec verify out --against checkpoint --text book.txt --limit 512 --numerics fp16
  anec verify out --against checkpoint --report out-report --max-kl 0.05 --min-snr 18
  anec verify out --against checkpoint --backend coreml --units cpu-and-ne --min-ane 0.95

Memory: about six bytes a parameter of the checkpoint, twelve more for each number of its largest tensor, and the packages.
Exit code 1 where a requirement does not hold; each is printed with its limit.")]
pub struct Arguments {
    /// A converted directory.
    path: PathBuf,

    /// The checkpoint that it was converted from: a directory, a GGUF file, or a model of the hub as OWNER/MODEL.
    #[arg(long, value_name = "CHECKPOINT")]
    against: PathBuf,

    /// Leave PREFIX out of the names of the checkpoint's tensors, as `anec convert --strip-prefix` did.
    #[arg(long, value_name = "PREFIX")]
    strip_prefix: Option<String>,

    /// Follow links of the checkpoint's files into DIR, too; repeat for more. Others are errors, but for those of a snapshot in
    /// the Hugging Face cache to its blobs.
    #[arg(long, value_name = "DIR")]
    follow_links: Vec<PathBuf>,

    #[command(flatten)]
    tokens: TokenArguments,

    #[command(flatten)]
    numerics: NumericsArgument,

    /// Directory for report.json and report.html; made where it is missing.
    #[arg(long, value_name = "DIR", default_value = ".")]
    report: PathBuf,

    /// Prompts that model and checkpoint go on with, side by side in the report.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u8).range(0..=8))]
    samples: u8,

    /// Compute the checkpoint by the plain forward pass, also where candle-transformers implements it.
    #[arg(long)]
    plain_reference: bool,

    #[command(flatten)]
    backend: BackendArguments,

    /// Print the report as JSON on stdout.
    #[arg(long)]
    json: bool,

    /// Compare over 32 tokens what the model computes, and nothing else: no stored weights, no samples, and no report. For a
    /// model of 0.5B parameters it takes seconds.
    #[arg(long, conflicts_with_all = ["report", "samples"])]
    quick: bool,

    // Their headings hold for everything that follows.
    #[command(flatten)]
    limits: Limits,

    #[command(flatten)]
    device: DeviceArguments,
}

/// Tokens of a quick verification.
const QUICK_TOKENS: u32 = 32;

/// Share of equal best tokens that a quick verification asks for at most: of so few positions, two may be near ties.
const QUICK_TOP1: f64 = 1.0 - 2.0 / QUICK_TOKENS as f64;

/// Requirements. The defaults depend on the bits of the weights; a report names them.
#[derive(Debug, Args)]
#[command(next_help_heading = "Requirements (defaults by bits of the weights)")]
struct Limits {
    /// Mean KL divergence from the checkpoint, in nats.
    #[arg(long, value_name = "NATS", value_parser = limit)]
    max_kl: Option<f64>,
    /// Share of positions with the same most likely token.
    #[arg(long, value_name = "SHARE", value_parser = share)]
    min_top1: Option<f64>,
    /// Largest difference of a logit.
    #[arg(long, value_name = "LOGIT", value_parser = limit)]
    max_logit_error: Option<f64>,
    /// Share by which the perplexity may exceed the checkpoint's.
    #[arg(long, value_name = "SHARE", value_parser = limit)]
    max_perplexity_increase: Option<f64>,
    /// Signal-to-noise ratio of the worst weight, in decibels.
    #[arg(long, value_name = "DB", value_parser = limit)]
    min_snr: Option<f64>,
    /// Values that fp16 cannot hold.
    #[arg(long, value_name = "N", value_parser = limit)]
    max_overflows: Option<f64>,
}

/// What is asked of a device.
#[derive(Debug, Args)]
#[command(next_help_heading = "On a device (--backend coreml)")]
struct DeviceArguments {
    /// Predictions to make one after another [default: 1000].
    #[arg(long, value_name = "N")]
    predictions: Option<usize>,
    /// Share of every function that runs on the Neural Engine: of operations or of cost, whichever is smaller.
    #[arg(long, value_name = "SHARE", value_parser = share)]
    min_ane: Option<f64>,
    /// Peak signal-to-noise ratio of every model against the reference engine, in decibels [default: 40].
    #[arg(long, value_name = "DB", value_parser = limit)]
    min_psnr: Option<f64>,
}

fn limit(text: &str) -> Result<f64, String> {
    let value = text.parse().ok().filter(|value: &f64| value.is_finite() && *value >= 0.0);
    value.ok_or_else(|| "expected a number of 0 or more".to_owned())
}

fn share(text: &str) -> Result<f64, String> {
    limit(text).ok().filter(|value| *value <= 1.0).ok_or_else(|| "expected a number from 0 to 1".to_owned())
}

impl DeviceArguments {
    /// Which options were given.
    fn given(&self) -> [DeviceOption; 3] {
        [
            ("--predictions", For::Devices, self.predictions.is_some()),
            ("--min-ane", For::CoreMl, self.min_ane.is_some()),
            ("--min-psnr", For::Devices, self.min_psnr.is_some()),
        ]
    }

    fn predictions(&self) -> usize {
        self.predictions.unwrap_or(1000)
    }
}

impl Limits {
    fn apply(&self, thresholds: &mut Thresholds) {
        let set = |limit: &mut Option<f64>, given: Option<f64>| {
            if given.is_some() {
                *limit = given;
            }
        };
        set(&mut thresholds.kl_mean, self.max_kl);
        set(&mut thresholds.top1, self.min_top1);
        set(&mut thresholds.logit_error_max, self.max_logit_error);
        set(&mut thresholds.perplexity_increase, self.max_perplexity_increase);
        set(&mut thresholds.snr_db, self.min_snr);
        set(&mut thresholds.overflows, self.max_overflows);
    }
}

impl Hint for OracleError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Io { .. } | Self::Json { .. } => {
                Some("--against takes what `anec convert` takes: a directory with config.json and *.safetensors, or a GGUF file".to_owned())
            }
            _ => None,
        }
    }
}

impl Hint for VerifyError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Directory(error) => error.hint(),
            Self::Part(error) => error.hint(),
            Self::Oracle(error) => error.hint(),
            Self::Session(error) => error.hint(),
            Self::Companion(_) | Self::Provenance(_) => {
                Some("without the file, weights are matched by name".to_owned())
            }
            Self::Vocabulary { .. } => Some("is this the checkpoint that was converted?".to_owned()),
            Self::NoTokens => None,
        }
    }
}

/// Verifies, writes the report, and fails where a requirement does not hold.
pub fn run(arguments: &Arguments, console: Console) -> Result<(), Failure> {
    let device = arguments.backend.device(&arguments.device.given())?;
    let directory = ModelDirectory::open(&arguments.path)?;
    if !arguments.quick {
        can_write(&arguments.report)?;
    }
    let parameters = &directory.meta().model_info.parameters;
    let limit = arguments.quick.then_some(QUICK_TOKENS);
    let tokens = arguments.tokens.first_windows(&arguments.path, parameters.context_length, limit)?;
    let against = locate(&arguments.against, Wanted::Checkpoint, console)?;
    console.status(&format!("Reading {}", against.display()));
    let mut checkpoint = Checkpoint::open_with_links(&against, &arguments.follow_links)?;
    if let Some(prefix) = &arguments.strip_prefix {
        checkpoint = checkpoint.without_prefix(prefix)?;
    }
    let (config, checkpoint) = source::open_for_oracle(&checkpoint)?;
    let implementation = if arguments.plain_reference { Implementation::Plain } else { Implementation::Automatic };
    let num_hidden_layers = config.num_hidden_layers;
    let mut oracle = Oracle::new(config, &checkpoint, implementation)?;
    let numerics = arguments.numerics.numerics();
    let mut thresholds = Thresholds::for_model(stored_bits(&directory)?, num_hidden_layers, numerics);
    if arguments.quick {
        thresholds.top1 = thresholds.top1.map(|share| share.min(QUICK_TOP1));
    }
    arguments.limits.apply(&mut thresholds);
    thresholds.neural_engine = arguments.device.min_ane;
    thresholds.device_psnr_db = arguments.device.min_psnr.or(thresholds.device_psnr_db);
    let generator = format!("anec {}", env!("CARGO_PKG_VERSION"));
    let options = VerifyOptions { numerics, thresholds, generator, logits_only: arguments.quick };
    let mut stages = Stages::new(console);
    let mut show = |progress| show(&mut stages, progress);
    let verification = Verification {
        directory: &directory,
        checkpoint: &checkpoint,
        oracle: &mut oracle,
        tokens: &tokens,
        options: &options,
        progress: &mut show,
    };
    let predictions = arguments.device.predictions();
    let mut report = match device {
        None => verification.on_reference()?,
        Some(Device::CoreMl(backend)) => {
            verification.on_device(&backend, DeviceOptions { units: arguments.backend.units(), predictions })?
        }
        Some(Device::PrivateAne(backend)) => verification.on_private_ane(&backend, predictions)?,
    };
    report.made = Some(made(arguments));
    if !arguments.quick {
        stages.begin("Answering", usize::from(arguments.samples), "prompt");
        report.samples = samples::of(&arguments.path, &directory, &mut oracle, arguments.samples.into(), numerics)?;
    }
    stages.finish();
    if arguments.json {
        let text = report.to_json().map_err(|error| failed(error.to_string()))?;
        console.data(&text).map_err(|error| failed(error.to_string()))?;
    } else {
        console.data(&describe(&report)).map_err(|error| failed(error.to_string()))?;
    }
    if !arguments.quick {
        let written = write(&arguments.report, &report)?;
        console.status(&format!("Report: {}", written.display()));
    }
    if report.passed {
        return Ok(());
    }
    let names: Vec<&str> =
        report.checks.iter().filter(|check| !check.passed).map(|check| check.name.as_str()).collect();
    Err(failed(format!("{} of {} checks failed: {}", names.len(), report.checks.len(), names.join(", "))))
}

/// When and how.
fn made(arguments: &Arguments) -> Made {
    let command: Vec<String> = std::env::args().skip(1).map(|argument| shell_word(&argument)).collect();
    Made {
        date: jiff::Zoned::now().date().to_string(),
        command: format!("anec {}", command.join(" ")),
        checkpoint: arguments.against.display().to_string(),
        checksums_sha256: checksums::checksum(&arguments.path.join(CHECKSUMS)).ok(),
    }
}

fn failed(message: String) -> Failure {
    Failure { message, hint: None }
}

fn show(stages: &mut Stages, progress: Progress) {
    match progress {
        Progress::Reference(tokens) => stages.begin("Computing the checkpoint", tokens, "token"),
        Progress::Compared(done, all) => stages.at("Comparing logits", done, all, "token"),
        Progress::Weights(part, parts) => stages.at("Comparing weights", part, parts, "model"),
        Progress::Predictions(done, all) => stages.at("Predicting", done, all, "prediction"),
    }
}

/// Finds out before the work whether its result can be kept.
fn can_write(directory: &Path) -> Result<(), Failure> {
    let probe = directory.join(format!(".{REPORT_JSON}.partial"));
    let written =
        fs::create_dir_all(directory).and_then(|()| fs::write(&probe, "")).and_then(|()| fs::remove_file(&probe));
    written.map_err(|error| Failure {
        message: error.to_string(),
        hint: Some("`--report` names the directory for the report".to_owned()),
    })
}

/// Writes both files of the report, whole or not at all, and gives the path of the page.
fn write(directory: &Path, report: &Report) -> Result<PathBuf, Failure> {
    let write = |name: &str, text: &str| -> std::io::Result<PathBuf> {
        let (path, partial) = (directory.join(name), directory.join(format!(".{name}.partial")));
        fs::write(&partial, text)?;
        fs::rename(&partial, &path)?;
        Ok(path)
    };
    let json = report.to_json().map_err(|error| failed(error.to_string()))?;
    let page = report_page(report).map_err(|error| failed(error.to_string()))?;
    let written =
        fs::create_dir_all(directory).and_then(|()| write(REPORT_JSON, &json)).and_then(|_| write(REPORT_HTML, &page));
    written.map_err(|error| failed(error.to_string()))
}

fn describe(report: &Report) -> String {
    let mut text = String::new();
    let (model, decode) = (&report.model, &report.decode);
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{} ({}, {})", model.name, model.architecture, model.backend);
    let _ = writeln!(
        text,
        "  against {} over {} tokens of {}",
        report.reference.implementation, decode.positions, report.tokens.source
    );
    let _ = writeln!(
        text,
        "  KL mean {:.2e}, max {:.2e}; same best token {:.1} %; logits off by {:.2e} at most, {:.2e} on average",
        decode.kl_mean,
        decode.kl_max,
        100.0 * decode.top1,
        decode.logit_error_max,
        decode.logit_error_mean
    );
    if let Some((reference, found)) = decode.perplexity_reference.zip(decode.perplexity_model) {
        let _ = writeln!(text, "  perplexity {found:.4}, checkpoint {reference:.4}");
    }
    for part in &report.parts {
        for difference in part.differences.iter().flatten() {
            let _ = writeln!(text, "  {} differs from its package: {difference}", part.part);
        }
    }
    if let Some(origins) = &report.origins {
        describe_origins(&mut text, origins);
    }
    if report.prefill.is_none() {
        let _ = writeln!(
            text,
            "  prefill not compared: no window of tokens is longer than a batch of {}, or the model has none",
            model.batch_size
        );
    }
    if let Some(largest) = report.activations.largest.first() {
        let _ = writeln!(
            text,
            "  largest activation {:.1} in `{}` of {} / {}; {} overflows",
            largest.magnitude, largest.name, largest.part, largest.function, report.activations.overflows
        );
    }
    if let Some(device) = &report.device {
        describe_device(&mut text, device);
    }
    let _ = writeln!(text);
    for check in &report.checks {
        let _ = writeln!(text, "  {}", line(check));
    }
    text
}

/// How weights were matched, where that is not certain, and what was not matched.
fn describe_origins(text: &mut String, origins: &Origins) {
    const SHOWN: usize = 10;
    if origins.matched_by == MatchedBy::Names {
        let _ = writeln!(text, "  weights are matched by name, because the directory has no {PROVENANCE_JSON}");
    }
    for finding in origins.findings.iter().take(SHOWN) {
        let _ = writeln!(text, "  {finding}");
    }
    if let Some(others) = origins.findings.len().checked_sub(SHOWN).filter(|others| *others > 0) {
        let _ = writeln!(text, "  and {}, in {REPORT_JSON}", counted(others, "other"));
    }
}

fn line(check: &Check) -> String {
    let verdict = if check.passed { "ok    " } else { "FAILED" };
    let bound = match check.bound {
        Bound::AtMost => "at most",
        Bound::AtLeast => "at least",
    };
    let (found, limit) = (figure(check.found), figure(check.limit));
    format!("{verdict}  {:<28} {found:>9}, {bound} {limit:<7}  {}", check.name, check.meaning)
}

/// A figure in about three digits.
fn figure(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        size if !(1e-3..1e5).contains(&size) => format!("{value:.2e}"),
        size if size < 10.0 => format!("{value:.4}"),
        _ => format!("{value:.2}"),
    }
}

/// What a device did, a line for each model and function.
fn describe_device(text: &mut String, device: &DeviceReport) {
    let _ = writeln!(text, "  {} on {}", device.units, device.system);
    for part in &device.agreement {
        let decibels = part.psnr_db.map_or_else(|| "equal".to_owned(), |decibels| format!("{decibels:.1} dB"));
        let _ = writeln!(text, "  {} {}: {decibels}, cosine {:.6}", part.role, part.output, part.cosine);
    }
    let _ = writeln!(
        text,
        "  {} predictions, {} not finite, {} unlike the first",
        device.predictions, device.not_finite, device.differing
    );
    for plan in &device.plans {
        let share = |used: &DeviceUse| {
            format!("{} {:.1} % of operations, {:.1} % of cost", used.device, 100.0 * used.share, 100.0 * used.cost)
        };
        let shares: Vec<String> = plan.devices.iter().map(share).collect();
        let _ = writeln!(text, "  {} / {}: {}", plan.part, plan.function, shares.join("; "));
        for operation in &plan.elsewhere {
            let rules = match operation.rules.as_slice() {
                [] if operation.supported => "the Neural Engine could run it".to_owned(),
                [] => "no rule is known".to_owned(),
                rules => rules.join(", "),
            };
            let _ = writeln!(text, "    {} `{}` on the {}: {rules}", operation.op, operation.result, operation.device);
        }
    }
}
