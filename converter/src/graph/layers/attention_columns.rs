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
use crate::model::decoder_plan::{QkNorm, WeightPath};

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
    /// Keys and values of each layer; none where the call is the first.
    given: Option<Vec<[Var; 2]>>,
    /// Whether a call gives the whole cache as it is behind the call, and not its own part.
    gives_whole: bool,
    /// What the call gives, as layers are built: keys `[1, positions, 1, kv_size]`, values `[1, kv_size, 1, positions]`.
    made: RefCell<Vec<[Var; 2]>>,
}

impl ColumnInputs {
    /// # Shapes
    /// `mask: [1, positions, 1, tokens]`, `cos` and `sin`: `[head_dim, tokens]`; `given` are keys and values of each of the
    /// layers from `first_layer` on, where there are some before the call. What the layers give is the call's own part, or,
    /// with `gives_whole`, all positions but the first.
    pub(crate) fn new(
        graph: &mut Graph<'_>,
        mask: &Var,
        [cos, sin]: [&Var; 2],
        first_layer: usize,
        given: Option<Vec<[Var; 2]>>,
        gives_whole: bool,
    ) -> Result<Self, GraphError> {
        let group = graph.plan().group() as u64;
        let mask =
            if group == 1 { mask.clone() } else { graph.ops.tile("mask_group", mask, &[1, 1, 1, int(group)])? };
        let cache = ColumnCache { first_layer, given, gives_whole, made: RefCell::default() };
        Ok(Self { mask, cos: cos.clone(), sin: sin.clone(), cache })
    }

    /// The keys that the call gives for all layers, then the values.
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
        let x = self.reshaped(&format!("{prefix}_row"), x, &[1, int(hidden), 1, int(self.tokens)])?;
        let query = self.projection(layer, "self_attn.q_proj", [q_size, hidden], plan.qkv_bias, &x)?;
        let key = self.projection(layer, "self_attn.k_proj", [kv_size, hidden], plan.qkv_bias, &x)?;
        let value = self.projection(layer, "self_attn.v_proj", [kv_size, hidden], plan.qkv_bias, &x)?;
        let query = self.rotated_columns(layer, &format!("{prefix}_query"), &query, "self_attn.q_norm", inputs)?;
        let key = self.rotated_columns(layer, &format!("{prefix}_key"), &key, "self_attn.k_norm", inputs)?;
        let scale = self.ops.constant(&format!("{prefix}_scale"), Value::fp16(f16::from_f64(plan.query_scale)));
        let query = self.ops.mul(&format!("{prefix}_query_scaled"), &query, &scale)?;

        let [keys, values] = self.cached_columns(layer, &prefix, [&key, &value], &inputs.cache)?;

        let mixed = self.attend_by_columns(&prefix, &query, [&keys, &values], inputs)?;
        let [height, width] = self.square();
        let mixed = self.reshaped(&format!("{prefix}_square"), &mixed, &[1, int(q_size), height, width])?;
        self.projection(layer, "self_attn.o_proj", [hidden, q_size], plan.o_bias, &mixed)
    }

    /// A value of this shape; the value itself where it has it.
    fn reshaped(&mut self, name: &str, x: &Var, shape: &[i32]) -> Result<Var, GraphError> {
        let own = x.tensor()?.fixed_shape().expect("activations have fixed shapes");
        if own.into_iter().map(int).eq(shape.iter().copied()) {
            return Ok(x.clone());
        }
        Ok(self.ops.reshape(name, x, shape)?)
    }

    /// Puts the call's keys and values behind those of the cache, and notes what the function gives of them.
    ///
    /// # Shapes
    /// `key` and `value`: `[1, kv_size, 1, tokens]`; the results are keys `[1, positions, 1, kv_size]` and values
    /// `[1, kv_size, 1, positions]`.
    fn cached_columns(
        &mut self,
        layer: usize,
        prefix: &str,
        [key, value]: [&Var; 2],
        cache: &ColumnCache,
    ) -> Result<[Var; 2], GraphError> {
        let number = layer - cache.first_layer;
        let [key_name, value_name] = ["k", "v"].map(|word| format!("new_{word}_cache_{number}"));
        let past = cache
            .given
            .as_ref()
            .map(|given| given.get(number).cloned().expect("a function is given the caches of its layers"));
        if !cache.gives_whole {
            let own = [self.ops.transpose(&key_name, key, &[0, 3, 2, 1])?, self.ops.identity(&value_name, value)?];
            cache.made.borrow_mut().push(own.clone());
            return self.behind(prefix, past, own);
        }
        let own = [self.ops.transpose(&format!("{prefix}_own_keys"), key, &[0, 3, 2, 1])?, value.clone()];
        let [keys, values] = self.behind(prefix, past, own)?;
        let (kv_size, positions) = (int(self.plan().kv_size() as u64), int(self.settings.context_length));
        let to_end = SliceMasks::end(&[true, true, true, true]);
        let made = [
            self.ops.slice_by_index(&key_name, &keys, &[0, 1, 0, 0], &[1, positions, 1, kv_size], &to_end)?,
            self.ops.slice_by_index(&value_name, &values, &[0, 0, 0, 1], &[1, kv_size, 1, positions], &to_end)?,
        ];
        cache.made.borrow_mut().push(made);
        Ok([keys, values])
    }

    /// The call's own keys and values behind earlier ones, where there are some.
    fn behind(&mut self, prefix: &str, past: Option<[Var; 2]>, own: [Var; 2]) -> Result<[Var; 2], GraphError> {
        let Some([past_keys, past_values]) = past else { return Ok(own) };
        let [keys, values] = own;
        Ok([
            self.ops.concat(&format!("{prefix}_keys"), &[&past_keys, &keys], 1)?,
            self.ops.concat(&format!("{prefix}_values"), &[&past_values, &values], 3)?,
        ])
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
        let x = self.whole_norm(layer, &format!("{name}_norm"), x, norm)?;
        let mut x = self.ops.reshape(&format!("{name}_heads"), &x, &[1, heads, head_dim, tokens])?;
        if plan.qk_norm == QkNorm::Heads {
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
