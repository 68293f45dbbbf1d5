//! `rnn`: a layer of plain recurrent units.

use super::decl::{BOOL, OpDecl, Parameter, Presence, Results, STRING};
use super::gru::{layer, weight};
use super::recurrent::{activation, infer, run};
use crate::evaluate::{Call, EvaluateError, Tensor};

/// The declaration.
pub static DECL: OpDecl = OpDecl::new(
    "rnn",
    "Runs a layer of plain recurrent units over a sequence.",
    &[
        layer("x"),
        layer("initial_h"),
        weight("weight_ih", Presence::Required),
        weight("weight_hh", Presence::Required),
        weight("bias", Presence::Optional),
        Parameter::new("direction", STRING).constant().defaulted(),
        Parameter::new("output_sequence", BOOL).constant().defaulted(),
        Parameter::new("activation", STRING).constant().defaulted(),
    ],
    |ctx| infer(ctx, 1),
)
.results(Results::Exactly(2))
.computes(evaluate);

fn evaluate(call: &mut Call<'_>) -> Result<Vec<Tensor>, EvaluateError> {
    let call = &*call;
    let activation = activation(call, "activation", "tanh")?;
    run(
        call,
        1,
        |weights| Ok(weights.bias.clone()),
        |weights, of_inputs, [first, columns], state| {
            let of_state = weights.of_state(state, [0, 1], call.numerics())?;
            let batch = state.len().checked_div(weights.hidden).unwrap_or(0);
            for (index, state) in state.iter_mut().enumerate() {
                let (row, unit) = (index / weights.hidden, index % weights.hidden);
                let input = of_inputs.get(unit * columns + first + row).copied().unwrap_or(f32::NAN);
                let recurrent = of_state.get(unit * batch + row).copied().unwrap_or(f32::NAN);
                *state = activation(input + recurrent);
            }
            Ok(())
        },
    )
}
