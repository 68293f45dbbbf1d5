//! A call that failed on its way to Core ML or in it.

use super::cache::CacheError;
use super::failure::{Cause, FrameworkError};
use super::queue::QueueError;

/// A call that failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CoreMlError {
    /// Core ML reported it.
    #[error(transparent)]
    Framework(#[from] FrameworkError),
    /// A package could not be compiled and kept.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// Nobody waited, or nobody was there.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// The directory holds the model in no form.
    #[error("the model is there neither as .mlpackage nor as .mlmodelc")]
    NoModel,
    /// There is no such function.
    #[error("no such function, expected one of {}", functions.join(", "))]
    NoFunction {
        /// Those that there are.
        functions: Vec<String>,
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
    /// A function or state that is not there any more, because an earlier call ended in a panic.
    #[error("the {what} is not there any more")]
    Gone {
        /// What is missing.
        what: &'static str,
    },
    /// This system has no Core ML.
    #[error("this system has no Core ML, expected macOS 15 or later")]
    Absent,
}

impl CoreMlError {
    /// What it means.
    pub fn cause(&self) -> Cause {
        match self {
            Self::Framework(error) | Self::Cache(CacheError::Compile { source: error, .. }) => error.cause(),
            Self::Queue(QueueError::Cancelled) => Cause::Cancelled,
            Self::NoFunction { .. } => Cause::NoSuchFunction,
            Self::Input { .. } => Cause::Input,
            _ => Cause::Unknown,
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Absent => Some("--backend reference runs on every system; it computes what Core ML is asked to"),
            Self::Cache(CacheError::Io { .. }) => Some("--cache takes another directory for compiled models"),
            Self::Queue(QueueError::Ended) => Some("this is a fault of anec or of Core ML: please report it"),
            _ => self.cause().hint(),
        }
    }
}
