//! Where keys and values of earlier calls are kept: a strategy that attention asks once a layer.
//!
//! A family picks the strategy and gives it the function's inputs; attention knows none of them. Each strategy is a file.

mod by_layer;
mod early;
mod function;
mod host;
mod late;
mod mask;
mod own;
mod shift;
mod slice;
mod state;
mod states;
mod straddle;
mod token_rows;
mod window_mask;

use anec_mil::Var;

use crate::graph::{Graph, GraphError};

pub(crate) use function::{CacheInputs, Step, caches};
pub(crate) use host::HostCache;
pub(crate) use own::OwnTokens;
pub(crate) use states::{CacheStates, KeptWhole, WindowState};

/// Keys and values of all positions that a layer may attend to, each
/// `[1, num_key_value_heads, positions, head_dim]`, where a function's masks have as many columns as there are positions
/// with those of the past.
pub(crate) struct Cached {
    /// Keys.
    pub(crate) keys: Var,
    /// Values.
    pub(crate) values: Var,
    /// Those of earlier calls, where `keys` and `values` are this call's own only. Their columns of the masks come first.
    pub(crate) past: Option<Past>,
}

/// Keys and values of earlier calls.
pub(crate) struct Past {
    /// How both lie.
    pub(crate) order: CacheOrder,
    /// Keys.
    pub(crate) keys: Var,
    /// Values.
    pub(crate) values: Var,
    /// How many positions there are.
    pub(crate) positions: u64,
}

/// Computes attention over keys and values.
pub(crate) type Attend<'a> = dyn FnMut(&mut Graph<'_>, &Cached) -> Result<Var, GraphError> + 'a;

/// How the cache of a layer lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CacheOrder {
    /// A column for each position: `[1, num_key_value_heads, head_dim, positions]`.
    Columns,
    /// A row for each position: `[1, num_key_value_heads, positions, head_dim]`.
    Rows,
}

/// A way to keep keys and values.
pub(crate) trait KvCache {
    /// Calls `attend`, once, with all that the layer attends to, and puts this call's keys and values of it where they
    /// belong, before or after; gives what `attend` gives. Names of ops start with `prefix`.
    ///
    /// # Shapes
    /// `key` and `value`: `[1, num_key_value_heads, tokens, head_dim]`.
    ///
    /// # Errors
    /// A bug in the graph code.
    fn attend(
        &self,
        graph: &mut Graph<'_>,
        layer: usize,
        prefix: &str,
        key: &Var,
        value: &Var,
        attend: &mut Attend<'_>,
    ) -> Result<Var, GraphError>;
}
