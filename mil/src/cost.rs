//! How much arithmetic a function does, read off its operations.
//!
//! Each op whose work is products says so in its own file; here is their list. Ops that touch each element once are not
//! counted: their arithmetic is nothing beside reading them.

use std::collections::BTreeMap;

use crate::ops::decl::OpDecl;
use crate::ops::special;
use crate::ops::{conv, einsum, linear, matmul, scaled_dot_product_attention};
use crate::program::{Binding, Function, Operation};
use crate::types::{TensorType, ValueType};
use crate::value::Value;

/// Counts the multiplications of one call of an op; none where a shape is not fixed.
type Count = fn(&CallTypes<'_>) -> Option<u64>;

/// The ops whose work is products.
static PRODUCTS: [(&OpDecl, Count); 5] = [
    (&conv::DECL, conv::multiplications),
    (&einsum::DECL, einsum::multiplications),
    (&linear::DECL, linear::multiplications),
    (&matmul::DECL, matmul::multiplications),
    (&scaled_dot_product_attention::DECL, scaled_dot_product_attention::multiplications),
];

/// Types of the operands and the result of one operation.
pub(crate) struct CallTypes<'a> {
    operation: &'a Operation,
    known: &'a BTreeMap<&'a str, &'a ValueType>,
    constants: &'a BTreeMap<&'a str, &'a Value>,
}

impl CallTypes<'_> {
    /// The shape of an operand, if it is a tensor of fixed shape.
    pub(crate) fn shape(&self, parameter: &str) -> Option<Vec<u64>> {
        self.shape_of(self.operation.inputs.get(parameter)?.single()?)
    }

    /// The shapes of the operands of a variadic parameter, if all are tensors of fixed shape.
    pub(crate) fn shapes(&self, parameter: &str) -> Option<Vec<Vec<u64>>> {
        self.operation.inputs.get(parameter)?.0.iter().map(|binding| self.shape_of(binding)).collect()
    }

    /// A constant operand.
    pub(crate) fn string(&self, parameter: &str) -> Option<&str> {
        match self.operation.inputs.get(parameter)?.single()? {
            Binding::Name(name) => self.constants.get(name.as_str())?.as_str(),
            Binding::Value(value) => value.as_str(),
        }
    }

    fn shape_of(&self, binding: &Binding) -> Option<Vec<u64>> {
        match binding {
            Binding::Name(name) => self.known.get(name.as_str())?.as_tensor()?.fixed_shape(),
            Binding::Value(value) => value.ty.as_tensor()?.fixed_shape(),
        }
    }

    /// The shape of the first result, if it is a tensor of fixed shape.
    pub(crate) fn result_shape(&self) -> Option<Vec<u64>> {
        self.operation.outputs.first()?.ty.as_tensor().and_then(TensorType::fixed_shape)
    }
}

/// Elements of a shape, if their number fits.
pub(crate) fn product(shape: &[u64]) -> Option<u64> {
    shape.iter().try_fold(1_u64, |product, length| product.checked_mul(*length))
}

/// Multiplications of one call of a function, each with its addition; none where a shape that matters is not fixed, or where
/// the sum does not fit.
///
/// # Example
/// ```
/// use anec_mil::{DataType, FunctionBuilder, Opset, TensorType, cost};
///
/// let mut ops = FunctionBuilder::new(Opset::Ios18);
/// let x = ops.input("x", TensorType::fixed(DataType::Float16, &[1, 2, 3]));
/// let y = ops.input("y", TensorType::fixed(DataType::Float16, &[1, 3, 5]));
/// let product = ops.matmul("product", &x, &y, false, false)?;
/// assert_eq!(cost::multiplications(&ops.finish(&[&product])), Some(2 * 3 * 5));
/// # Ok::<(), anec_mil::BuildError>(())
/// ```
pub fn multiplications(function: &Function) -> Option<u64> {
    let operations = &function.block.operations;
    let values = function.inputs.iter().chain(operations.iter().flat_map(|operation| &operation.outputs));
    let known = values.map(|value| (value.name.as_str(), &value.ty)).collect();
    let constants = operations.iter().filter(|operation| operation.op == special::CONST);
    let constants =
        constants.filter_map(|op| Some((op.outputs.first()?.name.as_str(), op.attributes.get("val")?))).collect();
    operations.iter().try_fold(0_u64, |sum, operation| {
        let Some((_, count)) = PRODUCTS.iter().find(|(decl, _)| decl.name == operation.op) else { return Some(sum) };
        sum.checked_add(count(&CallTypes { operation, known: &known, constants: &constants })?)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builder::{BuildError, FunctionBuilder, Var};
    use crate::dtype::DataType;
    use crate::opset::Opset;

    fn count(
        shapes: [&[u64]; 2],
        build: impl FnOnce(&mut FunctionBuilder, &Var, &Var) -> Result<Var, BuildError>,
    ) -> Option<u64> {
        let mut ops = FunctionBuilder::new(Opset::Ios18);
        let [x, y] = [("x", shapes[0]), ("y", shapes[1])]
            .map(|(name, shape)| ops.input(name, TensorType::fixed(DataType::Float16, shape)));
        let result = build(&mut ops, &x, &y).expect("operands that fit");
        multiplications(&ops.finish(&[&result]))
    }

    #[test]
    fn matrix_products_count_alike_in_every_transposition() {
        for (shapes, transpose_x, transpose_y) in [
            ([&[2, 4, 3][..], &[2, 3, 5][..]], false, false),
            ([&[2, 3, 4], &[2, 3, 5]], true, false),
            ([&[2, 4, 3], &[2, 5, 3]], false, true),
            ([&[1, 4, 3], &[2, 3, 5]], false, false),
            ([&[2, 4, 3], &[3, 5]], false, false),
        ] {
            let found = count(shapes, |ops, x, y| ops.matmul("product", x, y, transpose_x, transpose_y));
            assert_eq!(found, Some(2 * 4 * 3 * 5), "{shapes:?}");
        }
    }

    #[test]
    fn a_convolution_counts_its_weight_once_for_every_place() {
        let found = count([&[1, 8, 1, 7], &[16, 8, 1, 1]], |ops, x, y| ops.conv1x1("product", x, y, None));
        assert_eq!(found, Some(7 * 16 * 8));
    }

    #[test]
    fn elementwise_ops_count_nothing() {
        assert_eq!(count([&[4, 4], &[4, 4]], |ops, x, y| ops.add("sum", x, y)), Some(0));
    }
}
