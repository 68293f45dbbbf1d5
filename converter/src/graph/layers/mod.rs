//! The layers that the graphs are made of, each once for all architectures.

pub(crate) mod attention;
pub(crate) mod kv_cache;
pub(crate) mod linear;
pub(crate) mod mask;
pub(crate) mod mlp;
pub(crate) mod residual;
pub(crate) mod rms_norm;
pub(crate) mod rotary;
