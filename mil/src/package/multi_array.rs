//! Multi arrays: element type, shape, and the shapes that an input takes beside it.

use anec_schemas::proto::specification as pb;
use pb::array_feature_type as array;

use super::ModelError;
use super::size_range::{SizeRange, signed, unsigned};
use crate::dtype::DataType;

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

/// Value of all elements of an optional input that is left out.
#[derive(Clone, Copy, Debug, PartialEq)]
#[expect(missing_docs, reason = "each variant is named for its protobuf field")]
pub enum ArrayDefault {
    Int(i32),
    Float(f32),
    Double(f64),
}

impl MultiArray {
    /// An array of one shape.
    pub fn fixed(dtype: DataType, shape: &[u64]) -> Self {
        Self { dtype, shape: shape.to_vec(), flexibility: None, default_value: None }
    }

    pub(super) fn to_proto(&self, feature: &str) -> Result<pb::ArrayFeatureType, ModelError> {
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
                let size_ranges = ranges.iter().map(|range| range.to_proto(feature)).collect::<Result<_, _>>()?;
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

    pub(super) fn from_proto(feature: &str, message: pb::ArrayFeatureType) -> Result<Self, ModelError> {
        use array::{DefaultOptionalValue, ShapeFlexibility as Flexibility};
        let sizes = |shape: Vec<i64>| shape.into_iter().map(|size| unsigned(feature, size)).collect();
        let flexibility = match message.shape_flexibility {
            None => None,
            Some(Flexibility::EnumeratedShapes(list)) => {
                let shapes = list.shapes.into_iter().map(|shape| sizes(shape.shape)).collect::<Result<_, _>>()?;
                Some(ShapeFlexibility::Enumerated(shapes))
            }
            Some(Flexibility::ShapeRange(list)) => {
                let ranges = list.size_ranges.into_iter().map(|range| SizeRange::from_proto(feature, &range));
                Some(ShapeFlexibility::Ranges(ranges.collect::<Result<_, _>>()?))
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
