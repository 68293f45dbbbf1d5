//! Grouped-query attention with keys on the channel axis and queries on the last: what coreml-llm-cli's models have.
//!
//! Activations enter as a square, `[1, hidden_size, side, side]`, in which the Neural Engine multiplies faster. They are
//! reshaped to `[1, channels, 1, tokens]` before the projections of queries, keys and values, and back before that of the
//! output. Each KV head has products of its own, with the queries of its group side by side: keys and values are cut, and
//! never repeated.
//!
//! # Source
//! Apple's guidance for transformers on the Neural Engine, and the description of coreml-llm-cli.

use std::cell::RefCell;

use anec_mil::ops::split::Split;
use anec_mil::{SliceMasks, Value, Var};
use half::f16;

use crate::graph::{Graph, GraphError, int};
use crate::model::decoder_plan::WeightPath;

/// A product over the third axis of the first and the second axis of the second operand.
const PRODUCT: &str = "nchw,nwhu->nchu";

/// What all layers of one function share.
pub(crate) struct ColumnInputs {
    /// The mask, `[1, positions, 1, group * tokens]`.
    mask: Var,
    /// Cosines, `[head_dim, tokens]`.
    cos: Var,
    /// Sines, `[head_dim, tokens]`.
    sin: Var,
    /// Keys and values before the call.
    cache: ColumnCache,
}

/// The caches of the layers of one function: keys `[1, cached, 1, kv_size]`, values `[1, kv_size, 1, cached]`.
struct ColumnCache {
    first_layer: usize,
    /// Keys and values of each layer.
    given: Vec<[Var; 2]>,
    /// Those of the call, as layers are built: keys `[1, tokens, 1, kv_size]`, values `[1, kv_size, 1, tokens]`.
    made: RefCell<Vec<[Var; 2]>>,
}

impl ColumnInputs {
    /// # Shapes
    /// `mask: [1, positions, 1, tokens]`, `cos` and `sin`: `[head_dim, tokens]`; `given` are keys and values of each of the
    /// layers from `first_layer` on.
    pub(crate) fn new(
        graph: &mut Graph<'_>,
        mask: &Var,
        [cos, sin]: [&Var; 2],
        first_layer: usize,
        given: Vec<[Var; 2]>,
    ) -> Result<Self, GraphError> {
        let group = graph.plan().group() as u64;
        let mask =
            if group == 1 { mask.clone() } else { graph.ops.tile("mask_group", mask, &[1, 1, 1, int(group)])? };
        let cache = ColumnCache { first_layer, given, made: RefCell::default() };
        Ok(Self { mask, cos: cos.clone(), sin: sin.clone(), cache })
    }

    /// The call's own keys of all layers, then its values.
    pub(crate) fn outputs(&self) -> Vec<Var> {
        let made = self.cache.made.borrow();
        let keys = made.iter().map(|[key, _]| key);
        keys.chain(made.iter().map(|[_, value]| value)).cloned().collect()
    }
}

