//! MIL as text: Apple's own form, the one inside compiled models.
//!
//! The printer's layout is Apple's to the byte: four spaces before functions, twelve before operations, everything that
//! is a map in the protobuf sorted by name, no newline at the end. The parser takes that and any other layout.
//!
//! # Source
//! `model.mil` of 58 compiled models, Apple's own among them; the grammar stands in the parser's files. None of them has
//! nested blocks: those stand as mlmodelc-export 0.1.0 writes them, whose tests load the text in Core ML.

mod elements;
mod hex_float;
mod lexer;
mod parser;
mod printer;

pub use parser::{ParseError, Parsed, parse};
pub use printer::{PrintError, print};

/// The version in `program(…)`, which decides how scalars are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextVersion {
    /// `program(1.0)`: a scalar is a tensor without axes, `tensor<int32, []>`.
    V1_0,
    /// `program(1.3)`: a scalar is its element type, `int32`.
    V1_3,
}

impl TextVersion {
    /// The version that goes with a model's specification version.
    pub fn for_specification_version(version: i32) -> Self {
        const FIRST_WITH_SCALARS: i32 = 9;
        if version >= FIRST_WITH_SCALARS { Self::V1_3 } else { Self::V1_0 }
    }

    fn number(self) -> &'static str {
        match self {
            Self::V1_0 => "1.0",
            Self::V1_3 => "1.3",
        }
    }
}

/// Spaces before the operations of a function. Those of a nested block stand twice [`BLOCK_INDENT`] further in.
pub(crate) const OPERATION_INDENT: usize = 12;
/// Spaces by which a nested block stands further in than its operation.
const BLOCK_INDENT: usize = 4;

#[cfg(test)]
mod tests;
