//! Runs the type inference of one op on operands that a test spells out.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::decl::{InferError, OpContext, OpDecl, Operand, Scope};
use crate::blob::BlobError;
use crate::dtype::DataType;
use crate::evaluate::WeightSource;
use crate::opset::Opset;
use crate::program::{Argument, Binding, Operation};
use crate::types::{Dimension, TensorType, ValueType};
use crate::value::{BlobReference, Value};

/// A tensor type; a negative length is unknown.
pub(crate) fn tensor(dtype: DataType, shape: &[i64]) -> ValueType {
    let shape = shape.iter().map(|size| u64::try_from(*size).map_or(Dimension::Unknown, Dimension::Fixed)).collect();
    ValueType::Tensor(TensorType { dtype, shape })
}

/// An fp16 tensor type; a negative length is unknown.
pub(crate) fn fp16(shape: &[i64]) -> ValueType {
    tensor(DataType::Float16, shape)
}

/// An int32 tensor type; a negative length is unknown.
pub(crate) fn int32(shape: &[i64]) -> ValueType {
    tensor(DataType::Int32, shape)
}

/// Weights of a program whose constants all stand in it.
pub(crate) struct NoWeights;

impl WeightSource for NoWeights {
    fn blob(&self, reference: &BlobReference, _: &TensorType) -> Result<Arc<Vec<u8>>, BlobError> {
        panic!("{reference:?} is not in the program")
    }
}

/// Operands of one call of an op.
#[derive(Clone, Default)]
pub(crate) struct Operands {
    types: BTreeMap<String, ValueType>,
    inputs: BTreeMap<String, Argument>,
}

/// The result of an op of a fp16 tensor `x` and of constant integers.
pub(crate) fn infer_of_integers(
    decl: &OpDecl,
    x: &[i64],
    parameter: &str,
    values: &[i32],
) -> Result<Vec<ValueType>, InferError> {
    Operands::default().with("x", fp16(x)).constant(parameter, Value::int32s(values)).infer(decl)
}

impl Operands {
    /// Gives a parameter a value that only the running program knows.
    pub(crate) fn with(mut self, parameter: &str, ty: ValueType) -> Self {
        self.types.insert(parameter.to_owned(), ty);
        self.inputs.insert(parameter.to_owned(), Argument::name(parameter));
        self
    }

    /// Gives a variadic parameter values that only the running program knows.
    pub(crate) fn with_all(mut self, parameter: &str, types: &[ValueType]) -> Self {
        let mut bindings = Vec::new();
        for (index, ty) in types.iter().enumerate() {
            let name = format!("{parameter}{index}");
            self.types.insert(name.clone(), ty.clone());
            bindings.push(Binding::Name(name));
        }
        self.inputs.insert(parameter.to_owned(), Argument(bindings));
        self
    }

    /// Gives a parameter a constant.
    pub(crate) fn constant(mut self, parameter: &str, value: Value) -> Self {
        self.inputs.insert(parameter.to_owned(), Argument::value(value));
        self
    }

    /// Result types under ios18.
    pub(crate) fn infer(self, decl: &OpDecl) -> Result<Vec<ValueType>, InferError> {
        self.infer_in(decl, Opset::Ios18)
    }

    /// Result types under `opset`.
    pub(crate) fn infer_in(self, decl: &OpDecl, opset: Opset) -> Result<Vec<ValueType>, InferError> {
        let operation = Operation {
            op: decl.name.to_owned(),
            inputs: self.inputs,
            outputs: Vec::new(),
            attributes: BTreeMap::new(),
            blocks: Vec::new(),
        };
        let scope = TypesOnly(self.types);
        let ctx = OpContext::new(&operation, opset, &scope).expect("every name has a type");
        for name in ctx.given() {
            assert!(decl.parameters.iter().any(|parameter| parameter.name == name), "`{name}` is not declared");
        }
        (decl.infer)(&ctx)
    }
}

struct TypesOnly(BTreeMap<String, ValueType>);

