//! Attention, forward and backward.

use anec_mil::{BuildError, Var};

use super::Kind;
use super::graph::StepGraph;

impl StepGraph<'_> {
    /// `o_out, q, k, v, attn_out, xnorm` of `x`. The residual is the client's.
    pub(super) fn fwd_attn(&mut self) -> Result<Var, BuildError> {
        let x = self.given("x")?;
        let xnorm = self.normalized(&x)?;
        let [query, key, value] = [("q", "Wq"), ("k", "Wk"), ("v", "Wv")];
        let mut project = |(name, weight): (&str, &str)| self.product(&format!("{name}_proj"), weight, &xnorm);
        let (query, key, value) = (project(query)?, project(key)?, project(value)?);
        let (query, key) = (self.rotated("q", &query, false)?, self.rotated("k", &key, false)?);
        let (queries, keys) = (self.heads("q_heads", &query)?, self.heads("k_heads", &key)?);
        let values = self.heads("v_heads", &value)?;
        let probs = self.probabilities(&queries, &keys)?;
        let mixed = self.ops.matmul("mixed", &values, &probs, false, true)?;
        let attn_out = self.merged("attn_out", &mixed, self.shape.dim)?;
        let o_out = self.product("o_out", "Wo", &attn_out)?;
        self.packed(&[&o_out, &query, &key, &value, &attn_out, &xnorm], Kind::FwdAttn.output_channels(self.shape))
    }

    /// `dv, probs, dp` of `q, k, v, dx2`, where `dx2` is the gradient of what attention adds to the residual.
    pub(super) fn sdpa_bwd1(&mut self) -> Result<Var, BuildError> {
        let [query, key, value, gradient] = ["q", "k", "v", "dx2"].map(|name| self.given(name));
        let (query, key, value, gradient) = (query?, key?, value?, gradient?);
        let d_mixed = self.product("d_attn_out", "Wot", &gradient)?;
        let d_mixed = self.heads("d_mixed", &d_mixed)?;
        let (queries, keys) = (self.heads("q_heads", &query)?, self.heads("k_heads", &key)?);
        let values = self.heads("v_heads", &value)?;
        let probs = self.probabilities(&queries, &keys)?;
        let d_values = self.ops.matmul("d_values", &d_mixed, &probs, false, false)?;
        let d_probs = self.ops.matmul("d_probs", &d_mixed, &values, true, false)?;
        let scores = self.shape.heads * self.shape.sequence;
        let d_values = self.merged("dv", &d_values, self.shape.dim)?;
        let probs = self.merged("probs_channels", &probs, scores)?;
        let d_probs = self.merged("dp", &d_probs, scores)?;
        self.packed(&[&d_values, &probs, &d_probs], Kind::SdpaBwd1.output_channels(self.shape))
    }

    /// `dq, dk` of `probs, dp, q, k`.
    pub(super) fn sdpa_bwd2(&mut self) -> Result<Var, BuildError> {
        let [probs, d_probs] = ["probs", "dp"].map(|name| self.given(name));
        let (probs, d_probs) = (self.scores("probs_heads", &probs?)?, self.scores("dp_heads", &d_probs?)?);
        let (query, key) = (self.given("q")?, self.given("k")?);
        let (queries, keys) = (self.heads("q_heads", &query)?, self.heads("k_heads", &key)?);
        let weighted = self.ops.mul("weighted", &probs, &d_probs)?;
        let mean = self.ops.reduce_sum("weighted_sum", &weighted, &[-1], true)?;
        let centred = self.ops.sub("centred", &d_probs, &mean)?;
        let d_scores = self.ops.mul("d_scores", &probs, &centred)?;
        let scale = self.scale();
        let d_scores = self.ops.mul("d_scores_scaled", &d_scores, &scale)?;
        let d_queries = self.ops.matmul("d_queries", &keys, &d_scores, false, true)?;
        let d_keys = self.ops.matmul("d_keys", &queries, &d_scores, false, false)?;
        let d_query = self.merged("dq", &d_queries, self.shape.dim)?;
        let d_key = self.merged("dk", &d_keys, self.shape.dim)?;
        self.packed(&[&d_query, &d_key], Kind::SdpaBwd2.output_channels(self.shape))
    }

    /// `dx` of `dq, dk, dv`: the gradient of what attention's norm gives.
    pub(super) fn qkv_bwd(&mut self) -> Result<Var, BuildError> {
        let [query, key, value] = ["dq", "dk", "dv"].map(|name| self.given(name));
        let (query, key, value) = (query?, key?, value?);
        let (query, key) = (self.rotated("dq_back", &query, true)?, self.rotated("dk_back", &key, true)?);
        let query = self.product("dx_query", "Wqt", &query)?;
        let key = self.product("dx_key", "Wkt", &key)?;
        let value = self.product("dx_value", "Wvt", &value)?;
        let sum = self.ops.add("dx_query_key", &query, &key)?;
        let sum = self.ops.add("dx", &sum, &value)?;
        self.packed(&[&sum], Kind::QkvBwd.output_channels(self.shape))
    }

    fn scores(&mut self, name: &str, x: &Var) -> Result<Var, BuildError> {
        let [heads, sequence] = [self.shape.heads, self.shape.sequence].map(super::graph::int);
        self.ops.reshape(name, x, &[1, heads, sequence, sequence])
    }
}
