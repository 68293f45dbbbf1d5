//! Shape arithmetic that several ops share.

use super::decl::InferError;
use crate::types::{Dimension, TensorType};

/// The shape of an elementwise result: axes are aligned at the end, and an axis of length 1 stretches.
pub fn broadcast(x: &TensorType, y: &TensorType) -> Result<Vec<Dimension>, InferError> {
    let rank = x.rank().max(y.rank());
    let axis = |tensor: &TensorType, position: usize| {
        (position + tensor.rank()).checked_sub(rank).map_or(Dimension::Fixed(1), |index| tensor.shape[index])
    };
    (0..rank)
        .map(|position| match (axis(x, position), axis(y, position)) {
            (a, b) if a == b => Ok(a),
            (Dimension::Fixed(1), other) | (other, Dimension::Fixed(1)) => Ok(other),
            (Dimension::Unknown, known) | (known, Dimension::Unknown) => Ok(known),
            _ => Err(InferError::Mismatch(format!("shapes {x} and {y} do not broadcast"))),
        })
        .collect()
}
