//! The command and its plans: one binary, a module for each matter.

mod allocation;
mod calibration;
mod chat;
mod cli;
mod compiled;
mod documents;
mod help;
mod lint;
mod performance;
mod programs;
mod published_plans;
mod resume;
mod ship;
mod templates;
