//! `write_state`: puts a tensor into a state.

use super::decl::{Domain, Effect, InferError, OpContext, OpDecl, Parameter, Results};
use super::evidence::ANEMLL;
use super::read_state::state;
use super::shape::compatible_shapes;
use super::special;
use crate::builder::{BuildError, FunctionBuilder, Var};
use crate::evaluate::{Call, EvaluateError, Tensor};
use crate::opset::Opset;
use crate::types::ValueType;

/// The declaration.
pub static DECL: OpDecl = OpDecl::new(
    special::WRITE_STATE,
    "Puts `data` into the state `input`.",
    &[Parameter::new("input", Domain::State), Parameter::new("data", Domain::Any)],
    infer,
)
.moves(evaluate)
.since(Opset::Ios18)
.results(Results::Exactly(0))
.effect(Effect::WritesState)
.seen(ANEMLL);

fn infer(ctx: &OpContext<'_>) -> Result<Vec<ValueType>, InferError> {
    let state = state(ctx)?;
    let data = ctx.tensor("data")?;
    if data.dtype != state.dtype || !compatible_shapes(&data.shape, &state.shape) {
        return Err(InferError::operand("data", state.to_string(), data));
    }
    Ok(Vec::new())
}

fn evaluate(call: &mut Call<'_>) -> Result<Vec<Tensor>, EvaluateError> {
    let data = call.take("data")?;
    call.write_state(data)?;
    Ok(Vec::new())
}

impl FunctionBuilder {
    /// Puts `data` into `state`.
    pub fn write_state(&mut self, state: &Var, data: &Var) -> Result<(), BuildError> {
        self.write_state_called(&format!("{}_write_state", data.name), state, data)
    }

    /// Puts `data` into `state` and reads it back, as Core ML's own converter does; later ops go on with the result.
    pub fn update_state(&mut self, name: &str, state: &Var, data: &Var) -> Result<Var, BuildError> {
        self.write_state_called(&format!("{name}_write_state"), state, data)?;
        self.read_state(name, state)
    }

