//! The command and its plans: one binary, a module for each matter.

mod allocation;
mod calibration;
mod chat;
mod cli;
mod compiled;
mod documents;
mod fuzz_corpus;
mod help;
mod layout_documents;
mod lint;
mod llm_cli_plans;
mod performance;
mod programs;
mod published_plans;
mod resume;
mod ship;
mod templates;
mod vocabularies;
