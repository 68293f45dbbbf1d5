//! Rotary position embedding: rows of tables at the clients' positions, gathered or given.

use std::sync::Arc;

use anec_mil::{DataType, Opset, SliceMasks, TensorType, Value, Var};
use half::f16;

use crate::graph::tables::RopeTable;
use crate::graph::{Graph, GraphError, int};
use crate::model::decoder_plan::LayerKind;

/// The rotations of one call's positions, one for each rotary embedding that its layers have.
pub(crate) struct Rotations(Vec<Option<Rotation>>);

/// Cosines and sines of one call's positions, `[1, 1, tokens, rotary_dim]` each.
#[derive(Clone)]
pub(crate) struct Rotation {
    cos: Var,
    sin: Var,
    rotary_dim: u64,
}

impl Graph<'_> {
    /// Positions as the uint16 that gathers on the Neural Engine take.
    ///
    /// # Shapes
    /// `position_ids: int32 [tokens]`; the result is `uint16 [tokens]`, or the input where a position may not fit, or where
    /// programs know no such integers.
    pub(crate) fn gather_positions(&mut self, position_ids: &Var) -> Result<Var, GraphError> {
        self.gather_index("position_ids_uint16", position_ids, self.settings.tables.positions)
    }

    /// Indices into a table of so many rows as the uint16 that gathers on the Neural Engine take; the int32 indices
    /// themselves where one may not fit, or where programs know no such integers.
    pub(crate) fn gather_index(&mut self, name: &str, index: &Var, rows: u64) -> Result<Var, GraphError> {
        if rows > u64::from(u16::MAX) || self.settings.opset < Opset::Ios17 {
            return Ok(index.clone());
        }
        Ok(self.ops.cast(name, index, DataType::UInt16)?)
    }

    /// Gathers the rows of a table by position: `table: [positions, width]` gives `[1, 1, tokens, width]`.
    pub(crate) fn gather_rows(
        &mut self,
        name: &str,
        width: u64,
        table: impl FnOnce() -> Arc<[u8]>,
        positions: &Var,
    ) -> Result<Var, GraphError> {
        self.gather_rows_as(name, name, width, table, positions)
    }

    /// [`Self::gather_rows`] of the table called `table_name`, under another name.
    fn gather_rows_as(
        &mut self,
        name: &str,
        table_name: &str,
        width: u64,
        table: impl FnOnce() -> Arc<[u8]>,
        positions: &Var,
    ) -> Result<Var, GraphError> {
        let ty = TensorType::fixed(DataType::Float16, &[1, self.settings.tables.positions, width]);
        let table = self.weights.generated(table_name, ty, table);
        let table = self.ops.constant(&format!("{table_name}_table"), table);
        let rows = self.ops.gather(&format!("{table_name}_rows"), &table, positions, 1)?;
        Ok(self.ops.expand_dims(name, &rows, &[1])?)
    }

    /// Cosines and sines of every rotary embedding of the model, under these names with the embedding's number, from 1:
    /// all cosines, then all sines.
    ///
    /// # Shapes
    /// `[1, 1, tokens, rotary_dim]` each.
    pub(crate) fn rotation_rows(&mut self, cos: &str, sin: &str, positions: &Var) -> Result<Vec<Var>, GraphError> {
        let mut rows = Vec::new();
        for (prefix, word, pick) in [(cos, "cos", cosines as Pick), (sin, "sin", sines)] {
            for (number, table) in (1..).zip(&self.settings.tables.ropes) {
                let name = format!("{prefix}{number}");
                let table_name = table_name(number, word);
                let data = || Arc::clone(pick(table));
                rows.push(self.gather_rows_as(&name, &table_name, table.rotary_dim, data, positions)?);
            }
        }
        Ok(rows)
    }

    /// The rotations of all rotary embeddings, where a function is given them.
    pub(crate) fn given_rotations<'v>(&self, mut rows: impl FnMut(usize) -> [&'v Var; 2]) -> Rotations {
        let rotation = |(number, table): (usize, &RopeTable)| {
            let [cos, sin] = rows(number).map(Var::clone);
            Some(Rotation { cos, sin, rotary_dim: table.rotary_dim })
        };
        Rotations((1..).zip(&self.settings.tables.ropes).map(rotation).collect())
    }

    /// The rotations that these layers need.
    pub(crate) fn rotations(&mut self, layers: &[LayerKind], positions: &Var) -> Result<Rotations, GraphError> {
        let mut rotations = Vec::new();
        for (number, (rope, table)) in (1..).zip(self.plan().ropes().into_iter().zip(&self.settings.tables.ropes)) {
            if !layers.iter().any(|layer| layer.rope.as_ref() == Some(rope)) {
                rotations.push(None);
                continue;
            }
            let name = |word: &str| table_name(number, word);
            let rotary_dim = table.rotary_dim;
            let cos = self.gather_rows(&name("cos"), rotary_dim, || Arc::clone(&table.cos), positions)?;
            let sin = self.gather_rows(&name("sin"), rotary_dim, || Arc::clone(&table.sin), positions)?;
            rotations.push(Some(Rotation { cos, sin, rotary_dim }));
        }
        Ok(Rotations(rotations))
    }

    /// The rotation of a layer; none of one without rotary embedding.
    pub(crate) fn rotation_of(&self, layer: usize, rotations: &Rotations) -> Option<Rotation> {
        let rope = self.layer_kind(layer).rope.as_ref()?;
        let index = self.plan().ropes().into_iter().position(|other| other == rope);
        let rotation = index.and_then(|index| rotations.0.get(index)?.clone());
        Some(rotation.expect("rotations were made for the layers of this function"))
    }

    /// Rotates queries or keys: `x * cos + rotate_half(x) * sin` of the channels that are rotated.
    ///
    /// # Shapes
    /// `x: [1, heads, tokens, head_dim]`, and so is the result.
    pub(crate) fn rotate(&mut self, name: &str, x: &Var, rotation: &Rotation) -> Result<Var, GraphError> {
        let rotary_dim = rotation.rotary_dim;
        if rotary_dim == self.plan().head_dim as u64 {
            return self.rotate_all(name, x, rotation);
        }
        let [batch, heads, tokens, head_dim] = lengths(x)?;
        let split = int(rotary_dim);
        let rotated = self.ops.slice_by_index(
            &format!("{name}_rotated_channels"),
            x,
            &[0, 0, 0, 0],
            &[batch, heads, tokens, split],
            &SliceMasks::end(&[true, true, true, false]),
        )?;
        let kept = self.ops.slice_by_index(
            &format!("{name}_kept_channels"),
            x,
            &[0, 0, 0, split],
            &[batch, heads, tokens, head_dim],
            &SliceMasks::end(&[true, true, true, true]),
        )?;
        let rotated = self.rotate_all(&format!("{name}_channels"), &rotated, rotation)?;
        Ok(self.ops.concat(name, &[&rotated, &kept], -1)?)
    }

    fn rotate_all(&mut self, name: &str, x: &Var, rotation: &Rotation) -> Result<Var, GraphError> {
        let [batch, heads, tokens, rotary_dim] = lengths(x)?;
        let half = rotary_dim / 2;
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
            &[batch, heads, tokens, rotary_dim],
            &SliceMasks::end(&[true, true, true, true]),
        )?;
        let minus_one = self.ops.constant(&format!("{name}_minus_one"), Value::fp16(f16::NEG_ONE));
        let negated = self.ops.mul(&format!("{name}_negated"), &second, &minus_one)?;
        let turned = self.ops.concat(&format!("{name}_turned"), &[&negated, &first], -1)?;
        let along = self.ops.mul(&format!("{name}_cos"), x, &rotation.cos)?;
        let across = self.ops.mul(&format!("{name}_sin"), &turned, &rotation.sin)?;
        Ok(self.ops.add(name, &along, &across)?)
    }
}

type Pick = fn(&RopeTable) -> &Arc<[u8]>;

fn cosines(table: &RopeTable) -> &Arc<[u8]> {
    &table.cos
}

fn sines(table: &RopeTable) -> &Arc<[u8]> {
    &table.sin
}

/// The name of a table of the rotary embedding of this number.
pub(crate) fn table_name(number: usize, word: &str) -> String {
    if number == 1 { format!("rope_{word}") } else { format!("rope_{number}_{word}") }
}

fn lengths(x: &Var) -> Result<[i32; 4], GraphError> {
    let shape = x.tensor()?.fixed_shape().expect("activations have fixed shapes");
    let lengths: Vec<i32> = shape.into_iter().map(int).collect();
    Ok(lengths.try_into().expect("heads are tensors of rank 4"))
}
