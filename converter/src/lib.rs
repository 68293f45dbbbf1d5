//! Converts Hugging Face checkpoints of Llama, Qwen and Mistral models into Core ML packages for Apple's Neural Engine.
//!
//! [`commands`] are what the `anec` binary runs; `ARCHITECTURE.md` follows the data through the modules.

pub mod calibrate;
pub mod cli;
pub mod commands;
pub mod console;
pub mod error;
mod graph;
mod interrupt;
pub mod model;
pub mod options;
pub mod output;
pub mod plan;
mod planner;
mod product;
pub mod source;
pub mod training;
pub mod weights;
