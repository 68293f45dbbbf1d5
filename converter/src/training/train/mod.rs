//! Trains a model with the programs of a training step: they compute layers and their gradients in any engine, the rest is here.
//!
//! A step takes sequences one after the other, adds up their gradients, and moves the weights once. Which sequences a step takes
//! follows from its number, so a training that was stopped goes on as if it had not been.

mod data;
mod export;
mod kernels;
mod math;
mod optimizer;
mod parameters;
mod plot;
mod state;
mod step;

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anec_mil::evaluate::TensorError;
use anec_mil::package::PACKAGE_EXTENSION;
use anec_runtime::backend::{BackendError, Engine};
use fs_err as fs;
use serde::{Deserialize, Serialize};

use self::data::Data;
use self::kernels::Kernels;
use self::optimizer::Optimizer;
use self::parameters::Parameters;
use super::{Kind, TrainingError, TrainingShape, WeightForm, write};
use crate::error::Hint;
use crate::interrupt::Interrupt;

pub(crate) use optimizer::Rates;

/// The weights as llama2.c has them.
pub(crate) const MODEL_BIN: &str = "model.bin";
/// What a training goes on from.
pub(crate) const STATE_BIN: &str = "state.bin";
/// A line for each step.
pub(crate) const LOG_JSONL: &str = "log.jsonl";

/// A training that cannot be done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TrainError {
    /// The programs.
    #[error(transparent)]
    Programs(#[from] TrainingError),
    /// The engine.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// A tensor does not fit.
    #[error(transparent)]
    Tensor(#[from] TensorError),
    /// A checkpoint that is not one.
    #[error("Cannot read `{}`: it {problem}", path.display())]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// Tokens that are not usable.
    #[error("Cannot train on `{}`: it {problem}", path.display())]
    Data {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A program gave something else.
    #[error("The program `{kind}` gave no output of its shape")]
    NoOutput {
        /// The program.
        kind: Kind,
    },
    /// An output directory that is there.
    #[error("Cannot train into `{}`: it exists", path.display())]
    Exists {
        /// The directory.
        path: PathBuf,
    },
    /// A loss that is no number.
    #[error("The loss of step {step} is {loss}")]
    Diverged {
        /// The step.
        step: u64,
        /// The loss.
        loss: f64,
    },
    /// The disk.
    #[error("Cannot read or write")]
    Io(#[from] io::Error),
    /// A line of the log that is none.
    #[error("Cannot write the log")]
    Json(#[from] serde_json::Error),
    /// Tensors that safetensors refuses.
    #[error("Cannot write the checkpoint")]
    SafeTensors(#[from] safetensors::SafeTensorError),
}

impl Hint for TrainError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Programs(error) => error.hint(),
            Self::Backend(error) => error.hint().map(str::to_owned),
            Self::Exists { .. } => Some("go on with `--resume`, or choose another directory".to_owned()),
            Self::Diverged { .. } => Some("train with a lower `--lr`, or a longer `--warmup`".to_owned()),
            _ => None,
        }
    }
}

/// What a training starts from.
#[derive(Clone, Debug)]
pub(crate) enum Start {
    /// A checkpoint of llama2.c.
    Checkpoint(PathBuf),
    /// A model of this shape, with random weights.
    Random {
        /// Its shape.
        shape: TrainingShape,
        /// Whether its classifier is its embeddings.
        tied: bool,
        /// Positions that its checkpoint names.
        positions: usize,
        /// What its weights follow from.
        seed: u64,
    },
}

/// What is trained, on what, and how.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// What it starts from.
    pub(crate) start: Start,
    /// Tokens.
    pub(crate) data: PathBuf,
    /// Tokens of a sequence.
    pub(crate) sequence: usize,
    /// Whether queries and keys are rotated.
    pub(crate) rope: bool,
    /// Sequences of a step.
    pub(crate) batch: usize,
    /// The optimizer's.
    pub(crate) rates: Rates,
    /// Factor of the loss at the beginning; 1 where nothing is rounded to fp16.
    pub(crate) loss_scale: f32,
    /// Steps between two checkpoints.
    pub(crate) save_every: u64,
    /// Where everything is written.
    pub(crate) output: PathBuf,
    /// Whether a training that was stopped goes on.
    pub(crate) resume: bool,
}

/// A step that was taken, a line of the log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct StepReport {
    /// Its number, from 1.
    pub(crate) step: u64,
    /// The mean loss of its tokens before weights were moved, in nats.
    pub(crate) loss: f64,
    /// The learning rate.
    pub(crate) lr: f64,
    /// The norm of the gradients; none where they overflowed and nothing was moved.
    pub(crate) grad_norm: Option<f64>,
    /// Factor of the loss.
    pub(crate) loss_scale: f32,
    /// Tokens in a second.
    pub(crate) tokens_per_second: f64,
}

/// How a training ended.
#[derive(Debug)]
pub(crate) struct Trained {
    /// The losses of all steps, those before it was gone on with included.
    pub(crate) losses: Vec<f64>,
    /// Whether it was asked to stop before its end.
    pub(crate) interrupted: bool,
    /// Calls of each program and the seconds that they took.
    pub(crate) times: Vec<(Kind, u64, f64)>,
}

