//! `anec bench`.

mod calls;
mod kinds;
mod memory;
mod times;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anec_mil::rules::Chip;
use anec_runtime::ModelDirectory;
use anec_runtime::backend::{Engine, ReferenceBackend, ReferenceOptions};
use anec_runtime::session::{Capabilities, Session, SessionError};
use anec_schemas::contract::kernels;
use clap::Args;
use serde_json::json;

use self::calls::{Measured as MeasuredKind, Peak, SystemClock};
use self::kinds::Kind;
use self::times::Times;

use super::backend_arguments::BackendArguments;
use super::numerics_argument::NumericsArgument;
use crate::console::{Console, Failure};

/// Arguments of `anec bench`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  anec bench out
  anec bench out --decode 64 --repeat 5 --json
  anec bench out --backend coreml --units cpu-and-ne --json >> figures.jsonl
  anec bench kernels --chip m4-pro --backend coreml

Of the layouts `kernels` and `training`, each kind of program is timed: operations and bytes of a call, its time, and the throughput.
There is no throughput for calls that fail or give what does not depend on their inputs, nor above the chip's peak.

The reference engine shows what a model computes, not how fast a device is.")]
pub struct Arguments {
    /// A converted directory, or one of the programs of a training step.
    path: PathBuf,

    /// Tokens to decode in each repetition.
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..))]
    decode: u32,

    /// Repetitions.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    repeat: u32,

    /// The chip whose peak no throughput of a program may pass [default: the fastest that is known].
    #[arg(long, value_name = "CHIP", default_value_t = Chip::Generic, hide_default_value = true)]
    chip: Chip,

    #[command(flatten)]
    backend: BackendArguments,

    #[command(flatten)]
    numerics: NumericsArgument,

    /// Print one line of JSON.
    #[arg(long)]
    json: bool,
}

/// What was measured.
struct Measured {
    /// The first time, and once more.
    loads: [Duration; 2],
    prefill: Times,
    decode: Times,
    /// Tokens of a prefill step and of a repetition of decoding.
    batch: usize,
    steps: usize,
}

/// Measures loading, prefill and decoding, and the programs of layouts that have one for each product.
pub fn run(arguments: &Arguments, console: Console) -> Result<(), Failure> {
    if let Some(device) = arguments.backend.device(&[])? {
        let system = device.system().map_err(SessionError::from)?;
        let engine = EngineName { name: arguments.backend.name(), system: Some(system) };
        return run_on(device.engine(), &engine, arguments, console);
    }
    let backend =
        ReferenceBackend::new(ReferenceOptions { numerics: arguments.numerics.numerics(), statistics: false });
    let engine = EngineName { name: arguments.backend.name(), system: None };
    run_on(&backend, &engine, arguments, console)
}

/// What measures.
struct EngineName {
    name: String,
    system: Option<String>,
}

fn run_on(engine: &dyn Engine, name: &EngineName, arguments: &Arguments, console: Console) -> Result<(), Failure> {
    let (text, line, kinds) = if kinds::is_training(&arguments.path) {
        let kinds = measure_kinds(engine, arguments, kinds::of_training(&arguments.path)?);
        let line = json!({ "kinds": calls::data(&kinds) });
        (calls::text(&kinds), line, kinds)
    } else {
        let directory = ModelDirectory::open(&arguments.path)?;
        let measured = measure(&directory, engine, arguments)?;
        let kinds = if directory.contract().name == kernels::CONTRACT.name {
            measure_kinds(engine, arguments, kinds::of_kernels(&directory)?)
        } else {
            Vec::new()
        };
        let (mut text, mut line) = (measured.text(), measured.json());
        if let Some(line) = line.as_object_mut() {
            line.insert("model".to_owned(), json!(directory.meta().model_info.name));
            if !kinds.is_empty() {
                line.insert("kinds".to_owned(), calls::data(&kinds));
            }
        }
        if !kinds.is_empty() {
            text += "\n";
            text += &calls::text(&kinds);
        }
        (text, line, kinds)
    };
    let text = if arguments.json { format!("{}\n", with_circumstances(line, name)) } else { text };
    console.data(&text).map_err(|error| Failure { message: error.to_string(), hint: None })?;
    match calls::failure(&kinds) {
        None => Ok(()),
        Some(message) => Err(Failure { message, hint: None }),
    }
}

