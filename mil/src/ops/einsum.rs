//! `einsum`: a product of two tensors, summed over the axes that the result does not have.

use std::collections::BTreeMap;

use super::decl::{FLOATS, InferError, OpContext, OpDecl, Parameter, STRING};
use super::evidence::ANEFORGE;
use super::shape::known_string_or;
use super::space::rearranged;
use crate::builder::{BuildError, FunctionBuilder, Var};
use crate::cost::{CallTypes, product};
use crate::evaluate::{Call, EvaluateError, Matrix, Tensor, check_size, multiply, stretched};
use crate::types::{Dimension, TensorType, ValueType};
use crate::value::Value;

/// The declaration.
pub static DECL: OpDecl = OpDecl::new(
    "einsum",
    "Multiplies two tensors as `equation` says, such as `nchw,nwhu->nchu`.",
    &[Parameter::new("values", FLOATS).group('T').variadic(), Parameter::new("equation", STRING).constant()],
    infer,
)
.computes(evaluate)
.seen(ANEFORGE);

/// The letters of the axes of both operands and of the result.
struct Equation {
    operands: [Vec<char>; 2],
    result: Vec<char>,
}

impl Equation {
    fn parse(text: &str) -> Result<Self, InferError> {
        let expected = || {
            let form = "two operands and a result, whose axes are different letters";
            InferError::operand("equation", form, format!("`{text}`"))
        };
        let compact: String = text.chars().filter(|letter| !letter.is_whitespace()).take(128).collect();
        let (operands, result) = compact.split_once("->").ok_or_else(expected)?;
        let (x, y) = operands.split_once(',').ok_or_else(expected)?;
        let letters = |text: &str| -> Option<Vec<char>> {
            let letters: Vec<char> = text.chars().collect();
            let differ = letters.iter().enumerate().all(|(index, letter)| !letters[..index].contains(letter));
            (differ && letters.iter().all(char::is_ascii_alphabetic)).then_some(letters)
        };
        let (Some(x), Some(y), Some(result)) = (letters(x), letters(y), letters(result)) else {
            return Err(expected());
        };
        if result.iter().any(|letter| !x.contains(letter) && !y.contains(letter)) {
            return Err(expected());
        }
        Ok(Self { operands: [x, y], result })
    }
}

/// # Shapes
/// An axis of length 1 stretches to the axis of the same letter.
fn infer(ctx: &OpContext<'_>) -> Result<Vec<ValueType>, InferError> {
    let values = ctx.tensors("values")?;
    let equation = Equation::parse(known_string_or(ctx, "equation", "")?)?;
    let &[x, y] = values.as_slice() else {
        return Err(InferError::Mismatch(format!("{} values, expected 2", values.len())));
    };
    for (tensor, letters) in [x, y].into_iter().zip(&equation.operands) {
        if tensor.rank() != letters.len() {
            return Err(InferError::operand("values", format!("a tensor of rank {}", letters.len()), tensor));
        }
    }
    let length = |letter: char| {
        let of = |tensor: &TensorType, letters: &[char]| {
            letters.iter().position(|own| *own == letter).and_then(|axis| tensor.shape.get(axis).copied())
        };
        match (of(x, &equation.operands[0]), of(y, &equation.operands[1])) {
            (Some(a), Some(b)) if a == b => Ok(a),
            (Some(Dimension::Fixed(1)), Some(other)) | (Some(other), Some(Dimension::Fixed(1))) => Ok(other),
            (Some(Dimension::Unknown), Some(_)) | (Some(_), Some(Dimension::Unknown)) => Ok(Dimension::Unknown),
            (Some(only), None) | (None, Some(only)) => Ok(only),
            _ => Err(InferError::Mismatch(format!("the axes `{letter}` of {x} and {y} differ"))),
        }
    };
    for letter in equation.operands.iter().flatten() {
        length(*letter)?;
    }
    let shape = equation.result.iter().map(|letter| length(*letter)).collect::<Result<_, _>>()?;
    Ok(vec![TensorType { dtype: x.dtype, shape }.into()])
}

