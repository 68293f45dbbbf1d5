//! Images: sizes, and how pixels are stored.

use anec_schemas::proto::specification as pb;
use pb::image_feature_type as image;

use super::ModelError;
use super::size_range::{SizeRange, signed, unsigned};
use crate::dtype::DataType;

/// An image. A program sees it as `[1, channels, height, width]` of floats from 0 to 255.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// The default size; zero where it is not known.
    pub size: ImageSize,
    /// How pixels are stored.
    pub color_space: ColorSpace,
    /// Other sizes that are accepted.
    pub flexibility: Option<ImageFlexibility>,
}

/// The size of an image, in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageSize {
    /// Columns.
    pub width: u64,
    /// Rows.
    pub height: u64,
}

/// Sizes that an image may have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImageFlexibility {
    /// These.
    Enumerated(Vec<ImageSize>),
    /// All in these ranges.
    Ranges {
        /// Columns.
        width: SizeRange,
        /// Rows.
        height: SizeRange,
    },
}

/// How pixels are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColorSpace {
    /// One channel of 8 bits.
    Grayscale,
    /// Red, green and blue of 8 bits each, which the program gets in this order.
    Rgb,
    /// Red, green and blue of 8 bits each, which the program gets as blue, green, red.
    Bgr,
    /// One channel of fp16.
    GrayscaleFloat16,
}

/// Each color space by its number and the name that `metadata.json` has for it.
///
/// # Source
/// `FeatureTypes.proto`, coremltools@e0e2f42b. `RGB` in `metadata.json`: `yolo11n.mlmodelc`,
/// qiuethan/GenAI-Genesis-Project@c4056374; the others are spelled as in the protobuf.
const COLOR_SPACES: [(ColorSpace, image::ColorSpace, &str); 4] = [
    (ColorSpace::Grayscale, image::ColorSpace::Grayscale, "Grayscale"),
    (ColorSpace::Rgb, image::ColorSpace::Rgb, "RGB"),
    (ColorSpace::Bgr, image::ColorSpace::Bgr, "BGR"),
    (ColorSpace::GrayscaleFloat16, image::ColorSpace::GrayscaleFloat16, "GrayscaleFloat16"),
];

impl ColorSpace {
    /// The name, as in `metadata.json`.
    pub fn name(self) -> &'static str {
        COLOR_SPACES.iter().find(|row| row.0 == self).map_or("", |row| row.2)
    }

    /// Channels that a program sees.
    pub fn channels(self) -> u64 {
        if self.is_color() { 3 } else { 1 }
    }

    /// Whether there is more than brightness.
    pub fn is_color(self) -> bool {
        matches!(self, Self::Rgb | Self::Bgr)
    }

    /// Whether a program may see pixels as this type: those of fp16 as nothing else.
    pub fn fits(self, dtype: DataType) -> bool {
        match self {
            Self::GrayscaleFloat16 => dtype == DataType::Float16,
            Self::Grayscale | Self::Rgb | Self::Bgr => matches!(dtype, DataType::Float16 | DataType::Float32),
        }
    }
}

impl Image {
    /// The shape that a program sees of an image of this size.
    pub fn shape(&self, size: ImageSize) -> [u64; 4] {
        [1, self.color_space.channels(), size.height, size.width]
    }

    /// The range of every axis that a program sees, where sizes have ranges.
    pub fn ranges(&self) -> Option<[SizeRange; 4]> {
        let Some(ImageFlexibility::Ranges { width, height }) = self.flexibility else { return None };
        let fixed = |length| SizeRange { lower: length, upper: Some(length) };
        Some([fixed(1), fixed(self.color_space.channels()), height, width])
    }

    pub(super) fn to_proto(&self, feature: &str) -> Result<pb::ImageFeatureType, ModelError> {
        let size = |size: &ImageSize| image::ImageSize { width: size.width, height: size.height };
        let flexibility = match &self.flexibility {
            None => None,
            Some(ImageFlexibility::Enumerated(sizes)) => {
                let sizes = sizes.iter().map(size).collect();
                Some(image::SizeFlexibility::EnumeratedSizes(image::EnumeratedImageSizes { sizes }))
            }
            Some(ImageFlexibility::Ranges { width, height }) => {
                Some(image::SizeFlexibility::ImageSizeRange(image::ImageSizeRange {
                    width_range: Some(width.to_proto(feature)?),
                    height_range: Some(height.to_proto(feature)?),
                }))
            }
        };
        let color_space = COLOR_SPACES.iter().find(|row| row.0 == self.color_space).map_or(0, |row| row.1 as i32);
        Ok(pb::ImageFeatureType {
            width: signed(feature, self.size.width)?,
            height: signed(feature, self.size.height)?,
            color_space,
            size_flexibility: flexibility,
        })
    }

    pub(super) fn from_proto(feature: &str, message: pb::ImageFeatureType) -> Result<Self, ModelError> {
        let flexibility = match message.size_flexibility {
            None => None,
            Some(image::SizeFlexibility::EnumeratedSizes(list)) => {
                let size = |size: image::ImageSize| ImageSize { width: size.width, height: size.height };
                Some(ImageFlexibility::Enumerated(list.sizes.into_iter().map(size).collect()))
            }
            Some(image::SizeFlexibility::ImageSizeRange(ranges)) => {
                let (Some(width), Some(height)) = (ranges.width_range, ranges.height_range) else {
                    return Err(ModelError::ImageRange { feature: feature.to_owned() });
                };
                Some(ImageFlexibility::Ranges {
                    width: SizeRange::from_proto(feature, &width)?,
                    height: SizeRange::from_proto(feature, &height)?,
                })
            }
        };
        let color_space = COLOR_SPACES.iter().find(|row| row.1 as i32 == message.color_space).map(|row| row.0);
        Ok(Self {
            size: ImageSize { width: unsigned(feature, message.width)?, height: unsigned(feature, message.height)? },
            color_space: color_space
                .ok_or_else(|| ModelError::ColorSpace { feature: feature.to_owned(), found: message.color_space })?,
            flexibility,
        })
    }
}
