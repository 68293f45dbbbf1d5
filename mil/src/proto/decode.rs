//! Protobuf to IR. Whatever the IR has no place for is an error that names the function, operation and value.

use std::collections::BTreeMap;

use anec_schemas::proto::mil_spec as pb;

use crate::dtype::DataType;
use crate::opset::Opset;
use crate::program::{Argument, Binding, Block, Function, NamedValueType, Operation, Program};
use crate::types::{Dimension, TensorType, ValueType};
use crate::value::{BlobReference, TensorData, Value, ValueData};

use super::{PROGRAM_VERSION, immediate};

/// A program that cannot be decoded.
#[derive(Debug, thiserror::Error)]
#[error("Cannot decode {location}: {problem}")]
pub struct ProtoError {
    /// Where, outermost first.
    pub location: String,
    /// What is wrong there.
    pub problem: ProtoProblem,
}

/// What is wrong with a program message.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtoProblem {
    /// A version of the program format that is not known.
    #[error("program version {found}, expected {PROGRAM_VERSION}")]
    Version {
        /// The version found.
        found: i64,
    },
    /// Something that is there but that the IR has no place for.
    #[error("`{field}` is set, which is not supported")]
    Unsupported {
        /// The field.
        field: &'static str,
    },
    /// Something that must be there.
    #[error("`{field}` is missing")]
    Missing {
        /// The field.
        field: &'static str,
    },
    /// An operation set that is not known.
    #[error("unknown operation set `{found}`")]
    Opset {
        /// The name found.
        found: String,
    },
    /// A function has other bodies than the one of its operation set.
    #[error("bodies for [{found}], expected one for `{expected}`")]
    Specializations {
        /// The operation sets found.
        found: String,
        /// The function's operation set.
        expected: String,
    },
    /// An element type that is not known.
    #[error("unknown element type {found}")]
    DataType {
        /// The number found.
        found: i32,
    },
    /// The rank is not the number of dimensions.
    #[error("rank {rank}, but {dimensions} dimensions")]
    Rank {
        /// The rank found.
        rank: i64,
        /// The dimensions found.
        dimensions: usize,
    },
    /// The data of a constant is of another kind than its type.
    #[error("the constant is a {found}, but its type is {ty}")]
    Kind {
        /// The kind of data.
        found: &'static str,
        /// The type.
        ty: String,
    },
    /// The elements are in another representation than their type's.
    #[error("elements of {dtype} are in `{found}`, expected `{expected}`")]
    Representation {
        /// The element type.
        dtype: DataType,
        /// The field found.
        found: &'static str,
        /// The field expected.
        expected: &'static str,
    },
    /// There are more or fewer elements than the type has.
    #[error("{found} `{unit}` for {ty}")]
    ElementCount {
        /// The type.
        ty: String,
        /// Entries found.
        found: usize,
        /// The field that they are in.
        unit: &'static str,
    },
}

use ProtoProblem::{Missing, Unsupported};

/// Places are collected innermost first, and only when something is wrong.
struct Located {
    places: Vec<String>,
    problem: ProtoProblem,
}

impl From<ProtoProblem> for Located {
    fn from(problem: ProtoProblem) -> Self {
        Self { places: Vec::new(), problem }
    }
}

type Decoded<T> = Result<T, Located>;

trait At<T> {
    fn at(self, place: impl FnOnce() -> String) -> Decoded<T>;
}

impl<T> At<T> for Decoded<T> {
    fn at(self, place: impl FnOnce() -> String) -> Self {
        self.map_err(|mut located| {
            located.places.push(place());
            located
        })
    }
}

/// The IR of a program message.
///
/// # Errors
/// See [`ProtoProblem`].
pub fn decode(program: pb::Program) -> Result<Program, ProtoError> {
    decode_program(program).map_err(|Located { mut places, problem }| {
        places.push("the program".to_owned());
        places.reverse();
        ProtoError { location: places.join(", "), problem }
    })
}

fn decode_program(program: pb::Program) -> Decoded<Program> {
    if program.version != PROGRAM_VERSION {
        return Err(ProtoProblem::Version { found: program.version }.into());
    }
    no_doc_string(&program.doc_string)?;
    let mut functions = BTreeMap::new();
    for (name, function) in program.functions {
        let decoded = decode_function(function).at(|| format!("function `{name}`"))?;
        functions.insert(name, decoded);
    }
    Ok(Program { functions, attributes: attributes(program.attributes)? })
}

fn no_doc_string(text: &str) -> Decoded<()> {
    if text.is_empty() { Ok(()) } else { Err(Unsupported { field: "docString" }.into()) }
}