fn evaluate(call: &mut Call<'_>) -> Result<Vec<Tensor>, EvaluateError> {
    let equation = Equation::parse(call.string_or("equation", "")?)?;
    let [x, y] = call.operands("values") else {
        return Err(InferError::Missing("values".to_owned()).into());
    };
    let [x_letters, y_letters] = &equation.operands;
    if x.rank() != x_letters.len() || y.rank() != y_letters.len() {
        return Err(InferError::operand("values", "tensors of the ranks of the equation", y.ty()).into());
    }
    let length = |letter: char| {
        let of = |tensor: &Tensor, letters: &[char]| {
            letters.iter().position(|own| *own == letter).and_then(|axis| tensor.shape().get(axis).copied())
        };
        // A length of 1 stretches, to 0 as well.
        match (of(x, x_letters), of(y, y_letters)) {
            (Some(1) | None, Some(other)) | (Some(other), _) => other,
            (None, None) => 1,
        }
    };
    let in_both = |letter: &&char| x_letters.contains(letter) && y_letters.contains(letter);
    let kept = |letter: &&char| equation.result.contains(letter);
    let batch: Vec<char> = x_letters.iter().filter(|letter| in_both(letter) && kept(letter)).copied().collect();
    let summed: Vec<char> = x_letters.iter().filter(|letter| in_both(letter) && !kept(letter)).copied().collect();
    let own = |letters: &[char]| -> Vec<char> { letters.iter().filter(|letter| !in_both(letter)).copied().collect() };
    let (rows, columns) = (own(x_letters), own(y_letters));
    if rows.iter().chain(&columns).any(|letter| !kept(&letter)) {
        return Err(EvaluateError::Unsupported("an axis that one operand alone has and that is summed".to_owned()));
    }
    let lengths = |letters: &[char]| -> Vec<usize> { letters.iter().map(|letter| length(*letter)).collect() };
    let count = |letters: &[char]| check_size(&lengths(letters));
    let (batches, inner) = (count(&batch)?, count(&summed)?);
    let (row_count, column_count) = (count(&rows)?, count(&columns)?);
    let left = arranged(x, x_letters, &[&batch, &rows, &summed], &lengths)?;
    let right = arranged(y, y_letters, &[&batch, &summed, &columns], &lengths)?;
    check_size(&[batches, row_count, column_count])?;
    let (left, right) = (left.as_floats()?, right.as_floats()?);
    let mut output = vec![0.0; batches * row_count * column_count];
    for (index, output) in output.chunks_mut((row_count * column_count).max(1)).enumerate() {
        let x = left.get(index * row_count * inner..).unwrap_or_default();
        let y = right.get(index * inner * column_count..).unwrap_or_default();
        let (x, y) = (Matrix::row_major(x, [row_count, inner]), Matrix::row_major(y, [inner, column_count]));
        multiply(x, y, output, call.numerics())?;
    }
    let made: Vec<char> = batch.iter().chain(&rows).chain(&columns).copied().collect();
    let product = Tensor::floats(x.dtype(), &lengths(&made), output)?;
    let order: Vec<usize> =
        equation.result.iter().filter_map(|letter| made.iter().position(|own| own == letter)).collect();
    Ok(vec![rearranged(&product, &lengths(&made), &order, &lengths(&equation.result))?])
}

/// The tensor with its axes stretched to their full lengths, in the order of `groups`.
fn arranged(
    tensor: &Tensor,
    letters: &[char],
    groups: &[&[char]],
    lengths: &impl Fn(&[char]) -> Vec<usize>,
) -> Result<Tensor, EvaluateError> {
    let full = lengths(letters);
    check_size(&full)?;
    let fits = tensor.shape().iter().zip(&full).all(|(own, full)| own == full || *own == 1);
    if !fits {
        return Err(InferError::operand("values", format!("axes of lengths {full:?}"), tensor.ty()).into());
    }
    let values = stretched(&tensor.as_floats()?, tensor.shape(), &full).into_owned();
    let order: Vec<usize> = groups
        .iter()
        .flat_map(|group| group.iter())
        .filter_map(|letter| letters.iter().position(|own| own == letter))
        .collect();
    let shape: Vec<usize> = order.iter().filter_map(|axis| full.get(*axis).copied()).collect();
    rearranged(&Tensor::floats(tensor.dtype(), &full, values)?, &full, &order, &shape)
}

/// Multiplications of a call: one for each combination of its axes.
pub(crate) fn multiplications(call: &CallTypes<'_>) -> Option<u64> {
    let equation = Equation::parse(call.string("equation")?).ok()?;
    let mut lengths = BTreeMap::new();
    for (shape, letters) in call.shapes("values")?.iter().zip(&equation.operands) {
        for (length, letter) in shape.iter().zip(letters) {
            let known = lengths.entry(*letter).or_insert(*length);
            *known = (*known).max(*length);
        }
    }
    product(&lengths.into_values().collect::<Vec<_>>())
}

impl FunctionBuilder {
    /// Multiplies `x` and `y` as `equation` says.
    pub fn einsum(&mut self, name: &str, equation: &str, x: &Var, y: &Var) -> Result<Var, BuildError> {
        self.call(&DECL, name).operands("values", &[x, y]).constant("equation", Value::string(equation)).single()
    }
}