    fn write_state_called(&mut self, name: &str, state: &Var, data: &Var) -> Result<(), BuildError> {
        self.call(&DECL, name).operand("input", state).operand("data", data).finish().map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dtype::DataType;
    use crate::ops::testing::{Operands, fp16, int32};
    use crate::types::TensorType;

    fn state() -> ValueType {
        ValueType::State(TensorType::fixed(DataType::Float16, &[2, 8]))
    }

    #[test]
    fn it_has_no_result() {
        let operands = Operands::default().with("input", state());
        assert_eq!(operands.clone().with("data", fp16(&[2, 8])).infer(&DECL), Ok(vec![]));
        assert_eq!(operands.with("data", fp16(&[2, -1])).infer(&DECL), Ok(vec![]));
    }

    #[test]
    fn data_of_another_type_than_the_state_is_refused() {
        let operands = Operands::default().with("input", state());
        assert!(operands.clone().with("data", fp16(&[2, 4])).infer(&DECL).is_err());
        assert!(operands.clone().with("data", int32(&[2, 8])).infer(&DECL).is_err());
        assert!(operands.with("data", state()).infer(&DECL).is_err());
    }

    #[test]
    fn an_update_is_a_write_and_then_a_read() {
        let mut builder = FunctionBuilder::new(Opset::Ios18);
        let cache = builder.input("cache", state());
        let data = builder.read_state("data", &cache).expect("a state");
        let updated = builder.update_state("updated", &cache, &data).expect("of one type");
        assert_eq!(updated.ty, fp16(&[2, 8]));
        let function = builder.finish(&[&updated]);
        let ops: Vec<_> = function.block.operations.iter().map(|operation| operation.op.as_str()).collect();
        assert_eq!(ops, ["read_state", "write_state", "read_state"]);
        let write = &function.block.operations[1];
        assert_eq!(write.display_name(), Some("updated_write_state"));
        assert!(write.outputs.is_empty());
    }

    mod evaluation {
        use std::collections::BTreeMap;
        use std::sync::Arc;

        use super::super::*;
        use crate::builder::Var;
        use crate::dtype::DataType;
        use crate::evaluate::{Elements, EvaluableFunction, Numerics, State};
        use crate::ops::slice::SliceMasks;
        use crate::ops::testing::{NoWeights, fp16, int32};
        use crate::program::Program;
        use crate::types::TensorType;

        fn cache(builder: &mut FunctionBuilder) -> Var {
            builder.input("cache", ValueType::State(TensorType::fixed(DataType::Float16, &[2, 3])))
        }

        /// A function that puts `row` at `position` into the cache.
        fn writer() -> EvaluableFunction {
            let mut builder = FunctionBuilder::new(Opset::Ios18);
            let cache = cache(&mut builder);
            let row = builder.input("row", fp16(&[1, 3]));
            let begin = builder.input("position", int32(&[2]));
            let end = builder.input("end", int32(&[2]));
            let before = builder.read_state("before", &cache).expect("a state");
            let masks = SliceMasks::end(&[false, true]);
            let after = builder.slice_update("after", &before, &row, &begin, &end, &masks).expect("a row");
            builder.write_state(&cache, &after).expect("of one type");
            let length = builder.identity("length", &end).expect("any tensor");
            evaluable(builder, &length)
        }

        /// A function that gives the cache.
        fn reader() -> EvaluableFunction {
            let mut builder = FunctionBuilder::new(Opset::Ios18);
            let cache = cache(&mut builder);
            let held = builder.read_state("held", &cache).expect("a state");
            evaluable(builder, &held)
        }

        fn evaluable(builder: FunctionBuilder, output: &Var) -> EvaluableFunction {
            let mut program = Program::default();
            program.functions.insert("main".to_owned(), builder.finish(&[output]));
            EvaluableFunction::new(&program, "main", &NoWeights, Numerics::F32).expect("no weights, no control flow")
        }

        fn row_at(position: i32, values: [f32; 3]) -> BTreeMap<String, Tensor> {
            let indices = |row| Tensor::integers(DataType::Int32, &[2], vec![row, 0]).expect("two numbers");
            BTreeMap::from([
                ("row".to_owned(), Tensor::floats(DataType::Float16, &[1, 3], values.to_vec()).expect("three numbers")),
                ("position".to_owned(), indices(position)),
                ("end".to_owned(), indices(position + 1)),
            ])
        }

        fn held(state: &mut State) -> Vec<f32> {
            let outputs = reader().run(&BTreeMap::new(), state, None).expect("a state of the function");
            outputs["held"].as_floats().expect("floats").into_owned()
        }

        fn address(state: &State) -> *const Vec<f32> {
            match state.tensors["cache"].elements() {
                Elements::Floats(values) => Arc::as_ptr(values),
                other => panic!("{other:?}"),
            }
        }

        #[test]
        fn functions_share_a_state() {
            let writer = writer();
            let mut state = writer.new_state().expect("a fixed shape");
            assert_eq!(held(&mut state), [0.0; 6]);
            writer.run(&row_at(1, [1.0, 2.0, 3.0]), &mut state, None).expect("a row of the cache");
            assert_eq!(held(&mut state), [0.0, 0.0, 0.0, 1.0, 2.0, 3.0]);
            writer.run(&row_at(0, [4.0, 5.0, 6.0]), &mut state, None).expect("a row of the cache");
            assert_eq!(held(&mut state), [4.0, 5.0, 6.0, 1.0, 2.0, 3.0]);
        }

        #[test]
        fn a_state_that_nothing_else_holds_is_changed_in_place() {
            let writer = writer();
            let mut state = writer.new_state().expect("a fixed shape");
            let place = address(&state);
            writer.run(&row_at(1, [1.0; 3]), &mut state, None).expect("a row of the cache");
            assert_eq!(address(&state), place);
        }

        #[test]
        fn a_state_that_is_held_elsewhere_keeps_its_elements_there() {
            let writer = writer();
            let mut state = writer.new_state().expect("a fixed shape");
            let mut branch = state.clone();
            writer.run(&row_at(0, [1.0; 3]), &mut state, None).expect("a row of the cache");
            assert_eq!(held(&mut branch), [0.0; 6]);
            assert_eq!(held(&mut state), [1.0, 1.0, 1.0, 0.0, 0.0, 0.0]);
        }

        #[test]
        fn what_was_read_before_a_write_stays_as_it_was() {
            let mut builder = FunctionBuilder::new(Opset::Ios18);
            let cache = cache(&mut builder);
            let before = builder.read_state("before", &cache).expect("a state");
            let doubled = builder.add("doubled", &before, &before).expect("of one type");
            let after = builder.update_state("after", &cache, &doubled).expect("of one type");
            let difference = builder.sub("difference", &after, &before).expect("of one type");
            let function = evaluable(builder, &difference);
            let ones = Tensor::floats(DataType::Float16, &[2, 3], vec![1.0; 6]).expect("six numbers");
            let mut state = State { tensors: BTreeMap::from([("cache".to_owned(), ones)]) };
            let outputs = function.run(&BTreeMap::new(), &mut state, None).expect("a state of the function");
            assert_eq!(outputs["difference"].as_floats().expect("floats").as_ref(), [1.0; 6]);
            assert_eq!(held(&mut state), [2.0; 6]);
        }

        #[test]
        fn a_missing_state_and_one_of_another_type_are_named() {
            let error = reader().run(&BTreeMap::new(), &mut State::default(), None).expect_err("no state");
            assert_eq!(error.to_string(), "the state `cache` is missing");
            let other = Tensor::zeros(DataType::Float16, &[3, 2]).expect("small");
            let mut state = State { tensors: BTreeMap::from([("cache".to_owned(), other)]) };
            let error = reader().run(&BTreeMap::new(), &mut state, None).expect_err("another shape");
            assert_eq!(error.to_string(), "`cache` is declared tensor<fp16, [2, 3]>, got tensor<fp16, [3, 2]>");
        }

        #[test]
        fn data_that_turns_out_to_be_of_another_shape_does_not_get_into_the_state() {
            let mut builder = FunctionBuilder::new(Opset::Ios18);
            let cache = cache(&mut builder);
            let data = builder.input("data", fp16(&[-1, 3]));
            builder.write_state(&cache, &data).expect("it may fit");
            let function = evaluable(builder, &data);
            let mut state = function.new_state().expect("a fixed shape");
            let data = Tensor::zeros(DataType::Float16, &[5, 3]).expect("small");
            let inputs = BTreeMap::from([("data".to_owned(), data)]);
            let error = function.run(&inputs, &mut state, None).expect_err("five rows");
            let cause = std::error::Error::source(&error).expect("a cause").to_string();
            assert_eq!(cause, "`cache` is declared tensor<fp16, [2, 3]>, got tensor<fp16, [5, 3]>");
            assert_eq!(held(&mut state), [0.0; 6]);
        }

        #[test]
        fn a_row_behind_the_end_is_refused() {
            let writer = writer();
            let mut state = writer.new_state().expect("a fixed shape");
            let error = writer.run(&row_at(2, [1.0; 3]), &mut state, None).expect_err("two rows");
            assert!(error.to_string().contains("`slice_update` called `after`"), "{error}");
            assert_eq!(
                std::error::Error::source(&error).expect("a cause").to_string(),
                "parameter `update`: expected a tensor of shape [0, 3], got tensor<fp16, [1, 3]>"
            );
        }
    }
}
