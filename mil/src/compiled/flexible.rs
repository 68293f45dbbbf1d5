//! Shapes of flexible inputs, as the attribute of a function in `model.mil`.
//!
//! The attribute comes from the description; a program with unknown axes misbehaves without it.

use std::collections::BTreeMap;

use super::CompiledError;
use crate::dtype::DataType;
use crate::package::{FunctionDescription, MultiArray, ShapeFlexibility, SizeRange};
use crate::types::{Dimension, TensorType, ValueType};
use crate::value::{TensorData, Value, ValueData};

/// Name of the attribute.
pub(super) const FLEXIBLE_SHAPES: &str = "FlexibleShapeInformation";

/// Labels of enumerated shapes, by input and shape. How Core ML's compiler derives them is not known.
///
/// # Source
/// `model.mil` of compiled models that have these inputs as their only flexible ones.
const LABELS: [(&str, &[u64], &str); 5] = [
    ("input", &[1], "543d0f94"),
    ("input", &[2], "697b758f"),
    ("input", &[4], "9e38c1a4"),
    ("input_ids", &[1, 1], "79ae981e"),
    ("input_ids", &[1, 64], "ed9b58c8"),
];

/// The label of a shape of an input, where it is known.
fn known_label(feature: &str, shape: &[u64]) -> Option<String> {
    LABELS.iter().find(|row| (row.0, row.1) == (feature, shape)).map(|row| row.2.to_owned())
}

/// Whether the shapes of an input that is the only flexible one of its function have a known compiled form: ranges with
/// bounds, and enumerated shapes whose labels are known.
pub fn has_known_form(feature: &str, flexibility: &ShapeFlexibility) -> bool {
    match flexibility {
        ShapeFlexibility::Enumerated(shapes) => shapes.iter().all(|shape| known_label(feature, shape).is_some()),
        ShapeFlexibility::Ranges(ranges) => ranges.iter().all(|range| range.upper.is_some()),
    }
}

/// The attribute of a function, if it has flexible inputs.
///
/// # Errors
/// The shapes have no known compiled form.
pub(super) fn attribute(function: &FunctionDescription) -> Result<Option<Value>, CompiledError> {
    labeled_attribute(function, known_label)
}

/// Whether `found` is the attribute of a function, whatever its labels are. One without a known form is taken as it is.
pub(super) fn is_attribute(function: &FunctionDescription, found: Option<&Value>) -> bool {
    let labels = found.and_then(Labels::of);
    let label = |feature: &str, shape: &[u64]| {
        let labels = labels.as_ref().filter(|labels| labels.input == feature)?;
        labels.by_shape.iter().find(|row| row.0 == shape).map(|row| row.1.clone())
    };
    match labeled_attribute(function, label) {
        Ok(expected) => expected.as_ref() == found,
        Err(_) => found.is_some(),
    }
}

fn labeled_attribute(
    function: &FunctionDescription,
    label: impl Fn(&str, &[u64]) -> Option<String>,
) -> Result<Option<Value>, CompiledError> {
    let mut flexible: BTreeMap<&str, (&MultiArray, &ShapeFlexibility)> = BTreeMap::new();
    for input in &function.inputs {
        let array = input.array();
        if let Some(flexibility) = &array.flexibility {
            flexible.insert(&input.name, (array, flexibility));
        }
    }
    let failed = |feature: &str, problem| CompiledError::Flexible {
        function: function.name.clone(),
        feature: feature.to_owned(),
        problem,
    };
    let Some((first, (_, kind))) = flexible.first_key_value() else { return Ok(None) };
    let mut defaults = Vec::new();
    let mut ranges = Vec::new();
    for (name, (array, flexibility)) in &flexible {
        let too_large = || failed(name, "has a length beyond 32 bits");
        defaults.push((text(name), vector(&default_shape(array, flexibility)).ok_or_else(too_large)?));
        if let ShapeFlexibility::Ranges(of_axes) = flexibility {
            let bounds = of_axes.iter().map(|range| bounds(*range)).collect::<Option<Vec<_>>>();
            let bounds = bounds.ok_or_else(|| failed(name, "has an axis without a bound, which has no known form"))?;
            ranges.push((text(name), Value { ty: range_list(), data: ValueData::List(bounds) }));
        }
    }
    let shapes = match kind {
        ShapeFlexibility::Ranges(_) if ranges.len() == flexible.len() => {
            section("RangeDims", dictionary(range_list(), ranges))
        }
        ShapeFlexibility::Enumerated(shapes) if flexible.len() == 1 => enumerated(first, shapes, label)
            .ok_or_else(|| failed(first, "has enumerated shapes whose labels are not known; a range would do"))?,
        _ => return Err(failed(first, "is flexible beside others, and not all have ranges; this has no known form")),
    };
    Ok(Some(tuple(vec![section("DefaultShapes", dictionary(shape_type(), defaults)), shapes])))
}

