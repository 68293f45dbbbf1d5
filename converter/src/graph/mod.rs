//! The programs of a converted model.
//!
//! A family says which programs there are and builds them of layers. Names, element types, ranks and states of the functions
//! are those of the family's contract; inside, activations are `[1, channels, 1, tokens]` and every projection is a 1×1
//! convolution.

pub(crate) mod conv_split;
pub(crate) mod families;
mod function_graph;
pub(crate) mod layers;
mod tables;
mod weight_requests;

pub(crate) use function_graph::GraphError;
pub(crate) use function_graph::{Graph, ModelSettings, int};
pub(crate) use layers::LayerHook;
pub(crate) use tables::Tables;
pub(crate) use weight_requests::{find as weight_rows, matrix};
