//! Programs over a Core ML state, as ANEMLL's clients drive them: embeddings, chunks of decoder layers, LM head.

pub(crate) mod chunk;
pub(crate) mod embeddings;
pub(crate) mod lm_head;
