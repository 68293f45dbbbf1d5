//! Strict reading of config.json.
//!
//! Owns which values are sound and which keys are harmless. Never decides what a value means for a model; that is the
//! [adapters](crate::model::arch)'. A key that nothing is known about and that sounds like maths is an error until the
//! user says otherwise: a model converted without it would be wrong in silence. Other unknown keys are told by name.

mod error;
mod keys;
mod kind;
mod reader;

pub use self::error::{ConfigError, UnknownKey, Violation};
pub(crate) use self::kind::check_kind;
pub use self::reader::{ConfigReader, UnknownKeys};
pub(crate) use self::reader::{is_unset, shortened};
