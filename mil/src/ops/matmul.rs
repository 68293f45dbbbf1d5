//! `matmul`: matrix product of the last two axes.

use rayon::prelude::*;

use super::decl::{BOOL, InferError, NUMBERS, OpContext, OpDecl, Parameter};
use super::evidence::ANEMLL;
use super::shape::{broadcast_shapes, compatible, known_bool_or, same_dtype};
use crate::builder::{BuildError, FunctionBuilder, Var};
use crate::cost::{CallTypes, product};
use crate::dtype::DataType;
use crate::evaluate::{
    Call, Elements, EvaluateError, Matrix, Tensor, broadcast_shape, check_size, map_pairs, multiply,
};
use crate::opset::Opset;
use crate::types::{Dimension, TensorType, ValueType};
use crate::value::Value;

/// The declaration. Since ios17 `x` and `y` may differ in element type; the result has that of `x`.
pub static DECL: OpDecl = OpDecl::new(
    "matmul",
    "Multiplies the matrices in the last two axes of `x` and `y`.",
    &[
        Parameter::new("x", NUMBERS),
        Parameter::new("y", NUMBERS),
        Parameter::new("transpose_x", BOOL).constant().defaulted(),
        Parameter::new("transpose_y", BOOL).constant().defaulted(),
    ],
    infer,
)
.computes(evaluate)
.seen(ANEMLL);

/// # Shapes
/// `x: [batch.., rows, inner]`, `y: [batch.., inner, columns]` where the batch axes broadcast; the result is
/// `[batch.., rows, columns]`. `transpose_x` and `transpose_y` swap the last two axes first. A vector is a matrix of one
/// row as `x` and of one column as `y`, whose axis the result does not have.
fn infer(ctx: &OpContext<'_>) -> Result<Vec<ValueType>, InferError> {
    let x = ctx.tensor("x")?;
    let y = ctx.tensor("y")?;
    if ctx.opset() < Opset::Ios17 {
        same_dtype("y", x, y)?;
    }
    let (x_batch, rows, x_inner) = as_matrix("x", x, known_bool_or(ctx, "transpose_x", false)?)?;
    let (y_batch, columns, y_inner) = as_matrix("y", y, !known_bool_or(ctx, "transpose_y", false)?)?;
    let misfit = |what: &str| InferError::Mismatch(format!("{what} of {x} and {y} do not fit"));
    if !compatible(x_inner, y_inner) {
        return Err(misfit("inner axes"));
    }
    let mut shape = broadcast_shapes(x_batch, y_batch).ok_or_else(|| misfit("batch axes"))?;
    shape.extend(rows);
    shape.extend(columns);
    Ok(vec![TensorType { dtype: x.dtype, shape }.into()])
}

/// Splits a shape into batch axes, the outer axis, which a vector has not, and the inner axis: the last one, or the last
/// but one of a matrix where `inner_first` is set.
fn as_matrix<'a>(
    parameter: &str,
    tensor: &'a TensorType,
    inner_first: bool,
) -> Result<(&'a [Dimension], Option<Dimension>, Dimension), InferError> {
    match tensor.shape.as_slice() {
        [] => Err(InferError::operand(parameter, "a tensor with axes", tensor)),
        [inner] => Ok((&[], None, *inner)),
        [batch @ .., inner, outer] if inner_first => Ok((batch, Some(*outer), *inner)),
        [batch @ .., outer, inner] => Ok((batch, Some(*outer), *inner)),
    }
}

fn evaluate(call: &mut Call<'_>) -> Result<Vec<Tensor>, EvaluateError> {
    let (x, y) = (call.tensor("x")?, call.tensor("y")?);
    let (x_batch, x_matrix) = operand(x, call.bool_or("transpose_x", false)?, false)?;
    let (y_batch, y_matrix) = operand(y, call.bool_or("transpose_y", false)?, true)?;
    let batch = broadcast_shape(&x_batch, &y_batch)?;
    let ([rows, _], [_, columns]) = (x_matrix.shape, y_matrix.shape);
    let mut shape = batch.clone();
    shape.extend((x.rank() > 1).then_some(rows));
    shape.extend((y.rank() > 1).then_some(columns));
    let count = check_size(&shape)?;
    let floats_of = |tensor: &Tensor, parameter| match tensor.elements() {
        // Products of int32 are exact up to 2^24, as on every device that computes them in floats.
        #[expect(clippy::cast_precision_loss, reason = "see above")]
        Elements::Integers(values) => Ok(values.iter().map(|value| *value as f32).collect::<Vec<f32>>().into()),
        _ => call.floats(parameter),
    };
    let (x_floats, y_floats) = (floats_of(x, "x")?, floats_of(y, "y")?);
    let pairs = map_pairs(
        &batch,
        (&(0..x_batch.iter().product()).collect::<Vec<usize>>(), &x_batch),
        (&(0..y_batch.iter().product()).collect::<Vec<usize>>(), &y_batch),
        |x, y| (x, y),
    );
    let mut output = vec![0.0; count];
    let numerics = call.numerics();
    let product = |(output, (x, y)): (&mut [f32], (usize, usize))| {
        let x = x_matrix.within(&x_floats, x);
        let y = y_matrix.within(&y_floats, y);
        multiply(x, y, output, numerics)
    };
    output.par_chunks_mut((rows * columns).max(1)).zip(pairs).try_for_each(product)?;
    let result = match call.results().next().and_then(|result| result.ty.as_tensor()).map(|ty| ty.dtype) {
        #[expect(clippy::cast_possible_truncation, reason = "see above")]
        Some(DataType::Int32) => Tensor::integers(DataType::Int32, &shape, output.iter().map(|v| *v as i32).collect())?,
        dtype => Tensor::floats(dtype.unwrap_or(x.dtype()), &shape, output)?,
    };
    Ok(vec![result])
}