fn attributes(attributes: BTreeMap<String, pb::Value>) -> Decoded<BTreeMap<String, Value>> {
    let mut decoded = BTreeMap::new();
    for (name, attribute) in attributes {
        let attribute = value(attribute).at(|| format!("attribute `{name}`"))?;
        decoded.insert(name, attribute);
    }
    Ok(decoded)
}

fn decode_function(mut function: pb::Function) -> Decoded<Function> {
    let Some(opset) = Opset::from_proto_name(&function.opset) else {
        return Err(ProtoProblem::Opset { found: function.opset }.into());
    };
    let body = function.block_specializations.remove(&function.opset);
    let (Some(body), true) = (body, function.block_specializations.is_empty()) else {
        let found = function.block_specializations.into_keys().collect::<Vec<_>>().join(", ");
        return Err(ProtoProblem::Specializations { found, expected: function.opset }.into());
    };
    Ok(Function {
        inputs: named_types(function.inputs, "input")?,
        opset,
        block: block(body)?,
        attributes: attributes(function.attributes)?,
    })
}

fn block(message: pb::Block) -> Decoded<Block> {
    if !message.attributes.is_empty() {
        return Err(Unsupported { field: "Block.attributes" }.into());
    }
    let mut operations = Vec::with_capacity(message.operations.len());
    for (index, message) in message.operations.into_iter().enumerate() {
        let result = message.outputs.first().map(|output| output.name.clone()).unwrap_or_default();
        let op = message.r#type.clone();
        operations.push(operation(message).at(|| format!("operation {index} (`{op}` of `{result}`)"))?);
    }
    Ok(Block { inputs: named_types(message.inputs, "block input")?, operations, outputs: message.outputs })
}

fn operation(message: pb::Operation) -> Decoded<Operation> {
    let mut inputs = BTreeMap::new();
    for (name, message) in message.inputs {
        let decoded = argument(message).at(|| format!("input `{name}`"))?;
        inputs.insert(name, decoded);
    }
    let mut blocks = Vec::with_capacity(message.blocks.len());
    for (index, message) in message.blocks.into_iter().enumerate() {
        blocks.push(block(message).at(|| format!("block {index}"))?);
    }
    Ok(Operation {
        op: message.r#type,
        inputs,
        outputs: named_types(message.outputs, "output")?,
        attributes: attributes(message.attributes)?,
        blocks,
    })
}

fn argument(message: pb::Argument) -> Decoded<Argument> {
    let binding = |message: pb::argument::Binding| match message.binding {
        Some(pb::argument::binding::Binding::Name(name)) => Ok(Binding::Name(name)),
        Some(pb::argument::binding::Binding::Value(message)) => Ok(Binding::Value(value(message)?)),
        None => Err(Missing { field: "binding" }.into()),
    };
    message.arguments.into_iter().map(binding).collect::<Decoded<_>>().map(Argument)
}

