//! The element type of a flat file of weights.

use std::fmt;

use clap::ValueEnum;

/// In what a flat file of weights has its numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FlatType {
    /// Single precision.
    F32,
    /// Half precision.
    F16,
}

impl fmt::Display for FlatType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
        })
    }
}
