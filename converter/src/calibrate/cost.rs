//! What a calibration takes, told before it starts: arithmetic, memory, room on the disk.

use std::time::{Duration, Instant};

use serde::Serialize;

use super::buffers::is_kept;
use super::engine::parts_of;
use super::head::LOOKED_AT;
use super::settings::{PaletteShape, Palettes, Strength, TensorRows};
use super::tokens::{CalibrationSource, Expected, KEPT_BYTES, expected, parameters};
use super::weights::matrix_rows;
use crate::model::decoder_plan::{DecoderPlan, WeightPath};
use crate::product::project;

/// What a calibration takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CalibrationCost {
    /// Tokens that pass through the layers; of a file as many as are read at most.
    pub tokens: usize,
    /// Operations of each kind of work.
    pub work: Work,
    /// Peak memory, in bytes.
    pub memory_bytes: u64,
    /// What is kept beside the output until it is written, in bytes.
    pub disk_bytes: u64,
}

/// Floating-point operations, a multiplication and an addition as two.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Work {
    /// Answers of the checkpoint to prompts.
    pub answers: f64,
    /// Tokens through the layers, the quantized ones and the checkpoint's own.
    pub forward: f64,
    /// Gram matrices of inputs.
    pub gram: f64,
    /// Their factors, in f64.
    pub factors: f64,
    /// Targets that lean on the checkpoint, half of it in f64.
    pub targets: f64,
    /// Weights assigned to entries, with the feedback of errors.
    pub assignment: f64,
    /// Weights for which palettes are found.
    pub palettes: f64,
}

/// The speed of a machine, measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Machine {
    /// Operations of products of f32 matrices in a second, on all threads.
    pub rate: f64,
    /// Threads.
    pub threads: usize,
}

/// How many times longer an operation takes than one of a product of matrices.
///
/// # Source
/// Times of calibrations of Llamas of 135 million parameters and of one layer of an 8B on two cores of an x86-64 server.
mod share {
    pub(super) const ANSWERS: f64 = 3.2;
    pub(super) const FORWARD: f64 = 1.3;
    pub(super) const GRAM: f64 = 1.1;
    pub(super) const FACTORS: f64 = 4.0;
    pub(super) const TARGETS: f64 = 2.0;
    pub(super) const ASSIGNMENT: f64 = 3.2;
    /// Of a weight, with what it takes to read, assign and keep it.
    pub(super) const PALETTES: f64 = 16_000.0;
}

impl Work {
    /// All of it, as operations of products of f32 matrices.
    fn equivalent(&self) -> f64 {
        self.answers * share::ANSWERS
            + self.forward * share::FORWARD
            + self.gram * share::GRAM
            + self.factors * share::FACTORS
            + self.targets * share::TARGETS
            + self.assignment * share::ASSIGNMENT
            + self.palettes * share::PALETTES
    }
}

impl Machine {
    /// Measures this one, in a few hundredths of a second.
    #[expect(clippy::cast_precision_loss, reason = "a rate")]
    pub fn measured() -> Self {
        const TOKENS: usize = 1024;
        const INPUTS: usize = 512;
        const OUTPUTS: usize = 1024;
        /// The first finds cold caches and threads that sleep.
        const ATTEMPTS: usize = 16;
        let (x, w) = (vec![1.0; TOKENS * INPUTS], vec![0.5; OUTPUTS * INPUTS]);
        let attempt = |_| {
            let started = Instant::now();
            std::hint::black_box(project(&x, &w, None, INPUTS));
            started.elapsed()
        };
        let best = (0..ATTEMPTS).map(attempt).min().unwrap_or_default().max(Duration::from_micros(1));
        Self {
            rate: (2 * TOKENS * INPUTS * OUTPUTS) as f64 / best.as_secs_f64(),
            threads: rayon::current_num_threads(),
        }
    }
}

