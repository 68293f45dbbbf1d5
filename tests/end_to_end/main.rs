//! Tests that cross crates: one binary, a module for each matter.

mod backends;
mod checkpoint;
mod drafts;
mod forms;
mod kernels;
mod packages;
mod plan_decisions;
mod prefill;
mod provenance;
mod windows;
