//! Times of calls by kind, and which throughputs can be told of them.
//!
//! A call that failed takes little time, and so does one that computes nothing. So every call has to give what it must: finite
//! numbers that depend on what it was given. A throughput above what the chip can do is none.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use anec_mil::DataType;
use anec_mil::evaluate::Tensor;
use anec_mil::rules::chip::CHIPS;
use anec_mil::rules::{Chip, ChipFacts};
use anec_runtime::backend::{Engine, LoadedFunction, LoadedState, Tensors};
use serde_json::{Value, json};

use super::kinds::Kind;
use super::times::Times;
use crate::commands::table::{metric, table};
use crate::error::render;

/// Operations of 10^12.
const TERA: f64 = 1e12;

/// What tells the time.
pub(super) trait Clock {
    /// The time since some moment that does not change.
    fn now(&self) -> Duration;
}

/// The system's clock.
pub(super) struct SystemClock(pub(super) Instant);

impl Clock for SystemClock {
    fn now(&self) -> Duration {
        self.0.elapsed()
    }
}

/// The most operations a second that a throughput can have.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Peak {
    /// The chip.
    chip: &'static str,
    /// Operations in a second.
    operations: f64,
}

/// How the calls of a kind went.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Outcome {
    /// Seconds of one call, by repetition.
    Timed(Times),
    /// More operations a second than the chip can do.
    Impossible {
        /// Operations a second.
        found: f64,
        /// What is possible.
        peak: Peak,
    },
    /// A call failed, or did not compute.
    Failed(String),
}

/// A kind with how its calls went.
pub(super) struct Measured {
    pub(super) kind: Kind,
    pub(super) outcome: Outcome,
}

impl Peak {
    /// That of a chip; where none is known of it, the highest that is known of any.
    pub(super) fn of(chip: Chip) -> Self {
        let peak = |facts: &ChipFacts| facts.tops.map(|tops| Self { chip: facts.name, operations: tops.value * TERA });
        let all = CHIPS.iter().filter_map(peak);
        let highest = all.max_by(|a, b| a.operations.total_cmp(&b.operations)).expect("the peaks of chips are known");
        peak(chip.facts()).unwrap_or(highest)
    }
}

impl Outcome {
    /// Why there is no time; none where there is.
    pub(super) fn problem(&self) -> Option<String> {
        match self {
            Self::Timed(_) => None,
            Self::Failed(why) => Some(why.clone()),
            Self::Impossible { found, peak } => Some(format!(
                "{}op/s are more than {}op/s, the peak of {}: the calls cannot have computed",
                metric(*found),
                metric(peak.operations),
                peak.chip
            )),
        }
    }
}

/// Calls every program of a kind once in each repetition.
pub(super) fn measure(engine: &dyn Engine, clock: &dyn Clock, repeat: u32, peak: Peak, kind: Kind) -> Measured {
    let outcome = match times(engine, clock, repeat, &kind) {
        Err(why) => Outcome::Failed(why),
        Ok(times) => {
            #[expect(clippy::cast_precision_loss, reason = "a throughput has three digits")]
            let found = kind.operations as f64 / kind.programs.len().max(1) as f64 / times.spread()[0];
            // Not `>`: a time of zero gives infinity, and no operations in no time give nothing that is a number.
            if found <= peak.operations { Outcome::Timed(times) } else { Outcome::Impossible { found, peak } }
        }
    };
    Measured { kind, outcome }
}

/// A program that is called.
struct Program {
    function: LoadedFunction,
    state: LoadedState,
    /// Two sets of inputs.
    given: [Tensors; 2],
}

impl Program {
    fn call(&mut self, set: usize) -> Result<Tensors, String> {
        let given = self.given.get(set % 2).expect("there are two sets");
        self.function.predict(given, &mut self.state).map_err(|error| render(&error))
    }
}

fn times(engine: &dyn Engine, clock: &dyn Clock, repeat: u32, kind: &Kind) -> Result<Times, String> {
    let mut programs = Vec::with_capacity(kind.programs.len());
    for part in &kind.programs {
        let open = || {
            let function = engine.open_model(part)?.load("main")?;
            let state = function.new_state()?;
            Ok::<_, anec_runtime::backend::BackendError>((function, state))
        };
        let (function, state) = open().map_err(|error| render(&error))?;
        let given = [inputs(&function, 1)?, inputs(&function, 2)?];
        let mut program = Program { function, state, given };
        // The first calls are not timed: engines make ready in them.
        let [first, second] = [program.call(0)?, program.call(1)?];
        check(&program.function, &first)?;
        check(&program.function, &second)?;
        if is_same(&first, &second) {
            return Err(format!("`{}` gives the same whatever it is given", part.stem));
        }
        programs.push(program);
    }
    let mut times = Times::default();
    for repetition in 0..repeat {
        let mut given = Vec::with_capacity(programs.len());
        let start = clock.now();
        for program in &mut programs {
            given.push(program.call(repetition as usize)?);
        }
        let took = clock.now().saturating_sub(start);
        for (program, outputs) in programs.iter().zip(&given) {
            check(&program.function, outputs)?;
        }
        #[expect(clippy::cast_precision_loss, reason = "programs are counted in hundreds")]
        times.0.push(took.as_secs_f64() / programs.len().max(1) as f64);
    }
    Ok(times)
}