impl CalibrationCost {
    /// Of a model with some palettes. Of a file, as many tokens count as are read at most.
    pub fn of(plan: &DecoderPlan, palettes: &Palettes, strength: Strength, source: &CalibrationSource) -> Self {
        let Expected { tokens, length, answers } = expected(source, plan);
        let sizes = Sizes { leans: strength.inputs > 0.0 || strength.residual > 0.0, tokens, length, plan };
        let mut work = Work { answers: 2.0 * float(parameters(plan)) * float(answers), ..Work::default() };
        let mut stored_bits = 0.0;
        for layer in 0..plan.num_hidden_layers {
            sizes.layer(&mut work);
            for (inputs, modules) in sizes.stages() {
                let stored: Vec<(usize, PaletteShape)> = modules
                    .iter()
                    .filter_map(|(module, outputs)| {
                        let rows = matrix_rows(plan, &WeightPath::weight(layer, module), [*outputs, inputs]);
                        palettes.get(&TensorRows::of(&rows)).map(|shape| (*outputs, *shape))
                    })
                    .collect();
                sizes.stage(inputs, modules.len() == 1, !stored.is_empty(), &mut work);
                for (outputs, shape) in stored {
                    stored_bits += Sizes::weight(outputs, inputs, shape, strength, sizes.leans, &mut work);
                }
            }
        }
        let head = matrix_rows(plan, &WeightPath::LM_HEAD, [plan.vocab_size, plan.hidden_size]);
        if let Some((_, shape)) = parts_of(palettes, &head).first() {
            sizes.head(strength, &mut work);
            stored_bits += Sizes::weight(plan.vocab_size, plan.hidden_size, *shape, strength, false, &mut work);
        }
        let residual = float(sizes.streams() * tokens * plan.hidden_size) * F32;
        Self {
            tokens,
            work,
            memory_bytes: bytes(sizes.memory(answers > 0)),
            disk_bytes: bytes(stored_bits / 8.0 + residual),
        }
    }

    /// How long it takes on a machine.
    pub fn time(&self, machine: &Machine) -> Duration {
        Duration::try_from_secs_f64(self.work.equivalent() / machine.rate).unwrap_or(Duration::MAX)
    }
}

/// Bytes of an element.
const F16: f64 = 2.0;
const F32: f64 = 4.0;
const F64: f64 = 8.0;

/// What the work is counted from.
struct Sizes<'a> {
    /// Whether the checkpoint's own stream runs beside the quantized one.
    leans: bool,
    tokens: usize,
    /// Tokens of a window.
    length: usize,
    plan: &'a DecoderPlan,
}

