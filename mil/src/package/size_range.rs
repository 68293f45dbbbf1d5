//! Ranges of lengths, and lengths as the protobuf holds them.

use std::fmt;

use anec_schemas::proto::specification as pb;

use super::ModelError;

/// An inclusive range of lengths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SizeRange {
    /// Smallest length.
    pub lower: u64,
    /// Largest length; `None` where there is no bound.
    pub upper: Option<u64>,
}

/// Upper bound that stands for no bound.
const UNBOUNDED: i64 = -1;

impl SizeRange {
    /// Whether a length is in the range.
    pub fn contains(self, length: u64) -> bool {
        length >= self.lower && self.upper.is_none_or(|upper| length <= upper)
    }

    pub(super) fn to_proto(self, feature: &str) -> Result<pb::SizeRange, ModelError> {
        let upper_bound = self.upper.map_or(Ok(UNBOUNDED), |upper| signed(feature, upper))?;
        Ok(pb::SizeRange { lower_bound: self.lower, upper_bound })
    }

    pub(super) fn from_proto(feature: &str, range: &pb::SizeRange) -> Result<Self, ModelError> {
        let bounded = range.upper_bound != UNBOUNDED;
        let upper = bounded.then(|| unsigned(feature, range.upper_bound)).transpose()?;
        Ok(Self { lower: range.lower_bound, upper })
    }
}

impl fmt::Display for SizeRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.upper {
            Some(upper) => write!(f, "{}..={upper}", self.lower),
            None => write!(f, "{}..", self.lower),
        }
    }
}

pub(super) fn signed(feature: &str, size: u64) -> Result<i64, ModelError> {
    i64::try_from(size).map_err(|_| ModelError::Length { feature: feature.to_owned(), found: size.to_string() })
}

pub(super) fn unsigned(feature: &str, size: i64) -> Result<u64, ModelError> {
    u64::try_from(size).map_err(|_| ModelError::Length { feature: feature.to_owned(), found: size.to_string() })
}
