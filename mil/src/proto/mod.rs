//! The protobuf form of programs: encoding, decoding, and a check for fields that decoding would drop.
//!
//! Encoding after decoding gives an equal message. What the IR has no place for is an error, and so are the fields that
//! the messages of [`anec_schemas::proto`] do not know; nothing is dropped silently.

mod decode;
mod encode;
mod fields;
mod immediate;

pub use decode::{ProtoError, ProtoProblem, decode};
pub use encode::encode;
pub(crate) use fields::top_level;
pub use fields::{FieldError, FieldProblem, check_fields, unknown_fields};

/// The only version of the program format.
///
/// # Source
/// `MIL.proto` `Program.version`, coremltools@e0e2f42b.
const PROGRAM_VERSION: i64 = 1;
