//! `clip`: elementwise clamp.

use super::decl::{FLOATS, OpDecl, Parameter};
use super::elementwise::{larger, like_x, map_floats, smaller};
use super::evidence::SILERO;
use crate::evaluate::{Call, EvaluateError, Tensor};

/// The declaration.
pub static DECL: OpDecl = OpDecl::new(
    "clip",
    "Keeps `x` between `alpha` and `beta`.",
    &[
        Parameter::new("x", FLOATS).group('T'),
        Parameter::new("alpha", FLOATS).group('T').constant(),
        Parameter::new("beta", FLOATS).group('T').constant(),
    ],
    like_x,
)
.computes(evaluate)
.seen(SILERO);

fn evaluate(call: &mut Call<'_>) -> Result<Vec<Tensor>, EvaluateError> {
    let (alpha, beta) = (call.float("alpha")?, call.float("beta")?);
    map_floats(call, |x| smaller(larger(x, alpha), beta))
}
