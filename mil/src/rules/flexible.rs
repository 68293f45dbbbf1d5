//! Which parameters of a function take several shapes.

use super::view::FunctionView;
use crate::package::{FeatureDescription, FeatureType, ImageFlexibility, ShapeFlexibility};
use crate::value::{Value, ValueData};

/// Which shapes a parameter takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flexibility {
    /// Some that are listed.
    Enumerated,
    /// Those in a range, or any.
    Range,
}

/// The function attribute in which compiled programs keep shapes, and the entry that lists them one by one.
///
/// # Source
/// `model.mil` of a published compiled model with enumerated shapes.
const ATTRIBUTE: &str = "FlexibleShapeInformation";
const ENUMERATED: &str = "EnumeratedShapes";

/// The parameters, by index, that take several shapes; states do not.
pub(super) fn inputs(view: &FunctionView<'_>) -> Vec<(usize, Flexibility)> {
    let description = view.subject.description.and_then(|description| description.function(view.name));
    let enumerated = view.function.attributes.get(ATTRIBUTE).is_some_and(mentions_enumerated);
    let flexibility = |index: usize| -> Option<Flexibility> {
        let input = view.function.inputs.get(index)?;
        let feature = description.and_then(|description| {
            description.inputs.iter().find(|feature: &&FeatureDescription| feature.name == input.name)
        });
        if let Some(described) = feature.and_then(|feature| described(&feature.ty)) {
            return Some(described);
        }
        let unknown = input.ty.as_tensor()?.shape.iter().any(|axis| axis.fixed().is_none());
        unknown.then_some(if enumerated { Flexibility::Enumerated } else { Flexibility::Range })
    };
    (0..view.function.inputs.len()).filter_map(|index| Some((index, flexibility(index)?))).collect()
}

/// Which shapes the description says.
fn described(ty: &FeatureType) -> Option<Flexibility> {
    match ty {
        FeatureType::MultiArray(array) => array.flexibility.as_ref().map(|shapes| match shapes {
            ShapeFlexibility::Enumerated(_) => Flexibility::Enumerated,
            ShapeFlexibility::Ranges(_) => Flexibility::Range,
        }),
        FeatureType::Image(image) => image.flexibility.as_ref().map(|sizes| match sizes {
            ImageFlexibility::Enumerated(_) => Flexibility::Enumerated,
            ImageFlexibility::Ranges { .. } => Flexibility::Range,
        }),
        _ => None,
    }
}

fn mentions_enumerated(value: &Value) -> bool {
    match &value.data {
        ValueData::Dictionary(entries) => {
            entries.iter().any(|(key, value)| key.as_str() == Some(ENUMERATED) || mentions_enumerated(value))
        }
        ValueData::Tuple(values) | ValueData::List(values) => values.iter().any(mentions_enumerated),
        ValueData::Tensor(_) | ValueData::Blob(_) => value.as_str() == Some(ENUMERATED),
    }
}
