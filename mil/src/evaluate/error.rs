//! What can go wrong when a program runs.

use super::tensor::TensorError;
use crate::blob::BlobError;
use crate::ops::decl::InferError;

/// A program that cannot be run, or not with these inputs.
#[derive(Debug, thiserror::Error)]
pub enum EvaluateError {
    /// An operation failed.
    #[error("Cannot evaluate `{op}` called `{name}`")]
    Operation {
        /// The op.
        op: String,
        /// Its first result, or its name.
        name: String,
        /// Why.
        #[source]
        source: Box<EvaluateError>,
    },
    /// An operand is not what the op takes.
    #[error(transparent)]
    Operand(#[from] InferError),
    /// Elements do not make a tensor.
    #[error(transparent)]
    Tensor(#[from] TensorError),
    /// A blob cannot be read.
    #[error("Cannot read the weight at {offset} of `{file_name}`")]
    Weight {
        /// The file as the program names it.
        file_name: String,
        /// Offset of its record.
        offset: u64,
        /// Why.
        #[source]
        source: BlobError,
    },
    /// There is no such function.
    #[error("there is no function `{name}`, expected {known}")]
    NoFunction {
        /// The name asked for.
        name: String,
        /// Those there are.
        known: String,
    },
    /// An op that is not known.
    #[error("the op `{0}` is not known")]
    UnknownOp(String),
    /// Something that programs may have and the reference does not run.
    #[error("{0} is not supported by the reference evaluation")]
    Unsupported(String),
    /// A name that nothing defines.
    #[error("`{0}` is not defined")]
    Undefined(String),
    /// An input, output or state that is missing.
    #[error("the {kind} `{name}` is missing")]
    Missing {
        /// Input or state.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// An input that the function does not have.
    #[error("the function has no input `{name}`, expected {known}")]
    UnknownInput {
        /// The name given.
        name: String,
        /// Those there are.
        known: String,
    },
    /// A value that is not of the declared type.
    #[error("`{name}` is declared {expected}, got {found}")]
    Type {
        /// The value.
        name: String,
        /// Declared.
        expected: String,
        /// Given or computed.
        found: String,
    },
    /// An index outside of its axis.
    #[error("index {index} is outside of an axis of length {length}")]
    Index {
        /// The index.
        index: i64,
        /// The length.
        length: usize,
    },
    /// A loop that does not end, or not soon.
    #[error("loops made more than {limit} iterations")]
    Iterations {
        /// How many they may make in one run.
        limit: u64,
    },
}
