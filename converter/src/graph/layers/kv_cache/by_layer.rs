//! Layers whose caches differ.

use std::rc::Rc;

use anec_mil::Var;

use super::{Attend, KvCache};
use crate::graph::{Graph, GraphError};

/// One cache for some layers, another for the rest.
pub(super) struct ByLayer {
    /// Layers of the first, ascending.
    pub(super) layers: Vec<usize>,
    /// The cache of these layers.
    pub(super) theirs: Rc<dyn KvCache>,
    /// That of the others.
    pub(super) others: Rc<dyn KvCache>,
}

impl KvCache for ByLayer {
    fn attend(
        &self,
        graph: &mut Graph<'_>,
        layer: usize,
        prefix: &str,
        key: &Var,
        value: &Var,
        attend: &mut Attend<'_>,
    ) -> Result<Var, GraphError> {
        let cache = if self.layers.binary_search(&layer).is_ok() { &self.theirs } else { &self.others };
        cache.attend(graph, layer, prefix, key, value, attend)
    }
}
