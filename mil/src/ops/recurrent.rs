//! What the recurrent layers share: weights, directions, activations, and the run through a sequence in one direction.

use super::decl::{InferError, OpContext};
use super::shape::{known_bool_or, known_string_or};
use crate::evaluate::{Call, EvaluateError, Matrix, Numerics, Projection, Tensor, check_size};
use crate::types::{Dimension, TensorType, ValueType};

/// A function of one gate.
pub(super) type Activation = fn(f32) -> f32;

/// The function that `parameter` names. The two numbers of `scaled_tanh` are not part of the ops; they are ones, as
/// coremltools has it.
pub(super) fn activation(call: &Call<'_>, parameter: &str, default: &str) -> Result<Activation, EvaluateError> {
    match call.string_or(parameter, default)?.to_ascii_lowercase().as_str() {
        "sigmoid" => Ok(|x| 1.0 / (1.0 + (-x).exp())),
        "tanh" | "scaled_tanh" => Ok(f32::tanh),
        "relu" => Ok(|x| x.max(0.0)),
        "linear" => Ok(|x| x),
        "hard_sigmoid" | "sigmoid_hard" => Ok(|x| (0.2 * x + 0.5).clamp(0.0, 1.0)),
        other => {
            let expected = "`sigmoid`, `tanh`, `relu`, `linear`, `hard_sigmoid` or `scaled_tanh`";
            Err(InferError::operand(parameter, expected, format!("`{other}`")).into())
        }
    }
}

/// The weights of one direction, whose names end in a suffix.
pub(super) struct Weights<'a> {
    weight_ih: &'a Tensor,
    weight_hh: &'a Tensor,
    /// What is added to the gates once; the op decides when.
    pub(super) bias: Vec<f32>,
    inputs: usize,
    /// Units.
    pub(super) hidden: usize,
    rows: usize,
}

impl<'a> Weights<'a> {
    /// Weights of `gates` gates: `weight_ih: [gates * hidden, inputs]`, `weight_hh: [gates * hidden, hidden]`,
    /// `bias: [gates * hidden]`.
    pub(super) fn new(
        call: &'a Call<'_>,
        suffix: &str,
        gates: usize,
        [inputs, hidden]: [usize; 2],
    ) -> Result<Self, EvaluateError> {
        let rows = hidden.saturating_mul(gates);
        let weight = |name: &str, columns: usize| {
            let parameter = format!("{name}{suffix}");
            let tensor = call.tensor(&parameter)?;
            if tensor.shape() == [rows, columns] {
                return Ok(tensor);
            }
            let error = InferError::operand(&parameter, format!("a matrix of {rows} by {columns}"), tensor.ty());
            Err(EvaluateError::from(error))
        };
        let (weight_ih, weight_hh) = (weight("weight_ih", inputs)?, weight("weight_hh", hidden)?);
        let bias = vector(call, &format!("bias{suffix}"), rows)?;
        Ok(Self { weight_ih, weight_hh, bias, inputs, hidden, rows })
    }

    /// What the inputs of `columns` steps and batches give to the gates, with `bias`: `[gates * hidden, columns]`.
    pub(super) fn of_inputs(
        &self,
        x: &[f32],
        columns: usize,
        bias: &[f32],
        numerics: Numerics,
    ) -> Result<Vec<f32>, EvaluateError> {
        let mut gates = vec![0.0; check_size(&[self.rows, columns])?];
        let x = Matrix::row_major(x, [columns, self.inputs]).transposed();
        Projection { weight: self.weight_ih, start: 0, x, bias, numerics }.write(&mut gates)?;
        Ok(gates)
    }

    /// What `state`, `[batch, hidden]`, gives to `count` gates from gate `first` on: `[count * hidden, batch]`.
    pub(super) fn of_state(
        &self,
        state: &[f32],
        [first, count]: [usize; 2],
        numerics: Numerics,
    ) -> Result<Vec<f32>, EvaluateError> {
        let batch = state.len() / self.hidden.max(1);
        let mut gates = vec![0.0; check_size(&[count, self.hidden, batch])?];
        let x = Matrix::row_major(state, [batch, self.hidden]).transposed();
        let start = first * self.hidden * self.hidden;
        Projection { weight: self.weight_hh, start, x, bias: &[], numerics }.write(&mut gates)?;
        Ok(gates)
    }
}

