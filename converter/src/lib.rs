//! Converts Hugging Face checkpoints of Llama, Qwen and Mistral models into Core ML packages for Apple's Neural Engine.
//!
//! [`commands`] are what the `anec` binary runs; `ARCHITECTURE.md` shows the way of the data through the modules.

pub mod arch;
pub mod checkpoint;
pub mod cli;
pub mod commands;
pub mod compiled_model;
pub mod config;
pub mod console;
mod conv_split;
pub mod conversion;
pub mod decoder_plan;
pub mod emit;
pub mod error;
pub mod estimate;
mod graphs;
pub mod head_split;
mod interrupt;
mod layers;
mod metadata;
mod names;
pub mod options;
mod package_model;
pub mod planner;
pub mod publish;
pub mod rope;
pub mod staging;
mod weight_file;
