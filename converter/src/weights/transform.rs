//! What becomes of a tensor of the checkpoint before it is stored, so that graphs stay as simple as the Neural Engine
//! wants them, such as `1 + weight` of a norm.

use std::cmp::Ordering;

/// A finite factor or term.
#[derive(Clone, Copy, Debug)]
pub struct Number(pub f32);

impl PartialEq for Number {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Number {}

impl PartialOrd for Number {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Number {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}

/// One step.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Transform {
    /// Adds a number to every element.
    Add(Number),
    /// Multiplies every element.
    Scale(Number),
}

impl Transform {
    /// [`Add`](Self::Add).
    pub fn add(term: f32) -> Self {
        Self::Add(Number(term))
    }

    /// [`Scale`](Self::Scale).
    pub fn scale(factor: f32) -> Self {
        Self::Scale(Number(factor))
    }

    /// What becomes of one element.
    pub(crate) fn apply(&self, element: f32) -> f32 {
        match self {
            Self::Add(Number(term)) => element + term,
            Self::Scale(Number(factor)) => element * factor,
        }
    }
}
