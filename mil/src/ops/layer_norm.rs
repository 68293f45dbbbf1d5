//! `layer_norm`: normalization to mean 0 and variance 1 over some axes.

use half::f16;

use super::decl::{FLOATS, INT32, InferError, OpContext, OpDecl, Parameter};
use super::evidence::ANEMLL;
use super::reduce::{axes_last, axes_or_all, reordered, single};
use super::shape::{compatible_shapes, distinct_axes, factor, known_ints};
use crate::builder::{BuildError, FunctionBuilder, Var};
use crate::evaluate::{Call, EvaluateError, Tensor};
use crate::types::{TensorType, ValueType};
use crate::value::Value;

/// The declaration.
pub static DECL: OpDecl = OpDecl::new(
    "layer_norm",
    "Normalizes `x` over `axes`, then multiplies by `gamma` and adds `beta`.",
    &[
        Parameter::new("x", FLOATS).group('T'),
        Parameter::new("axes", INT32).constant().defaulted(),
        factor("gamma").optional(),
        factor("beta").optional(),
        factor("epsilon").defaulted(),
    ],
    infer,
)
.computes(evaluate)
.seen(ANEMLL);

/// # Shapes
/// `gamma` and `beta` have the lengths of `x` at `axes`, in the order of `x`; absent `axes` are all axes. The result is
/// like `x`.
fn infer(ctx: &OpContext<'_>) -> Result<Vec<ValueType>, InferError> {
    let x = ctx.tensor("x")?;
    let mut axes = match known_ints(ctx, "axes")? {
        Some(axes) => distinct_axes("axes", &axes, x.rank())?,
        None => (0..x.rank()).collect(),
    };
    axes.sort_unstable();
    let normalized: Vec<_> = axes.iter().filter_map(|axis| x.shape.get(*axis).copied()).collect();
    for parameter in ["gamma", "beta"] {
        if ctx.optional(parameter).is_none() {
            continue;
        }
        let given = ctx.tensor(parameter)?;
        if !compatible_shapes(&given.shape, &normalized) {
            let expected = TensorType { dtype: given.dtype, shape: normalized };
            return Err(InferError::operand(parameter, expected.to_string(), given));
        }
    }
    if ctx.optional("epsilon").is_some() && ctx.tensor("epsilon")?.rank() != 0 {
        return Err(InferError::operand("epsilon", "a scalar", ctx.tensor("epsilon")?));
    }
    Ok(vec![x.clone().into()])
}

fn evaluate(call: &mut Call<'_>) -> Result<Vec<Tensor>, EvaluateError> {
    let mut x = call.take("x")?;
    let axes = axes_or_all(call, x.rank())?;
    let shape = x.shape().to_vec();
    let factors = |parameter: &str| call.optional(parameter).map(|_| call.floats(parameter)).transpose();
    let (gamma, beta) = (factors("gamma")?, factors("beta")?);
    let affine =
        Affine { gamma: gamma.as_deref(), beta: beta.as_deref(), epsilon: f64::from(call.float_or("epsilon", 1e-5)?) };
    let length: usize = axes.iter().map(|axis| shape[*axis]).product();
    let values = x.floats_mut()?;
    if values.is_empty() {
        return Ok(vec![x]);
    }
    match (axes.first(), axes.last()) {
        // Axes side by side need not be moved.
        (Some(first), Some(last)) if last - first + 1 == axes.len() => {
            let inner = shape[last + 1..].iter().product();
            values.chunks_exact_mut(length * inner).for_each(|block| affine.normalize(block, inner));
        }
        _ => {
            let order = axes_last(shape.len(), &axes);
            let mut moved = reordered(values, &shape, &order).into_owned();
            moved.chunks_exact_mut(length).for_each(|block| affine.normalize(block, 1));
            let moved_shape: Vec<usize> = order.iter().map(|axis| shape[*axis]).collect();
            let mut back: Vec<usize> = (0..order.len()).collect();
            back.sort_unstable_by_key(|axis| order[*axis]);
            values.copy_from_slice(&reordered(&moved, &moved_shape, &back));
        }
    }
    Ok(vec![x])
}

/// What follows the division by the deviation.
struct Affine<'a> {
    gamma: Option<&'a [f32]>,
    beta: Option<&'a [f32]>,
    epsilon: f64,
}

