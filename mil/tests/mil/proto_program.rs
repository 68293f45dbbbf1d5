//! Programs in protobuf form: every kind of type and value survives, and what the IR has no place for is an error.

use std::collections::BTreeMap;

use anec_mil::proto::{ProtoError, ProtoProblem, decode, encode};
use anec_mil::{
    Argument, Binding, BlobReference, Block, DataType, Dimension, Function, NamedValueType, Operation, Opset, Program,
    TensorData, TensorType, Value, ValueData, ValueType, WEIGHT_FILE,
};
use anec_schemas::proto::{Message, mil_spec as pb};

fn immediate(dtype: DataType, shape: &[u64], data: TensorData) -> Value {
    Value { ty: TensorType::fixed(dtype, shape).into(), data: ValueData::Tensor(data) }
}

fn every_value() -> Vec<Value> {
    let text = ValueType::string();
    let pair = ValueType::Tuple(vec![text.clone(), TensorType::scalar(DataType::Int32).into()]);
    let list = ValueType::List(Box::new(text.clone()), Dimension::Unknown);
    let dictionary = ValueType::Dictionary(Box::new(text.clone()), Box::new(text));
    vec![
        Value::string("text"),
        Value::bools(&[true, false]),
        Value::int32s(&[i32::MIN, 0, i32::MAX]),
        Value::fp32(-0.0),
        Value::fp16(half::f16::from_f32(1.5)),
        immediate(DataType::Float64, &[1], TensorData::Doubles(vec![0.1])),
        immediate(DataType::Int64, &[2], TensorData::LongInts(vec![i64::MIN, i64::MAX])),
        immediate(DataType::UInt16, &[2], TensorData::Ints(vec![0, 65_535])),
        immediate(DataType::UInt32, &[1], TensorData::Bytes(vec![1, 2, 3, 4])),
        immediate(DataType::UInt3, &[2, 3], TensorData::Bytes(vec![0xd1, 0xd8, 0x03])),
        immediate(DataType::Float32, &[0], TensorData::Floats(Vec::new())),
        Value::blob(
            TensorType::fixed(DataType::UInt4, &[64, 64]),
            BlobReference { file_name: WEIGHT_FILE.to_owned(), offset: u64::MAX },
        ),
        Value { ty: pair, data: ValueData::Tuple(vec![Value::string("a"), Value::int32(1)]) },
        Value { ty: list, data: ValueData::List(vec![Value::string("a"), Value::string("b")]) },
        Value {
            ty: dictionary,
            data: ValueData::Dictionary(vec![
                (Value::string("z"), Value::string("1")),
                (Value::string("a"), Value::string("2")),
            ]),
        },
    ]
}

fn program() -> Program {
    let unknown = TensorType { dtype: DataType::Float16, shape: vec![Dimension::Fixed(1), Dimension::Unknown] };
    let state = TensorType::fixed(DataType::Float16, &[2, 4]);
    let constants = every_value().into_iter().enumerate().map(|(index, value)| Operation {
        op: "const".to_owned(),
        inputs: BTreeMap::new(),
        outputs: vec![NamedValueType::new(format!("c{index}"), value.ty.clone())],
        attributes: BTreeMap::from([
            ("name".to_owned(), Value::string(format!("c{index}"))),
            ("val".to_owned(), value),
        ]),
        blocks: Vec::new(),
    });
    let nested = Block {
        inputs: vec![NamedValueType::new("inner", TensorType::scalar(DataType::Bool))],
        operations: Vec::new(),
        outputs: vec!["inner".to_owned()],
    };
    let several = vec![Binding::Name("x".to_owned()), Binding::Value(Value::int32(3)), Binding::Name("c0".to_owned())];
    let last = Operation {
        op: "anything".to_owned(),
        inputs: BTreeMap::from([
            ("values".to_owned(), Argument(several)),
            ("x".to_owned(), Argument::name("x")),
            ("y".to_owned(), Argument::value(Value::bool(true))),
        ]),
        outputs: vec![NamedValueType::new("out", unknown.clone())],
        attributes: BTreeMap::new(),
        blocks: vec![nested],
    };
    let function = Function {
        inputs: vec![NamedValueType::new("x", unknown), NamedValueType::new("cache", ValueType::State(state))],
        opset: Opset::Ios18,
        block: Block {
            inputs: Vec::new(),
            operations: constants.chain([last]).collect(),
            outputs: vec!["out".to_owned()],
        },
        attributes: BTreeMap::from([("note".to_owned(), Value::string("kept"))]),
    };
    Program {
        functions: BTreeMap::from([("infer".to_owned(), function.clone()), ("prefill".to_owned(), function)]),
        attributes: BTreeMap::from([("buildInfo".to_owned(), Value::string("kept"))]),
    }
}

#[test]
fn every_type_and_value_survives() {
    let program = program();
    let bytes = encode(&program).encode_to_vec();
    let message = pb::Program::decode(bytes.as_slice()).expect("own bytes");
    assert_eq!(message, encode(&program));
    assert_eq!(decode(message).expect("own message"), program);
}

/// The error of decoding after `change` to the message of [`program`].
fn error_after(change: impl FnOnce(&mut pb::Program)) -> ProtoError {
    let mut message = encode(&program());
    change(&mut message);
    decode(message).expect_err("broken")
}

