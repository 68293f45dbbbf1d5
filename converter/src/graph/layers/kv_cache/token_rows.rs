//! Where in a ring the tokens of a call are.

use std::sync::Arc;

use anec_mil::{DataType, SliceMasks, TensorType, Var};

use crate::graph::{Graph, GraphError, int};

/// The places in a ring of `positions` of the `count` positions from `current_pos` on, int32 `[count]`. Names of ops start
/// with `name`.
///
/// They are looked up in a table: no remainder is computed.
pub(super) fn token_rows(
    graph: &mut Graph<'_>,
    name: &str,
    positions: u64,
    current_pos: &Var,
    count: u64,
) -> Result<Var, GraphError> {
    let length = table_length(graph);
    let ty = TensorType::fixed(DataType::Int32, &[length]);
    let table = graph.weights.generated(&format!("ring_rows_{positions}"), ty, || numbers(length, positions));
    let table = graph.ops.constant(&format!("{name}_table"), table);
    let places = match count {
        1 => current_pos.clone(),
        count => {
            let offsets = first_numbers(graph, &format!("{name}_offsets"), count)?;
            graph.ops.add(&format!("{name}_positions"), current_pos, &offsets)?
        }
    };
    let places = graph.gather_index(&format!("{name}_index"), &places, length)?;
    Ok(graph.ops.gather(name, &table, &places, 0)?)
}

/// The numbers from 0 to before `count`, int32 `[count]`.
pub(super) fn first_numbers(graph: &mut Graph<'_>, name: &str, count: u64) -> Result<Var, GraphError> {
    let length = table_length(graph);
    let ty = TensorType::fixed(DataType::Int32, &[length]);
    let table = graph.weights.generated("cache_positions", ty, || numbers(length, u64::MAX));
    let table = graph.ops.constant("cache_positions", table);
    if table.tensor()?.fixed_shape().is_some_and(|shape| shape == [count]) {
        return Ok(table);
    }
    Ok(graph.ops.slice_by_index(name, &table, &[0], &[int(count)], &SliceMasks::end(&[false]))?)
}

/// Every position, and as many more as one call may ask about: its tokens, and those that a ring has beyond its windows.
fn table_length(graph: &Graph<'_>) -> u64 {
    let settings = graph.settings;
    let beyond = settings
        .caches
        .window
        .as_ref()
        .map_or(0, |window| window.shape.positions + settings.batch_size.max(settings.verify_length()));
    settings.tables.positions + beyond
}

/// The numbers from 0 as int32, each its remainder by `modulus`.
fn numbers(count: u64, modulus: u64) -> Arc<[u8]> {
    (0..count).flat_map(|position| int(position % modulus).to_le_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_of_three_begins_anew_at_three() {
        let bytes = numbers(7, 3);
        let found: Vec<i32> = bytes.as_chunks::<4>().0.iter().map(|bytes| i32::from_le_bytes(*bytes)).collect();
        assert_eq!(found, [0, 1, 2, 0, 1, 2, 0]);
    }
}
