//! `lstm`: a long short-term memory layer.

use super::decl::{BOOL, Effect, FLOATS, InferError, OpContext, OpDecl, Parameter, Results, STRING, pending};
use super::shape::{known_bool_or, known_string_or};
use crate::evaluate::Evaluate;
use crate::opset::Opset;
use crate::types::{Dimension, TensorType, ValueType};

/// The declaration.
pub static DECL: OpDecl = OpDecl {
    name: "lstm",
    doc: "Runs a long short-term memory layer over a sequence.",
    since: Opset::Ios15,
    parameters: &[
        Parameter::new("x", FLOATS).group('T'),
        Parameter::new("initial_h", FLOATS).group('T'),
        Parameter::new("initial_c", FLOATS).group('T'),
        Parameter::new("weight_ih", FLOATS).group('T').constant(),
        Parameter::new("weight_hh", FLOATS).group('T').constant(),
        Parameter::new("bias", FLOATS).group('T').constant().optional(),
        Parameter::new("peephole", FLOATS).group('T').constant().optional(),
        Parameter::new("weight_ih_back", FLOATS).group('T').constant().optional(),
        Parameter::new("weight_hh_back", FLOATS).group('T').constant().optional(),
        Parameter::new("bias_back", FLOATS).group('T').constant().optional(),
        Parameter::new("peephole_back", FLOATS).group('T').constant().optional(),
        Parameter::new("direction", STRING).constant().defaulted(),
        Parameter::new("output_sequence", BOOL).constant().defaulted(),
        Parameter::new("recurrent_activation", STRING).constant().defaulted(),
        Parameter::new("cell_activation", STRING).constant().defaulted(),
        Parameter::new("activation", STRING).constant().defaulted(),
        Parameter::new("clip", FLOATS).group('T').constant().optional(),
    ],
    results: Results::Exactly(3),
    effect: Effect::Pure,
    infer,
    evaluate: Evaluate::Computes(pending),
};

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
    let directions = match known_string_or(ctx, "direction", "forward")? {
        "forward" | "reverse" => 1,
        "bidirectional" => 2,
        other => {
            let expected = "`forward`, `reverse` or `bidirectional`";
            return Err(InferError::operand("direction", expected, format!("`{other}`")));
        }
    };
    let width = hidden.checked_mul(directions).map(Dimension::Fixed);
    let width = width.ok_or_else(|| InferError::operand("weight_hh", "sizes that fit 64 bits", weight))?;
    let steps = if known_bool_or(ctx, "output_sequence", false)? { steps } else { Dimension::Fixed(1) };
    let output = TensorType { dtype: x.dtype, shape: vec![steps, batch, width] };
    let state = TensorType { dtype: x.dtype, shape: vec![batch, width] };
    Ok(vec![output.into(), state.clone().into(), state.into()])
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