fn named_types(messages: Vec<pb::NamedValueType>, role: &str) -> Decoded<Vec<NamedValueType>> {
    let decode = |message: pb::NamedValueType| {
        let ty = required_type(message.r#type).at(|| format!("{role} `{}`", message.name))?;
        Ok(NamedValueType { name: message.name, ty })
    };
    messages.into_iter().map(decode).collect()
}

fn required_type(message: Option<pb::ValueType>) -> Decoded<ValueType> {
    value_type(message.ok_or(Missing { field: "type" })?)
}

fn boxed_type(message: Option<Box<pb::ValueType>>) -> Decoded<ValueType> {
    required_type(message.map(|message| *message))
}

fn value_type(message: pb::ValueType) -> Decoded<ValueType> {
    use pb::value_type::Type;
    match message.r#type {
        Some(Type::TensorType(tensor)) => Ok(ValueType::Tensor(tensor_type(tensor)?)),
        Some(Type::ListType(list)) => {
            let length = dimension(list.length.ok_or(Missing { field: "length" })?)?;
            Ok(ValueType::List(Box::new(boxed_type(list.r#type)?), length))
        }
        Some(Type::TupleType(tuple)) => {
            tuple.types.into_iter().map(value_type).collect::<Decoded<_>>().map(ValueType::Tuple)
        }
        Some(Type::DictionaryType(dictionary)) => Ok(ValueType::Dictionary(
            Box::new(boxed_type(dictionary.key_type)?),
            Box::new(boxed_type(dictionary.value_type)?),
        )),
        Some(Type::StateType(state)) => match boxed_type(state.wrapped_type)? {
            ValueType::Tensor(tensor) => Ok(ValueType::State(tensor)),
            _ => Err(Unsupported { field: "state of a type other than a tensor" }.into()),
        },
        None => Err(Missing { field: "type" }.into()),
    }
}

fn tensor_type(message: pb::TensorType) -> Decoded<TensorType> {
    if !message.attributes.is_empty() {
        return Err(Unsupported { field: "TensorType.attributes" }.into());
    }
    let Some(dtype) = DataType::from_proto_number(message.data_type) else {
        return Err(ProtoProblem::DataType { found: message.data_type }.into());
    };
    if usize::try_from(message.rank) != Ok(message.dimensions.len()) {
        return Err(ProtoProblem::Rank { rank: message.rank, dimensions: message.dimensions.len() }.into());
    }
    let shape = message.dimensions.into_iter().map(dimension).collect::<Decoded<_>>()?;
    Ok(TensorType { dtype, shape })
}

fn dimension(message: pb::Dimension) -> Decoded<Dimension> {
    match message.dimension {
        Some(pb::dimension::Dimension::Constant(constant)) => Ok(Dimension::Fixed(constant.size)),
        Some(pb::dimension::Dimension::Unknown(unknown)) if !unknown.variadic => Ok(Dimension::Unknown),
        Some(pb::dimension::Dimension::Unknown(_)) => Err(Unsupported { field: "variadic" }.into()),
        None => Err(Missing { field: "dimension" }.into()),
    }
}

fn value(message: pb::Value) -> Decoded<Value> {
    no_doc_string(&message.doc_string)?;
    let ty = required_type(message.r#type)?;
    let data = match message.value {
        Some(pb::value::Value::BlobFileValue(blob)) => {
            ValueData::Blob(BlobReference { file_name: blob.file_name, offset: blob.offset })
        }
        Some(pb::value::Value::ImmediateValue(message)) => immediate_value(message)?,
        None => return Err(Missing { field: "value" }.into()),
    };
    let found = match (&ty, &data) {
        (ValueType::Tensor(tensor), ValueData::Tensor(elements)) => {
            immediate::check(tensor, elements)?;
            None
        }
        (ValueType::Tensor(_), ValueData::Blob(_))
        | (ValueType::Tuple(_), ValueData::Tuple(_))
        | (ValueType::List(..), ValueData::List(_))
        | (ValueType::Dictionary(..), ValueData::Dictionary(_)) => None,
        (_, ValueData::Tensor(_)) => Some("tensor"),
        (_, ValueData::Tuple(_)) => Some("tuple"),
        (_, ValueData::List(_)) => Some("list"),
        (_, ValueData::Dictionary(_)) => Some("dictionary"),
        (_, ValueData::Blob(_)) => Some("blob"),
    };
    match found {
        Some(found) => Err(ProtoProblem::Kind { found, ty: ty.to_string() }.into()),
        None => Ok(Value { ty, data }),
    }
}

fn immediate_value(message: pb::value::ImmediateValue) -> Decoded<ValueData> {
    use pb::value::immediate_value::Value as Immediate;
    match message.value {
        Some(Immediate::Tensor(tensor)) => Ok(ValueData::Tensor(tensor_data(tensor)?)),
        Some(Immediate::Tuple(tuple)) => {
            tuple.values.into_iter().map(value).collect::<Decoded<_>>().map(ValueData::Tuple)
        }
        Some(Immediate::List(list)) => list.values.into_iter().map(value).collect::<Decoded<_>>().map(ValueData::List),
        Some(Immediate::Dictionary(dictionary)) => {
            let entry = |message: pb::dictionary_value::KeyValuePair| {
                let key = value(message.key.ok_or(Missing { field: "key" })?)?;
                Ok((key, value(message.value.ok_or(Missing { field: "value" })?)?))
            };
            dictionary.values.into_iter().map(entry).collect::<Decoded<_>>().map(ValueData::Dictionary)
        }
        None => Err(Missing { field: "immediateValue" }.into()),
    }
}

fn tensor_data(message: pb::TensorValue) -> Decoded<TensorData> {
    use pb::tensor_value::Value as Inner;
    Ok(match message.value {
        Some(Inner::Floats(list)) => TensorData::Floats(list.values),
        Some(Inner::Ints(list)) => TensorData::Ints(list.values),
        Some(Inner::Bools(list)) => TensorData::Bools(list.values),
        Some(Inner::Strings(list)) => TensorData::Strings(list.values),
        Some(Inner::LongInts(list)) => TensorData::LongInts(list.values),
        Some(Inner::Doubles(list)) => TensorData::Doubles(list.values),
        Some(Inner::Bytes(list)) => TensorData::Bytes(list.values),
        None => return Err(Missing { field: "tensor" }.into()),
    })
}
