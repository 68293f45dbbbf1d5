//! What differs between two models, by meaning: names of values inside a function, the order of constants, and where
//! weights are stored do not count.
//!
//! Compared are the functions, what they take and return, their ops in order, and every constant by its type and bytes,
//! whether it stands in the program or in a weight file. Metadata is not compared, and neither are constants that nothing
//! uses.

mod constant;
mod function;

use crate::blob::BlobError;
use crate::package::{FunctionDescription, Model, PackageFiles};
use crate::stored::{StoredModel, StoredModelError};
use constant::Weights;

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Where, such as `main / y = relu`.
    pub place: String,
    /// What the left model has.
    pub left: String,
    /// What the right model has.
    pub right: String,
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {} | {}", self.place, self.left, self.right)
    }
}

/// Models that cannot be compared.
#[derive(Debug, thiserror::Error)]
pub enum CompareError {
    /// A model cannot be read.
    #[error(transparent)]
    Model(#[from] StoredModelError),
    /// A weight cannot be read.
    #[error("Cannot read the weights of the {side} model")]
    Blob {
        /// Which model.
        side: Side,
        /// Why.
        #[source]
        source: BlobError,
    },
}

/// One of the two models.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The first.
    Left,
    /// The second.
    Right,
}

impl std::fmt::Display for Side {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Left => "left",
            Self::Right => "right",
        })
    }
}

/// What is said of something that one side does not have.
const ABSENT: &str = "not there";

/// The first differences of two models, at most `limit` of them.
///
/// # Errors
/// A model or a weight that is needed cannot be read.
pub fn compare<L: PackageFiles, R: PackageFiles>(
    left: &StoredModel<L>,
    right: &StoredModel<R>,
    limit: usize,
) -> Result<Vec<Difference>, CompareError> {
    let models = (left.model()?, right.model()?);
    let mut found = Found { differences: Vec::new(), limit };
    compare_models(&models.0, &models.1, &mut found);
    let mut weights = Weights::new(left, right);
    for (name, function) in &models.0.program.functions {
        if let Some(other) = models.1.program.functions.get(name) {
            function::compare(name, function, other, &mut weights, &mut found)?;
        }
    }
    Ok(found.differences)
}

/// Collects differences up to a limit.
struct Found {
    differences: Vec<Difference>,
    limit: usize,
}

impl Found {
    fn add(&mut self, place: impl Into<String>, left: impl Into<String>, right: impl Into<String>) {
        if !self.is_full() {
            self.differences.push(Difference { place: place.into(), left: left.into(), right: right.into() });
        }
    }

    fn is_full(&self) -> bool {
        self.differences.len() >= self.limit
    }

    /// Adds a difference unless both are the same.
    fn same<T: PartialEq + ToString>(&mut self, place: &str, left: &T, right: &T) {
        if left != right {
            self.add(place, left.to_string(), right.to_string());
        }
    }
}

fn compare_models(left: &Model, right: &Model, found: &mut Found) {
    found.same("specification version", &left.specification_version, &right.specification_version);
    let default = |model: &Model| {
        let first = || model.description.functions.first().map(|function| function.name.clone());
        model.description.default_function.clone().or_else(first).unwrap_or_default()
    };
    found.same("default function", &default(left), &default(right));
    for function in &left.description.functions {
        match right.description.function(&function.name) {
            Some(other) => compare_descriptions(function, other, found),
            None => found.add(format!("function {}", function.name), "there", ABSENT),
        }
    }
    for function in &right.description.functions {
        if left.description.function(&function.name).is_none() {
            found.add(format!("function {}", function.name), ABSENT, "there");
        }
    }
}

/// What goes in and out, without the texts for people.
fn compare_descriptions(left: &FunctionDescription, right: &FunctionDescription, found: &mut Found) {
    let lists = [
        ("input", &left.inputs, &right.inputs),
        ("output", &left.outputs, &right.outputs),
        ("state", &left.states, &right.states),
    ];
    for (role, left_features, right_features) in lists {
        for feature in left_features {
            let place = format!("{} / {role} {}", left.name, feature.name);
            match right_features.iter().find(|other| other.name == feature.name) {
                None => found.add(place, "there", ABSENT),
                Some(other) if (&other.ty, other.optional) != (&feature.ty, feature.optional) => {
                    found.add(place, feature.to_string(), other.to_string());
                }
                Some(_) => {}
            }
        }
        for feature in right_features {
            if !left_features.iter().any(|other| other.name == feature.name) {
                found.add(format!("{} / {role} {}", left.name, feature.name), ABSENT, "there");
            }
        }
    }
}

#[cfg(test)]
mod tests;
