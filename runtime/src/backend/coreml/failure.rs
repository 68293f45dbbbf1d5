//! What failures of Core ML mean, and what to do about them.

use std::fmt;

/// A failure as Core ML reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrameworkError {
    /// The error domain, such as `com.apple.CoreML`.
    pub domain: String,
    /// The code within the domain.
    pub code: i64,
    /// What Core ML says, with the messages below it.
    pub message: String,
}

/// The domain of failures that this module finds itself, before Core ML is asked.
const OWN_DOMAIN: &str = "anec";

/// What a failure means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Cause {
    /// No plan could be built for the model: `-14`.
    NoPlan,
    /// The Neural Engine's program failed while it ran: `0x1d`.
    InferenceFailed,
    /// The Neural Engine refused the request: `0x23`.
    RequestRefused,
    /// A function name was given, and the model has no named functions.
    FunctionNameMustBeNil,
    /// The model has no such function.
    NoSuchFunction,
    /// The model asks for a newer system.
    NewerThanSystem,
    /// The compiled model was written by a newer compiler than the system has.
    CompilerNewerThanFramework,
    /// The compiled model is incomplete, or not for this system.
    StaleCompiledModel,
    /// An input has the wrong shape or element type, or is missing.
    Input,
    /// The call was cancelled.
    Cancelled,
    /// Memory or the Neural Engine's buffers ran out.
    OutOfMemory,
    /// Nothing that is known here.
    Unknown,
}

/// A row of [`PATTERNS`]: all of `words` are in the message, in lower case.
struct Pattern {
    cause: Cause,
    words: &'static [&'static str],
}

/// What messages are known to say, most specific first.
///
/// # Source
/// Messages of Core ML in public bug reports: coremltools #2325, #2631, #2688, #2716 and executorch #19635. Wording changes
/// from system to system, so only its stable words are matched.
const PATTERNS: [Pattern; 17] = [
    Pattern { cause: Cause::FunctionNameMustBeNil, words: &["functionname", "must be nil"] },
    Pattern { cause: Cause::NoSuchFunction, words: &["function", "not found"] },
    Pattern { cause: Cause::NoSuchFunction, words: &["no function named"] },
    Pattern { cause: Cause::CompilerNewerThanFramework, words: &["compiler", "newer"] },
    Pattern { cause: Cause::CompilerNewerThanFramework, words: &["compiler major version", "is more recent"] },
    Pattern { cause: Cause::NewerThanSystem, words: &["specification version", "not supported"] },
    Pattern { cause: Cause::NewerThanSystem, words: &["unsupported specification version"] },
    Pattern { cause: Cause::NewerThanSystem, words: &["unknown opset"] },
    Pattern { cause: Cause::NoPlan, words: &["error code: -14"] },
    Pattern { cause: Cause::InferenceFailed, words: &["0x1d"] },
    Pattern { cause: Cause::RequestRefused, words: &["0x23"] },
    Pattern { cause: Cause::StaleCompiledModel, words: &["coremldata.bin", "not a valid"] },
    Pattern { cause: Cause::StaleCompiledModel, words: &["failed to look up root model"] },
    Pattern { cause: Cause::StaleCompiledModel, words: &["could not open", ".mlmodelc"] },
    Pattern { cause: Cause::Input, words: &["shape", "does not match"] },
    Pattern { cause: Cause::Input, words: &["required", "input", "not"] },
    Pattern { cause: Cause::OutOfMemory, words: &["memory"] },
];

/// Codes of Core ML's error domain whose meaning is documented.
///
/// # Source
/// `MLModelError` in `MLModelError.h`.
const CODES: [(i64, Cause); 2] = [(1, Cause::Input), (11, Cause::Cancelled)];

/// Core ML's error domain.
///
/// # Source
/// `MLModelErrorDomain` in `MLModelError.h`.
const CORE_ML_DOMAIN: &str = "com.apple.CoreML";

impl FrameworkError {
    /// A failure that is found before Core ML is asked.
    pub fn own(message: impl Into<String>) -> Self {
        Self { domain: OWN_DOMAIN.to_owned(), code: 0, message: message.into() }
    }

