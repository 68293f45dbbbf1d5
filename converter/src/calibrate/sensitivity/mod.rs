//! How much each weight's precision counts: what storing it in one way or another is predicted to add to the divergence.
//!
//! To second order, an error `Δ` of a projection's weight adds `½ Σ_r D_r Δ_r H Δ_rᵀ` to the divergence from the
//! checkpoint, in nats a token. `H` is the Gram matrix of its inputs, and `D_r` the mean square of the loss's gradient at
//! output `r`, the loss being that of tokens which the checkpoint itself would choose: the diagonal of the Fisher
//! information, with the inputs of one token as far as they go together (as in K-FAC, Martens and Grosse, "Optimizing
//! neural networks with Kronecker-factored approximate curvature", 2015). `Δ` is what calibration leaves of a weight.
//!
//! One pass forward keeps the residual stream before each layer; one backward computes each layer again, its inputs, its
//! gradients, and what the ways of storing its weights cost. The head's cost is measured where it stands, at the logits.

mod backward;
mod cost;
mod gradients;
#[cfg(test)]
mod gradients_tests;
mod head;

use std::collections::BTreeMap;

use half::bf16;
use half::slice::HalfFloatSliceExt as _;

use self::cost::{CostOf, Stage};
use super::buffers::Buffers;
use super::engine::{Progress, Tokens, embed};
use super::error::CalibrateError;
use super::forward::rms_norm;
use super::layer::check_finite;
use super::settings::Strength;
use super::shape::{LayerShape, Rotations};
use super::weights::{LayerWeights, Windows, matrix_rows, norm_weight};
use crate::model::arch;
use crate::model::decoder_plan::{DecoderPlan, WeightPath};
use crate::source::checkpoint::Checkpoint;
use crate::weights::recipe::WeightKind;
use crate::weights::storage::Storage;

/// Bytes that the residual stream before all layers may take; fewer tokens are looked at where it takes more.
const KEPT_BYTES: usize = 1 << 30;

/// Which of a layer's four inputs each projection has, in the order of use.
const INPUTS: [usize; 7] = [0, 0, 0, 1, 2, 2, 3];

/// One way to store a tensor.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    /// The way.
    pub storage: Storage,
    /// Bits that the tensor takes, palettes and scales included.
    pub bits: u64,
    /// What it adds to the divergence, in nats a token.
    pub divergence: f64,
}

/// A tensor with the ways to store it.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorChoices {
    /// What it is for.
    pub kind: WeightKind,
    /// Its name in the checkpoint.
    pub tensor: String,
    /// Its elements.
    pub elements: u64,
    /// The ways, in the order of the candidates; without those that it cannot be stored as.
    pub choices: Vec<Choice>,
}

/// What to look at.
pub struct Sensitivity<'a> {
    /// The weights.
    pub checkpoint: &'a Checkpoint,
    /// What they are.
    pub plan: &'a DecoderPlan,
    /// Ways to store them: palettes, calibrated, or what knows only the weights.
    pub candidates: &'a [Storage],
    /// How palettes are calibrated.
    pub strength: Strength,
    /// With which tokens.
    pub tokens: &'a Tokens,
    /// Called between layers; its error ends the work.
    pub proceed: &'a (dyn Fn() -> Result<(), CalibrateError> + Sync),
}

