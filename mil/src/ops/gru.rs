//! `gru`: a layer of gated recurrent units.

use super::decl::{BOOL, Change, Domain, FLOATS, OpDecl, Parameter, Presence, Results, STRING};
use super::recurrent::{activation, infer, run, vector};
use crate::dtype::DataType;
use crate::evaluate::{Call, EvaluateError, Tensor};
use crate::opset::Opset;

/// Gates in the order in which weights have them: reset, new, update.
const GATES: usize = 3;
/// Before ios17 recurrent layers compute in fp32 only.
pub(super) const SINGLE: Domain = Domain::OneOf(&[DataType::Float32]);
/// What changed with that.
pub(super) const HALF_TOO: &[Change] = &[Change::Takes(Opset::Ios17, FLOATS)];
const SINCE_IOS18: &[Change] = &[Change::Takes(Opset::Ios17, FLOATS), Change::Since(Opset::Ios18)];

/// An operand of the type of the layer.
pub(super) const fn layer(name: &'static str) -> Parameter {
    Parameter::new(name, SINGLE).group('T').changes(HALF_TOO)
}

/// A constant of the type of the layer.
pub(super) const fn weight(name: &'static str, presence: Presence) -> Parameter {
    let mut parameter = layer(name).constant();
    parameter.presence = presence;
    parameter
}

/// The declaration.
pub static DECL: OpDecl = OpDecl::new(
    "gru",
    "Runs a layer of gated recurrent units over a sequence.",
    &[
        layer("x"),
        layer("initial_h"),
        weight("weight_ih", Presence::Required),
        weight("weight_hh", Presence::Required),
        weight("bias", Presence::Optional),
        Parameter::new("direction", STRING).constant().defaulted(),
        Parameter::new("output_sequence", BOOL).constant().defaulted(),
        Parameter::new("recurrent_activation", STRING).constant().defaulted(),
        Parameter::new("activation", STRING).constant().defaulted(),
        Parameter::new("reset_after", BOOL).constant().defaulted().changes(&[Change::Since(Opset::Ios18)]),
        weight("input_bias", Presence::Optional).changes(SINCE_IOS18),
    ],
    |ctx| infer(ctx, GATES as u64),
)
.results(Results::Exactly(2))
.computes(evaluate);

/// The reset gate is multiplied with the state before the product with the weight, or with the product and its bias where
/// `reset_after` is set, as PyTorch has it.
fn evaluate(call: &mut Call<'_>) -> Result<Vec<Tensor>, EvaluateError> {
    let call = &*call;
    let after = call.bool_or("reset_after", false)?;
    let gate = activation(call, "recurrent_activation", "sigmoid")?;
    let candidate = activation(call, "activation", "tanh")?;
    let numerics = call.numerics();
    let input_bias = |weights: &super::recurrent::Weights<'_>| {
        let mut bias = vector(call, "input_bias", GATES * weights.hidden)?;
        // Outside of the product with the reset gate, it does not matter where a bias is added.
        for (index, (bias, other)) in bias.iter_mut().zip(&weights.bias).enumerate() {
            let new = index / weights.hidden.max(1) == 1;
            *bias += if after && new { 0.0 } else { *other };
        }
        Ok(bias)
    };
    run(call, GATES, input_bias, |weights, of_inputs, [first, columns], state| {
        let hidden = weights.hidden;
        let batch = state.len().checked_div(hidden).unwrap_or(0);
        let input = |gate: usize, row: usize, unit: usize| {
            of_inputs.get((gate * hidden + unit) * columns + first + row).copied().unwrap_or(f32::NAN)
        };
        let of_state = weights.of_state(state, [0, GATES], numerics)?;
        let recurrent = |gate: usize, row: usize, unit: usize| {
            of_state.get((gate * hidden + unit) * batch + row).copied().unwrap_or(f32::NAN)
        };
        let cells = || (0..batch).flat_map(|row| (0..hidden).map(move |unit| (row, unit)));
        let sum = |index: usize, (row, unit)| input(index, row, unit) + recurrent(index, row, unit);
        let reset: Vec<f32> = cells().map(|cell| gate(sum(0, cell))).collect();
        let before: Vec<f32> = if after {
            Vec::new()
        } else {
            let kept: Vec<f32> = state.iter().zip(&reset).map(|(state, reset)| state * reset).collect();
            weights.of_state(&kept, [1, 1], numerics)?
        };
        for (((row, unit), reset), state) in cells().zip(&reset).zip(state.iter_mut()) {
            let update = gate(sum(2, (row, unit)));
            let remembered = if after {
                let bias = weights.bias.get(hidden + unit).copied().unwrap_or(0.0);
                reset * (recurrent(1, row, unit) + bias)
            } else {
                before.get(unit * batch + row).copied().unwrap_or(f32::NAN)
            };
            let new = candidate(input(1, row, unit) + remembered);
            *state = (1.0 - update) * new + update * *state;
        }
        Ok(())
    })
}
