//! RMSNorm as a layer norm over `[x, -x]`.
//!
//! The mean of `[x, -x]` is zero and its variance is the mean of the squares of `x`, so the first half of the layer norm
//! is the RMS norm, exactly. The fused op stays on the Neural Engine where the same arithmetic spelled out does not, and
//! it does not overflow fp16 on squares.

use anec_mil::{SliceMasks, Value, Var};
use half::f16;

use crate::graph::{Graph, GraphError, int};
use crate::model::decoder_plan::{NormKind, WeightPath};
use crate::weights::transform::Transform;

impl Graph<'_> {
    /// Normalizes over `axis`, with `epsilon` added to the mean square, and multiplies by a weight of the checkpoint.
    ///
    /// # Shapes
    /// `x` is of rank 4; the weight is as long as that axis.
    pub(crate) fn rms_norm(
        &mut self,
        name: &str,
        x: &Var,
        weight: &WeightPath,
        axis: u8,
        epsilon: f64,
    ) -> Result<Var, GraphError> {
        let shape = x.tensor()?.fixed_shape().expect("activations have fixed shapes");
        let half = self.mean_square_one(name, x, axis, epsilon)?;
        let axis = usize::from(axis);
        let length = *shape.get(axis).expect("norms are over an axis of their input");
        let weight_shape: Vec<u64> = (0..shape.len()).map(|other| if other == axis { length } else { 1 }).collect();
        let mut rows = self.vector(weight, length);
        if self.plan().norm_kind == NormKind::RmsOnePlus {
            // The weight is stored as the sum, which comes before whatever else becomes of it.
            rows.transforms.insert(0, Transform::add(1.0));
        }
        let weight = self.weights.plain(&rows, &weight_shape);
        let weight = self.ops.constant(&format!("{name}_weight"), weight);
        Ok(self.ops.mul(name, &half, &weight)?)
    }

    /// Divides by the root of the mean square over `axis`, with `epsilon` added to it.
    ///
    /// # Shapes
    /// `x` is of rank 4, and so is the result.
    fn mean_square_one(&mut self, name: &str, x: &Var, axis: u8, epsilon: f64) -> Result<Var, GraphError> {
        let shape = x.tensor()?.fixed_shape().expect("activations have fixed shapes");
        let (signed_axis, axis) = (i32::from(axis), usize::from(axis));
        let minus_one = self.ops.constant(&format!("{name}_minus_one"), Value::fp16(f16::NEG_ONE));
        let negated = self.ops.mul(&format!("{name}_negated"), x, &minus_one)?;
        let doubled = self.ops.concat(&format!("{name}_doubled"), &[x, &negated], signed_axis)?;
        // One that fp16 does not have is the smallest that it has: zero would make a norm of zeros NaN.
        let epsilon = f16::from_f64(epsilon).max(f16::MIN_POSITIVE_SUBNORMAL);
        let normed = self.ops.layer_norm(&format!("{name}_normed"), &doubled, &[signed_axis], epsilon, None, None)?;
        let end: Vec<i32> = shape.iter().map(|length| int(*length)).collect();
        let end_mask: Vec<bool> = (0..shape.len()).map(|other| other != axis).collect();
        let begin = vec![0; shape.len()];
        let masks = SliceMasks::end(&end_mask);
        Ok(self.ops.slice_by_index(&format!("{name}_half"), &normed, &begin, &end, &masks)?)
    }

    /// Divides by the length over `axis`, which no square of an element outgrows fp16 for.
    ///
    /// # Shapes
    /// `x` is of rank 4, and so is the result.
    pub(crate) fn unit_length(&mut self, name: &str, x: &Var, axis: u8) -> Result<Var, GraphError> {
        let normed = self.mean_square_one(name, x, axis, 0.0)?;
        let shape = x.tensor()?.fixed_shape().expect("activations have fixed shapes");
        let length = *shape.get(usize::from(axis)).expect("lengths are over an axis of their input");
        #[expect(clippy::cast_precision_loss, reason = "channels are far below 2^52")]
        self.scaled(&format!("{name}_scaled"), &normed, (length as f64).sqrt().recip())
    }
}
