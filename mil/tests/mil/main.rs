//! Programs, their forms and the rules about them, through the public API: one binary, a module for each matter.

mod blob_file;
mod compiled_samples;
mod directory;
mod filetests;
mod fuzz_corpus;
mod hostile_programs;
mod op_vectors;
mod package_model;
mod package_samples;
mod proto_fields;
mod proto_program;
mod rules_document;
mod sample_evaluation;
