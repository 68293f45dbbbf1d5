//! Numbers that may be left to the planner.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

/// A number that is given, or left to the planner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    /// The planner decides.
    Auto,
    /// This many.
    Exactly(NonZeroU32),
}

impl FromStr for Count {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "auto" {
            return Ok(Self::Auto);
        }
        text.parse().map(Self::Exactly).map_err(|_| "expected `auto` or a positive number".to_owned())
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Exactly(count) => write!(f, "{count}"),
        }
    }
}
