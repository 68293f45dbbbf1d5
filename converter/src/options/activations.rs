//! Scales of activations that are rounded to int8 before a projection multiplies them.

use std::collections::BTreeMap;

/// The largest int8.
pub const MOST: f32 = 127.0;

/// A scale for the input of each projection: rounded to int8, an activation is a multiple of it, up to 127 times.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ActivationScales(BTreeMap<String, f32>);

impl ActivationScales {
    /// Sets the scale of what is multiplied with a tensor of the checkpoint.
    pub fn insert(&mut self, tensor: &str, scale: f32) {
        self.0.insert(tensor.to_owned(), scale);
    }

    /// The scale of what is multiplied with a tensor of the checkpoint.
    pub fn get(&self, tensor: &str) -> Option<f32> {
        self.0.get(tensor).copied()
    }

    /// How many projections have one.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether none has one.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