fn infer(message: &mut pb::Program) -> &mut pb::Function {
    message.functions.get_mut("infer").expect("is there")
}

fn body(message: &mut pb::Program) -> &mut pb::Block {
    infer(message).block_specializations.get_mut("CoreML8").expect("is there")
}

fn constant(message: &mut pb::Program, index: usize) -> &mut pb::Value {
    body(message).operations[index].attributes.get_mut("val").expect("is there")
}

#[test]
fn what_the_ir_has_no_place_for_is_an_error() {
    let unsupported = |field| ProtoProblem::Unsupported { field };
    assert_eq!(error_after(|message| message.version = 2).problem, ProtoProblem::Version { found: 2 });
    assert_eq!(error_after(|message| message.doc_string = "a".to_owned()).problem, unsupported("docString"));
    let error = error_after(|message| constant(message, 0).doc_string = "a".to_owned());
    assert_eq!(error.problem, unsupported("docString"));
    let error = error_after(|message| {
        body(message).attributes.insert("a".to_owned(), pb::Value::default());
    });
    assert_eq!(error.problem, unsupported("Block.attributes"));
    let error = error_after(|message| {
        infer(message).block_specializations.insert("CoreML7".to_owned(), pb::Block::default());
    });
    assert!(matches!(error.problem, ProtoProblem::Specializations { .. }));
    let error = error_after(|message| infer(message).opset = "CoreML99".to_owned());
    assert_eq!(error.problem, ProtoProblem::Opset { found: "CoreML99".to_owned() });
}

#[test]
fn errors_name_function_operation_and_value() {
    let error = error_after(|message| constant(message, 3).r#type = None);
    assert_eq!(
        error.to_string(),
        "Cannot decode the program, function `infer`, operation 3 (`const` of `c3`), attribute `val`: `type` is missing"
    );
}

#[test]
fn constants_that_contradict_their_types_are_errors() {
    let shorter = |message: &mut pb::Program| {
        let tensor = pb::tensor_value::Value::Floats(pb::tensor_value::RepeatedFloats { values: vec![1.0, 2.0] });
        set_tensor(constant(message, 3), tensor);
    };
    assert!(matches!(error_after(shorter).problem, ProtoProblem::ElementCount { found: 2, .. }));
    let halves_in_floats = |message: &mut pb::Program| {
        let tensor = pb::tensor_value::Value::Floats(pb::tensor_value::RepeatedFloats { values: vec![1.0] });
        set_tensor(constant(message, 4), tensor);
    };
    assert!(matches!(error_after(halves_in_floats).problem, ProtoProblem::Representation { found: "floats", .. }));
    let list_type = |message: &mut pb::Program| constant(message, 0).r#type = constant(message, 13).r#type.clone();
    assert!(matches!(error_after(list_type).problem, ProtoProblem::Kind { found: "tensor", .. }));
    let huge = |message: &mut pb::Program| {
        let Some(pb::value_type::Type::TensorType(tensor)) =
            constant(message, 3).r#type.as_mut().and_then(|ty| ty.r#type.as_mut())
        else {
            panic!("a tensor")
        };
        let size = pb::dimension::ConstantDimension { size: u64::MAX };
        let dimension = pb::Dimension { dimension: Some(pb::dimension::Dimension::Constant(size)) };
        tensor.dimensions = vec![dimension];
        tensor.rank = 1;
    };
    assert!(matches!(error_after(huge).problem, ProtoProblem::ElementCount { .. }));
}

fn set_tensor(value: &mut pb::Value, tensor: pb::tensor_value::Value) {
    let tensor = pb::value::immediate_value::Value::Tensor(pb::TensorValue { value: Some(tensor) });
    value.value = Some(pb::value::Value::ImmediateValue(pb::value::ImmediateValue { value: Some(tensor) }));
}

#[test]
fn types_that_are_incomplete_are_errors() {
    let input = |message: &mut pb::Program, ty: pb::value_type::Type| {
        infer(message).inputs[0].r#type = Some(pb::ValueType { r#type: Some(ty) });
    };
    let tensor = |data_type, rank| pb::TensorType { data_type, rank, ..pb::TensorType::default() };
    let error = error_after(|message| input(message, pb::value_type::Type::TensorType(tensor(40, 0))));
    assert_eq!(error.problem, ProtoProblem::DataType { found: 40 });
    let error = error_after(|message| input(message, pb::value_type::Type::TensorType(tensor(10, -1))));
    assert_eq!(error.problem, ProtoProblem::Rank { rank: -1, dimensions: 0 });
    let error = error_after(|message| input(message, pb::value_type::Type::ListType(Box::default())));
    assert_eq!(error.problem, ProtoProblem::Missing { field: "length" });
    let error = error_after(|message| input(message, pb::value_type::Type::StateType(Box::default())));
    assert_eq!(error.problem, ProtoProblem::Missing { field: "type" });
    let variadic = |message: &mut pb::Program| {
        let unknown = pb::dimension::UnknownDimension { variadic: true };
        let dimension = pb::Dimension { dimension: Some(pb::dimension::Dimension::Unknown(unknown)) };
        let tensor = pb::TensorType { dimensions: vec![dimension], ..tensor(10, 1) };
        input(message, pb::value_type::Type::TensorType(tensor));
    };
    assert_eq!(error_after(variadic).problem, ProtoProblem::Unsupported { field: "variadic" });
}
