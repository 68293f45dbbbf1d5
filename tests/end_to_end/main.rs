//! Tests that cross crates: one binary, a module for each matter.

mod backends;
mod forms;
mod packages;
mod plan_decisions;
mod provenance;