/// Requires every output that the program declares, and finite numbers.
fn check(function: &LoadedFunction, outputs: &Tensors) -> Result<(), String> {
    for output in &function.signature().outputs {
        let name = &output.name;
        let tensor = outputs.get(name).ok_or_else(|| format!("a call gave no output `{name}`"))?;
        let values = tensor.as_floats().map_err(|error| render(&error))?;
        if let Some(value) = values.iter().find(|value| !value.is_finite()) {
            return Err(format!("a call gave {value} in `{name}`"));
        }
    }
    Ok(())
}

/// Whether all outputs have the same numbers.
fn is_same(outputs: &Tensors, others: &Tensors) -> bool {
    outputs.iter().all(|(name, tensor)| {
        let floats = |tensor: Option<&Tensor>| tensor.and_then(|tensor| Some(tensor.as_floats().ok()?.into_owned()));
        floats(Some(tensor)) == floats(others.get(name))
    })
}

/// Numbers for every input, the same for the same seed, whose products stay small.
fn inputs(function: &LoadedFunction, seed: u64) -> Result<Tensors, String> {
    let mut tensors = Tensors::new();
    for (index, input) in (0_u64..).zip(&function.signature().inputs) {
        let name = &input.name;
        let shape = input.ty.as_tensor().and_then(anec_mil::TensorType::fixed_shape);
        let shape = shape.ok_or_else(|| format!("the input `{name}` has no fixed shape"))?;
        let shape: Option<Vec<usize>> = shape.into_iter().map(|length| usize::try_from(length).ok()).collect();
        let shape = shape.ok_or_else(|| format!("the input `{name}` is too large"))?;
        #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "a scale need not be exact")]
        let scale = 1.0 / (shape.get(1).copied().unwrap_or(1).max(1) as f64).sqrt() as f32;
        let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ (index + 1);
        let count = shape.iter().product::<usize>();
        let values = (0..count).map(|_| uniform(&mut state) * scale).collect();
        let tensor = Tensor::floats(DataType::Float16, &shape, values).map_err(|error| render(&error))?;
        tensors.insert(name.clone(), tensor);
    }
    Ok(tensors)
}

/// A number between -1 and 1: xorshift64*.
#[expect(clippy::cast_precision_loss, reason = "24 bits fit")]
fn uniform(state: &mut u64) -> f32 {
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    let bits = state.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 40;
    bits as f32 / (1_u64 << 23) as f32 - 1.0
}

/// A table for people, then what went wrong.
pub(super) fn text(all: &[Measured]) -> String {
    let header = ["kind", "programs", "calls", "operations", "bytes", "ms a call", "fastest", "slowest", "throughput"];
    let rows: Vec<Vec<String>> = all.iter().map(row).collect();
    let mut text = table(&header, &rows);
    for Measured { kind, outcome } in all {
        if let Some(problem) = outcome.problem() {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{}: {problem}", kind.name);
        }
    }
    text
}

#[expect(clippy::cast_precision_loss, reason = "for people")]
fn row(Measured { kind, outcome }: &Measured) -> Vec<String> {
    let programs = kind.programs.len().max(1) as f64;
    let (operations, bytes) = (kind.operations as f64 / programs, kind.bytes as f64 / programs);
    let counts = [kind.programs.len(), kind.calls].map(|count| count.to_string());
    let sizes = [metric(operations).trim_end().to_owned(), format!("{}B", metric(bytes))];
    let times = match outcome {
        Outcome::Timed(times) => {
            let [fastest, median, slowest] = times.spread();
            let milliseconds = [median, fastest, slowest].map(|seconds| format!("{:.3}", seconds * 1e3));
            let throughput = format!("{}op/s", metric(operations / median));
            milliseconds.into_iter().chain([throughput]).collect::<Vec<_>>()
        }
        Outcome::Impossible { .. } | Outcome::Failed(_) => ["failed", "", "", ""].map(str::to_owned).to_vec(),
    };
    std::iter::once(kind.name.clone()).chain(counts).chain(sizes).chain(times).collect()
}

/// The same as data.
pub(super) fn data(all: &[Measured]) -> Value {
    let one = |Measured { kind, outcome }: &Measured| {
        let programs = kind.programs.len().max(1) as u64;
        let operations = kind.operations / programs;
        #[expect(clippy::cast_precision_loss, reason = "a throughput has three digits")]
        let throughput = |times: &Times| operations as f64 / times.spread()[1];
        let (seconds, throughput) = match outcome {
            Outcome::Timed(times) => (Some(times.seconds()), Some(throughput(times))),
            Outcome::Impossible { .. } | Outcome::Failed(_) => (None, None),
        };
        json!({
            "kind": kind.name,
            "programs": kind.programs.len(),
            "calls": kind.calls,
            "operations": operations,
            "bytes": kind.bytes / programs,
            "seconds": seconds,
            "operations_per_second": throughput,
            "error": outcome.problem(),
        })
    };
    Value::Array(all.iter().map(one).collect())
}

/// The kinds without a time, where there are any.
pub(super) fn failure(all: &[Measured]) -> Option<String> {
    let failed = all.iter().filter(|measured| measured.outcome.problem().is_some());
    let failed: Vec<&str> = failed.map(|measured| measured.kind.name.as_str()).collect();
    let count = all.len();
    (!failed.is_empty()).then(|| format!("{} of {count} kinds have no time: {}", failed.len(), failed.join(", ")))
}

#[cfg(test)]
mod tests;
