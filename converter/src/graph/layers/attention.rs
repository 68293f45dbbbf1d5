//! Grouped-query attention over the KV cache.
//!
//! The queries of one KV head are stacked on the row axis, `[1, num_key_value_heads, group * tokens, head_dim]`, so that
//! one matrix product per KV head serves them all and keys and values are never copied.
//!
//! Where a cache keeps heads of more channels than the model has, queries, keys and values have zeros behind their own: they
//! add nothing to a score, and what they give is cut off again.

use std::rc::Rc;

use anec_mil::ops::split::Split;
use anec_mil::{SliceMasks, Value, Var};
use half::f16;

use super::attention_columns::ColumnInputs;
use super::kv_cache::{CacheOrder, Cached, KvCache};
use super::mask::Masks;
use super::rotary::Rotations;
use crate::graph::{Graph, GraphError, int};
use crate::model::decoder_plan::{LayerKind, QkNorm, WeightPath};

/// What all layers of one function share, for one of the forms of attention.
pub(crate) enum AttentionInputs {
    /// Queries on rows.
    Rows(RowInputs),
    /// Queries on columns.
    Columns(ColumnInputs),
}

/// What all layers share where queries are rows.
pub(crate) struct RowInputs {
    /// Masks by kind.
    pub(crate) masks: Masks,
    /// Rotations of this call's positions.
    pub(crate) rotations: Rotations,
    /// Where keys and values are kept.
    pub(crate) cache: Rc<dyn KvCache>,
    /// Channels of a head in the cache, at least `head_dim`.
    pub(crate) head_channels: u64,
}