impl Scope for TypesOnly {
    fn lookup(&self, name: &str) -> Option<Operand<'_>> {
        Some(Operand { ty: self.0.get(name)?, value: None, constant: false })
    }
}

mod robustness {
    use proptest::prelude::*;

    use super::*;
    use crate::ops::OPS;
    use crate::value::{TensorData, ValueData};

    fn dimension() -> impl Strategy<Value = Dimension> {
        prop_oneof![
            4 => (0_u64..5).prop_map(Dimension::Fixed),
            1 => Just(Dimension::Unknown),
            1 => prop::sample::select(vec![u64::MAX, 1 << 63, (1 << 32) + 1]).prop_map(Dimension::Fixed),
        ]
    }

    fn tensor_type() -> impl Strategy<Value = TensorType> {
        let dtype = prop::sample::select(DataType::all().collect::<Vec<_>>());
        (dtype, prop::collection::vec(dimension(), 0..6)).prop_map(|(dtype, shape)| TensorType { dtype, shape })
    }

    fn value_type() -> impl Strategy<Value = ValueType> {
        prop_oneof![
            8 => tensor_type().prop_map(ValueType::Tensor),
            1 => tensor_type().prop_map(ValueType::State),
            1 => tensor_type().prop_map(|ty| ValueType::Tuple(vec![ty.into()])),
        ]
    }

    fn data() -> impl Strategy<Value = TensorData> {
        let small = -3_i32..5;
        let extreme = prop::sample::select(vec![i64::MIN, i64::MIN + 1, -1, 0, 1, i64::MAX]);
        let text = prop::sample::select(vec!["", "valid", "same", "custom", "int32", "fp16", "constant", "forward"]);
        prop_oneof![
            4 => prop::collection::vec(small, 0..6).prop_map(TensorData::Ints),
            2 => prop::collection::vec(extreme, 0..6).prop_map(TensorData::LongInts),
            2 => prop::collection::vec(any::<bool>(), 0..6).prop_map(TensorData::Bools),
            1 => prop::collection::vec(any::<i32>(), 0..6).prop_map(TensorData::Ints),
            1 => prop::collection::vec(any::<u8>(), 0..9).prop_map(TensorData::Bytes),
            1 => prop::collection::vec(any::<f32>(), 0..6).prop_map(TensorData::Floats),
            1 => text.prop_map(|text| TensorData::Strings(vec![text.to_owned()])),
        ]
    }

    /// A constant whose data may contradict its type, as in a hostile program.
    fn value() -> impl Strategy<Value = Value> {
        let blob = ValueData::Blob(BlobReference { file_name: String::new(), offset: u64::MAX });
        let data = prop_oneof![6 => data().prop_map(ValueData::Tensor), 1 => Just(blob)];
        (value_type(), data).prop_map(|(ty, data)| Value { ty, data })
    }

    #[derive(Clone, Debug)]
    enum Given {
        Absent,
        Types(Vec<ValueType>),
        Constant(Value),
    }

    fn given() -> impl Strategy<Value = Given> {
        prop_oneof![
            1 => Just(Given::Absent),
            3 => prop::collection::vec(value_type(), 0..4).prop_map(Given::Types),
            3 => value().prop_map(Given::Constant),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn inference_survives_any_operands(operands in prop::collection::vec(given(), 16), older in any::<bool>()) {
            for decl in OPS {
                let mut call = Operands::default();
                for (parameter, given) in decl.parameters.iter().zip(&operands) {
                    call = match given {
                        Given::Absent => call,
                        Given::Types(types) => call.with_all(parameter.name, types),
                        Given::Constant(value) => call.constant(parameter.name, value.clone()),
                    };
                }
                let opset = if older { Opset::Ios16 } else { Opset::Ios18 };
                if let Ok(results) = call.infer_in(decl, opset) {
                    prop_assert!(results.len() <= 65_536, "{}", decl.name);
                }
            }
        }
    }
}
