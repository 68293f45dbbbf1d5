//! One direction of an `lstm`: its weights, its activations and one step of it.

use super::decl::InferError;
use crate::evaluate::{Call, EvaluateError, Matrix, Numerics, Projection, Tensor, check_size};

/// Gates in the order in which weights have them.
const GATES: usize = 4;

/// The weights and functions of one direction.
pub(super) struct Cell<'a> {
    weight_ih: &'a Tensor,
    weight_hh: &'a Tensor,
    bias: Vec<f32>,
    peephole: Vec<f32>,
    recurrent_activation: Activation,
    candidate_activation: Activation,
    activation: Activation,
    /// The largest magnitude of a cell.
    clip: f32,
    inputs: usize,
    hidden: usize,
}

type Activation = fn(f32) -> f32;

impl<'a> Cell<'a> {
    /// The cell whose weights have names that end in `suffix`.
    pub(super) fn new(call: &'a Call<'_>, suffix: &str, [inputs, hidden]: [usize; 2]) -> Result<Self, EvaluateError> {
        let rows = hidden.saturating_mul(GATES);
        let weight = |name: &str, columns: usize| {
            let parameter = format!("{name}{suffix}");
            let tensor = call.tensor(&parameter)?;
            if tensor.shape() == [rows, columns] {
                return Ok(tensor);
            }
            let error = InferError::operand(&parameter, format!("a matrix of {rows} by {columns}"), tensor.ty());
            Err(EvaluateError::from(error))
        };
        let vector = |name: &str, length: usize| {
            let parameter = format!("{name}{suffix}");
            let Some(tensor) = call.optional(&parameter) else { return Ok(vec![0.0; length]) };
            if tensor.shape() == [length] {
                return Ok(call.floats(&parameter)?.into_owned());
            }
            let error = InferError::operand(&parameter, format!("a vector of {length} elements"), tensor.ty());
            Err(EvaluateError::from(error))
        };
        Ok(Self {
            weight_ih: weight("weight_ih", inputs)?,
            weight_hh: weight("weight_hh", hidden)?,
            bias: vector("bias", rows)?,
            peephole: vector("peephole", hidden.saturating_mul(3))?,
            recurrent_activation: activation(call, "recurrent_activation", "sigmoid")?,
            candidate_activation: activation(call, "cell_activation", "tanh")?,
            activation: activation(call, "activation", "tanh")?,
            clip: call.float_or("clip", f32::INFINITY)?,
            inputs,
            hidden,
        })
    }

    /// What the inputs of `columns` steps and batches give to the gates: `[4 * hidden, columns]`.
    pub(super) fn input_gates(&self, x: &[f32], columns: usize, numerics: Numerics) -> Result<Vec<f32>, EvaluateError> {
        let mut gates = vec![0.0; check_size(&[self.bias.len(), columns])?];
        let x = Matrix::row_major(x, [columns, self.inputs]).transposed();
        Projection { weight: self.weight_ih, start: 0, x, bias: &self.bias, numerics }.write(&mut gates)?;
        Ok(gates)
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
        let hidden = self.hidden;
        let batch = state.len() / hidden;
        let mut recurrent = vec![0.0; GATES * hidden * batch];
        let x = Matrix::row_major(state, [batch, hidden]).transposed();
        Projection { weight: self.weight_hh, start: 0, x, bias: &[], numerics }.write(&mut recurrent)?;
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

/// The function that `parameter` names. The two numbers of `scaled_tanh` are not part of the op, so it is refused.
fn activation(call: &Call<'_>, parameter: &str, default: &str) -> Result<Activation, EvaluateError> {
    match call.string_or(parameter, default)?.to_ascii_lowercase().as_str() {
        "sigmoid" => Ok(|x| 1.0 / (1.0 + (-x).exp())),
        "tanh" => Ok(f32::tanh),
        "relu" => Ok(|x| x.max(0.0)),
        "linear" => Ok(|x| x),
        "hard_sigmoid" => Ok(|x| (0.2 * x + 0.5).clamp(0.0, 1.0)),
        "scaled_tanh" => Err(EvaluateError::Unsupported("`scaled_tanh`".to_owned())),
        other => {
            let expected = "`sigmoid`, `tanh`, `relu`, `linear`, `hard_sigmoid` or `scaled_tanh`";
            Err(InferError::operand(parameter, expected, format!("`{other}`")).into())
        }
    }
}
