//! Features: the inputs, outputs and states that a model description lists.

use std::fmt;

use anec_schemas::proto::specification as pb;
use pb::array_feature_type as array;

use super::ModelError;
use crate::dtype::DataType;

/// One input, output or state.
#[derive(Clone, Debug, PartialEq)]
pub struct FeatureDescription {
    /// The name, as in the program.
    pub name: String,
    /// What it is, for people.
    pub short_description: String,
    /// The type.
    pub ty: FeatureType,
    /// Whether an input may be left out.
    pub optional: bool,
}

impl fmt::Display for FeatureDescription {
    /// Writes what goes in or out, without the name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let array = self.array();
        f.write_str(match (&self.ty, self.optional) {
            (FeatureType::State(_), _) => "a state",
            (FeatureType::MultiArray(_), false) => "an array",
            (FeatureType::MultiArray(_), true) => "an optional array",
        })?;
        write!(f, " of {} {:?}", array.dtype, array.shape)?;
        match &array.flexibility {
            None => Ok(()),
            Some(ShapeFlexibility::Enumerated(shapes)) => write!(f, " or one of {shapes:?}"),
            Some(ShapeFlexibility::Ranges(ranges)) => {
                f.write_str(" or of lengths")?;
                ranges.iter().try_for_each(|range| match range.upper {
                    Some(upper) => write!(f, " {}..={upper}", range.lower),
                    None => write!(f, " {}..", range.lower),
                })
            }
        }
    }
}

/// The type of a feature; images, strings, dictionaries and sequences are refused when a model is read.
#[derive(Clone, Debug, PartialEq)]
pub enum FeatureType {
    /// A tensor that is handed over.
    MultiArray(MultiArray),
    /// A buffer that outlives a prediction.
    State(MultiArray),
}

/// Element type and shape of a feature.
#[derive(Clone, Debug, PartialEq)]
pub struct MultiArray {
    /// Element type: fp16, fp32, fp64, int32 or int8.
    pub dtype: DataType,
    /// The default shape; empty for an output of unknown shape.
    pub shape: Vec<u64>,
    /// Other shapes that are accepted.
    pub flexibility: Option<ShapeFlexibility>,
    /// Value of all elements of an optional input that is left out.
    pub default_value: Option<ArrayDefault>,
}

/// Shapes that an input accepts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ShapeFlexibility {
    /// These, of which the first is the default.
    Enumerated(Vec<Vec<u64>>),
    /// A range for each axis; a fixed axis has equal bounds.
    Ranges(Vec<SizeRange>),
}

/// An inclusive range of lengths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SizeRange {
    /// Smallest length.
    pub lower: u64,
    /// Largest length; `None` where there is no bound.
    pub upper: Option<u64>,
}

/// Value of all elements of an optional input that is left out.
#[derive(Clone, Copy, Debug, PartialEq)]
#[expect(missing_docs, reason = "each variant is named for its protobuf field")]
pub enum ArrayDefault {
    Int(i32),
    Float(f32),
    Double(f64),
}

/// Upper bound that stands for no bound.
const UNBOUNDED: i64 = -1;

impl MultiArray {
    /// An array of one shape.
    pub fn fixed(dtype: DataType, shape: &[u64]) -> Self {
        Self { dtype, shape: shape.to_vec(), flexibility: None, default_value: None }
    }

    fn to_proto(&self, feature: &str) -> Result<pb::ArrayFeatureType, ModelError> {
        use array::{DefaultOptionalValue, EnumeratedShapes, Shape, ShapeFlexibility as Flexibility, ShapeRange};
        let sizes = |shape: &[u64]| shape.iter().map(|size| signed(feature, *size)).collect::<Result<Vec<_>, _>>();
        let flexibility = match &self.flexibility {
            None => None,
            Some(ShapeFlexibility::Enumerated(shapes)) => {
                let shapes =
                    shapes.iter().map(|shape| Ok(Shape { shape: sizes(shape)? })).collect::<Result<_, ModelError>>()?;
                Some(Flexibility::EnumeratedShapes(EnumeratedShapes { shapes }))
            }
            Some(ShapeFlexibility::Ranges(ranges)) => {
                let size_ranges = ranges
                    .iter()
                    .map(|range| {
                        let upper_bound = range.upper.map_or(Ok(UNBOUNDED), |upper| signed(feature, upper))?;
                        Ok(pb::SizeRange { lower_bound: range.lower, upper_bound })
                    })
                    .collect::<Result<_, ModelError>>()?;
                Some(Flexibility::ShapeRange(ShapeRange { size_ranges }))
            }
        };
        Ok(pb::ArrayFeatureType {
            shape: sizes(&self.shape)?,
            data_type: element_type(feature, self.dtype)? as i32,
            shape_flexibility: flexibility,
            default_optional_value: self.default_value.map(|value| match value {
                ArrayDefault::Int(value) => DefaultOptionalValue::IntDefaultValue(value),
                ArrayDefault::Float(value) => DefaultOptionalValue::FloatDefaultValue(value),
                ArrayDefault::Double(value) => DefaultOptionalValue::DoubleDefaultValue(value),
            }),
        })
    }