impl Sensitivity<'_> {
    /// The tensors of all layers and the head, each with what the candidates cost there.
    ///
    /// # Errors
    /// The checkpoint cannot be read, its layers are not known, an activation is not finite, or `proceed` fails.
    pub fn measure(&self, progress: &mut dyn FnMut(Progress)) -> Result<Vec<TensorChoices>, CalibrateError> {
        let plan = self.plan;
        if arch::layer_hook(plan).is_some() {
            return Err(CalibrateError::Unsupported { model_type: plan.model_type.clone() });
        }
        let (layers, length) = (plan.num_hidden_layers, self.tokens.length);
        let tokens = self.kept_tokens();
        let total = 2 * layers + 1;
        let rotations = Rotations::of(plan, length);
        let buffers = Buffers::default();
        let windows = Windows { rotations: &rotations, length, buffers: &buffers };
        let mut residual = embed(self.checkpoint, plan, tokens)?;
        let mut before = Vec::with_capacity(layers);
        for layer in 0..layers {
            (self.proceed)()?;
            progress(Progress { done: layer, total });
            before.push(narrow(&residual));
            let (weights, shape) = (LayerWeights::read(self.checkpoint, plan, layer)?, LayerShape::of(plan, layer));
            weights.pass(&mut residual, &shape, &windows, |_, _| ());
        }
        progress(Progress { done: layers, total });
        check_finite(&residual, plan.hidden_size, length, layers, "norm")?;
        let (mut gradient, head) = self.head(&residual)?;
        let mut costs = BTreeMap::new();
        for layer in (0..layers).rev() {
            progress(Progress { done: total - 1 - layer, total });
            self.layer(layer, &widen(&before[layer]), &mut gradient, &windows, &mut costs)?;
        }
        progress(Progress { done: total, total });
        let mut found: Vec<TensorChoices> = costs.into_values().collect();
        found.push(head);
        for tensor in &mut found {
            tensor.choices.retain(|choice| choice.divergence.is_finite());
        }
        Ok(found)
    }

    /// As many windows as may be kept before all layers.
    fn kept_tokens(&self) -> &[u32] {
        let token = self.plan.hidden_size * self.plan.num_hidden_layers.max(1) * size_of::<bf16>();
        let window = (token * self.tokens.length).max(1);
        let windows = (KEPT_BYTES / window).max(1);
        self.tokens.tokens.get(..windows * self.tokens.length).unwrap_or(&self.tokens.tokens)
    }

    fn layer(
        &self,
        layer: usize,
        residual: &[f32],
        gradient: &mut [f32],
        windows: &Windows<'_>,
        costs: &mut BTreeMap<String, TensorChoices>,
    ) -> Result<(), CalibrateError> {
        let mut weights = LayerWeights::read(self.checkpoint, self.plan, layer)?;
        let shape = LayerShape::of(self.plan, layer);
        let trace = backward::trace(&weights, &shape, windows, residual, gradient);
        check_finite(gradient, shape.hidden, self.tokens.length, layer, "gradient")?;
        let mut projections = weights.projections().into_iter().zip(&trace.squares).zip(INPUTS).peekable();
        for (number, input) in trace.inputs.into_iter().enumerate() {
            (self.proceed)()?;
            let stage = Stage::new(layer, &input, channels_of_input(number, &shape), self.strength.damping)?;
            while let Some(((projection, squares), _)) = projections.next_if(|(_, input)| *input == number) {
                let cost = CostOf { rows: &projection.rows, weight: &projection.weight, squares };
                let choices = stage.choices(&cost, self.candidates, self.strength)?;
                let entry = costs.entry(projection.rows.tensor.clone()).or_insert_with(|| TensorChoices {
                    kind: WeightKind::Layer,
                    tensor: projection.rows.tensor.clone(),
                    elements: 0,
                    choices: Vec::new(),
                });
                merge(entry, projection.rows.elements(), choices);
            }
        }
        Ok(())
    }

    fn head(&self, residual: &[f32]) -> Result<(Vec<f32>, TensorChoices), CalibrateError> {
        let plan = self.plan;
        let norm = norm_weight(self.checkpoint, plan, &WeightPath::NORM, plan.hidden_size)?;
        #[expect(clippy::cast_possible_truncation, reason = "f32 is what is computed in")]
        let eps = plan.rms_norm_eps as f32;
        let x = rms_norm(residual, &norm, eps);
        let rows = matrix_rows(plan, &WeightPath::LM_HEAD, [plan.vocab_size, plan.hidden_size]);
        let head = head::Head { checkpoint: self.checkpoint, plan, rows: &rows, proceed: self.proceed };
        let at_x = head.gradient(&x, self.tokens.length)?;
        let mut gradient = vec![0.0; residual.len()];
        gradients::rms_norm(residual, &norm, eps, &at_x, &mut gradient);
        // What palettes make up for on the tokens that they were fitted to is more than on others, which counts here: nothing
        // behind the head makes up for the rest.
        let window = self.tokens.length * plan.hidden_size;
        let fitted = (x.len() / window / 2).max(1) * window;
        let others = x.get(fitted..).filter(|others| !others.is_empty()).unwrap_or(&x);
        let fitted = x.get(..fitted).unwrap_or(&x);
        let stage = Stage::new(plan.num_hidden_layers, fitted, plan.hidden_size, self.strength.damping)?;
        let choices = head.choices([fitted, others], &stage.factor, self.candidates, self.strength)?;
        let tensor =
            TensorChoices { kind: WeightKind::LmHead, tensor: rows.tensor.clone(), elements: rows.elements(), choices };
        Ok((gradient, tensor))
    }
}

/// Channels of each of the four inputs of a layer.
fn channels_of_input(number: usize, shape: &LayerShape) -> usize {
    match number {
        0 | 2 => shape.hidden,
        1 => shape.q_size(),
        _ => shape.intermediate,
    }
}

/// Rows of one tensor that are projections of their own are stored alike.
fn merge(tensor: &mut TensorChoices, elements: u64, choices: Vec<Choice>) {
    tensor.elements += elements;
    if tensor.choices.is_empty() {
        tensor.choices = choices;
        return;
    }
    for (sum, choice) in tensor.choices.iter_mut().zip(choices) {
        sum.bits = sum.bits.saturating_add(choice.bits);
        sum.divergence += choice.divergence;
    }
}

fn narrow(values: &[f32]) -> Vec<bf16> {
    let mut narrow = vec![bf16::ZERO; values.len()];
    narrow.convert_from_f32_slice(values);
    narrow
}

fn widen(values: &[bf16]) -> Vec<f32> {
    let mut wide = vec![0.0; values.len()];
    values.convert_to_f32_slice(&mut wide);
    wide
}
