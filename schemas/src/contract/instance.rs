//! One conversion under a contract.

use std::collections::{BTreeMap, BTreeSet};

use super::{Axis, Dimension, Size, Variant, When};

/// The sizes and variants of one conversion, or of one file of it. Sizes may be missing: what depends on them may then be
/// anything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Instance {
    sizes: BTreeMap<Size, Vec<u64>>,
    variants: BTreeSet<&'static str>,
}

impl Instance {
    /// The same with this size.
    #[must_use]
    pub fn with_size(mut self, size: Size, length: u64) -> Self {
        self.sizes.insert(size, vec![length]);
        self
    }

    /// The same with a size that has a number for each of several tensors.
    #[must_use]
    pub fn with_sizes(mut self, size: Size, lengths: &[u64]) -> Self {
        self.sizes.insert(size, lengths.to_vec());
        self
    }

    /// The same with this variant, where `holds`.
    #[must_use]
    pub fn with_variant(mut self, variant: Variant, holds: bool) -> Self {
        if holds {
            self.variants.insert(variant.name);
        } else {
            self.variants.remove(variant.name);
        }
        self
    }

    /// A size, where it is known and one number.
    pub fn size(&self, size: Size) -> Option<u64> {
        match self.sizes.get(&size)?[..] {
            [length] => Some(length),
            _ => None,
        }
    }

    /// Whether a condition holds.
    pub fn is(&self, when: When) -> bool {
        match when {
            When::Always => true,
            When::With(variant) => self.variants.contains(variant.name),
            When::Without(variant) => !self.variants.contains(variant.name),
            When::All(conditions) => conditions.iter().all(|condition| self.is(*condition)),
        }
    }

    /// The length of an axis of the tensor at `position` among those of its name, from 0. Products and sums saturate: no
    /// tensor has an axis of that length.
    pub fn axis(&self, dimension: Dimension, position: usize) -> Axis {
        match dimension {
            Dimension::Fixed(length) => Axis::One(length),
            Dimension::Size(size) => match self.sizes.get(&size).map(Vec::as_slice) {
                Some([length]) => Axis::One(*length),
                Some(lengths) => lengths.get(position).map_or(Axis::Any, |length| Axis::One(*length)),
                None => Axis::Any,
            },
            Dimension::Product(factors) => self.combined(factors, position, 1, u64::saturating_mul),
            Dimension::Sum(terms) => self.combined(terms, position, 0, u64::saturating_add),
            Dimension::OneOf(dimensions) => {
                let mut found = BTreeSet::new();
                for dimension in dimensions {
                    match self.axis(*dimension, position) {
                        Axis::One(length) => found.extend([length]),
                        Axis::OneOf(lengths) => found.extend(lengths),
                        Axis::Any => return Axis::Any,
                    }
                }
                let lengths: Vec<u64> = found.into_iter().collect();
                if let [length] = lengths[..] { Axis::One(length) } else { Axis::OneOf(lengths) }
            }
        }
    }

    fn combined(
        &self,
        dimensions: &[Dimension],
        position: usize,
        neutral: u64,
        combine: impl Fn(u64, u64) -> u64,
    ) -> Axis {
        let mut length = neutral;
        for dimension in dimensions {
            let Axis::One(other) = self.axis(*dimension, position) else { return Axis::Any };
            length = combine(length, other);
        }
        Axis::One(length)
    }
}