/// The vector of `parameter`; zeros where it is absent.
pub(super) fn vector(call: &Call<'_>, parameter: &str, length: usize) -> Result<Vec<f32>, EvaluateError> {
    let Some(tensor) = call.optional(parameter) else {
        return Ok(vec![0.0; check_size(&[length])?]);
    };
    if tensor.shape() == [length] {
        return Ok(call.floats(parameter)?.into_owned());
    }
    Err(InferError::operand(parameter, format!("a vector of {length} elements"), tensor.ty()).into())
}

/// The state that the sequence starts with.
pub(super) fn initial(call: &Call<'_>, parameter: &str, shape: [usize; 2]) -> Result<Vec<f32>, EvaluateError> {
    let tensor = call.tensor(parameter)?;
    if tensor.shape() != shape {
        return Err(InferError::operand(parameter, format!("the shape {shape:?}"), tensor.ty()).into());
    }
    Ok(call.floats(parameter)?.into_owned())
}

/// The results of a layer of one direction and `gates` gates.
///
/// # Shapes
/// `x: [steps, batch, inputs]`, `weight_hh: [gates * hidden, hidden]`; the results are the outputs,
/// `[steps, batch, hidden]` or one step of it, and the last state, `[batch, hidden]`.
pub(super) fn infer(ctx: &OpContext<'_>, gates: u64) -> Result<Vec<ValueType>, InferError> {
    let x = ctx.tensor("x")?;
    let &[steps, batch, _] = x.shape.as_slice() else {
        return Err(InferError::operand("x", "a tensor of rank 3", x));
    };
    let weight = ctx.tensor("weight_hh")?;
    let hidden = match weight.shape.as_slice() {
        &[Dimension::Fixed(rows), Dimension::Fixed(hidden)] if hidden.checked_mul(gates) == Some(rows) => hidden,
        _ => return Err(InferError::operand("weight_hh", format!("a matrix [{gates} * hidden, hidden]"), weight)),
    };
    let direction = known_string_or(ctx, "direction", "forward")?;
    if !["forward", "reverse"].contains(&direction) {
        return Err(InferError::operand("direction", "`forward` or `reverse`", format!("`{direction}`")));
    }
    let steps = if known_bool_or(ctx, "output_sequence", false)? { steps } else { Dimension::Fixed(1) };
    let hidden = Dimension::Fixed(hidden);
    let output = TensorType { dtype: x.dtype, shape: vec![steps, batch, hidden] };
    let state = TensorType { dtype: x.dtype, shape: vec![batch, hidden] };
    Ok(vec![output.into(), state.into()])
}

/// Runs `step` over a sequence in one direction. It is given the weights, what the inputs give to the gates, the first
/// column and the number of columns of the step in that, and the state, `[batch, hidden]`, which it changes.
pub(super) fn run(
    call: &Call<'_>,
    gates: usize,
    input_bias: impl Fn(&Weights<'_>) -> Result<Vec<f32>, EvaluateError>,
    mut step: impl FnMut(&Weights<'_>, &[f32], [usize; 2], &mut [f32]) -> Result<(), EvaluateError>,
) -> Result<Vec<Tensor>, EvaluateError> {
    let x = call.tensor("x")?;
    let &[steps, batch, inputs] = x.shape() else {
        return Err(InferError::operand("x", "a tensor of rank 3", x.ty()).into());
    };
    let recurrent = call.tensor("weight_hh")?;
    let &[_, hidden] = recurrent.shape() else {
        return Err(InferError::operand("weight_hh", "a matrix", recurrent.ty()).into());
    };
    let weights = Weights::new(call, "", gates, [inputs, hidden])?;
    let mut outputs = vec![0.0; check_size(&[steps, batch, hidden])?];
    let mut state = initial(call, "initial_h", [batch, hidden])?;
    let bias = input_bias(&weights)?;
    let columns = steps * batch;
    let of_inputs = weights.of_inputs(&call.floats("x")?, columns, &bias, call.numerics())?;
    let backwards = call.string_or("direction", "forward")? == "reverse";
    for index in 0..steps {
        let index = if backwards { steps - 1 - index } else { index };
        step(&weights, &of_inputs, [index * batch, columns], &mut state)?;
        let output = outputs.get_mut(index * batch * hidden..(index + 1) * batch * hidden).unwrap_or_default();
        output.copy_from_slice(&state);
    }
    let last = if call.bool_or("output_sequence", false)? {
        Tensor::floats(x.dtype(), &[steps, batch, hidden], outputs)?
    } else {
        Tensor::floats(x.dtype(), &[1, batch, hidden], state.clone())?
    };
    Ok(vec![last, Tensor::floats(x.dtype(), &[batch, hidden], state)?])
}
