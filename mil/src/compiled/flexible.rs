//! Shapes of flexible inputs, as the attribute of a function in `model.mil`.
//!
//! The attribute comes from the description; a program with unknown axes misbehaves without it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use sha2::{Digest as _, Sha256};

use super::CompiledError;
use crate::dtype::DataType;
use crate::package::{
    FeatureDescription, FeatureType, FunctionDescription, ImageFlexibility, ShapeFlexibility, SizeRange,
};
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

/// A label of our own: Core ML's are eight hexadecimal digits that tell shapes apart, and so is this.
fn own_label(shapes: &[(&str, &[u64])]) -> String {
    let mut hash = Sha256::new();
    for (feature, shape) in shapes {
        hash.update(format!("{feature}{shape:?}"));
    }
    let digest: [u8; 32] = hash.finalize().into();
    let [a, b, c, d, ..] = digest;
    format!("{:08x}", u32::from_be_bytes([a, b, c, d]))
}

/// Whether the shapes of an input that is the only flexible one of its function have a known compiled form: ranges with
/// bounds, and enumerated shapes whose labels are known.
pub fn has_known_form(feature: &str, flexibility: &ShapeFlexibility) -> bool {
    unproven_shapes(feature, flexibility).is_none()
}

/// What is not known about the compiled form of a flexible input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum UnknownForm {
    /// The labels of enumerated shapes, but not how they are written.
    Labels,
    /// How no upper bound is written.
    Unbounded,
    /// How enumerated shapes of several inputs are.
    Several,
    /// How sizes of images are.
    Image,
}

impl fmt::Display for UnknownForm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Labels => "enumerated shapes whose labels are not known; a range would do",
            Self::Unbounded => "an axis without a bound",
            Self::Several => "enumerated shapes beside those of other inputs",
            Self::Image => "an image of several sizes",
        })
    }
}

/// What is not known about the compiled form of shapes.
fn unproven_shapes(feature: &str, flexibility: &ShapeFlexibility) -> Option<UnknownForm> {
    match flexibility {
        ShapeFlexibility::Enumerated(shapes) => {
            let unknown = shapes.iter().any(|shape| known_label(feature, shape).is_none());
            unknown.then_some(UnknownForm::Labels)
        }
        ShapeFlexibility::Ranges(ranges) => {
            ranges.iter().any(|range| range.upper.is_none()).then_some(UnknownForm::Unbounded)
        }
    }
}

/// An input that takes several shapes, as the program sees them.
struct FlexibleInput<'a> {
    name: &'a str,
    default: Vec<u64>,
    shapes: Cow<'a, ShapeFlexibility>,
    is_image: bool,
}

impl<'a> FlexibleInput<'a> {
    fn of(input: &'a FeatureDescription) -> Option<Self> {
        match &input.ty {
            FeatureType::MultiArray(array) => {
                let shapes = array.flexibility.as_ref()?;
                let default = default_shape(&array.shape, shapes);
                Some(Self { name: &input.name, default, shapes: Cow::Borrowed(shapes), is_image: false })
            }
            FeatureType::Image(image) => {
                let shapes = match image.flexibility.as_ref()? {
                    ImageFlexibility::Enumerated(sizes) => {
                        ShapeFlexibility::Enumerated(sizes.iter().map(|size| image.shape(*size).to_vec()).collect())
                    }
                    ImageFlexibility::Ranges { .. } => ShapeFlexibility::Ranges(image.ranges()?.to_vec()),
                };
                let shape = if image.size.width == 0 { Vec::new() } else { image.shape(image.size).to_vec() };
                let default = default_shape(&shape, &shapes);
                Some(Self { name: &input.name, default, shapes: Cow::Owned(shapes), is_image: true })
            }
            _ => None,
        }
    }

    /// The flexible inputs of a function, by name.
    fn all(function: &'a FunctionDescription) -> Vec<Self> {
        let mut inputs: Vec<Self> = function.inputs.iter().filter_map(Self::of).collect();
        inputs.sort_by_key(|input| input.name);
        inputs
    }
}

/// What is not known about the compiled form of the flexible inputs of a function, by input.
pub(super) fn unproven(function: &FunctionDescription) -> Vec<(String, UnknownForm)> {
    let inputs = FlexibleInput::all(function);
    let is_enumerated = |input: &FlexibleInput<'_>| matches!(*input.shapes, ShapeFlexibility::Enumerated(_));
    let several = inputs.len() > 1 && inputs.iter().any(is_enumerated);
    let unknown = |input: &FlexibleInput<'_>| {
        if input.is_image {
            Some(UnknownForm::Image)
        } else if several {
            Some(UnknownForm::Several)
        } else {
            unproven_shapes(input.name, &input.shapes)
        }
    };
    inputs.iter().filter_map(|input| Some((input.name.to_owned(), unknown(input)?))).collect()
}

