//! IR to protobuf. Every program has a protobuf form, so nothing here can fail.

use std::collections::BTreeMap;

use anec_schemas::proto::mil_spec as pb;

use crate::program::{Argument, Binding, Block, Function, NamedValueType, Operation, Program};
use crate::types::{Dimension, TensorType, ValueType};
use crate::value::{TensorData, Value, ValueData};

use super::PROGRAM_VERSION;

/// The protobuf form of a program.
pub fn encode(program: &Program) -> pb::Program {
    pb::Program {
        version: PROGRAM_VERSION,
        functions: program.functions.iter().map(|(name, function)| (name.clone(), encode_function(function))).collect(),
        doc_string: String::new(),
        attributes: attributes(&program.attributes),
    }
}

fn attributes(attributes: &BTreeMap<String, Value>) -> BTreeMap<String, pb::Value> {
    attributes.iter().map(|(name, value)| (name.clone(), encode_value(value))).collect()
}

fn encode_function(function: &Function) -> pb::Function {
    let opset = function.opset.proto_name().to_owned();
    pb::Function {
        inputs: function.inputs.iter().map(named_type).collect(),
        block_specializations: BTreeMap::from([(opset.clone(), block(&function.block))]),
        opset,
        attributes: attributes(&function.attributes),
    }
}

fn block(block_: &Block) -> pb::Block {
    pb::Block {
        inputs: block_.inputs.iter().map(named_type).collect(),
        outputs: block_.outputs.clone(),
        operations: block_.operations.iter().map(operation).collect(),
        attributes: BTreeMap::new(),
    }
}

fn operation(operation: &Operation) -> pb::Operation {
    pb::Operation {
        r#type: operation.op.clone(),
        inputs: operation.inputs.iter().map(|(name, value)| (name.clone(), argument(value))).collect(),
        outputs: operation.outputs.iter().map(named_type).collect(),
        blocks: operation.blocks.iter().map(block).collect(),
        attributes: attributes(&operation.attributes),
    }
}

fn argument(argument: &Argument) -> pb::Argument {
    let binding = |binding: &Binding| match binding {
        Binding::Name(name) => pb::argument::binding::Binding::Name(name.clone()),
        Binding::Value(value) => pb::argument::binding::Binding::Value(encode_value(value)),
    };
    let wrap = |inner| pb::argument::Binding { binding: Some(inner) };
    pb::Argument { arguments: argument.0.iter().map(binding).map(wrap).collect() }
}

fn named_type(named: &NamedValueType) -> pb::NamedValueType {
    pb::NamedValueType { name: named.name.clone(), r#type: Some(value_type(&named.ty)) }
}

fn value_type(ty: &ValueType) -> pb::ValueType {
    use pb::value_type::Type;
    let inner = match ty {
        ValueType::Tensor(tensor) => Type::TensorType(tensor_type(tensor)),
        ValueType::State(tensor) => {
            let wrapped = pb::ValueType { r#type: Some(Type::TensorType(tensor_type(tensor))) };
            Type::StateType(Box::new(pb::StateType { wrapped_type: Some(Box::new(wrapped)) }))
        }
        ValueType::List(element, length) => Type::ListType(Box::new(pb::ListType {
            r#type: Some(Box::new(value_type(element))),
            length: Some(dimension(*length)),
        })),
        ValueType::Tuple(elements) => {
            Type::TupleType(pb::TupleType { types: elements.iter().map(value_type).collect() })
        }
        ValueType::Dictionary(key, value) => Type::DictionaryType(Box::new(pb::DictionaryType {
            key_type: Some(Box::new(value_type(key))),
            value_type: Some(Box::new(value_type(value))),
        })),
    };
    pb::ValueType { r#type: Some(inner) }
}

fn tensor_type(tensor: &TensorType) -> pb::TensorType {
    pb::TensorType {
        data_type: tensor.dtype.proto_number(),
        rank: i64::try_from(tensor.rank()).unwrap_or(i64::MAX),
        dimensions: tensor.shape.iter().copied().map(dimension).collect(),
        attributes: BTreeMap::new(),
    }
}

fn dimension(dimension: Dimension) -> pb::Dimension {
    use pb::dimension::{ConstantDimension, Dimension as Inner, UnknownDimension};
    let inner = match dimension {
        Dimension::Fixed(size) => Inner::Constant(ConstantDimension { size }),
        Dimension::Unknown => Inner::Unknown(UnknownDimension { variadic: false }),
    };
    pb::Dimension { dimension: Some(inner) }
}

fn encode_value(value: &Value) -> pb::Value {
    use pb::value::immediate_value::Value as Immediate;
    use pb::value::{BlobFileValue, ImmediateValue, Value as Inner};
    let immediate = |immediate| Inner::ImmediateValue(ImmediateValue { value: Some(immediate) });
    let inner = match &value.data {
        ValueData::Tensor(data) => immediate(Immediate::Tensor(tensor_data(data))),
        ValueData::Tuple(values) => {
            immediate(Immediate::Tuple(pb::TupleValue { values: values.iter().map(encode_value).collect() }))
        }
        ValueData::List(values) => {
            immediate(Immediate::List(pb::ListValue { values: values.iter().map(encode_value).collect() }))
        }
        ValueData::Dictionary(entries) => immediate(Immediate::Dictionary(pb::DictionaryValue {
            values: entries
                .iter()
                .map(|(key, value)| pb::dictionary_value::KeyValuePair {
                    key: Some(encode_value(key)),
                    value: Some(encode_value(value)),
                })
                .collect(),
        })),
        ValueData::Blob(reference) => {
            Inner::BlobFileValue(BlobFileValue { file_name: reference.file_name.clone(), offset: reference.offset })
        }
    };
    pb::Value { doc_string: String::new(), r#type: Some(value_type(&value.ty)), value: Some(inner) }
}

fn tensor_data(data: &TensorData) -> pb::TensorValue {
    use pb::tensor_value as tv;
    let inner = match data {
        TensorData::Floats(values) => tv::Value::Floats(tv::RepeatedFloats { values: values.clone() }),
        TensorData::Ints(values) => tv::Value::Ints(tv::RepeatedInts { values: values.clone() }),
        TensorData::Bools(values) => tv::Value::Bools(tv::RepeatedBools { values: values.clone() }),
        TensorData::Strings(values) => tv::Value::Strings(tv::RepeatedStrings { values: values.clone() }),
        TensorData::LongInts(values) => tv::Value::LongInts(tv::RepeatedLongInts { values: values.clone() }),
        TensorData::Doubles(values) => tv::Value::Doubles(tv::RepeatedDoubles { values: values.clone() }),
        TensorData::Bytes(values) => tv::Value::Bytes(tv::RepeatedBytes { values: values.clone() }),
    };
    pb::TensorValue { value: Some(inner) }
}
