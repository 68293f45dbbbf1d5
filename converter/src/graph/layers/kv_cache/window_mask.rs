//! The masks of layers that keep their window only.
//!
//! A ring of `positions` holds position `p` at `p % positions`. Beside the client's mask, which hides what was never
//! written, it takes to hide what is older than the window, and where attention comes before the write, what the call itself
//! replaces. Both are consecutive positions after the call's first, taken around the ring. So a mask is a product: a constant
//! matrix that says for every token which of the positions that follow are hidden, times the matrix of where these are.
//!
//! Once a window is full and its state is shifted, the state holds the last positions in order, and masks are constants.

use anec_mil::{DataType, SliceMasks, Value, Var};
use half::f16;

use super::token_rows::{first_numbers, token_rows};
use crate::graph::layers::mask::OUTSIDE_WINDOW;
use crate::graph::{Graph, GraphError, int};

/// What the masks of a function's windows are made from.
pub(super) struct WindowMasks<'v> {
    /// Positions of the state.
    pub(super) positions: u64,
    /// Whether attention comes after the write.
    pub(super) early: bool,
    /// Whether the state is full and is shifted.
    pub(super) shifted: bool,
    /// Position of the first token, int32 `[1]`.
    pub(super) current_pos: &'v Var,
    /// The client's mask, cut to the positions of the state.
    pub(super) causal: Var,
}

impl WindowMasks<'_> {
    /// The client's mask, `[1, 1, tokens, context_length]`, without the columns that a state of `positions` does not have.
    pub(super) fn cut(graph: &mut Graph<'_>, causal_mask: &Var, positions: u64) -> Result<Var, GraphError> {
        if graph.settings.context_length == positions {
            return Ok(causal_mask.clone());
        }
        let end = [1, 1, int(graph.tokens), int(positions)];
        let ends = SliceMasks::end(&[true, true, true, false]);
        Ok(graph.ops.slice_by_index("window_causal_mask", causal_mask, &[0, 0, 0, 0], &end, &ends)?)
    }

    /// The mask of a window.
    ///
    /// # Shapes
    /// `[1, 1, tokens, positions]`, with the columns of the call's own tokens behind them where attention comes before the
    /// write.
    pub(super) fn mask(&self, graph: &mut Graph<'_>, window: u64) -> Result<Var, GraphError> {
        let name = format!("window_{window}");
        let past = match self.hidden(graph, &name, window)? {
            None => self.causal.clone(),
            Some(hidden) => graph.ops.add(&format!("{name}_mask"), &self.causal, &hidden)?,
        };
        if self.early {
            return Ok(past);
        }
        let tokens = graph.tokens;
        let own = graph.table(&format!("{name}_own_{tokens}"), &[1, 1, tokens, tokens], || {
            matrix(tokens, tokens, OUTSIDE_WINDOW, |token, key| key > token || key + window <= token)
        });
        Ok(graph.ops.concat(&format!("{name}_columns"), &[&past, &own], -1)?)
    }

    /// What is added to hide positions of the state; `None` where the client's mask is enough.
    fn hidden(&self, graph: &mut Graph<'_>, name: &str, window: u64) -> Result<Option<Var>, GraphError> {
        let (tokens, positions) = (graph.tokens, self.positions);
        let older = positions - window;
        if self.early && older == 0 {
            return Ok(None);
        }
        if self.shifted {
            // After the write the call's own are at the end, before it what was there.
            let first = if self.early { positions - tokens } else { positions };
            let hidden = |token: u64, key: u64| key + window <= first + token;
            return Ok(Some(graph.table(&format!("{name}_shifted_{tokens}"), &[1, 1, tokens, positions], || {
                matrix(tokens, positions, OUTSIDE_WINDOW, hidden)
            })));
        }
        let following = tokens + older;
        // A place that is hidden twice must not be hidden more than fp16 can say.
        let is_repeated = following > positions;
        let value = if is_repeated { f16::NEG_ONE } else { OUTSIDE_WINDOW };
        let early = self.early;
        let hidden = |token: u64, next: u64| next <= token + older && !(early && next <= token);
        let which = graph.table(&format!("{name}_hides_{tokens}"), &[1, 1, tokens, following], || {
            matrix(tokens, following, value, hidden)
        });
        let places = self.places(graph, name, following)?;
        let product = graph.ops.matmul(&format!("{name}_hidden"), &which, &places, false, false)?;
        if !is_repeated {
            return Ok(Some(product));
        }
        let once = graph.ops.clip(&format!("{name}_hidden_once"), &product, f16::NEG_ONE, f16::ZERO)?;
        let depth = graph.ops.constant(&format!("{name}_depth"), Value::fp16(-OUTSIDE_WINDOW));
        Ok(Some(graph.ops.mul(&format!("{name}_hidden_deep"), &once, &depth)?))
    }

    /// 1 where the place of the second axis is that of a position from the call's first on, fp16 `[1, 1, count, positions]`.
    fn places(&self, graph: &mut Graph<'_>, name: &str, count: u64) -> Result<Var, GraphError> {
        let rows = token_rows(graph, &format!("{name}_next"), self.positions, self.current_pos, count)?;
        let rows = graph.ops.expand_dims(&format!("{name}_next_column"), &rows, &[1])?;
        let places = first_numbers(graph, &format!("{name}_places"), self.positions)?;
        let matches = graph.ops.equal(&format!("{name}_next_matches"), &rows, &places)?;
        let matches = graph.ops.cast(&format!("{name}_next_matches_fp16"), &matches, DataType::Float16)?;
        Ok(graph.ops.expand_dims(&format!("{name}_next_places"), &matches, &[0, 1])?)
    }
}

/// A matrix of `value` where `holds` for row and column, else 0.
fn matrix(rows: u64, columns: u64, value: f16, holds: impl Fn(u64, u64) -> bool) -> Vec<f16> {
    let holds = &holds;
    let element = |row| move |column| if holds(row, column) { value } else { f16::ZERO };
    (0..rows).flat_map(|row| (0..columns).map(element(row))).collect()
}