impl Affine<'_> {
    /// Normalizes each column of `block`, whose rows are `width` long.
    #[expect(clippy::cast_precision_loss, reason = "counts of elements are far below 2^53")]
    fn normalize(&self, block: &mut [f32], width: usize) {
        let length = (block.len() / width) as f64;
        let mut means = vec![0.0; width];
        add_columns(&mut means, block, |value, _| value);
        for mean in &mut means {
            *mean /= length;
        }
        let mut scales = vec![0.0; width];
        add_columns(&mut scales, block, |value, column| (value - means[column]).powi(2));
        for scale in &mut scales {
            *scale = 1.0 / (*scale / length + self.epsilon).sqrt();
        }
        for (index, row) in block.chunks_exact_mut(width).enumerate() {
            let at = |factors: Option<&[f32]>, absent| {
                factors.map_or(absent, |factors| factors.get(index).copied().map_or(absent, f64::from))
            };
            let (gamma, beta) = (at(self.gamma, 1.0), at(self.beta, 0.0));
            for ((value, mean), scale) in row.iter_mut().zip(&means).zip(&scales) {
                *value = single((f64::from(*value) - mean) * scale * gamma + beta);
            }
        }
    }
}

/// Adds to each of `sums` what `function` gives for each element of its column.
fn add_columns(sums: &mut [f64], block: &[f32], function: impl Fn(f64, usize) -> f64) {
    for row in block.chunks_exact(sums.len()) {
        for (column, (sum, value)) in sums.iter_mut().zip(row).enumerate() {
            *sum += function(f64::from(*value), column);
        }
    }
}

impl FunctionBuilder {
    /// Normalizes `x` over `axes`. `gamma` and `beta` are fp16 constants, as `epsilon` is.
    pub fn layer_norm(
        &mut self,
        name: &str,
        x: &Var,
        axes: &[i32],
        epsilon: f16,
        gamma: Option<&Var>,
        beta: Option<&Var>,
    ) -> Result<Var, BuildError> {
        let mut call = self.call(&DECL, name).operand("x", x).constant("axes", Value::int32s(axes));
        if let Some(gamma) = gamma {
            call = call.operand("gamma", gamma);
        }
        if let Some(beta) = beta {
            call = call.operand("beta", beta);
        }
        call.constant("epsilon", Value::fp16(epsilon)).single()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dtype::DataType;
    use crate::ops::testing::{Operands, fp16};
    use crate::opset::Opset;

    #[test]
    fn the_result_is_like_x() {
        let x = fp16(&[1, -1, 64]);
        let operands = Operands::default().with("x", x.clone());
        assert_eq!(operands.clone().infer(&DECL), Ok(vec![x.clone()]));
        let operands = operands.constant("axes", Value::int32s(&[-1])).with("gamma", fp16(&[64]));
        assert_eq!(operands.infer(&DECL), Ok(vec![x]));
    }

    #[test]
    fn parameters_of_another_shape_than_the_axes_are_refused() {
        let operands = Operands::default().with("x", fp16(&[1, 4, 64])).constant("axes", Value::int32s(&[-1]));
        assert!(operands.clone().with("gamma", fp16(&[4])).infer(&DECL).is_err());
        assert!(operands.clone().with("beta", fp16(&[1, 64])).infer(&DECL).is_err());
        assert!(operands.clone().with("epsilon", fp16(&[1])).infer(&DECL).is_err());
        assert!(operands.constant("axes", Value::int32s(&[3])).infer(&DECL).is_err());
    }

    #[test]
    fn the_builder_writes_axes_and_epsilon_and_what_is_given() {
        let mut builder = FunctionBuilder::new(Opset::Ios18);
        let x = builder.input("x", fp16(&[1, 4, 64]));
        let gamma = builder.input("gamma", TensorType::fixed(DataType::Float16, &[64]));
        let epsilon = f16::from_f32(1e-5);
        let plain = builder.layer_norm("plain", &x, &[-1], epsilon, None, None).expect("an axis of x");
        let scaled = builder.layer_norm("scaled", &plain, &[-1], epsilon, Some(&gamma), None).expect("gamma fits");
        let function = builder.finish(&[&scaled]);
        let given = |name: &str| {
            let operation = function.block.operations.iter().find(|operation| operation.display_name() == Some(name));
            operation.map(|operation| operation.inputs.keys().cloned().collect::<Vec<_>>().join(" "))
        };
        assert_eq!(given("plain").as_deref(), Some("axes epsilon x"));
        assert_eq!(given("scaled").as_deref(), Some("axes epsilon gamma x"));
    }
}
