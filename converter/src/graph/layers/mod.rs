//! The layers that the graphs are made of, each once for all architectures.

pub(crate) mod attention;
pub(crate) mod attention_columns;
mod channels_first;
mod decoder_layer;
pub(crate) mod kv_cache;
pub(crate) mod linear;
mod logits;
pub(crate) mod mask;
mod mlp;
mod rms_norm;
pub(crate) mod rotary;
mod softcap;

pub(crate) use decoder_layer::LayerHook;
pub(crate) use decoder_layer::LayerPart;