/// Projections that share an input: its channels, and their modules with their outputs.
type StageModules = (usize, Vec<(&'static str, usize)>);

impl Sizes<'_> {
    fn streams(&self) -> usize {
        1 + usize::from(self.leans)
    }

    fn stages(&self) -> [StageModules; 4] {
        let DecoderPlan { hidden_size, intermediate_size, .. } = *self.plan;
        let (q, kv) = (self.plan.q_size(), self.plan.kv_size());
        [
            (hidden_size, vec![("self_attn.q_proj", q), ("self_attn.k_proj", kv), ("self_attn.v_proj", kv)]),
            (q, vec![("self_attn.o_proj", hidden_size)]),
            (hidden_size, vec![("mlp.gate_proj", intermediate_size), ("mlp.up_proj", intermediate_size)]),
            (intermediate_size, vec![("mlp.down_proj", hidden_size)]),
        ]
    }

    /// Weights of a layer.
    fn layer_weights(&self) -> f64 {
        let products = self
            .stages()
            .into_iter()
            .flat_map(|(inputs, modules)| modules.into_iter().map(move |(_, outputs)| float(inputs) * float(outputs)));
        products.sum()
    }

    /// Tokens through a layer.
    fn layer(&self, work: &mut Work) {
        let (n, streams) = (float(self.tokens), float(self.streams()));
        let attention = 2.0 * float(self.length) * float(self.plan.q_size());
        work.forward += streams * n * 2.0 * (self.layer_weights() + attention);
    }

    /// What is known of an input; `writes` says whether its projection writes to the residual stream.
    fn stage(&self, inputs: usize, writes: bool, is_quantized: bool, work: &mut Work) {
        let (channels, n) = (float(inputs), float(self.tokens));
        if !is_quantized {
            return;
        }
        work.gram += channels * channels * n;
        work.factors += channels.powi(3) / 3.0;
        if self.leans {
            work.gram += 2.0 * channels * channels * n;
            work.factors += channels.powi(3) / 3.0;
            if writes {
                work.gram += 2.0 * channels * float(self.plan.hidden_size) * n;
            }
        }
    }

    /// What is known of the head's input, how likely each token is, and where its rows move to.
    fn head(&self, strength: Strength, work: &mut Work) {
        let (hidden, vocab, n) = (float(self.plan.hidden_size), float(self.plan.vocab_size), float(self.tokens));
        work.gram += hidden * hidden * n;
        work.factors += hidden.powi(3) / 3.0;
        work.forward += 4.0 * hidden * vocab * float(LOOKED_AT.min(self.tokens));
        if self.leans && strength.head > 0.0 {
            work.gram += 2.0 * hidden * hidden * n;
            work.factors += hidden.powi(3) / 3.0;
            work.targets += 2.0 * hidden.powi(3);
            work.forward += 2.0 * hidden * hidden * vocab;
        }
    }

    /// One weight; the bits that are stored of it.
    fn weight(
        outputs: usize,
        inputs: usize,
        shape: PaletteShape,
        strength: Strength,
        leans: bool,
        work: &mut Work,
    ) -> f64 {
        let weights = float(outputs) * float(inputs);
        let square = weights * float(inputs);
        if leans {
            work.targets += 4.0 * square;
        }
        let passes = float(1 + strength.refits);
        work.assignment += passes * square;
        work.palettes += weights;
        let palettes = float(outputs) / float(shape.group_rows.max(1)) * 2_f64.powi(i32::from(shape.bits)) * 16.0;
        weights * f64::from(shape.bits) + palettes
    }

    /// Peak memory: while the checkpoint answers, or in the stage with the most inputs.
    fn memory(&self, answers: bool) -> f64 {
        let DecoderPlan { hidden_size, intermediate_size, .. } = *self.plan;
        let (n, hidden) = (float(self.tokens), float(hidden_size));
        let parameters = float(parameters(self.plan)) * F16;
        let answering = if answers && parameters <= float(KEPT_BYTES) {
            // Of about half of the tokens, keys and values of all layers are kept as well.
            parameters + n * float(self.plan.kv_size() * self.plan.num_hidden_layers) * F32
        } else {
            0.0
        };
        let widest = float(intermediate_size.max(hidden_size).max(self.plan.q_size()));
        let (square, matrix, inputs) = (widest * widest, widest * hidden, n * widest * F32);
        let streams = float(self.streams());
        // Both streams, and the checkpoint's behind the branch; where memory is kept, inputs of earlier stages too.
        let kept = if is_kept(self.tokens.saturating_mul(hidden_size)) { 3.0 } else { 0.0 };
        let residual = n * hidden * F32 * (2.0 * streams - 1.0 + kept);
        // A Gram matrix and the difference that targets make up for, with the checkpoint's inputs still there.
        let crossing = streams * (inputs + square * F32) + 2.0 * matrix * F32;
        // The Gram matrix and its factor, or that and the feedback, beside weights, targets, what is left and what is assigned.
        let assigning = inputs + square * (F32 + F64) + 5.0 * matrix * F32;
        // Indices wait for the end of the layer, a byte each.
        answering.max(residual + crossing.max(assigning) + self.layer_weights()) + REST
    }
}

/// The program, the tokenizer, pages of the checkpoint, in bytes.
const REST: f64 = 3e8;

#[expect(clippy::cast_precision_loss, reason = "an estimate")]
fn float(count: usize) -> f64 {
    count as f64
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an estimate, which is not negative")]
fn bytes(count: f64) -> u64 {
    count as u64
}
