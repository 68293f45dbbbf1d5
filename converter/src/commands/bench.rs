//! `anec bench`.

mod memory;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anec_runtime::ModelDirectory;
use anec_runtime::backend::{Engine, ReferenceBackend, ReferenceOptions};
use anec_runtime::session::{Capabilities, Session, SessionError};
use clap::Args;
use serde_json::{Value, json};

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

The reference engine shows what a model computes, not how fast a device is.")]
pub struct Arguments {
    /// A converted directory.
    path: PathBuf,

    /// Tokens to decode in each repetition.
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..))]
    decode: u32,

    /// Repetitions.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    repeat: u32,

    #[command(flatten)]
    backend: BackendArguments,

    #[command(flatten)]
    numerics: NumericsArgument,

    /// Print one line of JSON.
    #[arg(long)]
    json: bool,
}

/// Seconds of each repetition.
struct Times(Vec<f64>);

impl Times {
    /// Minimum, median and maximum.
    fn spread(&self) -> [f64; 3] {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let at = |index: usize| sorted.get(index).copied().unwrap_or(f64::NAN);
        [at(0), at(sorted.len() / 2), at(sorted.len().saturating_sub(1))]
    }

    fn json(&self, tokens: f64) -> Value {
        let [fastest, median, slowest] = self.spread();
        json!({
            "tokens": tokens,
            "seconds": { "min": fastest, "median": median, "max": slowest },
            "tokens_per_second": tokens / median,
        })
    }

    fn line(&self, what: &str, tokens: f64) -> String {
        let [fastest, median, slowest] = self.spread();
        format!(
            "{what:<8} {:>9.1} tokens/s  ({tokens} tokens in {median:.3} s, {fastest:.3} to {slowest:.3})\n",
            tokens / median
        )
    }
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

/// Measures loading, prefill and decoding.
pub fn run(arguments: &Arguments, console: Console) -> Result<(), Failure> {
    let directory = ModelDirectory::open(&arguments.path)?;
    let (measured, backend, system) = if let Some(backend) = arguments.backend.core_ml(&[])? {
        let system = backend.system().map_err(SessionError::from)?;
        (measure(&directory, &backend, arguments)?, format!("coreml {}", arguments.backend.units()), Some(system))
    } else {
        let backend =
            ReferenceBackend::new(ReferenceOptions { numerics: arguments.numerics.numerics(), statistics: false });
        (measure(&directory, &backend, arguments)?, "reference".to_owned(), None)
    };
    #[expect(clippy::cast_precision_loss, reason = "counts of tokens")]
    let (batch, steps) = (measured.batch as f64, measured.steps as f64);
    let [load, again] = measured.loads.map(|load| load.as_secs_f64());
    let memory = memory::resident_bytes();
    let text = if arguments.json {
        let line = json!({
            "model": directory.meta().model_info.name,
            "generator": format!("anec {}", env!("CARGO_PKG_VERSION")),
            "backend": backend,
            "system": system,
            "threads": rayon::current_num_threads(),
            "load_seconds": load,
            "load_again_seconds": again,
            "prefill": (batch > 0.0).then(|| measured.prefill.json(batch)),
            "decode": measured.decode.json(steps),
            "memory_bytes": memory,
        });
        format!("{line}\n")
    } else {
        let mut text = format!("load     {load:>9.3} s, once more {again:.3} s\n");
        if batch > 0.0 {
            text += &measured.prefill.line("prefill", batch);
        }
        text += &measured.decode.line("decode", steps);
        let memory = memory.map(|bytes| format!("memory   {:>9} MB\n", bytes / 1_000_000));
        text + memory.as_deref().unwrap_or_default()
    };
    console.data(&text).map_err(|error| Failure { message: error.to_string(), hint: None })
}

fn measure(directory: &ModelDirectory, engine: &dyn Engine, arguments: &Arguments) -> Result<Measured, SessionError> {
    let start = Instant::now();
    drop(directory.session(engine)?);
    let first = start.elapsed();
    let start = Instant::now();
    let mut session = directory.session(engine)?;
    let loads = [first, start.elapsed()];
    let (mut prefill, mut decode) = (Times(Vec::new()), Times(Vec::new()));
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
