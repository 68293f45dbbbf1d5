//! Converted directories, tokenizers and generation, through the public API: one binary, a module for each matter.

mod directory;
mod generate;
mod sessions;
mod tokenizer;
