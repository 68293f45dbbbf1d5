//! What elementwise ops share: parameters and type inference.

use super::decl::{FLOATS, InferError, NUMBERS, OpContext, Parameter};
use super::shape::{broadcast, same_dtype};
use crate::dtype::DataType;
use crate::types::{TensorType, ValueType};

/// One floating-point operand `x`.
pub const FLOAT_X: &[Parameter] = &[Parameter::new("x", FLOATS)];
/// One numeric operand `x`.
pub const NUMBER_X: &[Parameter] = &[Parameter::new("x", NUMBERS)];
/// Two numeric operands `x` and `y` of one element type.
pub const NUMBER_X_Y: &[Parameter] =
    &[Parameter::new("x", NUMBERS).group('T'), Parameter::new("y", NUMBERS).group('T')];

/// A result of the type of `x`.
pub fn like_x(ctx: &OpContext<'_>) -> Result<Vec<ValueType>, InferError> {
    Ok(vec![ctx.tensor("x")?.clone().into()])
}

/// A result of the element type of `x` and `y`, with their broadcast shape.
pub fn broadcast_x_y(ctx: &OpContext<'_>) -> Result<Vec<ValueType>, InferError> {
    let x = ctx.tensor("x")?;
    let y = ctx.tensor("y")?;
    same_dtype("y", x, y)?;
    Ok(vec![TensorType { dtype: x.dtype, shape: broadcast(x, y)? }.into()])
}

/// A boolean result with the broadcast shape of `x` and `y`.
pub fn compare_x_y(ctx: &OpContext<'_>) -> Result<Vec<ValueType>, InferError> {
    let x = ctx.tensor("x")?;
    let y = ctx.tensor("y")?;
    same_dtype("y", x, y)?;
    Ok(vec![TensorType { dtype: DataType::Bool, shape: broadcast(x, y)? }.into()])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{Operands, fp16};
    use crate::ops::{
        abs, add, cos, equal, exp, floor_div, greater, less, less_equal, maximum, minimum, not_equal, pow, real_div,
        sigmoid, sin, sqrt, square, tanh,
    };

    #[test]
    fn every_op_of_the_family_gives_the_type_that_its_kind_gives() {
        use crate::ops::testing::tensor;
        let one =
            [&abs::DECL, &cos::DECL, &exp::DECL, &sigmoid::DECL, &sin::DECL, &sqrt::DECL, &square::DECL, &tanh::DECL];
        for decl in one {
            let operands = Operands::default().with("x", fp16(&[2, -1]));
            assert_eq!(operands.infer(decl), Ok(vec![fp16(&[2, -1])]), "{}", decl.name);
        }
        let arithmetic = [&floor_div::DECL, &maximum::DECL, &minimum::DECL, &pow::DECL, &real_div::DECL];
        let comparisons = [&equal::DECL, &greater::DECL, &less::DECL, &less_equal::DECL, &not_equal::DECL];
        let operands = || Operands::default().with("x", fp16(&[2, 1, 4])).with("y", fp16(&[3, 4]));
        for decl in arithmetic {
            assert_eq!(operands().infer(decl), Ok(vec![fp16(&[2, 3, 4])]), "{}", decl.name);
        }
        for decl in comparisons {
            assert_eq!(operands().infer(decl), Ok(vec![tensor(DataType::Bool, &[2, 3, 4])]), "{}", decl.name);
        }
    }

    #[test]
    fn a_scalar_fits_everything() {
        let operands = Operands::default().with("x", fp16(&[2, -1])).with("y", fp16(&[]));
        assert_eq!(operands.infer(&add::DECL), Ok(vec![fp16(&[2, -1])]));
    }

    #[test]
    fn a_state_is_no_operand() {
        let state = ValueType::State(TensorType::fixed(DataType::Float16, &[2]));
        assert!(Operands::default().with("x", state).with("y", fp16(&[2])).infer(&add::DECL).is_err());
    }
}
