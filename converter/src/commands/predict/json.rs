//! Arrays as nested lists of JSON.

use serde_json::{Value as Json, json};

use super::array::{Array, Numbers};

/// A JSON value that is no array of numbers.
#[derive(Debug, thiserror::Error)]
pub(super) enum JsonError {
    /// Not JSON.
    #[error(transparent)]
    Malformed(#[from] serde_json::Error),
    /// Lists of different lengths, or of lists and numbers.
    #[error("its lists are not all of the same length and depth")]
    Ragged,
    /// Something else than numbers or booleans of one kind.
    #[error("it holds {found}, expected numbers, or booleans")]
    Kind {
        /// What is there.
        found: &'static str,
    },
}

/// Reads nested lists; a number alone is a scalar.
///
/// # Errors
/// The lists are no array, or hold something else than numbers or booleans.
pub(super) fn read(text: &str) -> Result<Array, JsonError> {
    let json: Json = serde_json::from_str(text)?;
    let mut shape = Vec::new();
    let mut level = &json;
    while let Json::Array(values) = level {
        shape.push(values.len());
        let Some(first) = values.first() else { break };
        level = first;
    }
    let mut leaves = Vec::new();
    collect(&json, &shape, &mut leaves)?;
    if leaves.iter().all(|leaf| leaf.is_boolean()) && !leaves.is_empty() {
        return Ok(Array { shape, numbers: Numbers::Bools(leaves.iter().filter_map(|leaf| leaf.as_bool()).collect()) });
    }
    if let Some(other) = leaves.iter().find(|leaf| !leaf.is_number()) {
        let found = match other {
            Json::Null => "null",
            Json::Bool(_) => "numbers and booleans",
            Json::String(_) => "text",
            _ => "an object",
        };
        return Err(JsonError::Kind { found });
    }
    let integers: Option<Vec<i64>> = leaves.iter().map(|leaf| leaf.as_i64()).collect();
    let numbers = match integers {
        Some(integers) => Numbers::Integers(integers),
        None => Numbers::Floats(leaves.iter().filter_map(|leaf| leaf.as_f64()).collect()),
    };
    Ok(Array { shape, numbers })
}

fn collect<'a>(json: &'a Json, shape: &[usize], leaves: &mut Vec<&'a Json>) -> Result<(), JsonError> {
    match (json, shape.split_first()) {
        (Json::Array(values), Some((length, inner))) if values.len() == *length => {
            values.iter().try_for_each(|value| collect(value, inner, leaves))
        }
        (Json::Array(_), _) | (_, Some(_)) => Err(JsonError::Ragged),
        (leaf, None) => {
            leaves.push(leaf);
            Ok(())
        }
    }
}

/// Nested lists of an array; what JSON has no number for is null.
pub(super) fn write(array: &Array) -> Json {
    let leaf = |index: usize| match &array.numbers {
        Numbers::Floats(values) => json!(values.get(index)),
        Numbers::Integers(values) => json!(values.get(index)),
        Numbers::Bools(values) => json!(values.get(index)),
    };
    // Axes around nothing can be longer than memory.
    if array.numbers.len() == 0 { json!([]) } else { nested(&array.shape, &mut 0, &leaf) }
}

fn nested(shape: &[usize], next: &mut usize, leaf: &dyn Fn(usize) -> Json) -> Json {
    match shape.split_first() {
        None => {
            *next += 1;
            leaf(*next - 1)
        }
        Some((length, inner)) => (0..*length).map(|_| nested(inner, next, leaf)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nested_lists_are_arrays_and_back() {
        for (text, shape, numbers) in [
            ("3", vec![], Numbers::Integers(vec![3])),
            ("[1,2]", vec![2], Numbers::Integers(vec![1, 2])),
            ("[[1.5,2.0],[3.0,4.0]]", vec![2, 2], Numbers::Floats(vec![1.5, 2.0, 3.0, 4.0])),
            ("[[true],[false]]", vec![2, 1], Numbers::Bools(vec![true, false])),
        ] {
            let array = read(text).expect(text);
            assert_eq!(array, Array { shape, numbers }, "{text}");
            assert_eq!(write(&array).to_string(), text);
        }
        assert_eq!(read("[1, 2.5]").expect("floats").numbers, Numbers::Floats(vec![1.0, 2.5]));
    }

    #[test]
    fn what_is_no_array_is_refused() {
        for text in ["[[1],[2,3]]", "[1,[2]]", "[[1],2]", "[\"a\"]", "[1,true]", "{}", "[null]", "[1"] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
