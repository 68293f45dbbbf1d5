//! The classes of a classifier, which its program holds.

use super::FunctionDescription;
use crate::program::{Function, Operation};
use crate::value::{TensorData, Value, ValueData};

/// A class of a classifier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClassLabel {
    /// A name.
    Text(String),
    /// A number.
    Integer(i64),
}

impl std::fmt::Display for ClassLabel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Integer(integer) => write!(f, "{integer}"),
        }
    }
}

/// The classes of a classifier in the order of its probabilities: the list that the operation takes that gives the predicted
/// class. None of a function that does not classify.
pub fn class_labels(description: &FunctionDescription, function: &Function) -> Option<Vec<ClassLabel>> {
    let predicted = &description.classifier.as_ref()?.predicted_feature;
    let gives = |operation: &&Operation| operation.outputs.iter().any(|output| output.name == *predicted);
    let operation = function.block.operations.iter().find(gives)?;
    operation.values().find_map(|(_, value)| match &value.data {
        ValueData::List(values) => values.iter().map(label).collect(),
        _ => None,
    })
}

fn label(value: &Value) -> Option<ClassLabel> {
    match value.tensor_data()? {
        TensorData::Strings(texts) => texts.first().cloned().map(ClassLabel::Text),
        TensorData::LongInts(integers) => integers.first().copied().map(ClassLabel::Integer),
        _ => None,
    }
}