impl Graph<'_> {
    /// The sides of a square of as many tokens as a call has; a single row where there is no such square.
    pub(crate) fn square(&self) -> [i32; 2] {
        let side = self.tokens.isqrt();
        if side * side == self.tokens { [int(side), int(side)] } else { [1, int(self.tokens)] }
    }

    /// # Shapes
    /// `x: [1, hidden_size, side, side]`, and so is the result.
    pub(super) fn attention_by_columns(
        &mut self,
        layer: usize,
        x: &Var,
        inputs: &ColumnInputs,
    ) -> Result<Var, GraphError> {
        let plan = self.plan();
        let prefix = format!("layers_{layer}_attention");
        let [hidden, q_size, kv_size] = [plan.hidden_size, plan.q_size(), plan.kv_size()].map(|size| size as u64);
        let row = [1, int(hidden), 1, int(self.tokens)];
        let x = self.ops.reshape(&format!("{prefix}_row"), x, &row)?;
        let query = self.projection(layer, "self_attn.q_proj", [q_size, hidden], plan.qkv_bias, &x)?;
        let key = self.projection(layer, "self_attn.k_proj", [kv_size, hidden], plan.qkv_bias, &x)?;
        let value = self.projection(layer, "self_attn.v_proj", [kv_size, hidden], plan.qkv_bias, &x)?;
        let query = self.rotated_columns(layer, &format!("{prefix}_query"), &query, "self_attn.q_norm", inputs)?;
        let key = self.rotated_columns(layer, &format!("{prefix}_key"), &key, "self_attn.k_norm", inputs)?;
        let scale = self.ops.constant(&format!("{prefix}_scale"), Value::fp16(f16::from_f64(plan.query_scale)));
        let query = self.ops.mul(&format!("{prefix}_query_scaled"), &query, &scale)?;

        let number = layer - inputs.cache.first_layer;
        let [past_keys, past_values] =
            inputs.cache.given.get(number).cloned().expect("a function is given the caches of its layers");
        let key = self.ops.transpose(&format!("new_k_cache_{number}"), &key, &[0, 3, 2, 1])?;
        let value = self.ops.identity(&format!("new_v_cache_{number}"), &value)?;
        let keys = self.ops.concat(&format!("{prefix}_keys"), &[&past_keys, &key], 1)?;
        let values = self.ops.concat(&format!("{prefix}_values"), &[&past_values, &value], 3)?;
        inputs.cache.made.borrow_mut().push([key, value]);

        let mixed = self.attend_by_columns(&prefix, &query, [&keys, &values], inputs)?;
        let [height, width] = self.square();
        let square = [1, int(q_size), height, width];
        let mixed = self.ops.reshape(&format!("{prefix}_square"), &mixed, &square)?;
        self.projection(layer, "self_attn.o_proj", [hidden, q_size], plan.o_bias, &mixed)
    }

    /// Softmax attention, a KV head at a time.
    ///
    /// # Shapes
    /// `query: [1, q_size, 1, tokens]`, keys `[1, positions, 1, kv_size]`, values `[1, kv_size, 1, positions]`; the result is
    /// like `query`.
    fn attend_by_columns(
        &mut self,
        prefix: &str,
        query: &Var,
        [keys, values]: [&Var; 2],
        inputs: &ColumnInputs,
    ) -> Result<Var, GraphError> {
        let plan = self.plan();
        let (heads, kv_heads, group) = (plan.num_attention_heads, plan.num_key_value_heads, plan.group());
        let queries = self.cut(&format!("{prefix}_query_heads"), query, heads, 1)?;
        let keys = self.cut(&format!("{prefix}_key_heads"), keys, kv_heads, 3)?;
        let values = self.cut(&format!("{prefix}_value_heads"), values, kv_heads, 1)?;
        let mut mixed = Vec::with_capacity(heads);
        for (head, (queries, (keys, values))) in queries.chunks(group).zip(keys.iter().zip(&values)).enumerate() {
            let name = |what: &str| format!("{prefix}_{what}_{head}");
            let queries: Vec<&Var> = queries.iter().collect();
            let query = match queries[..] {
                [only] => only.clone(),
                _ => self.ops.concat(&name("queries"), &queries, 3)?,
            };
            let scores = self.ops.einsum(&name("scores"), PRODUCT, keys, &query)?;
            let scores = self.softcap(&name("scores_capped"), &scores, plan.attention_softcap)?;
            let masked = self.ops.add(&name("scores_masked"), &scores, &inputs.mask)?;
            let weights = self.ops.softmax(&name("weights"), &masked, 1)?;
            let product = self.ops.einsum(&name("mixed"), PRODUCT, values, &weights)?;
            mixed.extend(self.cut(&name("mixed_heads"), &product, group, 3)?);
        }
        let mixed: Vec<&Var> = mixed.iter().collect();
        match mixed[..] {
            [only] => Ok(only.clone()),
            _ => Ok(self.ops.concat(&format!("{prefix}_merged"), &mixed, 1)?),
        }
    }

    /// Cuts a value into equal parts.
    fn cut(&mut self, name: &str, x: &Var, parts: usize, axis: i32) -> Result<Vec<Var>, GraphError> {
        if parts == 1 {
            return Ok(vec![x.clone()]);
        }
        Ok(self.ops.split(name, x, Split::Equal(int(parts as u64)), axis)?)
    }

    /// Normalizes the heads of queries or keys where the model does, and rotates them.
    ///
    /// # Shapes
    /// `x: [1, heads * head_dim, 1, tokens]`, and so is the result.
    fn rotated_columns(
        &mut self,
        layer: usize,
        name: &str,
        x: &Var,
        norm: &'static str,
        inputs: &ColumnInputs,
    ) -> Result<Var, GraphError> {
        let plan = self.plan();
        let (head_dim, tokens) = (int(plan.head_dim as u64), int(self.tokens));
        let shape = x.tensor()?.fixed_shape().expect("activations have fixed shapes");
        let channels = int(shape.get(1).copied().unwrap_or(0));
        let heads = channels / head_dim;
        let mut x = self.ops.reshape(&format!("{name}_heads"), x, &[1, heads, head_dim, tokens])?;
        if plan.qk_norm {
            x = self.rms_norm(&format!("{name}_norm"), &x, &WeightPath::weight(layer, norm), 2, plan.rms_norm_eps)?;
        }
        if self.layer_kind(layer).rope.is_some() {
            x = self.rotate_columns(&format!("{name}_rotated"), &x, heads, inputs)?;
        }
        Ok(self.ops.reshape(&format!("{name}_row"), &x, &[1, channels, 1, tokens])?)
    }

    /// `x * cos + rotate_half(x) * sin` over the third axis.
    ///
    /// # Shapes
    /// `x: [1, heads, head_dim, tokens]`, and so is the result.
    fn rotate_columns(&mut self, name: &str, x: &Var, heads: i32, inputs: &ColumnInputs) -> Result<Var, GraphError> {
        let (head_dim, tokens) = (int(self.plan().head_dim as u64), int(self.tokens));
        let half = head_dim / 2;
        let first = self.ops.slice_by_index(
            &format!("{name}_first_half"),
            x,
            &[0, 0, 0, 0],
            &[1, heads, half, tokens],
            &SliceMasks::end(&[true, true, false, true]),
        )?;
        let second = self.ops.slice_by_index(
            &format!("{name}_second_half"),
            x,
            &[0, 0, half, 0],
            &[1, heads, head_dim, tokens],
            &SliceMasks::end(&[true, true, true, true]),
        )?;
        let minus_one = self.ops.constant(&format!("{name}_minus_one"), Value::fp16(f16::NEG_ONE));
        let negated = self.ops.mul(&format!("{name}_negated"), &second, &minus_one)?;
        let turned = self.ops.concat(&format!("{name}_turned"), &[&negated, &first], 2)?;
        let along = self.ops.mul(&format!("{name}_cos"), x, &inputs.cos)?;
        let across = self.ops.mul(&format!("{name}_sin"), &turned, &inputs.sin)?;
        Ok(self.ops.add(name, &along, &across)?)
    }
}
