//! The command and its plans: one binary, a module for each matter.

mod allocation;
mod calibration;
mod chat;
mod cli;
mod compiled;
mod documents;
mod fuzz_corpus;
mod help;
mod kernels;
mod layout_documents;
mod lint;
mod llm_cli_plans;
mod parts;
mod performance;
mod plans;
mod programs;
mod published_plans;
mod resume;
mod ship;
mod storages;
mod supported;
mod templates;
mod training_programs;
mod vocabularies;
