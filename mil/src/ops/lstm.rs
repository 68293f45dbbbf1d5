//! `lstm`: a long short-term memory layer.

use std::ops::Range;

use super::decl::{BOOL, InferError, OpContext, OpDecl, Parameter, Presence, Results, STRING};
use super::evidence::SILERO;
use super::gru::{layer, weight};
use super::lstm_cell::Cell;
use super::recurrent::initial;
use super::shape::{known_bool_or, known_string_or};
use crate::evaluate::{Call, EvaluateError, Tensor, check_size};
use crate::types::{Dimension, TensorType, ValueType};

/// The declaration.
pub static DECL: OpDecl = OpDecl::new(
    "lstm",
    "Runs a long short-term memory layer over a sequence.",
    &[
        layer("x"),
        layer("initial_h"),
        layer("initial_c"),
        weight("weight_ih", Presence::Required),
        weight("weight_hh", Presence::Required),
        weight("bias", Presence::Optional),
        weight("peephole", Presence::Optional),
        weight("weight_ih_back", Presence::Optional),
        weight("weight_hh_back", Presence::Optional),
        weight("bias_back", Presence::Optional),
        weight("peephole_back", Presence::Optional),
        Parameter::new("direction", STRING).constant().defaulted(),
        Parameter::new("output_sequence", BOOL).constant().defaulted(),
        Parameter::new("recurrent_activation", STRING).constant().defaulted(),
        Parameter::new("cell_activation", STRING).constant().defaulted(),
        Parameter::new("activation", STRING).constant().defaulted(),
        weight("clip", Presence::Optional),
    ],
    infer,
)
.computes(evaluate)
.results(Results::Exactly(3))
.seen(SILERO);

/// # Shapes
/// `x: [steps, batch, inputs]`, `weight_hh: [4 * hidden, hidden]`; the results are the outputs,
/// `[steps, batch, directions * hidden]` or one step of it, and the last state and cell,
/// `[batch, directions * hidden]` each.
fn infer(ctx: &OpContext<'_>) -> Result<Vec<ValueType>, InferError> {
    let x = ctx.tensor("x")?;
    let &[steps, batch, _] = x.shape.as_slice() else {
        return Err(InferError::operand("x", "a tensor of rank 3", x));
    };
    let weight = ctx.tensor("weight_hh")?;
    let hidden = match weight.shape.as_slice() {
        &[Dimension::Fixed(rows), Dimension::Fixed(hidden)] if hidden.checked_mul(4) == Some(rows) => hidden,
        _ => return Err(InferError::operand("weight_hh", "a matrix [4 * hidden, hidden]", weight)),
    };
    let directions = directions(known_string_or(ctx, "direction", "forward")?)?;
    let width = hidden.checked_mul(directions.len() as u64).map(Dimension::Fixed);
    let width = width.ok_or_else(|| InferError::operand("weight_hh", "sizes that fit 64 bits", weight))?;
    let steps = if known_bool_or(ctx, "output_sequence", false)? { steps } else { Dimension::Fixed(1) };
    let output = TensorType { dtype: x.dtype, shape: vec![steps, batch, width] };
    let state = TensorType { dtype: x.dtype, shape: vec![batch, width] };
    Ok(vec![output.into(), state.clone().into(), state.into()])
}

/// The directions in which the sequence is run through.
fn directions(name: &str) -> Result<&'static [Direction], InferError> {
    match name {
        "forward" => Ok(&[Direction { suffix: "", backwards: false }]),
        "reverse" => Ok(&[Direction { suffix: "", backwards: true }]),
        "bidirectional" => {
            Ok(&[Direction { suffix: "", backwards: false }, Direction { suffix: "_back", backwards: true }])
        }
        other => {
            let expected = "`forward`, `reverse` or `bidirectional`";
            Err(InferError::operand("direction", expected, format!("`{other}`")))
        }
    }
}

/// One direction, and how the names of its weights end.
#[derive(Clone, Copy)]
struct Direction {
    suffix: &'static str,
    backwards: bool,
}

