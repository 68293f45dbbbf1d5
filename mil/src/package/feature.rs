//! Features: the inputs, outputs and states that a model description lists.

use std::fmt;

use anec_schemas::proto::specification as pb;

use super::ModelError;
use super::image::{Image, ImageFlexibility};
use super::multi_array::{MultiArray, ShapeFlexibility};
use super::size_range::SizeRange;

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

/// The type of a feature.
#[derive(Clone, Debug, PartialEq)]
pub enum FeatureType {
    /// A tensor that is handed over.
    MultiArray(MultiArray),
    /// A buffer that outlives a prediction.
    State(MultiArray),
    /// An image.
    Image(Image),
    /// A 64-bit integer, such as the class that a classifier predicts.
    Int64,
    /// A double.
    Double,
    /// A string, such as the class that a classifier predicts.
    String,
    /// Numbers by key, such as the probability of each class.
    Dictionary(KeyType),
    /// Integers or strings in order.
    Sequence {
        /// What the elements are.
        elements: KeyType,
        /// Accepted lengths, where they are said.
        lengths: Option<SizeRange>,
    },
}

/// What keys of dictionaries and elements of sequences are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyType {
    /// 64-bit integers.
    Int64,
    /// Strings.
    String,
}

impl fmt::Display for FeatureDescription {
    /// Writes what goes in or out, without the name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.optional {
            f.write_str("optional, ")?;
        }
        match &self.ty {
            FeatureType::MultiArray(array) => write_array(f, "an array", array),
            FeatureType::State(array) => write_array(f, "a state", array),
            FeatureType::Image(image) => write_image(f, image),
            FeatureType::Int64 => f.write_str("an integer"),
            FeatureType::Double => f.write_str("a number"),
            FeatureType::String => f.write_str("a string"),
            FeatureType::Dictionary(KeyType::Int64) => f.write_str("numbers by integer"),
            FeatureType::Dictionary(KeyType::String) => f.write_str("numbers by string"),
            FeatureType::Sequence { elements, lengths } => {
                f.write_str(match elements {
                    KeyType::Int64 => "a sequence of integers",
                    KeyType::String => "a sequence of strings",
                })?;
                lengths.map_or(Ok(()), |lengths| write!(f, " of length {lengths}"))
            }
        }
    }
}

fn write_array(f: &mut fmt::Formatter<'_>, kind: &str, array: &MultiArray) -> fmt::Result {
    write!(f, "{kind} of {} {:?}", array.dtype, array.shape)?;
    match &array.flexibility {
        None => Ok(()),
        Some(ShapeFlexibility::Enumerated(shapes)) => write!(f, " or one of {shapes:?}"),
        Some(ShapeFlexibility::Ranges(ranges)) => {
            f.write_str(" or of lengths")?;
            ranges.iter().try_for_each(|range| write!(f, " {range}"))
        }
    }
}

fn write_image(f: &mut fmt::Formatter<'_>, image: &Image) -> fmt::Result {
    write!(f, "a {} image of {} × {}", image.color_space.name(), image.size.width, image.size.height)?;
    match &image.flexibility {
        None => Ok(()),
        Some(ImageFlexibility::Enumerated(sizes)) => {
            f.write_str(" or one of")?;
            sizes.iter().try_for_each(|size| write!(f, " {} × {}", size.width, size.height))
        }
        Some(ImageFlexibility::Ranges { width, height }) => write!(f, " or of sizes {width} × {height}"),
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

    /// A feature of any type, with a name.
    pub fn new(name: impl Into<String>, ty: FeatureType) -> Self {
        Self { name: name.into(), short_description: String::new(), ty, optional: false }
    }

    /// The array that is handed over or kept, if it is one.
    pub fn array(&self) -> Option<&MultiArray> {
        match &self.ty {
            FeatureType::MultiArray(array) | FeatureType::State(array) => Some(array),
            _ => None,
        }
    }

    pub(super) fn to_proto(&self) -> Result<pb::FeatureDescription, ModelError> {
        use pb::feature_type::Type;
        let inner = match &self.ty {
            FeatureType::MultiArray(array) => Type::MultiArrayType(array.to_proto(&self.name)?),
            FeatureType::State(array) => {
                let wrapped = pb::state_feature_type::Type::ArrayType(array.to_proto(&self.name)?);
                Type::StateType(pb::StateFeatureType { r#type: Some(wrapped) })
            }
            FeatureType::Image(image) => Type::ImageType(image.to_proto(&self.name)?),
            FeatureType::Int64 => Type::Int64Type(pb::Int64FeatureType {}),
            FeatureType::Double => Type::DoubleType(pb::DoubleFeatureType {}),
            FeatureType::String => Type::StringType(pb::StringFeatureType {}),
            FeatureType::Dictionary(keys) => {
                use pb::dictionary_feature_type::KeyType as Keys;
                let keys = match keys {
                    KeyType::Int64 => Keys::Int64KeyType(pb::Int64FeatureType {}),
                    KeyType::String => Keys::StringKeyType(pb::StringFeatureType {}),
                };
                Type::DictionaryType(pb::DictionaryFeatureType { key_type: Some(keys) })
            }
            FeatureType::Sequence { elements, lengths } => {
                use pb::sequence_feature_type::Type as Elements;
                let elements = match elements {
                    KeyType::Int64 => Elements::Int64Type(pb::Int64FeatureType {}),
                    KeyType::String => Elements::StringType(pb::StringFeatureType {}),
                };
                let size_range = lengths.map(|lengths| lengths.to_proto(&self.name)).transpose()?;
                Type::SequenceType(pb::SequenceFeatureType { r#type: Some(elements), size_range })
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
        let missing = || ModelError::FeatureType { feature: name.clone() };
        let feature = message.r#type.ok_or_else(missing)?;
        let ty = match feature.r#type.ok_or_else(missing)? {
            Type::MultiArrayType(array) => FeatureType::MultiArray(MultiArray::from_proto(&name, array)?),
            Type::StateType(state) => {
                let pb::state_feature_type::Type::ArrayType(array) = state.r#type.ok_or_else(missing)?;
                FeatureType::State(MultiArray::from_proto(&name, array)?)
            }
            Type::ImageType(image) => FeatureType::Image(Image::from_proto(&name, image)?),
            Type::Int64Type(_) => FeatureType::Int64,
            Type::DoubleType(_) => FeatureType::Double,
            Type::StringType(_) => FeatureType::String,
            Type::DictionaryType(dictionary) => {
                use pb::dictionary_feature_type::KeyType as Keys;
                FeatureType::Dictionary(match dictionary.key_type.ok_or_else(missing)? {
                    Keys::Int64KeyType(_) => KeyType::Int64,
                    Keys::StringKeyType(_) => KeyType::String,
                })
            }
            Type::SequenceType(sequence) => {
                use pb::sequence_feature_type::Type as Elements;
                let elements = match sequence.r#type.ok_or_else(missing)? {
                    Elements::Int64Type(_) => KeyType::Int64,
                    Elements::StringType(_) => KeyType::String,
                };
                let lengths = sequence.size_range.map(|range| SizeRange::from_proto(&name, &range)).transpose()?;
                FeatureType::Sequence { elements, lengths }
            }
        };
        Ok(Self { name, short_description: message.short_description, ty, optional: feature.is_optional })
    }
}
