//! Rules of the Neural Engine, and a linter that applies them to programs.
//!
//! A rule is a row of data: what it says, how bad it is to break it, where it holds, who found it, what sources disagree
//! about, what to do, and a check. Facts about chips stand in [`chip`]. Programs are read, never changed; they need not be
//! valid, and nothing here panics on any of them.
//!
//! Unlike the rest of the crate, rules know ops by name: they are about named ops.

mod catalog;
pub mod chip;
pub mod document;
mod flexible;
pub mod limits;
mod lint;
mod mask;
pub mod notch;
pub mod rule;
mod sink;
pub mod system;
mod view;
pub mod weight;

pub use catalog::{RULES, find};
pub use chip::{Chip, ChipFacts};
pub use lint::lint;
pub use rule::{Check, Conditions, Rule, Scope, Severity};
pub use sink::{Finding, Sink};
pub use system::{OsVersion, System};
pub use view::{Constants, FunctionView, ProgramView, Site, Subject};