    /// What it means.
    pub fn cause(&self) -> Cause {
        let text = self.message.to_lowercase();
        let known = PATTERNS.iter().find(|pattern| pattern.words.iter().all(|word| text.contains(word)));
        if let Some(pattern) = known {
            return pattern.cause;
        }
        if self.code == -14 {
            return Cause::NoPlan;
        }
        let coded = CODES.iter().find(|(code, _)| self.domain == CORE_ML_DOMAIN && *code == self.code);
        coded.map_or(Cause::Unknown, |(_, cause)| *cause)
    }
}

impl fmt::Display for FrameworkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.domain == OWN_DOMAIN {
            return f.write_str(&self.message);
        }
        write!(f, "{} ({} {})", self.message, self.domain, self.code)
    }
}

impl std::error::Error for FrameworkError {}

impl Cause {
    /// Whether compiling the package once more can help.
    pub fn is_stale(self) -> bool {
        matches!(self, Self::NoPlan | Self::StaleCompiledModel | Self::CompilerNewerThanFramework)
    }

    /// What to do about it.
    pub fn hint(self) -> Option<&'static str> {
        Some(match self {
            Self::NoPlan => {
                "Core ML built no plan (-14): `anec lint` names what the Neural Engine does not take; also try \
                 --units cpu-only, smaller --chunks, and closing other models. A model compiled before a system update \
                 must be compiled again from its .mlpackage"
            }
            Self::InferenceFailed => {
                "the Neural Engine stopped while it ran (0x1d): known of three or more states in a model, and of memory \
                 that ran out; --units cpu-only tells whether the model itself is right"
            }
            Self::RequestRefused => {
                "the Neural Engine refused the request (0x23): close other models, or restart; --units cpu-only does \
                 without it"
            }
            Self::FunctionNameMustBeNil => "the model has no named functions: load it without a function name",
            Self::NoSuchFunction => "`anec inspect` prints the functions of a model",
            Self::NewerThanSystem => "convert for an older system with --target, or update the system",
            Self::CompilerNewerThanFramework => {
                "the .mlmodelc was written by a newer compiler: delete it, and the .mlpackage is compiled on this machine"
            }
            Self::StaleCompiledModel => {
                "the .mlmodelc is incomplete or from another system: delete it, and the .mlpackage is compiled again"
            }
            Self::Input => "the inputs do not fit; `anec inspect` prints what a function takes",
            Self::OutOfMemory => "close other models, or convert with more --chunks or a smaller --context-length",
            Self::Cancelled | Self::Unknown => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(domain: &str, code: i64, message: &str) -> Cause {
        FrameworkError { domain: domain.to_owned(), code, message: message.to_owned() }.cause()
    }

    #[test]
    fn messages_of_bug_reports_are_understood() {
        let cases = [
            (
                "Failed to build the model execution plan using a model architecture file 'x' with error code: -14.",
                Cause::NoPlan,
            ),
            ("Unable to compute the prediction using ML Program. status=0x1d : statusType=0x9", Cause::InferenceFailed),
            ("ANE request failed, status=0x23", Cause::RequestRefused),
            (
                "MLModelConfiguration.functionName must be nil unless the model is a multi-function model",
                Cause::FunctionNameMustBeNil,
            ),
            ("Function named 'prefill' was not found in the model", Cause::NoSuchFunction),
            ("Unknown opset 'CoreML9'", Cause::NewerThanSystem),
            ("A valid manifest does not exist: coremldata.bin is not a valid file", Cause::StaleCompiledModel),
            ("MultiArray shape (1 x 2) does not match the shape (1 x 3) specified", Cause::Input),
            ("It is raining", Cause::Unknown),
        ];
        for (message, cause) in cases {
            assert_eq!(of("com.apple.CoreML", 0, message), cause, "{message}");
        }
    }

    #[test]
    fn codes_speak_where_messages_do_not() {
        assert_eq!(of("com.apple.CoreML", 11, "stopped"), Cause::Cancelled);
        assert_eq!(of("com.apple.CoreML", 1, "bad feature"), Cause::Input);
        assert_eq!(of("NSPOSIXErrorDomain", 11, "stopped"), Cause::Unknown);
        assert_eq!(of("com.apple.appleneuralengine", -14, "failed"), Cause::NoPlan);
    }

    #[test]
    fn only_compiled_models_that_compiling_can_mend_are_stale() {
        assert!(Cause::StaleCompiledModel.is_stale() && Cause::NoPlan.is_stale());
        assert!(!Cause::Input.is_stale() && !Cause::InferenceFailed.is_stale());
    }
}
