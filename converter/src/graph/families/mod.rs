//! Graph families: which programs compute a model, and how they keep its KV cache.

pub(crate) mod stateful;
