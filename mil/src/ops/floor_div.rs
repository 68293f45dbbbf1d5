//! `floor_div`: elementwise division, rounded down.

use super::decl::{Effect, Evidence, OpDecl, RENEWED, Results};
use super::elementwise::{NUMBER_X_Y, broadcast_x_y, map_x_y};
use crate::evaluate::Evaluate;
use crate::opset::Opset;

/// The declaration.
pub static DECL: OpDecl = OpDecl {
    name: "floor_div",
    doc: "Divides `x` by `y` and rounds down.",
    since: Opset::Ios15,
    parameters: NUMBER_X_Y,
    results: Results::Exactly(1),
    effect: Effect::Pure,
    infer: broadcast_x_y,
    evaluate: Evaluate::Computes(|call| map_x_y(call, floor_divide, floor_divide_integers)),
    evidence: Evidence::None,
    renewed: RENEWED,
};

/// The rounded quotient of the exact division, as Python and NumPy have it, not of the rounded one.
fn floor_divide(x: f32, y: f32) -> f32 {
    let remainder = x % y;
    let quotient = (x - remainder) / y;
    match remainder {
        _ if y == 0.0 => x / y,
        0.0 => quotient,
        _ if (remainder < 0.0) != (y < 0.0) => (quotient - 1.0).round(),
        _ => quotient.round(),
    }
}

/// Wraps like other integer arithmetic; a quotient by 0 is 0, as in NumPy.
fn floor_divide_integers(x: i32, y: i32) -> i32 {
    if y == 0 {
        return 0;
    }
    let (quotient, remainder) = (x.wrapping_div(y), x.wrapping_rem(y));
    if remainder != 0 && (remainder < 0) != (y < 0) { quotient - 1 } else { quotient }
}