fn evaluate(call: &mut Call<'_>) -> Result<Vec<Tensor>, EvaluateError> {
    let x = call.tensor("x")?;
    let &[steps, batch, inputs] = x.shape() else {
        return Err(InferError::operand("x", "a tensor of rank 3", x.ty()).into());
    };
    let directions = directions(call.string_or("direction", "forward")?)?;
    let recurrent = call.tensor("weight_hh")?;
    let &[_, hidden] = recurrent.shape() else {
        return Err(InferError::operand("weight_hh", "a matrix [4 * hidden, hidden]", recurrent.ty()).into());
    };
    let width = hidden.saturating_mul(directions.len());
    let sequence = check_size(&[steps, batch, width])?;
    let mut outputs = vec![0.0; sequence];
    let mut state = initial(call, "initial_h", [batch, width])?;
    let mut cells = initial(call, "initial_c", [batch, width])?;
    let values = call.floats("x")?;
    for (index, direction) in directions.iter().enumerate() {
        let cell = Cell::new(call, direction.suffix, [inputs, hidden])?;
        let gates = cell.input_gates(&values, steps * batch, call.numerics())?;
        let columns = index * hidden..(index + 1) * hidden;
        let mut own_state = columns_of(&state, width, columns.clone());
        let mut own_cells = columns_of(&cells, width, columns.clone());
        for step in 0..steps {
            let step = if direction.backwards { steps - 1 - step } else { step };
            cell.step(&gates, [step * batch, steps * batch], &mut own_state, &mut own_cells, call.numerics())?;
            let output = outputs.get_mut(step * batch * width..(step + 1) * batch * width).unwrap_or_default();
            put_columns(output, width, columns.clone(), &own_state);
        }
        put_columns(&mut state, width, columns.clone(), &own_state);
        put_columns(&mut cells, width, columns, &own_cells);
    }
    let dtype = x.dtype();
    let last = if call.bool_or("output_sequence", false)? {
        Tensor::floats(dtype, &[steps, batch, width], outputs)?
    } else {
        Tensor::floats(dtype, &[1, batch, width], state.clone())?
    };
    Ok(vec![last, Tensor::floats(dtype, &[batch, width], state)?, Tensor::floats(dtype, &[batch, width], cells)?])
}

fn columns_of(rows: &[f32], width: usize, columns: Range<usize>) -> Vec<f32> {
    let part = |row: &[f32]| row.get(columns.clone()).unwrap_or_default().to_vec();
    rows.chunks_exact(width.max(1)).flat_map(part).collect()
}

fn put_columns(rows: &mut [f32], width: usize, columns: Range<usize>, values: &[f32]) {
    let sources = values.chunks_exact(columns.len().max(1));
    for (row, source) in rows.chunks_exact_mut(width.max(1)).zip(sources) {
        if let Some(row) = row.get_mut(columns.clone()) {
            row.copy_from_slice(source);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{Operands, fp16};
    use crate::value::Value;

    fn operands() -> Operands {
        Operands::default().with("x", fp16(&[5, 2, 16])).with("weight_hh", fp16(&[32, 8]))
    }

    #[test]
    fn the_last_step_and_both_states_come_out() {
        assert_eq!(operands().infer(&DECL), Ok(vec![fp16(&[1, 2, 8]), fp16(&[2, 8]), fp16(&[2, 8])]));
        let both = operands().constant("direction", Value::string("bidirectional"));
        let both = both.constant("output_sequence", Value::bool(true));
        assert_eq!(both.infer(&DECL), Ok(vec![fp16(&[5, 2, 16]), fp16(&[2, 16]), fp16(&[2, 16])]));
    }

    #[test]
    fn a_weight_of_another_shape_is_refused() {
        let operands = Operands::default().with("x", fp16(&[5, 2, 16])).with("weight_hh", fp16(&[31, 8]));
        assert!(operands.infer(&DECL).is_err());
    }
}
