//! Rotary position embedding by tables gathered at the clients' positions.

use std::sync::Arc;

use anec_mil::{DataType, SliceMasks, TensorType, Value, Var};
use half::f16;

use crate::graph::{Graph, GraphError, int};

/// Cosines and sines of one call's positions, `[1, 1, tokens, head_dim]` each.
pub(crate) struct Rotary {
    cos: Var,
    sin: Var,
}

impl Graph<'_> {
    /// Positions as the uint16 that gathers on the Neural Engine take.
    ///
    /// # Shapes
    /// `position_ids: int32 [tokens]`; the result is `uint16 [tokens]`, or the input where a position may not fit.
    pub(crate) fn gather_positions(&mut self, position_ids: &Var) -> Result<Var, GraphError> {
        if self.settings.context_length > u64::from(u16::MAX) {
            return Ok(position_ids.clone());
        }
        Ok(self.ops.cast("position_ids_uint16", position_ids, DataType::UInt16)?)
    }

    /// Gathers the rows of a table by position: `table: [positions, width]` gives `[1, 1, tokens, width]`.
    pub(crate) fn gather_rows(
        &mut self,
        name: &str,
        width: u64,
        table: impl FnOnce() -> Arc<[u8]>,
        positions: &Var,
    ) -> Result<Var, GraphError> {
        let ty = TensorType::fixed(DataType::Float16, &[1, self.settings.tables.positions, width]);
        let table = self.weights.generated(name, ty, table);
        let table = self.ops.constant(&format!("{name}_table"), table);
        let rows = self.ops.gather(&format!("{name}_rows"), &table, positions, 1)?;
        Ok(self.ops.expand_dims(name, &rows, &[1])?)
    }

    /// The rotation of one call's positions.
    pub(crate) fn rotary(&mut self, positions: &Var) -> Result<Rotary, GraphError> {
        let head_dim = self.plan().head_dim as u64;
        let tables = self.settings.tables;
        let cos = self.gather_rows("rope_cos", head_dim, || Arc::clone(&tables.rope_cos), positions)?;
        let sin = self.gather_rows("rope_sin", head_dim, || Arc::clone(&tables.rope_sin), positions)?;
        Ok(Rotary { cos, sin })
    }

    /// Rotates queries or keys: `x * cos + rotate_half(x) * sin`.
    ///
    /// # Shapes
    /// `x: [1, heads, tokens, head_dim]`, and so is the result.
    pub(crate) fn rotate(&mut self, name: &str, x: &Var, rotary: &Rotary) -> Result<Var, GraphError> {
        let shape = x.tensor()?.fixed_shape().unwrap_or_default();
        let [batch, heads, tokens, head_dim] = [0, 1, 2, 3].map(|axis| int(shape.get(axis).copied().unwrap_or(1)));
        let half = head_dim / 2;
        let first = self.ops.slice_by_index(
            &format!("{name}_first_half"),
            x,
            &[0, 0, 0, 0],
            &[batch, heads, tokens, half],
            &SliceMasks::end(&[true, true, true, false]),
        )?;
        let second = self.ops.slice_by_index(
            &format!("{name}_second_half"),
            x,
            &[0, 0, 0, half],
            &[batch, heads, tokens, head_dim],
            &SliceMasks::end(&[true, true, true, true]),
        )?;
        let minus_one = self.ops.constant(&format!("{name}_minus_one"), Value::fp16(f16::NEG_ONE));
        let negated = self.ops.mul(&format!("{name}_negated"), &second, &minus_one)?;
        let turned = self.ops.concat(&format!("{name}_turned"), &[&negated, &first], -1)?;
        let along = self.ops.mul(&format!("{name}_cos"), x, &rotary.cos)?;
        let across = self.ops.mul(&format!("{name}_sin"), &turned, &rotary.sin)?;
        Ok(self.ops.add(name, &along, &across)?)
    }
}
