//! What every error of the converter can offer besides its message.

use std::fmt::Write as _;

/// Advice that goes with an error, kept apart from its message.
pub trait Hint {
    /// What the user can do about it.
    fn hint(&self) -> Option<String> {
        None
    }
}

/// The message of an error with its causes, one a line, without the hint.
pub fn render(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        // Writing to a string cannot fail.
        let _ = write!(text, "\n  caused by: {inner}");
        cause = inner.source();
    }
    text
}
