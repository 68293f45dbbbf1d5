//! Trains a model with the programs of a training step: they compute layers and their gradients in any engine, the rest is here.
//!
//! A step takes sequences one after the other, adds up their gradients, and moves the weights once. Which sequences a step takes
//! follows from its number, so a training that was stopped goes on as if it had not been.

mod data;
mod kernels;
mod math;
mod optimizer;
mod parameters;
mod plot;
mod state;
mod step;
mod transformers;

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anec_mil::evaluate::TensorError;
use anec_mil::package::PACKAGE_EXTENSION;
use anec_runtime::backend::{BackendError, Engine};
use anec_runtime::sampling::{Sampler, SamplingError, SamplingOptions};
use anec_runtime::session::Output;
use fs_err as fs;
use serde::{Deserialize, Serialize};

use self::data::Data;
use self::kernels::Kernels;
use self::optimizer::Optimizer;
use self::parameters::{Layout, Parameters};
use super::{Kind, TrainingError, TrainingShape, WeightForm, write};
use crate::error::Hint;
use crate::interrupt::Interrupt;
use crate::source::checkpoint::{Checkpoint, CheckpointError};

pub(crate) use kernels::KindTime;
pub(crate) use optimizer::Rates;

/// The weights as llama2.c has them, where it computes the same with them.
pub(crate) const MODEL_BIN: &str = "model.bin";
/// What a training goes on from.
pub(crate) const STATE_BIN: &str = "state.bin";
/// A line for each step.
pub(crate) const LOG_JSONL: &str = "log.jsonl";

/// Tokens of the data that a text is written behind.
const PROMPT_TOKENS: usize = 8;

/// How the tokens of such a text are chosen.
const SAMPLE_TEMPERATURE: f64 = 0.8;
const SAMPLE_TOP_P: f64 = 0.9;

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
    /// A checkpoint.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A tensor of a checkpoint that is missing or has another shape.
    #[error("Cannot train `{name}`: expected shape {expected:?}, found {found}")]
    Weight {
        /// Its name.
        name: String,
        /// Its shape by the config.
        expected: Vec<usize>,
        /// What is there.
        found: String,
    },
    /// A state that is not one of this training.
    #[error("Cannot read `{}`: it {problem}", path.display())]
    State {
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
    /// A text that the model cannot write.
    #[error("Cannot write a sample")]
    Sampling(#[from] SamplingError),
    /// Tensors that safetensors refuses.
    #[error("Cannot write the checkpoint")]
    SafeTensors(#[from] safetensors::SafeTensorError),
}

impl Hint for TrainError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Programs(error) => error.hint(),
            Self::Backend(error) => error.hint().map(str::to_owned),
            Self::Checkpoint(error) => error.hint(),
            Self::Exists { .. } => Some("go on with `--resume`, or choose another directory".to_owned()),
            Self::Diverged { .. } => Some("train with a lower `--lr`, or a longer `--warmup`".to_owned()),
            _ => None,
        }
    }
}

/// What a training starts from.
#[derive(Debug)]
pub(crate) struct Start {
    /// The sizes of the model and of its calls.
    pub(crate) shape: TrainingShape,
    /// Whether its classifier is its embeddings.
    pub(crate) tied: bool,
    /// Positions that its checkpoint names.
    pub(crate) positions: usize,
    /// Where its weights come from.
    pub(crate) weights: Weights,
}

/// Where the weights of a model come from.
#[derive(Debug)]
pub(crate) enum Weights {
    /// A checkpoint of any kind.
    Checkpoint(Box<Checkpoint>),
    /// Random numbers that follow from this one.
    Random(u64),
}

/// What is trained, on what, and how.
#[derive(Debug)]
pub(crate) struct Settings {
    /// What it starts from.
    pub(crate) start: Start,
    /// Tokens.
    pub(crate) data: PathBuf,
    /// Sequences of a step.
    pub(crate) batch: usize,
    /// The optimizer's.
    pub(crate) rates: Rates,
    /// Factor of the loss at the beginning; 1 where nothing is rounded to fp16.
    pub(crate) loss_scale: f32,
    /// Steps between two checkpoints.
    pub(crate) save_every: u64,
    /// Texts that the model writes meanwhile. They change nothing of the training.
    pub(crate) samples: Option<Samples>,
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

/// Texts that the model writes while it is trained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Samples {
    /// Steps between two of them.
    pub(crate) every: u64,
    /// Tokens that are written.
    pub(crate) tokens: usize,
}

/// What there is to tell of a training.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Event<'a> {
    /// It begins, behind so many steps.
    Start {
        /// The model.
        shape: &'a TrainingShape,
        /// Numbers that are trained.
        parameters: usize,
        /// The losses of the steps before.
        losses: &'a [f64],
    },
    /// A step was taken.
    Step {
        /// The step.
        report: &'a StepReport,
        /// Calls and times so far.
        times: &'a [KindTime],
    },
    /// The model has written a text.
    Sample {
        /// After this step.
        step: u64,
        /// What it was given: the beginning of a sequence of the data.
        prompt: &'a [u16],
        /// What it wrote.
        tokens: &'a [u16],
    },
}