fn measure_kinds(engine: &dyn Engine, arguments: &Arguments, kinds: Vec<Kind>) -> Vec<MeasuredKind> {
    let (clock, peak) = (SystemClock(Instant::now()), Peak::of(arguments.chip));
    kinds.into_iter().map(|kind| calls::measure(engine, &clock, arguments.repeat, peak, kind)).collect()
}

/// A line of JSON with what it was measured on.
fn with_circumstances(mut line: serde_json::Value, name: &EngineName) -> serde_json::Value {
    if let Some(line) = line.as_object_mut() {
        line.insert("generator".to_owned(), json!(format!("anec {}", env!("CARGO_PKG_VERSION"))));
        line.insert("backend".to_owned(), json!(name.name));
        line.insert("system".to_owned(), json!(name.system));
        line.insert("threads".to_owned(), json!(rayon::current_num_threads()));
        line.insert("memory_bytes".to_owned(), json!(memory::resident_bytes()));
    }
    line
}

impl Measured {
    #[expect(clippy::cast_precision_loss, reason = "counts of tokens")]
    fn tokens(&self) -> [f64; 2] {
        [self.batch as f64, self.steps as f64]
    }

    fn text(&self) -> String {
        let ([load, again], [batch, steps]) = (self.loads.map(|load| load.as_secs_f64()), self.tokens());
        let mut text = format!("load     {load:>9.3} s, once more {again:.3} s\n");
        if batch > 0.0 {
            text += &self.prefill.line("prefill", batch);
        }
        text += &self.decode.line("decode", steps);
        let memory = memory::resident_bytes().map(|bytes| format!("memory   {:>9} MB\n", bytes / 1_000_000));
        text + memory.as_deref().unwrap_or_default()
    }

    fn json(&self) -> serde_json::Value {
        let ([load, again], [batch, steps]) = (self.loads.map(|load| load.as_secs_f64()), self.tokens());
        json!({
            "load_seconds": load,
            "load_again_seconds": again,
            "prefill": (batch > 0.0).then(|| self.prefill.json(batch)),
            "decode": self.decode.json(steps),
        })
    }
}

fn measure(directory: &ModelDirectory, engine: &dyn Engine, arguments: &Arguments) -> Result<Measured, SessionError> {
    let start = Instant::now();
    drop(directory.session(engine)?);
    let first = start.elapsed();
    let start = Instant::now();
    let mut session = directory.session(engine)?;
    let loads = [first, start.elapsed()];
    let (mut prefill, mut decode) = (Times::default(), Times::default());
    let Capabilities { context_length, batch_size, .. } = *session.capabilities();
    let batch = batch_size.unwrap_or(0);
    let room = context_length.saturating_sub(batch);
    let steps = (arguments.decode as usize).min(room);
    for _ in 0..arguments.repeat {
        let (a, b) = repetition(&mut *session, batch, steps)?;
        prefill.0.push(a.as_secs_f64());
        decode.0.push(b.as_secs_f64());
    }
    Ok(Measured { loads, prefill, decode, batch, steps })
}

/// One prompt of a batch, then so many tokens, each the best after the last.
fn repetition(session: &mut dyn Session, batch: usize, steps: usize) -> Result<(Duration, Duration), SessionError> {
    session.reset()?;
    let start = Instant::now();
    if batch > 0 {
        let tokens: Vec<u32> = (0..batch).filter_map(|token| u32::try_from(token).ok()).collect();
        session.prefill(&tokens, 0)?;
    }
    let prefill = start.elapsed();
    let start = Instant::now();
    let mut token = 0;
    for position in batch..batch + steps {
        // A model without a head is asked about the same token again.
        token = session.infer(token, position)?.best().unwrap_or(token);
    }
    Ok((prefill, start.elapsed()))
}
