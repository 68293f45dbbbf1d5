//! The command and its plans: one binary, a module for each matter.

mod calibration;
mod chat;
mod cli;
mod compiled;
mod help;
mod layout_documents;
mod lint;
mod llm_cli_plans;
mod performance;
mod programs;
mod published_plans;
mod resume;
mod templates;
