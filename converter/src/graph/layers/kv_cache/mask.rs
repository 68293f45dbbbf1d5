//! A state written by masks, which do without a place that is known when the call is made: a row of the state becomes
//! `row * keep + placed`, where `keep` is 0 at the new positions and `placed` has the new rows there, and goes back whole.
//!
//! Places may come in any order: those of a batch that runs over the end of a ring, too.

use anec_mil::{DataType, Value, Var};
use half::f16;

use super::state::{State, Write};
use super::token_rows::first_numbers;
use crate::graph::{Graph, GraphError};

/// Which positions are new.
pub(super) struct ByMask {
    /// 1 where the position of the first axis is that of the token, fp16 `[1, 1, positions, tokens]`.
    pub(super) placement: Var,
    /// 0 at the positions of this call, else 1, fp16 `[1, 1, positions, 1]`.
    pub(super) keep: Var,
}

impl ByMask {
    /// At the positions from `current_pos` on, int32 `[1]`.
    pub(super) fn new(graph: &mut Graph<'_>, positions: u64, current_pos: &Var) -> Result<Self, GraphError> {
        let places = match graph.tokens {
            1 => current_pos.clone(),
            tokens => {
                let offsets = first_numbers(graph, "token_offsets", tokens)?;
                graph.ops.add("token_positions", current_pos, &offsets)?
            }
        };
        Self::at(graph, "cache", positions, &places)
    }

    /// At these places of a state's `positions`, int32 `[tokens]`. Of tokens with one place the last stays, which only calls
    /// of more tokens than positions have, at consecutive places of a ring. Names of ops start with `name`.
    pub(super) fn at(graph: &mut Graph<'_>, name: &str, positions: u64, places: &Var) -> Result<Self, GraphError> {
        let rows = first_numbers(graph, &format!("{name}_rows"), positions)?;
        let rows = graph.ops.expand_dims(&format!("{name}_rows_column"), &rows, &[1])?;
        let matches = graph.ops.equal(&format!("{name}_matches"), &rows, places)?;
        let matches = graph.ops.cast(&format!("{name}_matches_fp16"), &matches, DataType::Float16)?;
        let mut placement = graph.ops.expand_dims(&format!("{name}_placement"), &matches, &[0, 1])?;
        if graph.tokens > positions {
            let tokens = graph.tokens;
            let overwritten = tokens - positions;
            let last = |token: u64| if token < overwritten { f16::ZERO } else { f16::ONE };
            let last = graph.table(&format!("{name}_last"), &[1, 1, 1, tokens], || (0..tokens).map(last).collect());
            placement = graph.ops.mul(&format!("{name}_placement_last"), &placement, &last)?;
        }
        let taken = match graph.tokens {
            1 => placement.clone(),
            _ => graph.ops.reduce_max(&format!("{name}_taken"), &placement, &[3], true)?,
        };
        let one = graph.ops.constant(&format!("{name}_one"), Value::fp16(f16::ONE));
        let keep = graph.ops.sub(&format!("{name}_keep"), &one, &taken)?;
        Ok(Self { placement, keep })
    }

    /// The rows of the tokens in their places, and 0 in the others.
    pub(super) fn placed(&self, graph: &mut Graph<'_>, name: &str, update: &Var) -> Result<Var, GraphError> {
        Ok(match graph.tokens {
            1 => graph.ops.mul(&format!("{name}_placed"), &self.placement, update)?,
            _ => graph.ops.matmul(&format!("{name}_placed"), &self.placement, update, false, false)?,
        })
    }
}

impl Write for ByMask {
    fn updated(
        &self,
        graph: &mut Graph<'_>,
        name: &str,
        state: &State,
        before: &Var,
        row: u64,
        update: &Var,
    ) -> Result<Var, GraphError> {
        let old = state.row(graph, &format!("{name}_old"), before, row)?;
        let kept = graph.ops.mul(&format!("{name}_kept"), &old, &self.keep)?;
        let placed = self.placed(graph, name, update)?;
        let new = graph.ops.add(&format!("{name}_new"), &kept, &placed)?;
        State::with_row(graph, name, before, row, &new)
    }
}
