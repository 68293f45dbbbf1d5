//! Features as `metadata.json` describes them.

use serde_json::{Map, Value as Json, json};

use crate::dtype::DataType;
use crate::package::{
    FeatureDescription, FeatureType, Image, ImageFlexibility, ImageSize, KeyType, MultiArray, ShapeFlexibility,
    SizeRange,
};

/// The entries of several features.
pub(super) fn schema(features: &[FeatureDescription]) -> Json {
    features.iter().map(entry).collect()
}

/// # Source
/// Multi arrays and states: 46 compiled models. Images: `yolo11n.mlmodelc`, qiuethan/GenAI-Genesis-Project@c4056374.
/// Doubles: `best.mlmodelc`, griftt/VideoAnalysisSDK@50347980. The others are written like these; Core ML does not read
/// the file.
fn entry(feature: &FeatureDescription) -> Json {
    let mut entry = Map::new();
    entry.insert("name".to_owned(), json!(feature.name));
    entry.insert("shortDescription".to_owned(), json!(feature.short_description));
    entry.insert("isOptional".to_owned(), flag(feature.optional));
    match &feature.ty {
        FeatureType::MultiArray(array) => {
            add_array(&mut entry, "MultiArray", array);
            entry.insert("hasShapeFlexibility".to_owned(), flag(array.flexibility.is_some()));
        }
        FeatureType::State(array) => add_array(&mut entry, "State", array),
        FeatureType::Image(image) => add_image(&mut entry, image),
        FeatureType::Int64 => add_type(&mut entry, "Int64", ""),
        FeatureType::Double => add_type(&mut entry, "Double", ""),
        FeatureType::String => add_type(&mut entry, "String", ""),
        FeatureType::Dictionary(keys) => {
            add_type(&mut entry, "Dictionary", &format!(" ({} → Double)", key_name(*keys)));
            entry.insert("keyType".to_owned(), json!(key_name(*keys)));
        }
        FeatureType::Sequence { elements, .. } => {
            add_type(&mut entry, "Sequence", &format!(" ({})", key_name(*elements)));
        }
    }
    Json::Object(entry)
}

fn add_type(entry: &mut Map<String, Json>, kind: &str, details: &str) {
    entry.insert("type".to_owned(), json!(kind));
    entry.insert("formattedType".to_owned(), json!(format!("{kind}{details}")));
}

fn key_name(keys: KeyType) -> &'static str {
    match keys {
        KeyType::Int64 => "Int64",
        KeyType::String => "String",
    }
}

fn add_array(entry: &mut Map<String, Json>, kind: &str, array: &MultiArray) {
    let dtype = element_name(array.dtype);
    // A shape that is not stated is the smallest of a range.
    let shape: Vec<u64> = match &array.flexibility {
        Some(ShapeFlexibility::Ranges(ranges)) if array.shape.is_empty() => {
            ranges.iter().map(|range| range.lower).collect()
        }
        _ => array.shape.clone(),
    };
    let lengths = if shape.is_empty() { String::new() } else { format!(" {}", times(&shape)) };
    add_type(entry, kind, &format!(" ({dtype}{lengths})"));
    entry.insert("dataType".to_owned(), json!(dtype));
    entry.insert("shape".to_owned(), json!(format!("{shape:?}")));
    if let Some((text, key, shapes)) = flexibility(array) {
        entry.insert("shapeFlexibility".to_owned(), json!(text));
        entry.insert(key.to_owned(), json!(shapes));
    }
}

fn add_image(entry: &mut Map<String, Json>, image: &Image) {
    let color = if image.color_space.is_color() { "Color" } else { "Grayscale" };
    let ImageSize { width, height } = image.size;
    add_type(entry, "Image", &format!(" ({color} {width} × {height})"));
    entry.insert("width".to_owned(), json!(width.to_string()));
    entry.insert("height".to_owned(), json!(height.to_string()));
    entry.insert("colorspace".to_owned(), json!(image.color_space.name()));
    entry.insert("isColor".to_owned(), flag(image.color_space.is_color()));
    entry.insert("hasSizeFlexibility".to_owned(), flag(image.flexibility.is_some()));
    match &image.flexibility {
        None => {}
        Some(ImageFlexibility::Enumerated(sizes)) => {
            let shapes: Vec<Vec<u64>> = sizes.iter().map(|size| vec![size.width, size.height]).collect();
            let text: Vec<String> = shapes.iter().map(|shape| times(shape)).collect();
            entry.insert("sizeFlexibility".to_owned(), json!(text.join(" | ")));
            entry.insert("enumeratedSizes".to_owned(), json!(format!("{shapes:?}")));
        }
        Some(ImageFlexibility::Ranges { width, height }) => {
            let text = format!("{} × {}", range_text(*width), range_text(*height));
            entry.insert("sizeFlexibility".to_owned(), json!(text));
            entry.insert("sizeRange".to_owned(), json!(range_pairs(&[*width, *height])));
        }
    }
}

/// The shapes for people, and for tools with the key that these have.
fn flexibility(array: &MultiArray) -> Option<(String, &'static str, String)> {
    Some(match array.flexibility.as_ref()? {
        ShapeFlexibility::Enumerated(shapes) => {
            let text: Vec<String> = shapes.iter().map(|shape| times(shape)).collect();
            (text.join(" | "), "enumeratedShapes", format!("{shapes:?}"))
        }
        ShapeFlexibility::Ranges(ranges) => {
            let text: Vec<String> = ranges.iter().copied().map(range_text).collect();
            (text.join(" × "), "shapeRange", range_pairs(ranges))
        }
    })
}

fn range_text(range: SizeRange) -> String {
    match range.upper {
        Some(upper) if upper == range.lower => upper.to_string(),
        Some(upper) => format!("{}...{upper}", range.lower),
        None => format!("{}...", range.lower),
    }
}

/// The bounds of each range; -1 is none.
fn range_pairs(ranges: &[SizeRange]) -> String {
    let pair = |range: &SizeRange| {
        let upper = range.upper.map_or_else(|| "-1".to_owned(), |upper| upper.to_string());
        format!("[{}, {upper}]", range.lower)
    };
    let pairs: Vec<String> = ranges.iter().map(pair).collect();
    format!("[{}]", pairs.join(", "))
}

fn times(shape: &[u64]) -> String {
    shape.iter().map(u64::to_string).collect::<Vec<_>>().join(" × ")
}

/// Numbers and flags are text, but for the specification version.
pub(super) fn flag(value: bool) -> Json {
    json!(if value { "1" } else { "0" })
}

/// The name of an element type; a feature of fp64 is called by the name that is older than programs.
fn element_name(dtype: DataType) -> String {
    if dtype == DataType::Float64 { "Double".to_owned() } else { super::precision::name(dtype) }
}
