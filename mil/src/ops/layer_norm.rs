//! `layer_norm`: normalization to mean 0 and variance 1 over some axes.

use half::f16;

use super::decl::{Effect, FLOATS, INT32, InferError, OpContext, OpDecl, Parameter, Results};
use super::shape::{compatible_shapes, distinct_axes, known_ints};
use crate::builder::{BuildError, FunctionBuilder, Var};
use crate::opset::Opset;
use crate::types::{TensorType, ValueType};
use crate::value::Value;

/// The declaration.
pub static DECL: OpDecl = OpDecl {
    name: "layer_norm",
    doc: "Normalizes `x` over `axes`, then multiplies by `gamma` and adds `beta`.",
    since: Opset::Ios15,
    parameters: &[
        Parameter::new("x", FLOATS),
        Parameter::new("axes", INT32).constant().defaulted(),
        Parameter::new("gamma", FLOATS).group('U').constant().optional(),
        Parameter::new("beta", FLOATS).group('U').constant().optional(),
        Parameter::new("epsilon", FLOATS).group('U').constant().defaulted(),
    ],
    results: Results::Exactly(1),
    effect: Effect::Pure,
    infer,
};

/// # Shapes
/// `gamma` and `beta` have the lengths of `x` at `axes`, which are all axes by default; the result is like `x`.
fn infer(ctx: &OpContext<'_>) -> Result<Vec<ValueType>, InferError> {
    let x = ctx.tensor("x")?;
    let axes = match known_ints(ctx, "axes")? {
        Some(axes) => distinct_axes("axes", &axes, x.rank())?,
        None => (0..x.rank()).collect(),
    };
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