/// The attribute of a function, if it has flexible inputs. What is not known of it is written as the rest is.
///
/// # Errors
/// The shapes have no such form.
pub(super) fn attribute(function: &FunctionDescription) -> Result<Option<Value>, CompiledError> {
    labeled_attribute(function, |shapes| match shapes {
        [(feature, shape)] => known_label(feature, shape).unwrap_or_else(|| own_label(shapes)),
        _ => own_label(shapes),
    })
}

/// Whether `found` is the attribute of a function, whatever its labels are. One without a known form is taken as it is.
pub(super) fn is_attribute(function: &FunctionDescription, found: Option<&Value>) -> bool {
    if unproven(function).iter().any(|(_, unknown)| *unknown != UnknownForm::Labels) {
        return found.is_some();
    }
    let labels = found.and_then(Labels::of);
    let expected = labeled_attribute(function, |shapes| {
        let [(feature, shape)] = shapes else { return String::new() };
        let labels = labels.as_ref().filter(|labels| labels.input == *feature);
        let row = labels.and_then(|labels| labels.by_shape.iter().find(|row| row.0 == *shape));
        row.map(|row| row.1.clone()).unwrap_or_default()
    });
    match expected {
        Ok(expected) => expected.as_ref() == found,
        Err(_) => found.is_some(),
    }
}

fn labeled_attribute(
    function: &FunctionDescription,
    label: impl Fn(&[(&str, &[u64])]) -> String,
) -> Result<Option<Value>, CompiledError> {
    let flexible = FlexibleInput::all(function);
    let failed = |feature: &str, problem| CompiledError::Flexible {
        function: function.name.clone(),
        feature: feature.to_owned(),
        problem,
    };
    let Some(first) = flexible.first() else { return Ok(None) };
    let too_large = |feature: &str| failed(feature, "has a length beyond 32 bits");
    let mut defaults = Vec::new();
    let mut ranges = Vec::new();
    let mut enumerated = Vec::new();
    for input in &flexible {
        defaults.push((text(input.name), vector(&input.default).ok_or_else(|| too_large(input.name))?));
        match &*input.shapes {
            ShapeFlexibility::Ranges(of_axes) => {
                let bounds = of_axes.iter().map(|range| bounds(*range)).collect::<Option<Vec<_>>>();
                let bounds = bounds.ok_or_else(|| too_large(input.name))?;
                ranges.push((text(input.name), Value { ty: range_list(), data: ValueData::List(bounds) }));
            }
            ShapeFlexibility::Enumerated(shapes) => enumerated.push((input.name, shapes.as_slice())),
        }
    }
    let shapes = if ranges.len() == flexible.len() {
        section("RangeDims", dictionary(range_list(), ranges))
    } else if enumerated.len() < flexible.len() {
        return Err(failed(
            first.name,
            "is flexible beside others, of which some have ranges and some have listed shapes",
        ));
    } else {
        labeled_shapes(&enumerated, label).ok_or_else(|| {
            failed(first.name, "has enumerated shapes that are not as many as those of other inputs, or too long")
        })?
    };
    Ok(Some(tuple(vec![section("DefaultShapes", dictionary(shape_type(), defaults)), shapes])))
}

fn default_shape(shape: &[u64], flexibility: &ShapeFlexibility) -> Vec<u64> {
    if !shape.is_empty() {
        return shape.to_vec();
    }
    match flexibility {
        ShapeFlexibility::Enumerated(shapes) => shapes.first().cloned().unwrap_or_default(),
        ShapeFlexibility::Ranges(ranges) => ranges.iter().map(|range| range.lower).collect(),
    }
}

/// Shapes by label, sorted by it: the first of every input, then the second of every input, and so on.
fn labeled_shapes(inputs: &[(&str, &[Vec<u64>])], label: impl Fn(&[(&str, &[u64])]) -> String) -> Option<Value> {
    let count = inputs.first()?.1.len();
    let mut labeled = BTreeMap::new();
    for index in 0..count {
        let shapes: Vec<(&str, &[u64])> =
            inputs.iter().map(|(name, shapes)| Some((*name, shapes.get(index)?.as_slice()))).collect::<Option<_>>()?;
        let entries = shapes.iter().map(|(name, shape)| Some((text(name), vector(shape)?))).collect::<Option<_>>()?;
        labeled.insert(label(&shapes), dictionary(shape_type(), entries));
    }
    let complete = inputs.iter().all(|(_, shapes)| shapes.len() == count);
    let entries = labeled.into_iter().map(|(label, shapes)| (text(&label), shapes)).collect();
    complete.then(|| section("EnumeratedShapes", dictionary(dictionary_type(shape_type()), entries)))
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

/// The bounds of an axis; no upper bound is written as the description has it.
fn bounds(range: SizeRange) -> Option<Value> {
    let upper = range.upper.map_or(Some(-1), |upper| i32::try_from(upper).ok())?;
    Some(Value::int32s(&[i32::try_from(range.lower).ok()?, upper]))
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