/// How a training ended.
#[derive(Debug)]
pub(crate) struct Trained {
    /// The losses of all steps, those before it was gone on with included.
    pub(crate) losses: Vec<f64>,
    /// Whether it was asked to stop before its end.
    pub(crate) interrupted: bool,
    /// Calls of each program and the seconds that they took.
    pub(crate) times: Vec<KindTime>,
}

/// Trains, and tells `observe` of it.
///
/// # Errors
/// Files that are not usable, the engine fails, or the loss is no number.
pub(crate) fn train(
    settings: &Settings,
    engine: &dyn Engine,
    interrupt: &Interrupt,
    observe: &mut dyn FnMut(Event<'_>),
) -> Result<Trained, TrainError> {
    let output = &settings.output;
    let (state_path, log_path) = (output.join(STATE_BIN), output.join(LOG_JSONL));
    if fs::symlink_metadata(output).is_ok() && !settings.resume {
        return Err(TrainError::Exists { path: output.clone() });
    }
    let Start { shape, tied, positions, weights } = &settings.start;
    let layout = Layout { shape: shape.clone(), tied: *tied };
    let mut model = match weights {
        Weights::Checkpoint(checkpoint) => transformers::read(checkpoint, layout, *positions)?,
        Weights::Random(seed) => Parameters::initial(layout, *positions, *seed),
    };
    let data = Data::read(&settings.data, shape.sequence, shape.vocabulary)?;
    fs::create_dir_all(output)?;
    let mut optimizer = Optimizer::new(model.values.len(), settings.loss_scale);
    let (mut taken, mut losses) = (0, Vec::new());
    if settings.resume && state_path.is_file() {
        (model.values, optimizer, taken) = state::read(&state_path, model.values.len())?;
        losses = cut_log(&log_path, taken)?;
    }
    let programs = tempfile::tempdir()?;
    write(programs.path(), shape, WeightForm::Inputs, &[PACKAGE_EXTENSION])?;
    let mut kernels = Kernels::open(programs.path(), shape, engine)?;
    let constants = step::Constants::new(shape);
    let decays = model.layout.decays();
    let mut log = fs::OpenOptions::new().create(true).append(true).open(&log_path)?;
    let mut gradients = vec![0.0; model.values.len()];
    let mut interrupted = false;
    observe(Event::Start { shape, parameters: model.values.len(), losses: &losses });
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
        observe(Event::Step { report: &report, times: &kernels.times() });
        if let Some(samples) = settings.samples.filter(|samples| taken.is_multiple_of(samples.every)) {
            let prompt = data.sequence(taken * settings.batch as u64);
            let prompt = prompt.get(..PROMPT_TOKENS.min(shape.sequence)).unwrap_or(prompt);
            let tokens = written(&mut kernels, (&model, &constants), prompt, samples.tokens, taken)?;
            observe(Event::Sample { step: taken, prompt, tokens: &tokens });
        }
        if taken.is_multiple_of(settings.save_every) && taken < settings.rates.steps {
            save(output, &model, &optimizer, taken)?;
        }
    }
    save(output, &model, &optimizer, taken)?;
    if shape.rope_theta.is_some() {
        transformers::write(output, &model)?;
    }
    Ok(Trained { losses, interrupted, times: kernels.times() })
}

/// What the model writes behind a prompt, always the same for the same weights and seed.
fn written(
    kernels: &mut Kernels,
    model: (&Parameters, &step::Constants),
    prompt: &[u16],
    count: usize,
    seed: u64,
) -> Result<Vec<u16>, TrainError> {
    let options = SamplingOptions { temperature: SAMPLE_TEMPERATURE, top_p: SAMPLE_TOP_P, seed, ..Default::default() };
    let mut sampler = Sampler::new(options)?;
    let mut tokens = prompt.to_vec();
    for _ in 0..count {
        let mut logits = step::logits(kernels, model, &tokens)?;
        // Data has no others.
        logits.truncate(usize::from(u16::MAX) + 1);
        let token = sampler.choose(&Output::Logits(logits), &[])?;
        tokens.push(u16::try_from(token).expect("logits of longer tokens were cut off"));
    }
    Ok(tokens.split_off(prompt.len()))
}

/// A curve of losses for a terminal.
pub(crate) fn plot(losses: &[f64]) -> String {
    plot::curve(losses, 1)
}

fn save(output: &Path, model: &Parameters, optimizer: &Optimizer, taken: u64) -> Result<(), TrainError> {
    state::write(&output.join(STATE_BIN), &model.values, optimizer, taken)?;
    if model.layout.is_of_llama2c() {
        let beside = output.join("model.part");
        model.write(&beside)?;
        fs::rename(beside, output.join(MODEL_BIN))?;
    }
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
