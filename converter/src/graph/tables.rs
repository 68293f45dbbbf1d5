//! Tables that the graphs gather from by position: computed once per conversion.

use std::sync::Arc;

use half::f16;

use crate::model::decoder_plan::DecoderPlan;
use crate::model::rope::RopePlan;

/// Data that the graphs need and the checkpoint does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tables {
    /// One for each of [`DecoderPlan::ropes`], in their order.
    pub(crate) ropes: Vec<RopeTable>,
    /// Positions in the tables: the longest context length of the conversion, so that the weight files of all context
    /// lengths are the same.
    pub(crate) positions: u64,
}

/// Cosines and sines of a rotary embedding, `[positions, rotary_dim]` fp16 each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RopeTable {
    /// Cosines.
    pub(crate) cos: Arc<[u8]>,
    /// Sines.
    pub(crate) sin: Arc<[u8]>,
    /// Channels that are rotated.
    pub(crate) rotary_dim: u64,
}

impl Tables {
    /// The tables of a model for so many positions.
    pub(crate) fn new(plan: &DecoderPlan, positions: u32) -> Self {
        let ropes = plan.ropes().into_iter().map(|rope| RopeTable::new(rope, positions)).collect();
        Self { ropes, positions: u64::from(positions) }
    }

    /// Whether the rows of these tables are the first of others.
    pub(crate) fn begin(&self, others: &Self) -> bool {
        self.ropes.len() == others.ropes.len()
            && self.ropes.iter().zip(&others.ropes).all(|(own, other)| other.cos.starts_with(&own.cos))
    }
}

impl RopeTable {
    fn new(rope: &RopePlan, positions: u32) -> Self {
        let tables = rope.tables(positions as usize);
        Self { cos: bytes(&tables.cos), sin: bytes(&tables.sin), rotary_dim: rope.rotary_dim as u64 }
    }
}

fn bytes(table: &[f16]) -> Arc<[u8]> {
    table.iter().flat_map(|value| value.to_le_bytes()).collect()
}
