//! Probabilities of a classifier, by the names of its classes.

use std::fmt::Write as _;

use anec_mil::evaluate::Tensor;
use anec_mil::package::{ClassLabel, FunctionDescription, class_labels};
use serde_json::{Map, Value as Json, json};

/// The most probable classes that a line shows.
const SHOWN: usize = 5;

/// Each class with its probability, in the order of the program.
pub(super) struct Probabilities(Vec<(ClassLabel, f64)>);

impl Probabilities {
    /// The result `name`, if it is the probabilities of a classifier.
    pub(super) fn of(
        description: Option<&FunctionDescription>,
        function: &anec_mil::Function,
        name: &str,
        tensor: &Tensor,
    ) -> Option<Self> {
        let description = description?;
        if description.classifier.as_ref()?.predicted_probabilities != name {
            return None;
        }
        let labels = class_labels(description, function)?;
        let values = tensor.as_floats().ok()?;
        (labels.len() == values.len())
            .then(|| Self(labels.into_iter().zip(values.iter().map(|value| f64::from(*value))).collect()))
    }

    /// A dictionary, as Core ML gives it.
    pub(super) fn to_json(&self) -> Json {
        let entries = self.0.iter().map(|(label, value)| (label.to_string(), json!(value)));
        Json::Object(entries.collect::<Map<_, _>>())
    }

    /// A line with the most probable classes; of equal ones those that come first.
    pub(super) fn summary(&self, name: &str) -> String {
        let mut sorted: Vec<&(ClassLabel, f64)> = self.0.iter().collect();
        sorted.sort_by(|one, other| other.1.total_cmp(&one.1));
        let best = sorted.iter().take(SHOWN).map(|(label, value)| format!("{label} {value:.4}"));
        let mut text = format!("{name}: {}", best.collect::<Vec<_>>().join(", "));
        if self.0.len() > SHOWN {
            // Writing to a string cannot fail.
            let _ = write!(text, " and {} more classes", self.0.len() - SHOWN);
        }
        text
    }
}
