//! Features as `metadata.json` describes them.

use serde_json::{Map, Value as Json, json};

use crate::dtype::DataType;
use crate::package::{FeatureDescription, FeatureType, MultiArray, ShapeFlexibility, SizeRange};

/// The entries of several features.
pub(super) fn schema(features: &[FeatureDescription]) -> Json {
    features.iter().map(entry).collect()
}

fn entry(feature: &FeatureDescription) -> Json {
    let array = feature.array();
    let (kind, is_state) = match feature.ty {
        FeatureType::MultiArray(_) => ("MultiArray", false),
        FeatureType::State(_) => ("State", true),
    };
    let dtype = element_name(array.dtype);
    let mut entry = Map::new();
    let mut set = |key: &str, value: Json| entry.insert(key.to_owned(), value);
    set("name", json!(feature.name));
    set("type", json!(kind));
    set("dataType", json!(dtype));
    set("shape", json!(format!("{:?}", array.shape)));
    let lengths = if array.shape.is_empty() { String::new() } else { format!(" {}", times(&array.shape)) };
    set("formattedType", json!(format!("{kind} ({dtype}{lengths})")));
    set("shortDescription", json!(feature.short_description));
    set("isOptional", flag(feature.optional));
    if !is_state {
        set("hasShapeFlexibility", flag(array.flexibility.is_some()));
    }
    if let Some((text, key, shapes)) = flexibility(array) {
        set("shapeFlexibility", json!(text));
        set(key, json!(shapes));
    }
    Json::Object(entry)
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
            let pair = |range: &SizeRange| {
                let upper = range.upper.map_or_else(|| "-1".to_owned(), |upper| upper.to_string());
                format!("[{}, {upper}]", range.lower)
            };
            let pairs: Vec<String> = ranges.iter().map(pair).collect();
            (text.join(" × "), "shapeRange", format!("[{}]", pairs.join(", ")))
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