fn default_shape(array: &MultiArray, flexibility: &ShapeFlexibility) -> Vec<u64> {
    if !array.shape.is_empty() {
        return array.shape.clone();
    }
    match flexibility {
        ShapeFlexibility::Enumerated(shapes) => shapes.first().cloned().unwrap_or_default(),
        ShapeFlexibility::Ranges(ranges) => ranges.iter().map(|range| range.lower).collect(),
    }
}

/// Shapes by label, sorted by it.
fn enumerated(feature: &str, shapes: &[Vec<u64>], label: impl Fn(&str, &[u64]) -> Option<String>) -> Option<Value> {
    let mut labeled = BTreeMap::new();
    for shape in shapes {
        labeled.insert(label(feature, shape)?, vector(shape)?);
    }
    let by_input = dictionary_type(shape_type());
    let entries = labeled
        .into_iter()
        .map(|(label, shape)| (text(&label), dictionary(shape_type(), vec![(text(feature), shape)])))
        .collect();
    Some(section("EnumeratedShapes", dictionary(by_input, entries)))
}

/// The labels of one input's shapes.
struct Labels {
    input: String,
    by_shape: Vec<(Vec<u64>, String)>,
}

impl Labels {
    /// The labels in an attribute, if it has enumerated shapes of one input.
    fn of(attribute: &Value) -> Option<Self> {
        let ValueData::Tuple(sections) = &attribute.data else { return None };
        let ValueData::Tuple(section) = &sections.get(1)?.data else { return None };
        let ValueData::Dictionary(entries) = &section.get(1)?.data else { return None };
        let mut input = None;
        let mut by_shape = Vec::new();
        for (label, by_input) in entries {
            let ValueData::Dictionary(by_input) = &by_input.data else { return None };
            let [(name, shape)] = by_input.as_slice() else { return None };
            let shape = shape.as_ints()?.into_iter().map(u64::try_from).collect::<Result<_, _>>().ok()?;
            by_shape.push((shape, label.as_str()?.to_owned()));
            input = Some(name.as_str()?.to_owned());
        }
        Some(Self { input: input?, by_shape })
    }
}

fn shape_type() -> ValueType {
    TensorType { dtype: DataType::Int32, shape: vec![Dimension::Unknown] }.into()
}

fn range_list() -> ValueType {
    ValueType::List(Box::new(TensorType::fixed(DataType::Int32, &[2]).into()), Dimension::Unknown)
}

fn bounds(range: SizeRange) -> Option<Value> {
    Some(Value::int32s(&[i32::try_from(range.lower).ok()?, i32::try_from(range.upper?).ok()?]))
}

fn vector(shape: &[u64]) -> Option<Value> {
    let lengths = shape.iter().map(|length| i32::try_from(*length).ok()).collect::<Option<_>>()?;
    Some(Value { ty: shape_type(), data: ValueData::Tensor(TensorData::Ints(lengths)) })
}

fn text(text: &str) -> Value {
    Value::string(text)
}

fn dictionary_type(value: ValueType) -> ValueType {
    ValueType::Dictionary(Box::new(ValueType::string()), Box::new(value))
}

fn dictionary(value: ValueType, entries: Vec<(Value, Value)>) -> Value {
    Value { ty: dictionary_type(value), data: ValueData::Dictionary(entries) }
}

fn section(name: &str, content: Value) -> Value {
    tuple(vec![text(name), content])
}

fn tuple(values: Vec<Value>) -> Value {
    Value {
        ty: ValueType::Tuple(values.iter().map(|value| value.ty.clone()).collect()),
        data: ValueData::Tuple(values),
    }
}