/// Trains, and shows each step to `observe`.
///
/// # Errors
/// Files that are not usable, the engine fails, or the loss is no number.
pub(crate) fn train(
    settings: &Settings,
    engine: &dyn Engine,
    interrupt: &Interrupt,
    mut observe: impl FnMut(&StepReport),
) -> Result<Trained, TrainError> {
    let output = &settings.output;
    let (state_path, log_path) = (output.join(STATE_BIN), output.join(LOG_JSONL));
    if fs::symlink_metadata(output).is_ok() && !settings.resume {
        return Err(TrainError::Exists { path: output.clone() });
    }
    let mut model = match &settings.start {
        Start::Checkpoint(path) => Parameters::read(path, settings.sequence, settings.rope)?,
        Start::Random { shape, tied, positions, seed } => Parameters::initial(shape.clone(), *tied, *positions, *seed),
    };
    let shape = model.layout.shape.clone();
    let data = Data::read(&settings.data, shape.sequence, shape.vocabulary)?;
    fs::create_dir_all(output)?;
    let mut optimizer = Optimizer::new(model.values.len(), settings.loss_scale);
    let (mut taken, mut losses) = (0, Vec::new());
    if settings.resume && state_path.is_file() {
        (model.values, optimizer, taken) = state::read(&state_path, model.values.len())?;
        losses = cut_log(&log_path, taken)?;
    }
    let programs = tempfile::tempdir()?;
    write(programs.path(), &shape, WeightForm::Inputs, &[PACKAGE_EXTENSION])?;
    let mut kernels = Kernels::open(programs.path(), &shape, engine)?;
    let constants = step::Constants::new(&shape);
    let decays = model.layout.decays();
    let mut log = fs::OpenOptions::new().create(true).append(true).open(&log_path)?;
    let mut gradients = vec![0.0; model.values.len()];
    let mut interrupted = false;
    while taken < settings.rates.steps {
        if interrupt.is_set() {
            interrupted = true;
            break;
        }
        let started = Instant::now();
        gradients.fill(0.0);
        let mut sum = 0.0;
        for index in 0..settings.batch {
            let number = taken * settings.batch as u64 + index as u64;
            let scale = optimizer.scale;
            let tokens = data.sequence(number);
            sum += step::accumulate(&mut kernels, (&model, &constants), tokens, scale, &mut gradients)?;
        }
        #[expect(clippy::cast_precision_loss, reason = "for people")]
        let (loss, tokens) = (sum / settings.batch as f64, (settings.batch * shape.sequence) as f64);
        if !loss.is_finite() {
            return Err(TrainError::Diverged { step: taken + 1, loss });
        }
        let lr = settings.rates.at(optimizer.steps);
        let loss_scale = optimizer.scale;
        let grad_norm = optimizer.step(&mut model.values, &mut gradients, (settings.batch, &settings.rates, &decays));
        taken += 1;
        let tokens_per_second = tokens / started.elapsed().as_secs_f64();
        let report = StepReport { step: taken, loss, lr, grad_norm, loss_scale, tokens_per_second };
        writeln!(log, "{}", serde_json::to_string(&report)?)?;
        losses.push(loss);
        observe(&report);
        if taken.is_multiple_of(settings.save_every) && taken < settings.rates.steps {
            save(output, &model, &optimizer, taken)?;
        }
    }
    save(output, &model, &optimizer, taken)?;
    if shape.rope_theta.is_some() {
        export::write(output, &model)?;
    }
    let times = kernels.times().map(|(kind, calls, time)| (kind, calls, time.as_secs_f64())).collect();
    Ok(Trained { losses, interrupted, times })
}

/// A curve of losses for a terminal.
pub(crate) fn plot(losses: &[f64]) -> String {
    plot::curve(losses, 1)
}

fn save(output: &Path, model: &Parameters, optimizer: &Optimizer, taken: u64) -> Result<(), TrainError> {
    state::write(&output.join(STATE_BIN), &model.values, optimizer, taken)?;
    let beside = output.join("model.part");
    model.write(&beside)?;
    fs::rename(beside, output.join(MODEL_BIN))?;
    Ok(())
}

/// Takes the lines of steps away that come again, and gives the losses of the others.
fn cut_log(path: &Path, taken: u64) -> Result<Vec<f64>, TrainError> {
    let text = if path.is_file() { fs::read_to_string(path)? } else { String::new() };
    let kept: Vec<StepReport> = text
        .lines()
        .filter_map(|line| serde_json::from_str::<StepReport>(line).ok())
        .filter(|report| report.step <= taken)
        .collect();
    let lines = kept.iter().map(serde_json::to_string).collect::<Result<Vec<_>, _>>()?;
    fs::write(path, lines.into_iter().map(|line| line + "\n").collect::<String>())?;
    Ok(kept.into_iter().map(|report| report.loss).collect())
}