impl Graph<'_> {
    /// # Shapes
    /// `x: [1, hidden_size, ..]` as the form of attention has it, and so is the result.
    pub(crate) fn attention(&mut self, layer: usize, x: &Var, inputs: &AttentionInputs) -> Result<Var, GraphError> {
        match inputs {
            AttentionInputs::Rows(inputs) => self.attention_by_rows(layer, x, inputs),
            AttentionInputs::Columns(inputs) => self.attention_by_columns(layer, x, inputs),
        }
    }

    fn attention_by_rows(&mut self, layer: usize, x: &Var, inputs: &RowInputs) -> Result<Var, GraphError> {
        let plan = self.plan();
        let prefix = format!("layers_{layer}_attention");
        let (heads, kv_heads) = (plan.num_attention_heads as u64, plan.num_key_value_heads as u64);
        let [hidden, q_size, kv_size] = [plan.hidden_size, plan.q_size(), plan.kv_size()].map(|size| size as u64);

        let query = self.projection(layer, "self_attn.q_proj", [q_size, hidden], plan.qkv_bias, x)?;
        let key = self.projection(layer, "self_attn.k_proj", [kv_size, hidden], plan.qkv_bias, x)?;
        let value = self.projection(layer, "self_attn.v_proj", [kv_size, hidden], plan.qkv_bias, x)?;
        let query = self.whole_norm(layer, &format!("{prefix}_query_norm"), &query, "self_attn.q_norm")?;
        let key = self.whole_norm(layer, &format!("{prefix}_key_norm"), &key, "self_attn.k_norm")?;
        let query = self.split_heads(&format!("{prefix}_query"), &query, heads)?;
        let key = self.split_heads(&format!("{prefix}_key"), &key, kv_heads)?;
        let value = self.split_heads(&format!("{prefix}_value"), &value, kv_heads)?;

        let (query, key) = if plan.qk_norm == QkNorm::Heads {
            let [q_norm, k_norm] =
                ["self_attn.q_norm", "self_attn.k_norm"].map(|module| WeightPath::weight(layer, module));
            (
                self.rms_norm(&format!("{prefix}_query_norm"), &query, &q_norm, 3, plan.rms_norm_eps)?,
                self.rms_norm(&format!("{prefix}_key_norm"), &key, &k_norm, 3, plan.rms_norm_eps)?,
            )
        } else {
            (query, key)
        };
        let (query, key) = match self.rotation_of(layer, &inputs.rotations) {
            Some(rotation) => (
                self.rotate(&format!("{prefix}_query_rotated"), &query, &rotation)?,
                self.rotate(&format!("{prefix}_key_rotated"), &key, &rotation)?,
            ),
            None => (query, key),
        };
        let head_channels = inputs.head_channels;
        let query = self.filled_up_heads(&format!("{prefix}_query"), &query, head_channels)?;
        let key = self.filled_up_heads(&format!("{prefix}_key"), &key, head_channels)?;
        let value = self.filled_up_heads(&format!("{prefix}_value"), &value, head_channels)?;
        let mixed = inputs.cache.attend(self, layer, &prefix, &key, &value, &mut |graph, cached| {
            graph.attend(&prefix, &query, cached, layer, inputs)
        })?;
        let mixed = self.own_channels(&prefix, &mixed, head_channels)?;
        let merged = self.merge_heads(&prefix, &mixed)?;
        self.projection(layer, "self_attn.o_proj", [hidden, q_size], plan.o_bias, &merged)
    }

    /// The norm over all heads of queries or keys, where the model has it.
    ///
    /// # Shapes
    /// `x: [1, channels, 1, tokens]`, and so is the result.
    pub(super) fn whole_norm(
        &mut self,
        layer: usize,
        name: &str,
        x: &Var,
        module: &'static str,
    ) -> Result<Var, GraphError> {
        if self.plan().qk_norm != QkNorm::Whole {
            return Ok(x.clone());
        }
        self.rms_norm(name, x, &WeightPath::weight(layer, module), 1, self.plan().rms_norm_eps)
    }

    /// What a layer is.
    pub(crate) fn layer_kind(&self, layer: usize) -> &LayerKind {
        self.settings.plan.layers.get(layer).expect("the plan says of every layer what it is")
    }

    /// Softmax attention of stacked queries.
    ///
    /// # Shapes
    /// `query: [1, num_attention_heads, tokens, head_channels]`, keys and values:
    /// `[1, num_key_value_heads, cached positions, head_channels]`; the result is
    /// `[1, num_key_value_heads, group * tokens, head_channels]`.
    fn attend(
        &mut self,
        prefix: &str,
        query: &Var,
        cached: &Cached,
        layer: usize,
        inputs: &RowInputs,
    ) -> Result<Var, GraphError> {
        let plan = self.plan();
        let rows = int(plan.group() as u64 * self.tokens);
        let stacked_shape = [1, int(plan.num_key_value_heads as u64), rows, int(inputs.head_channels)];
        // Scaled before the product, not after, so that scores stay inside fp16 for as long as they can.
        let scale = self.ops.constant(&format!("{prefix}_scale"), Value::fp16(f16::from_f64(plan.query_scale)));
        let scaled = self.ops.mul(&format!("{prefix}_query_scaled"), query, &scale)?;
        let stacked = if plan.group() == 1 {
            scaled
        } else {
            self.ops.reshape(&format!("{prefix}_query_stacked"), &scaled, &stacked_shape)?
        };
        let scores = self.scores(&format!("{prefix}_scores"), &stacked, cached)?;
        let scores = self.softcap(&format!("{prefix}_scores_capped"), &scores, plan.attention_softcap)?;
        let mask = inputs.masks.get(self.layer_kind(layer).attention);
        let masked = self.ops.add(&format!("{prefix}_scores_masked"), &scores, mask)?;
        let weights = self.ops.softmax(&format!("{prefix}_weights"), &masked, -1)?;
        self.mixed(&format!("{prefix}_mixed"), &weights, cached)
    }

    /// Products of stacked queries and keys, those of the past first: the past is not copied to stand beside the call's own.
    fn scores(&mut self, name: &str, query: &Var, cached: &Cached) -> Result<Var, GraphError> {
        let Some(past) = &cached.past else {
            return Ok(self.ops.matmul(name, query, &cached.keys, false, true)?);
        };
        let by_rows = past.order == CacheOrder::Rows;
        let before = self.ops.matmul(&format!("{name}_past"), query, &past.keys, false, by_rows)?;
        let own = self.ops.matmul(&format!("{name}_own"), query, &cached.keys, false, true)?;
        Ok(self.ops.concat(name, &[&before, &own], -1)?)
    }

    /// Values weighted by attention, the past's columns of the weights first.
    fn mixed(&mut self, name: &str, weights: &Var, cached: &Cached) -> Result<Var, GraphError> {
        let Some(past) = &cached.past else {
            return Ok(self.ops.matmul(name, weights, &cached.values, false, false)?);
        };
        let sizes = [int(past.positions), int(self.tokens)];
        let cut = self.ops.split(&format!("{name}_weights"), weights, Split::Sizes(&sizes), -1)?;
        let [before, own] = &cut[..] else { unreachable!("a split has as many results as sizes") };
        let by_columns = past.order == CacheOrder::Columns;
        let before = self.ops.matmul(&format!("{name}_past"), before, &past.values, false, by_columns)?;
        let own = self.ops.matmul(&format!("{name}_own"), own, &cached.values, false, false)?;
        Ok(self.ops.add(name, &before, &own)?)
    }

    /// `[1, heads * head_dim, 1, tokens]` to `[1, heads, tokens, head_dim]`.
    fn split_heads(&mut self, name: &str, x: &Var, heads: u64) -> Result<Var, GraphError> {
        let (heads, head_dim, tokens) = (int(heads), int(self.plan().head_dim as u64), int(self.tokens));
        if tokens == 1 {
            return Ok(self.ops.reshape(&format!("{name}_heads"), x, &[1, heads, 1, head_dim])?);
        }
        let split = self.ops.reshape(&format!("{name}_split"), x, &[1, heads, head_dim, tokens])?;
        Ok(self.ops.transpose(&format!("{name}_heads"), &split, &[0, 1, 3, 2])?)
    }

    /// Zeros behind the channels of every head, up to as many as a cache keeps; the heads themselves where that is as many.
    ///
    /// # Shapes
    /// `x: [1, heads, tokens, head_dim]`; the result is `[1, heads, tokens, head_channels]`.
    fn filled_up_heads(&mut self, name: &str, x: &Var, head_channels: u64) -> Result<Var, GraphError> {
        let added = head_channels - self.plan().head_dim as u64;
        if added == 0 {
            return Ok(x.clone());
        }
        let mut shape = x.tensor()?.fixed_shape().expect("activations have fixed shapes");
        if let Some(last) = shape.last_mut() {
            *last = added;
        }
        let zeros = shape.iter().product::<u64>();
        let table = format!("head_zeros_{}x{}", shape.get(1).copied().unwrap_or(1), self.tokens);
        let zeros = self.table(&table, &shape, || (0..zeros).map(|_| f16::ZERO).collect());
        Ok(self.ops.concat(&format!("{name}_filled_up"), &[x, &zeros], -1)?)
    }

    /// The channels of every head that are the model's own.
    ///
    /// # Shapes
    /// `x: [1, num_key_value_heads, rows, head_channels]`; the result is `[1, num_key_value_heads, rows, head_dim]`.
    fn own_channels(&mut self, prefix: &str, x: &Var, head_channels: u64) -> Result<Var, GraphError> {
        let head_dim = self.plan().head_dim as u64;
        if head_channels == head_dim {
            return Ok(x.clone());
        }
        let shape = x.tensor()?.fixed_shape().expect("activations have fixed shapes");
        let mut end: Vec<i32> = shape.into_iter().map(int).collect();
        if let Some(last) = end.last_mut() {
            *last = int(head_dim);
        }
        let masks = SliceMasks::end(&[true, true, true, false]);
        Ok(self.ops.slice_by_index(&format!("{prefix}_own_channels"), x, &[0, 0, 0, 0], &end, &masks)?)
    }

    /// `[1, num_key_value_heads, group * tokens, head_dim]` to `[1, heads * head_dim, 1, tokens]`.
    fn merge_heads(&mut self, prefix: &str, x: &Var) -> Result<Var, GraphError> {
        let plan = self.plan();
        let (heads, head_dim) = (int(plan.num_attention_heads as u64), int(plan.head_dim as u64));
        let tokens = int(self.tokens);
        let merged = [1, heads * head_dim, 1, tokens];
        if tokens == 1 {
            return Ok(self.ops.reshape(&format!("{prefix}_merged"), x, &merged)?);
        }
        let by_head = self.ops.reshape(&format!("{prefix}_by_head"), x, &[1, heads, tokens, head_dim])?;
        let turned = self.ops.transpose(&format!("{prefix}_by_channel"), &by_head, &[0, 1, 3, 2])?;
        Ok(self.ops.reshape(&format!("{prefix}_merged"), &turned, &merged)?)
    }
}