    fn from_proto(feature: &str, message: pb::ArrayFeatureType) -> Result<Self, ModelError> {
        use array::{DefaultOptionalValue, ShapeFlexibility as Flexibility};
        let sizes = |shape: Vec<i64>| shape.into_iter().map(|size| unsigned(feature, size)).collect();
        let flexibility = match message.shape_flexibility {
            None => None,
            Some(Flexibility::EnumeratedShapes(list)) => {
                let shapes = list.shapes.into_iter().map(|shape| sizes(shape.shape)).collect::<Result<_, _>>()?;
                Some(ShapeFlexibility::Enumerated(shapes))
            }
            Some(Flexibility::ShapeRange(list)) => {
                let range = |range: pb::SizeRange| {
                    let bounded = range.upper_bound != UNBOUNDED;
                    let upper = bounded.then(|| unsigned(feature, range.upper_bound)).transpose()?;
                    Ok::<_, ModelError>(SizeRange { lower: range.lower_bound, upper })
                };
                Some(ShapeFlexibility::Ranges(list.size_ranges.into_iter().map(range).collect::<Result<_, _>>()?))
            }
        };
        Ok(Self {
            dtype: data_type(feature, message.data_type)?,
            shape: sizes(message.shape)?,
            flexibility,
            default_value: message.default_optional_value.map(|value| match value {
                DefaultOptionalValue::IntDefaultValue(value) => ArrayDefault::Int(value),
                DefaultOptionalValue::FloatDefaultValue(value) => ArrayDefault::Float(value),
                DefaultOptionalValue::DoubleDefaultValue(value) => ArrayDefault::Double(value),
            }),
        })
    }
}

impl FeatureDescription {
    /// A multi array with a name.
    pub fn multi_array(name: impl Into<String>, array: MultiArray) -> Self {
        Self::new(name, FeatureType::MultiArray(array))
    }

    /// A state with a name.
    pub fn state(name: impl Into<String>, array: MultiArray) -> Self {
        Self::new(name, FeatureType::State(array))
    }

    fn new(name: impl Into<String>, ty: FeatureType) -> Self {
        Self { name: name.into(), short_description: String::new(), ty, optional: false }
    }

    /// The array that is handed over or kept.
    pub fn array(&self) -> &MultiArray {
        match &self.ty {
            FeatureType::MultiArray(array) | FeatureType::State(array) => array,
        }
    }

    pub(super) fn to_proto(&self) -> Result<pb::FeatureDescription, ModelError> {
        use pb::feature_type::Type;
        let array = self.array().to_proto(&self.name)?;
        let inner = match &self.ty {
            FeatureType::MultiArray(_) => Type::MultiArrayType(array),
            FeatureType::State(_) => {
                let wrapped = pb::state_feature_type::Type::ArrayType(array);
                Type::StateType(pb::StateFeatureType { r#type: Some(wrapped) })
            }
        };
        Ok(pb::FeatureDescription {
            name: self.name.clone(),
            short_description: self.short_description.clone(),
            r#type: Some(pb::FeatureType { r#type: Some(inner), is_optional: self.optional }),
        })
    }

    pub(super) fn from_proto(message: pb::FeatureDescription) -> Result<Self, ModelError> {
        use pb::feature_type::Type;
        let name = message.name;
        let refused = |found| Err(ModelError::FeatureKind { feature: name.clone(), found });
        let missing = || ModelError::FeatureType { feature: name.clone() };
        let feature = message.r#type.ok_or_else(missing)?;
        let ty = match feature.r#type.ok_or_else(missing)? {
            Type::MultiArrayType(array) => FeatureType::MultiArray(MultiArray::from_proto(&name, array)?),
            Type::StateType(state) => {
                let pb::state_feature_type::Type::ArrayType(array) = state.r#type.ok_or_else(missing)?;
                FeatureType::State(MultiArray::from_proto(&name, array)?)
            }
            Type::Int64Type(_) => return refused("an integer"),
            Type::DoubleType(_) => return refused("a number"),
            Type::StringType(_) => return refused("a string"),
            Type::ImageType(_) => return refused("an image"),
            Type::DictionaryType(_) => return refused("a dictionary"),
            Type::SequenceType(_) => return refused("a sequence"),
        };
        Ok(Self { name, short_description: message.short_description, ty, optional: feature.is_optional })
    }
}

fn signed(feature: &str, size: u64) -> Result<i64, ModelError> {
    i64::try_from(size).map_err(|_| ModelError::Length { feature: feature.to_owned(), found: size.to_string() })
}

fn unsigned(feature: &str, size: i64) -> Result<u64, ModelError> {
    u64::try_from(size).map_err(|_| ModelError::Length { feature: feature.to_owned(), found: size.to_string() })
}

const ELEMENT_TYPES: [(DataType, array::ArrayDataType); 5] = [
    (DataType::Float16, array::ArrayDataType::Float16),
    (DataType::Float32, array::ArrayDataType::Float32),
    (DataType::Float64, array::ArrayDataType::Double),
    (DataType::Int32, array::ArrayDataType::Int32),
    (DataType::Int8, array::ArrayDataType::Int8),
];

fn element_type(feature: &str, dtype: DataType) -> Result<array::ArrayDataType, ModelError> {
    let found = ELEMENT_TYPES.iter().find(|row| row.0 == dtype).map(|row| row.1);
    found.ok_or_else(|| ModelError::ElementType { feature: feature.to_owned(), found: dtype.to_string() })
}

fn data_type(feature: &str, number: i32) -> Result<DataType, ModelError> {
    let found = ELEMENT_TYPES.iter().find(|row| row.1 as i32 == number).map(|row| row.0);
    found.ok_or_else(|| ModelError::ElementType { feature: feature.to_owned(), found: number.to_string() })
}
