//! The cache in the client's hands: a function is given keys and values of earlier calls, and gives its own back.
//!
//! # Shapes
//! Each layer has two inputs, `[1, num_key_value_heads * head_dim, 1, context_length]`, which attention reads as they are,
//! and two outputs, `[1, num_key_value_heads * head_dim, 1, tokens]`. Keys are rotated before they leave.

use std::cell::RefCell;

use anec_mil::Var;

use super::{Attend, Cached, KvCache, Past, PastLayout};
use crate::graph::{Graph, GraphError, int};

/// The caches of the layers of one function.
pub(crate) struct HostCache {
    first_layer: usize,
    /// Keys and values of each layer.
    given: Vec<[Var; 2]>,
    /// What the outputs of keys and values are called before the number of the layer in the function.
    output_names: [&'static str; 2],
    /// The outputs of each layer, as layers are built.
    outputs: RefCell<Vec<[Var; 2]>>,
}

impl HostCache {
    /// The caches of the layers from `first_layer` on.
    pub(crate) fn new(first_layer: usize, given: Vec<[Var; 2]>, output_names: [&'static str; 2]) -> Self {
        Self { first_layer, given, output_names, outputs: RefCell::default() }
    }

    /// This call's own keys of all layers, then its values.
    pub(crate) fn outputs(&self) -> Vec<Var> {
        let outputs = self.outputs.borrow();
        let keys = outputs.iter().map(|[key, _]| key);
        keys.chain(outputs.iter().map(|[_, value]| value)).cloned().collect()
    }
}

impl KvCache for HostCache {
    fn attend(
        &self,
        graph: &mut Graph<'_>,
        layer: usize,
        prefix: &str,
        key: &Var,
        value: &Var,
        attend: &mut Attend<'_>,
    ) -> Result<Var, GraphError> {
        let number = layer - self.first_layer;
        let [keys, values] = self.given.get(number).expect("a function is given the caches of its layers");
        let [key_name, value_name] = self.output_names.map(|name| format!("{name}{number}"));
        let new = [columns(graph, &key_name, key)?, columns(graph, &value_name, value)?];
        self.outputs.borrow_mut().push(new);
        let past = Past {
            keys: by_head(graph, &format!("{prefix}_past_keys"), keys)?,
            values: by_head(graph, &format!("{prefix}_past_values"), values)?,
            layout: PastLayout::ByChannel,
            positions: graph.settings.context_length,
        };
        attend(graph, &Cached { keys: key.clone(), values: value.clone(), past: Some(past) })
    }
}

/// `[1, heads, tokens, head_dim]` to `[1, heads * head_dim, 1, tokens]`, under exactly this name.
fn columns(graph: &mut Graph<'_>, name: &str, rows: &Var) -> Result<Var, GraphError> {
    let shape = [1, int(graph.plan().kv_size() as u64), 1, int(graph.tokens)];
    if graph.tokens == 1 {
        return Ok(graph.ops.reshape(name, rows, &shape)?);
    }
    let turned = graph.ops.transpose(&format!("{name}_by_channel"), rows, &[0, 1, 3, 2])?;
    Ok(graph.ops.reshape(name, &turned, &shape)?)
}

/// `[1, heads * head_dim, 1, context_length]` to `[1, heads, head_dim, context_length]`.
fn by_head(graph: &mut Graph<'_>, name: &str, cache: &Var) -> Result<Var, GraphError> {
    let plan = graph.plan();
    let (heads, head_dim) = (int(plan.num_key_value_heads as u64), int(plan.head_dim as u64));
    Ok(graph.ops.reshape(name, cache, &[1, heads, head_dim, int(graph.settings.context_length)])?)
}
