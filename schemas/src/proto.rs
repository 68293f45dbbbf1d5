//! Messages of `model.mlmodel`, generated from this crate's own `.proto` files.
//!
//! The files hold the part of the format that ML Program packages use. Reading drops fields that they do not know;
//! [`crate::wire`] has the tables to notice that. Maps are sorted, so that equal messages encode to equal bytes.
//!
//! # Source
//! Field numbers: `mlmodel/format/{Model,FeatureTypes,MIL}.proto`, coremltools@e0e2f42b.

#[allow(clippy::pedantic, missing_docs, unreachable_pub, reason = "generated code")]
mod messages {
    include!(concat!(env!("OUT_DIR"), "/messages.rs"));
}

pub use messages::core_ml::specification::{self, mil_spec};
pub use prost::{DecodeError, Message};
