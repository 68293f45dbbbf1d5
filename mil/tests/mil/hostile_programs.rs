//! Programs that nobody would write: the verifier, the rules and the passes take them without a panic.

use std::collections::BTreeMap;

use anec_mil::program::{Argument, Binding, Block, Function, NamedValueType, Operation, Program};
use anec_mil::rules::{self, Conditions, Subject};
use anec_mil::{
    BlobReference, DataType, Dimension, Opset, TensorData, TensorType, Value, ValueData, ValueType, ops, passes, verify,
};
use proptest::prelude::*;
use proptest::sample::select;

const NAMES: [&str; 8] = ["a", "b", "c", "d", "x", "cache", "fp16", "a b"];

fn name() -> impl Strategy<Value = String> {
    select(&NAMES[..]).prop_map(str::to_owned)
}

fn dimension() -> impl Strategy<Value = Dimension> {
    prop_oneof![
        4 => (0_u64..5).prop_map(Dimension::Fixed),
        1 => Just(Dimension::Unknown),
        1 => select(vec![u64::MAX, u64::MAX / 2, 1 << 62, 1 << 32]).prop_map(Dimension::Fixed),
    ]
}

fn tensor_type() -> impl Strategy<Value = TensorType> {
    let dtype = prop_oneof![
        select(vec![DataType::Float16, DataType::Int32, DataType::Bool]),
        select(DataType::all().collect::<Vec<_>>()),
    ];
    (dtype, prop::collection::vec(dimension(), 0..6)).prop_map(|(dtype, shape)| TensorType { dtype, shape })
}

fn value_type() -> impl Strategy<Value = ValueType> {
    prop_oneof![
        8 => tensor_type().prop_map(ValueType::Tensor),
        1 => tensor_type().prop_map(ValueType::State),
        1 => tensor_type().prop_map(|tensor| ValueType::List(Box::new(tensor.into()), Dimension::Unknown)),
    ]
}

fn extreme_int() -> impl Strategy<Value = i32> {
    prop_oneof![3 => -3..6, 1 => select(vec![i32::MIN, i32::MAX])]
}

/// Small values that are what their type says.
fn plain_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        extreme_int().prop_map(Value::int32),
        prop::collection::vec(extreme_int(), 0..6).prop_map(|values| Value::int32s(&values)),
        prop::collection::vec(any::<bool>(), 0..6).prop_map(|values| Value::bools(&values)),
        any::<bool>().prop_map(Value::bool),
        any::<f32>().prop_map(Value::fp32),
        select(vec!["int32", "fp16", "valid", "same", "custom", ""]).prop_map(Value::string),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    let data = prop_oneof![
        prop::collection::vec(any::<i32>(), 0..4).prop_map(TensorData::Ints),
        prop::collection::vec(any::<i64>(), 0..4).prop_map(TensorData::LongInts),
        prop::collection::vec(any::<u8>(), 0..8).prop_map(TensorData::Bytes),
        prop::collection::vec(any::<f64>(), 0..4).prop_map(TensorData::Doubles),
    ];
    let blob = (any::<u64>(), select(vec![anec_mil::WEIGHT_FILE, "../x"]))
        .prop_map(|(offset, file_name)| ValueData::Blob(BlobReference { file_name: file_name.to_owned(), offset }));
    let other = prop_oneof![data.prop_map(ValueData::Tensor), blob, Just(ValueData::Tuple(Vec::new()))];
    prop_oneof![4 => plain_value(), 1 => (value_type(), other).prop_map(|(ty, data)| Value { ty, data })]
}

fn binding() -> impl Strategy<Value = Binding> {
    prop_oneof![3 => name().prop_map(Binding::Name), 2 => value().prop_map(Binding::Value)]
}

fn operation() -> impl Strategy<Value = Operation> {
    let op = 0..ops::OPS.len();
    op.prop_flat_map(|op| {
        let decl = ops::OPS[op];
        let argument =
            prop_oneof![6 => prop::collection::vec(binding(), 1), 1 => prop::collection::vec(binding(), 0..4)];
        let arguments = prop::collection::vec(prop::option::weighted(0.9, argument), decl.parameters.len());
        let outputs = prop::collection::vec((name(), value_type()), 0..3);
        (arguments, outputs, prop::option::of(value()), 0..20_u8).prop_map(move |(arguments, outputs, val, blocks)| {
            let given = decl.parameters.iter().zip(arguments);
            let inputs =
                given.filter_map(|(parameter, bindings)| Some((parameter.name.to_owned(), Argument(bindings?))));
            let mut attributes = BTreeMap::from([("name".to_owned(), Value::string("n"))]);
            attributes.extend(val.map(|value| ("val".to_owned(), value)));
            let is_const = decl.name == "const";
            Operation {
                op: decl.name.to_owned(),
                inputs: if is_const { BTreeMap::new() } else { inputs.collect() },
                outputs: outputs.into_iter().map(|(name, ty)| NamedValueType { name, ty }).collect(),
                attributes,
                blocks: if blocks == 0 { vec![Block::default()] } else { Vec::new() },
            }
        })
    })
}

fn function() -> impl Strategy<Value = Function> {
    let inputs = prop::collection::vec((name(), value_type()), 0..4);
    let operations = prop::collection::vec(operation(), 0..8);
    let opset = select(vec![Opset::Ios15, Opset::Ios16, Opset::Ios18, Opset::Ios26]);
    (inputs, operations, prop::collection::vec(name(), 0..3), opset).prop_map(|(inputs, operations, outputs, opset)| {
        Function {
            inputs: inputs.into_iter().map(|(name, ty)| NamedValueType { name, ty }).collect(),
            opset,
            block: Block { inputs: Vec::new(), operations, outputs },
            attributes: BTreeMap::new(),
        }
    })
}

fn program() -> impl Strategy<Value = Program> {
    prop::collection::btree_map(name(), function(), 0..3)
        .prop_map(|functions| Program { functions, attributes: BTreeMap::new() })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_program_is_verified_linted_and_rewritten_without_a_panic(mut program in program()) {
        if let Err(errors) = verify::verify(&program) {
            errors.annotate(&program);
        }
        let subject = Subject { program: &program, description: None, weight_file_bytes: Some(u64::MAX), constants: None };
        let known = rules::lint(subject, &Conditions::GENERIC).iter().all(|finding| rules::find(finding.rule.id).is_some());
        prop_assert!(known);
        let summary = passes::run_all(&mut program, false);
        prop_assert!(summary.is_ok());
    }
}
