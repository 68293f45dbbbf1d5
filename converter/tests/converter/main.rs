//! The command and its plans: one binary, a module for each matter.

mod cli;
mod compiled;
mod lint;
mod performance;
mod published_plans;
mod resume;
mod templates;
