//! A soft bound: `cap * tanh(x / cap)`.

use anec_mil::{Value, Var};
use half::f16;

use crate::graph::{Graph, GraphError};

impl Graph<'_> {
    /// Bounds a value where there is a bound, and gives it as it is where there is none.
    pub(crate) fn softcap(&mut self, name: &str, x: &Var, cap: Option<f64>) -> Result<Var, GraphError> {
        let Some(cap) = cap else { return Ok(x.clone()) };
        let mut constant = |suffix: &str, value: f64| {
            self.ops.constant(&format!("{name}_{suffix}"), Value::fp16(f16::from_f64(value)))
        };
        let (inverse, cap) = (constant("inverse_cap", cap.recip()), constant("cap", cap));
        let inner = self.ops.mul(&format!("{name}_scaled"), x, &inverse)?;
        let bounded = self.ops.tanh(&format!("{name}_tanh"), &inner)?;
        Ok(self.ops.mul(name, &bounded, &cap)?)
    }
}
