//! What is known about Neural Engines, and the rules that follow from it for programs.

pub mod chip;
pub mod notch;

pub use chip::{Chip, ChipFacts};
