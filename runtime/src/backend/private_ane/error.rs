//! A call that failed on its way to the interface or in it.

use std::io;
use std::path::PathBuf;

use crate::backend::coreml::{Cause, FrameworkError, LayoutError};
use crate::part::PartError;

/// What compiles a program.
pub(super) const COMPILE: &str = "compileWithQoS:options:error:";

/// A call that failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PrivateAneError {
    /// The interface reported it.
    #[error("`{call}` failed")]
    Call {
        /// What was called.
        call: &'static str,
        /// What it said.
        #[source]
        source: FrameworkError,
    },
    /// The directory has no text of the program.
    #[error("the program is not there as text (.mil)")]
    NoText,
    /// The text or a weight file cannot be read.
    #[error(transparent)]
    Part(#[from] PartError),
    /// A file cannot be laid out for the compiler.
    #[error("Cannot lay out the program in {}", directory.display())]
    Staging {
        /// Where.
        directory: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// There is no such function.
    #[error("no such function, expected one of {}", functions.join(", "))]
    NoFunction {
        /// Those that there are.
        functions: Vec<String>,
    },
    /// The interface runs the first function of a text, and keeps no states.
    #[error("the program has {functions} functions and {states} states, expected one function without states")]
    Shape {
        /// How many functions.
        functions: usize,
        /// How many states.
        states: usize,
    },
    /// A tensor does not lie in a surface as the Neural Engine reads it.
    #[error("`{tensor}` is {found}, expected fp16 whose last axis is a multiple of {columns}")]
    Columns {
        /// The tensor.
        tensor: String,
        /// Its type.
        found: String,
        /// Of which the last axis must be a multiple.
        columns: u64,
    },
    /// An input is missing or does not fit.
    #[error("the input `{input}` is {found}, expected {expected}")]
    Input {
        /// The input.
        input: String,
        /// Its type.
        expected: String,
        /// What was given.
        found: String,
    },
    /// A tensor cannot be brought into the memory of a surface, or out of it.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// A call that succeeded, and that did not write.
    #[error("the call succeeded, and wrote nothing into `{output}`")]
    Unwritten {
        /// The output.
        output: String,
    },
    /// Apple's framework has no such class or method.
    #[error("this system's AppleNeuralEngine framework has no {missing}")]
    Changed {
        /// What is missing.
        missing: String,
    },
    /// The build has no calls of the interface.
    #[error("this build of anec does not call the Neural Engine's own interface")]
    NotBuilt,
    /// This system has no such interface.
    #[error("this system has no Neural Engine, expected a Mac with Apple Silicon")]
    Absent,
}

impl PrivateAneError {
    /// What to do about it.
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::Call { source, .. } if source.cause() == Cause::OutOfMemory => {
                "close other models, or fuse projections to have fewer programs (--fuse)"
            }
            // About 119 on M4, by maderix/ANE (pull request 23); those that there are need no second.
            Self::Call { call: COMPILE, .. } => {
                "a process was reported to get no more than about a hundred compilations: run the command again, the system \
                 keeps what it compiled. Else `anec lint` names what the Neural Engine does not take, and --backend coreml \
                 runs packages of the same programs"
            }
            Self::Call { .. } | Self::Unwritten { .. } => {
                "the interface is Apple's own and changes without notice: --backend coreml runs packages of the same \
                 programs, and `anec lint` names what the Neural Engine does not take"
            }
            Self::Changed { .. } => {
                "the interface is Apple's own and changes without notice: --backend coreml runs packages of the same programs"
            }
            Self::NoText | Self::Shape { .. } | Self::Columns { .. } => {
                "it runs texts of one projection: convert with --layout kernels"
            }
            Self::Staging { .. } => "the compiler reads programs from the system's temporary directory: is there room?",
            Self::Input { .. } => "`anec inspect` prints what a program takes",
            Self::NotBuilt => {
                "build it on this Mac with `cargo install --locked --path converter --features private-ane`; Apple does \
                 not support the interface, and --backend coreml needs no such build"
            }
            Self::Absent => "--backend reference runs on every system; it computes what the Neural Engine is asked to",
            Self::Part(_) | Self::NoFunction { .. } | Self::Layout(_) => return None,
        })
    }
}
