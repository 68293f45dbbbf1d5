//! Grouped-query attention over the KV cache.
//!
//! The queries of one KV head are stacked on the row axis, `[1, num_key_value_heads, group * tokens, head_dim]`, so that
//! one matrix product per KV head serves them all and keys and values are never copied.

use anec_mil::{Value, Var};
use half::f16;

use super::kv_cache::CachePosition;
use super::mask::Masks;
use super::rotary::Rotary;
use crate::graph::{Graph, GraphError, int};
use crate::model::decoder_plan::LayerWeight;

/// What all layers of one function share.
pub(crate) struct AttentionInputs {
    /// Masks by kind.
    pub(crate) masks: Masks,
    /// Rotation of this call's positions.
    pub(crate) rotary: Rotary,
    /// Rows of the cache that this call writes.
    pub(crate) position: CachePosition,
    /// The state.
    pub(crate) state: Var,
}

impl Graph<'_> {
    /// # Shapes
    /// `x: [1, hidden_size, 1, tokens]`, and so is the result.
    pub(crate) fn attention(&mut self, layer: usize, x: &Var, inputs: &AttentionInputs) -> Result<Var, GraphError> {
        let plan = self.plan();
        let prefix = format!("layers_{layer}_attention");
        let (heads, kv_heads) = (plan.num_attention_heads as u64, plan.num_key_value_heads as u64);
        let qkv_bias = plan.qkv_bias;

        let query = self.projection(layer, LayerWeight::QProj, qkv_bias.then_some(LayerWeight::QProjBias), x)?;
        let key = self.projection(layer, LayerWeight::KProj, qkv_bias.then_some(LayerWeight::KProjBias), x)?;
        let value = self.projection(layer, LayerWeight::VProj, qkv_bias.then_some(LayerWeight::VProjBias), x)?;
        let query = self.split_heads(&format!("{prefix}_query"), &query, heads)?;
        let key = self.split_heads(&format!("{prefix}_key"), &key, kv_heads)?;
        let value = self.split_heads(&format!("{prefix}_value"), &value, kv_heads)?;

        let (query, key) = if plan.qk_norm {
            let q_norm = self.tensor_name(layer, LayerWeight::QNorm);
            let k_norm = self.tensor_name(layer, LayerWeight::KNorm);
            (
                self.rms_norm(&format!("{prefix}_query_norm"), &query, &q_norm, 3)?,
                self.rms_norm(&format!("{prefix}_key_norm"), &key, &k_norm, 3)?,
            )
        } else {
            (query, key)
        };
        let query = self.rotate(&format!("{prefix}_query_rotated"), &query, &inputs.rotary)?;
        let key = self.rotate(&format!("{prefix}_key_rotated"), &key, &inputs.rotary)?;

        let (key_row, value_row) = (layer as u64, (plan.num_hidden_layers + layer) as u64);
        self.write_cache(&format!("{prefix}_key_cache"), &inputs.state, key_row, &key, &inputs.position)?;
        let cache =
            self.write_cache(&format!("{prefix}_value_cache"), &inputs.state, value_row, &value, &inputs.position)?;
        let keys = self.read_cache(&format!("{prefix}_keys"), &cache, key_row)?;
        let values = self.read_cache(&format!("{prefix}_values"), &cache, value_row)?;

        let mixed = self.attend(&prefix, &query, &keys, &values, layer, inputs)?;
        let merged = self.merge_heads(&prefix, &mixed)?;
        let o_bias = plan.o_bias.then_some(LayerWeight::OProjBias);
        self.projection(layer, LayerWeight::OProj, o_bias, &merged)
    }

    /// Softmax attention of stacked queries.
    ///
    /// # Shapes
    /// `query: [1, num_attention_heads, tokens, head_dim]`, `keys` and `values`:
    /// `[1, num_key_value_heads, context_length, head_dim]`; the result is
    /// `[1, num_key_value_heads, group * tokens, head_dim]`.
    fn attend(
        &mut self,
        prefix: &str,
        query: &Var,
        keys: &Var,
        values: &Var,
        layer: usize,
        inputs: &AttentionInputs,
    ) -> Result<Var, GraphError> {
        let plan = self.plan();
        let rows = int(plan.group() as u64 * self.tokens);
        let stacked_shape = [1, int(plan.num_key_value_heads as u64), rows, int(plan.head_dim as u64)];
        // Scaled before the product, not after, so that scores stay inside fp16 for as long as they can.
        #[expect(clippy::cast_precision_loss, reason = "head_dim is far below 2^52")]
        let scale = f16::from_f64((plan.head_dim as f64).sqrt().recip());
        let scale = self.ops.constant(&format!("{prefix}_scale"), Value::fp16(scale));
        let scaled = self.ops.mul(&format!("{prefix}_query_scaled"), query, &scale)?;
        let stacked = if plan.group() == 1 {
            scaled
        } else {
            self.ops.reshape(&format!("{prefix}_query_stacked"), &scaled, &stacked_shape)?
        };
        let scores = self.ops.matmul(&format!("{prefix}_scores"), &stacked, keys, false, true)?;
        let kind = plan.attention.get(layer).copied().unwrap_or_default();
        let masked = match inputs.masks.get(kind) {
            Some(mask) => self.ops.add(&format!("{prefix}_scores_masked"), &scores, mask)?,
            None => scores,
        };
        let weights = self.ops.softmax(&format!("{prefix}_weights"), &masked, -1)?;
        Ok(self.ops.matmul(&format!("{prefix}_mixed"), &weights, values, false, false)?)
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