/// The layout of the matrices of one operand.
struct Layout {
    shape: [usize; 2],
    strides: [usize; 2],
}

impl Layout {
    fn within<'a>(&self, elements: &'a [f32], index: usize) -> Matrix<'a> {
        let count = self.shape[0] * self.shape[1];
        let elements = elements.get(index * count..(index + 1) * count).unwrap_or_default();
        Matrix { elements, shape: self.shape, strides: self.strides }
    }
}

/// The batch axes of an operand, and its matrices as they are multiplied. A vector is one row, or one column where
/// `column` is set.
fn operand(tensor: &Tensor, transposed: bool, column: bool) -> Result<(Vec<usize>, Layout), InferError> {
    match *tensor.shape() {
        [] => Err(InferError::operand("x", "a tensor with axes", tensor.ty())),
        [inner] if column => Ok((Vec::new(), Layout { shape: [inner, 1], strides: [1, 1] })),
        [inner] => Ok((Vec::new(), Layout { shape: [1, inner], strides: [inner, 1] })),
        [ref batch @ .., rows, columns] if transposed => {
            Ok((batch.to_vec(), Layout { shape: [columns, rows], strides: [1, columns] }))
        }
        [ref batch @ .., rows, columns] => {
            Ok((batch.to_vec(), Layout { shape: [rows, columns], strides: [columns, 1] }))
        }
    }
}

/// Every element of `x` meets every column of the result, in each matrix of the result.
pub(crate) fn multiplications(types: &CallTypes<'_>) -> Option<u64> {
    let (x, y, result) = (types.shape("x")?, types.shape("y")?, types.result_shape()?);
    match (x.as_slice(), y.as_slice(), result.as_slice()) {
        ([inner], _, result) | (_, [inner], result) => product(result)?.checked_mul(*inner),
        ([.., x_rows, x_columns], _, [batch @ .., _, columns]) => {
            product(batch)?.checked_mul(x_rows.checked_mul(*x_columns)?)?.checked_mul(*columns)
        }
        _ => None,
    }
}

impl FunctionBuilder {
    /// Multiplies the matrices in the last two axes of `x` and `y`, each transposed first where its flag is set.
    pub fn matmul(
        &mut self,
        name: &str,
        x: &Var,
        y: &Var,
        transpose_x: bool,
        transpose_y: bool,
    ) -> Result<Var, BuildError> {
        self.call(&DECL, name)
            .operand("x", x)
            .operand("y", y)
            .constant("transpose_x", Value::bool(transpose_x))
            .constant("transpose_y", Value::bool(transpose_y))
            .single()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dtype::DataType;
    use crate::ops::testing::{Operands, fp16, tensor};

    fn matmul(x: &[i64], y: &[i64], transpose_x: bool, transpose_y: bool) -> Result<Vec<ValueType>, InferError> {
        Operands::default()
            .with("x", fp16(x))
            .with("y", fp16(y))
            .constant("transpose_x", Value::bool(transpose_x))
            .constant("transpose_y", Value::bool(transpose_y))
            .infer(&DECL)
    }

    #[test]
    fn matrices_multiply_and_batches_broadcast() {
        assert_eq!(matmul(&[1, 16, 1, 2048], &[16, 2048, 128], false, false), Ok(vec![fp16(&[1, 16, 1, 128])]));
        assert_eq!(matmul(&[1, 16, -1, 64], &[1, 16, 64, -1], false, false), Ok(vec![fp16(&[1, 16, -1, -1])]));
    }

    #[test]
    fn flags_transpose_the_last_two_axes() {
        assert_eq!(matmul(&[1, 16, 1, 128], &[1, 16, 2048, 128], false, true), Ok(vec![fp16(&[1, 16, 1, 2048])]));
        assert_eq!(matmul(&[3, 2], &[3, 4], true, false), Ok(vec![fp16(&[2, 4])]));
    }

    #[test]
    fn vectors_lose_the_axis_that_they_were_given() {
        assert_eq!(matmul(&[3], &[5, 3, 4], false, false), Ok(vec![fp16(&[5, 4])]));
        assert_eq!(matmul(&[5, 2, 3], &[3], false, true), Ok(vec![fp16(&[5, 2])]));
        assert_eq!(matmul(&[3], &[3], false, false), Ok(vec![fp16(&[])]));
    }

    #[test]
    fn operands_that_do_not_fit_are_refused() {
        assert!(matmul(&[2, 3], &[4, 5], false, false).is_err());
        assert!(matmul(&[2, 2, 3], &[3, 3, 4], false, false).is_err());
        assert!(matmul(&[], &[3], false, false).is_err());
    }

    #[test]
    fn element_types_may_differ_since_ios17() {
        let operands = Operands::default().with("x", fp16(&[2, 3])).with("y", tensor(DataType::Float32, &[3, 4]));
        assert!(operands.clone().infer_in(&DECL, Opset::Ios16).is_err());
        assert_eq!(operands.infer_in(&DECL, Opset::Ios17), Ok(vec![fp16(&[2, 4])]));
    }
}
