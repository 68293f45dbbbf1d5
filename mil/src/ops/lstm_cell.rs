//! One direction of an `lstm`: its weights, its activations and one step of it.

use super::recurrent::{Activation, Weights, activation, vector};
use crate::evaluate::{Call, EvaluateError, Numerics};

/// Gates in the order in which weights have them.
const GATES: usize = 4;

/// The weights and functions of one direction.
pub(super) struct Cell<'a> {
    weights: Weights<'a>,
    peephole: Vec<f32>,
    recurrent_activation: Activation,
    candidate_activation: Activation,
    activation: Activation,
    /// The largest magnitude of a cell.
    clip: f32,
}

impl<'a> Cell<'a> {
    /// The cell whose weights have names that end in `suffix`.
    pub(super) fn new(call: &'a Call<'_>, suffix: &str, sizes: [usize; 2]) -> Result<Self, EvaluateError> {
        Ok(Self {
            weights: Weights::new(call, suffix, GATES, sizes)?,
            peephole: vector(call, &format!("peephole{suffix}"), sizes[1].saturating_mul(3))?,
            recurrent_activation: activation(call, "recurrent_activation", "sigmoid")?,
            candidate_activation: activation(call, "cell_activation", "tanh")?,
            activation: activation(call, "activation", "tanh")?,
            clip: call.float_or("clip", f32::INFINITY)?,
        })
    }

    /// What the inputs of `columns` steps and batches give to the gates: `[4 * hidden, columns]`.
    pub(super) fn input_gates(&self, x: &[f32], columns: usize, numerics: Numerics) -> Result<Vec<f32>, EvaluateError> {
        self.weights.of_inputs(x, columns, &self.weights.bias, numerics)
    }

    /// Runs the step whose inputs stand from column `first` of `columns` on in `gates`.
    ///
    /// # Shapes
    /// `state` and `cells`: `[batch, hidden]`.
    pub(super) fn step(
        &self,
        gates: &[f32],
        [first, columns]: [usize; 2],
        state: &mut [f32],
        cells: &mut [f32],
        numerics: Numerics,
    ) -> Result<(), EvaluateError> {
        if state.is_empty() {
            return Ok(());
        }
        let hidden = self.weights.hidden;
        let batch = state.len() / hidden;
        let recurrent = self.weights.of_state(state, [0, GATES], numerics)?;
        for (index, (state, cell)) in state.iter_mut().zip(cells).enumerate() {
            let (row, unit) = (index / hidden, index % hidden);
            let gate = |gate: usize| {
                let place = gate * hidden + unit;
                let from_inputs = gates.get(place * columns + first + row).copied().unwrap_or(f32::NAN);
                from_inputs + recurrent.get(place * batch + row).copied().unwrap_or(f32::NAN)
            };
            let peephole = |gate: usize| self.peephole.get(gate * hidden + unit).copied().unwrap_or(0.0);
            let input = (self.recurrent_activation)(gate(0) + peephole(0) * *cell);
            let forget = (self.recurrent_activation)(gate(1) + peephole(1) * *cell);
            let candidate = (self.candidate_activation)(gate(3));
            let next = forget * *cell + input * candidate;
            *cell = if next.abs() > self.clip { self.clip.copysign(next) } else { next };
            let output = (self.recurrent_activation)(gate(2) + peephole(2) * *cell);
            *state = output * (self.activation)(*cell);
        }
        Ok(())
    }
}
