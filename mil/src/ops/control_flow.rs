//! `cond` and `while_loop`: ops with nested blocks.
//!
//! A block sees the values that are defined before its operation, and its own parameters. coremltools gives both blocks
//! of a loop the same parameter names.

use super::decl::{BOOL, Domain, InferError, OpContext, OpDecl, Parameter, Results};
use super::evidence::MLMODELC_EXPORT;
use super::shape::compatible_shapes;
use crate::evaluate::Evaluate;
use crate::types::{Dimension, TensorType, ValueType};

/// A choice between two blocks.
pub static COND: OpDecl = {
    let mut decl = OpDecl::new(
        "cond",
        "The results of the first block where `pred` is true, else of the second.",
        &[Parameter::new("pred", BOOL)],
        infer_cond,
    );
    decl.results = Results::Several;
    decl.evaluate = Evaluate::Branches;
    decl.evidence = MLMODELC_EXPORT;
    decl
};
/// A loop.
pub static WHILE_LOOP: OpDecl = {
    let mut decl = OpDecl::new(
        "while_loop",
        "Runs the second block on `loop_vars`, and then on its own results, as long as the first holds.",
        &[Parameter::new("loop_vars", Domain::AnyOrList).variadic()],
        infer_while_loop,
    );
    decl.results = Results::Several;
    decl.evaluate = Evaluate::Repeats;
    decl.evidence = MLMODELC_EXPORT;
    decl
};

/// # Shapes
/// Where the blocks differ in a length, it is not known.
fn infer_cond(ctx: &OpContext<'_>) -> Result<Vec<ValueType>, InferError> {
    let pred = ctx.tensor("pred")?;
    if pred.element_count() != Some(1) {
        return Err(InferError::operand("pred", "one boolean", pred));
    }
    let [(then_inputs, then_results), (else_inputs, else_results)] = ctx.blocks() else {
        return Err(InferError::Mismatch(format!("{} nested blocks, expected 2", ctx.blocks().len())));
    };
    if !then_inputs.is_empty() || !else_inputs.is_empty() {
        return Err(InferError::Mismatch("the blocks of `cond` have no parameters".to_owned()));
    }
    if then_results.len() != else_results.len() {
        let (first, second) = (then_results.len(), else_results.len());
        return Err(InferError::Mismatch(format!("the first block has {first} results, the second {second}")));
    }
    let both = then_results.iter().zip(else_results).map(|(a, b)| joined(a, b));
    both.collect()
}

/// The type of a value that is of one type or the other.
fn joined(a: &ValueType, b: &ValueType) -> Result<ValueType, InferError> {
    match (a, b) {
        (ValueType::Tensor(a), ValueType::Tensor(b)) if a.dtype == b.dtype && a.rank() == b.rank() => {
            let axis = |(a, b): (&Dimension, &Dimension)| if a == b { *a } else { Dimension::Unknown };
            let shape = a.shape.iter().zip(&b.shape).map(axis).collect();
            Ok(TensorType { dtype: a.dtype, shape }.into())
        }
        _ if a == b => Ok(a.clone()),
        _ => Err(InferError::Mismatch(format!("a result is {a} in the first block, but {b} in the second"))),
    }
}

fn infer_while_loop(ctx: &OpContext<'_>) -> Result<Vec<ValueType>, InferError> {
    let [(test_inputs, test_results), (body_inputs, body_results)] = ctx.blocks() else {
        return Err(InferError::Mismatch(format!("{} nested blocks, expected 2", ctx.blocks().len())));
    };
    let operands = ctx.operands("loop_vars");
    for (role, count) in [
        ("parameters of the first block", test_inputs.len()),
        ("parameters of the second block", body_inputs.len()),
        ("results of the second block", body_results.len()),
    ] {
        if count != operands.len() {
            return Err(InferError::Mismatch(format!("{count} {role}, expected {}", operands.len())));
        }
    }
    let one_boolean = |ty: &ValueType| {
        ty.as_tensor().is_some_and(|ty| ty.dtype == crate::dtype::DataType::Bool && ty.element_count() == Some(1))
    };
    if !matches!(test_results.as_slice(), [result] if one_boolean(result)) {
        return Err(InferError::Mismatch("the first block must have one boolean as its result".to_owned()));
    }
    for (index, operand) in operands.iter().enumerate() {
        let own = [test_inputs.get(index), body_inputs.get(index), body_results.get(index)];
        for ty in own.into_iter().flatten() {
            if !fits(ty, operand.ty) {
                let message = format!("value {index} of the loop is {}, but {ty} in a block", operand.ty);
                return Err(InferError::Mismatch(message));
            }
        }
    }
    Ok(body_results.clone())
}

/// Whether two types can be of one value when the program runs.
fn fits(a: &ValueType, b: &ValueType) -> bool {
    match (a, b) {
        (ValueType::Tensor(a), ValueType::Tensor(b)) => a.dtype == b.dtype && compatible_shapes(&a.shape, &b.shape),
        (ValueType::List(a, _), ValueType::List(b, _)) => fits(a, b),
        _ => a == b,
    }
}
