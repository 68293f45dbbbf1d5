//! The gated MLP, forward and backward.

use anec_mil::{BuildError, Value, Var};
use half::f16;

use super::Kind;
use super::graph::StepGraph;

impl StepGraph<'_> {
    /// `y, h1, h3, silu(h1) * h3, xnorm` of `x`. The residual is the client's.
    pub(super) fn fwd_ffn(&mut self) -> Result<Var, BuildError> {
        let x = self.given("x")?;
        let xnorm = self.normalized(&x)?;
        let h1 = self.product("h1", "W1", &xnorm)?;
        let h3 = self.product("h3", "W3", &xnorm)?;
        let activated = self.ops.silu("h1_silu", &h1)?;
        let gated = self.ops.mul("gated", &activated, &h3)?;
        let y = self.product("y", "W2", &gated)?;
        self.packed(&[&y, &h1, &h3, &gated, &xnorm], Kind::FwdFfn.output_channels(self.shape))
    }

    /// `dx, dh1, dh3` of `dffn, h1, h3`, where `dffn` is the gradient of what the MLP adds to the residual.
    pub(super) fn ffn_bwd(&mut self) -> Result<Var, BuildError> {
        let [gradient, h1, h3] = ["dffn", "h1", "h3"].map(|name| self.given(name));
        let (gradient, h1, h3) = (gradient?, h1?, h3?);
        let d_gated = self.product("d_gated", "W2t", &gradient)?;
        let sigmoid = self.ops.sigmoid("h1_sigmoid", &h1)?;
        let activated = self.ops.mul("h1_silu", &h1, &sigmoid)?;
        let dh3 = self.ops.mul("dh3", &d_gated, &activated)?;
        // silu' = sigmoid * (1 + h1 * (1 - sigmoid)) = sigmoid + silu * (1 - sigmoid)
        let one = self.ops.constant("one", Value::fp16(f16::ONE));
        let rest = self.ops.sub("h1_rest", &one, &sigmoid)?;
        let bend = self.ops.mul("h1_bend", &activated, &rest)?;
        let slope = self.ops.add("h1_slope", &sigmoid, &bend)?;
        let d_activated = self.ops.mul("d_activated", &d_gated, &h3)?;
        let dh1 = self.ops.mul("dh1", &d_activated, &slope)?;
        let first = self.product("dx_gate", "W1t", &dh1)?;
        let second = self.product("dx_up", "W3t", &dh3)?;
        let dx = self.ops.add("dx", &first, &second)?;
        self.packed(&[&dx, &dh1, &dh3], Kind::FfnBwd.output_channels(self.shape))
    }
}
