//! RMSNorm as a layer norm over `[x, -x]`.
//!
//! The mean of `[x, -x]` is zero and its variance is the mean of the squares of `x`, so the first half of the layer norm
//! is the RMS norm, exactly. The fused op stays on the Neural Engine where the same arithmetic spelled out does not, and
//! it does not overflow fp16 on squares.

use anec_mil::{SliceMasks, Value, Var};
use half::f16;

use crate::graph::{Graph, GraphError, int};

impl Graph<'_> {
    /// Normalizes over `axis` and multiplies by the tensor `weight` of the checkpoint.
    ///
    /// # Shapes
    /// `x` is of rank 4; the weight is as long as that axis.
    pub(crate) fn rms_norm(&mut self, name: &str, x: &Var, weight: &str, axis: usize) -> Result<Var, GraphError> {
        let shape = x.tensor()?.fixed_shape().unwrap_or_default();
        let signed_axis = i32::try_from(axis).unwrap_or(0);
        let length = shape.get(axis).copied().unwrap_or(0);
        let minus_one = self.ops.constant(&format!("{name}_minus_one"), Value::fp16(f16::NEG_ONE));
        let negated = self.ops.mul(&format!("{name}_negated"), x, &minus_one)?;
        let doubled = self.ops.concat(&format!("{name}_doubled"), &[x, &negated], signed_axis)?;
        let epsilon = f16::from_f64(self.plan().rms_norm_eps);
        let normed = self.ops.layer_norm(&format!("{name}_normed"), &doubled, &[signed_axis], epsilon, None, None)?;
        let mut end: Vec<i32> = shape.iter().map(|length| int(*length)).collect();
        let mut end_mask = vec![true; shape.len()];
        if let (Some(end), Some(mask)) = (end.get_mut(axis), end_mask.get_mut(axis)) {
            *end = int(length);
            *mask = false;
        }
        let begin = vec![0; shape.len()];
        let masks = SliceMasks::end(&end_mask);
        let half = self.ops.slice_by_index(&format!("{name}_half"), &normed, &begin, &end, &masks)?;
        let mut weight_shape = vec![1; shape.len()];
        if let Some(slot) = weight_shape.get_mut(axis) {
            *slot = length;
        }
        let weight = self.weights.vector(weight, &weight_shape);
        let weight = self.ops.constant(&format!("{name}_weight"), weight);
        Ok(self.ops.mul(name, &half, &weight)?)
    }
}
