//! What every engine must do, written against its trait. `directory` is the shipped checkpoint, converted.

use anec_mil::evaluate::Tensor;
use anec_mil::{DataType, Dimension, NamedValueType, TensorType, ValueType};
use anec_runtime::backend::{Backend, Function, Model, Signature, Tensors};
use anec_runtime::{ModelDirectory, ModelPart};
use anec_schemas::contract::stateful::{CHUNK, EMBEDDINGS, names};

/// Predictions one after another.
const PREDICTIONS: usize = 100;
/// A token that fits into every vocabulary.
const TOKEN: i32 = 7;

/// Runs the whole suite.
pub(crate) fn run<B: Backend>(backend: &B, directory: &ModelDirectory) {
    for part in directory.parts() {
        every_function_loads_and_says_what_it_takes(backend, part);
        a_function_that_is_not_there_is_an_error(backend, part);
        inputs_that_do_not_fit_are_errors_and_harm_nothing(backend, part);
        results_outlive_the_next_prediction(backend, part);
        equal_predictions_give_equal_results(backend, part);
        functions_outlive_their_model_and_each_other(backend, part);
    }
    a_state_is_shared_by_functions_and_models(backend, directory);
    states_start_at_zero_and_keep_to_themselves(backend, directory);
}

/// A call that must fail, and how.
#[track_caller]
fn message<T, E: std::error::Error>(result: Result<T, E>, what: &str) -> String {
    let Err(error) = result else { panic!("{what}: expected an error") };
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text += ": ";
        text += &inner.to_string();
        cause = inner.source();
    }
    text
}

fn every_function_loads_and_says_what_it_takes<B: Backend>(backend: &B, part: &ModelPart) {
    let model = backend.open(part).expect("openable");
    let mut sorted = model.function_names();
    sorted.sort();
    assert_eq!(model.function_names(), sorted, "{}: names are sorted", part.stem);
    assert!(!sorted.is_empty(), "{}", part.stem);
    let expected: &[&str] = match part.label.role {
        EMBEDDINGS => &[names::INPUT_IDS],
        CHUNK => &[names::CAUSAL_MASK, names::CURRENT_POS, names::HIDDEN_STATES, names::POSITION_IDS],
        _ => &[names::HIDDEN_STATES],
    };
    for name in sorted {
        let function = model.load(&name).expect("loadable");
        let signature = function.signature();
        let mut inputs: Vec<&str> = signature.inputs.iter().map(|input| input.name.as_str()).collect();
        inputs.sort_unstable();
        assert_eq!(inputs, expected, "{} {name}", part.stem);
        assert_eq!(signature.states.is_empty(), part.label.role != CHUNK, "{} {name}", part.stem);
        assert!(signature.states.iter().all(|state| matches!(state.ty, ValueType::State(_))), "{} {name}", part.stem);
        let outputs = predict(&function, 0);
        for output in &signature.outputs {
            let given = outputs.get(&output.name).expect("declared");
            let declared = output.ty.as_tensor().expect("a tensor");
            assert!(fits(given, declared), "{} {name}: {} is {}, not {declared}", part.stem, output.name, given.ty());
        }
        assert_eq!(outputs.len(), signature.outputs.len(), "{} {name}", part.stem);
    }
}

fn a_function_that_is_not_there_is_an_error<B: Backend>(backend: &B, part: &ModelPart) {
    let model = backend.open(part).expect("openable");
    let text = message(model.load("no_such_function"), &part.stem);
    assert!(text.contains("no_such_function"), "{text}");
}

fn inputs_that_do_not_fit_are_errors_and_harm_nothing<B: Backend>(backend: &B, part: &ModelPart) {
    let model = backend.open(part).expect("openable");
    let function = model.load(&model.function_names()[0]).expect("loadable");
    let good = inputs(function.signature(), 0);
    let before = predict(&function, 0);
    for input in &function.signature().inputs {
        let mut missing = good.clone();
        missing.remove(&input.name);
        let mut wrong = good.clone();
        let ty = input.ty.as_tensor().expect("a tensor");
        // An axis more is wrong whatever lengths are allowed.
        let mut shape = sizes(ty);
        shape.push(2);
        wrong.insert(input.name.clone(), Tensor::zeros(ty.dtype, &shape).expect("small"));
        for given in [missing, wrong] {
            let result = function.predict(&given, &mut function.new_state().expect("a state"));
            let text = message(result, &input.name);
            assert!(text.contains(&input.name), "{}: the input is named: {text}", part.stem);
        }
    }
    assert_same(&before, &predict(&function, 0), &part.stem);
}

fn results_outlive_the_next_prediction<B: Backend>(backend: &B, part: &ModelPart) {
    let model = backend.open(part).expect("openable");
    let function = model.load(&model.function_names()[0]).expect("loadable");
    let first = predict(&function, 0);
    let copy = bits(&first);
    let second = predict(&function, 1);
    assert_ne!(bits(&first), bits(&second), "{}: other inputs, other results", part.stem);
    assert_eq!(bits(&first), copy, "{}: buffers that are used again do not show", part.stem);
}

fn equal_predictions_give_equal_results<B: Backend>(backend: &B, part: &ModelPart) {
    let model = backend.open(part).expect("openable");
    let function = model.load(&model.function_names()[0]).expect("loadable");
    let first = predict(&function, 0);
    for number in 1..PREDICTIONS {
        assert_same(&first, &predict(&function, 0), &format!("{}, prediction {number}", part.stem));
    }
}

fn functions_outlive_their_model_and_each_other<B: Backend>(backend: &B, part: &ModelPart) {
    let model = backend.open(part).expect("openable");
    let name = model.function_names()[0].clone();
    let (one, other) = (model.load(&name).expect("loadable"), model.load(&name).expect("loadable twice"));
    drop(model);
    let expected = predict(&one, 0);
    drop(one);
    assert_same(&expected, &predict(&other, 0), &part.stem);
}

/// What prefill writes, infer of the same chunk sees; and a state of the first chunk serves the second.
fn a_state_is_shared_by_functions_and_models<B: Backend>(backend: &B, directory: &ModelDirectory) {
    let models: Vec<B::Model> = chunks(directory).map(|part| backend.open(part).expect("openable")).collect();
    let first = models[0].load(names::INFER).expect("loadable");
    let mut state = first.new_state().expect("a state");
    for model in &models {
        let (infer, prefill) = (model.load(names::INFER).expect("there"), model.load(names::PREFILL).expect("there"));
        let alone = infer.predict(&at_last_position(&infer), &mut infer.new_state().expect("a state"));
        prefill.predict(&inputs(prefill.signature(), 0), &mut state).expect("computable");
        let after = infer.predict(&at_last_position(&infer), &mut state).expect("computable");
        assert_ne!(bits(&alone.expect("computable")), bits(&after), "infer sees what prefill wrote");
    }
    let written = first.read_state(&state).expect("readable");
    assert!(written.values().any(|tensor| !is_zero(tensor)), "both functions write");
}

fn states_start_at_zero_and_keep_to_themselves<B: Backend>(backend: &B, directory: &ModelDirectory) {
    let part = chunks(directory).next().expect("a chunk");
    let function = backend.open(part).expect("openable").load(names::INFER).expect("loadable");
    let (mut one, other) = (function.new_state().expect("a state"), function.new_state().expect("a state"));
    function.predict(&inputs(function.signature(), 0), &mut one).expect("computable");
    let (one, other) = (function.read_state(&one).expect("readable"), function.read_state(&other).expect("readable"));
    assert!(!one.is_empty() && one.values().any(|tensor| !is_zero(tensor)));
    assert!(other.values().all(is_zero), "untouched");
    for (name, tensor) in &one {
        let declared = function.signature().states.iter().find(|state| state.name == *name).expect("declared");
        assert_eq!(declared.ty, ValueType::State(tensor.ty()));
    }
}

fn chunks(directory: &ModelDirectory) -> impl Iterator<Item = &ModelPart> {
    directory.parts().iter().filter(|part| part.label.role == CHUNK)
}

fn predict<F: Function>(function: &F, seed: usize) -> Tensors {
    let mut state = function.new_state().expect("a state");
    function.predict(&inputs(function.signature(), seed), &mut state).expect("computable")
}

/// Inputs that clients could give: positions from 0 on, and other activations or tokens for each seed.
fn inputs(signature: &Signature, seed: usize) -> Tensors {
    signature.inputs.iter().map(|input| (input.name.clone(), value(input, seed))).collect()
}

fn value(input: &NamedValueType, seed: usize) -> Tensor {
    let ty = input.ty.as_tensor().expect("a tensor");
    let shape = sizes(ty);
    let count: usize = shape.iter().product();
    let number = |index: usize| i32::try_from(index).expect("small");
    let tensor = match input.name.as_str() {
        names::INPUT_IDS => Tensor::integers(ty.dtype, &shape, vec![TOKEN + number(seed); count]),
        names::POSITION_IDS => Tensor::integers(ty.dtype, &shape, (0..count).map(number).collect()),
        names::CURRENT_POS => Tensor::zeros(ty.dtype, &shape),
        names::CAUSAL_MASK => {
            let keys = *shape.last().expect("an axis");
            let masked = |index: usize| if index % keys > index / keys { f32::NEG_INFINITY } else { 0.0 };
            Tensor::floats(ty.dtype, &shape, (0..count).map(masked).collect())
        }
        _ => {
            let activation =
                |index: usize| f32::from(i16::try_from((index * 37 + seed * 11) % 41).expect("small")) / 20.0 - 1.0;
            Tensor::floats(ty.dtype, &shape, (0..count).map(activation).collect())
        }
    };
    tensor.expect("as many")
}

/// A tensor of zeros for an input.
pub(crate) fn zeros(input: &NamedValueType) -> Tensor {
    let ty = input.ty.as_tensor().expect("a tensor");
    Tensor::zeros(ty.dtype, &sizes(ty)).expect("small")
}

/// Inputs of `infer` at the last position, from which everything before is seen.
fn at_last_position<F: Function>(infer: &F) -> Tensors {
    let mut inputs = inputs(infer.signature(), 0);
    let mask = &inputs[names::CAUSAL_MASK];
    let (shape, keys) = (mask.shape().to_vec(), *mask.shape().last().expect("an axis"));
    let last = i32::try_from(keys - 1).expect("small");
    let set = |inputs: &mut Tensors, name: &str, tensor| inputs.insert(name.to_owned(), tensor);
    set(&mut inputs, names::CAUSAL_MASK, Tensor::zeros(DataType::Float16, &shape).expect("small"));
    for name in [names::POSITION_IDS, names::CURRENT_POS] {
        set(&mut inputs, name, Tensor::integers(DataType::Int32, &[1], vec![last]).expect("one"));
    }
    inputs
}

fn sizes(ty: &TensorType) -> Vec<usize> {
    // Where any length may be given, one token is.
    let size = |axis: &Dimension| usize::try_from(axis.fixed().unwrap_or(1)).expect("small");
    ty.shape.iter().map(size).collect()
}

/// Whether a tensor is one of those that a type allows. Core ML need not know the shapes of outputs.
fn fits(tensor: &Tensor, declared: &TensorType) -> bool {
    let found = tensor.ty();
    let mut axes = found.shape.iter().zip(&declared.shape);
    found.dtype == declared.dtype
        && (declared.rank() == 0 || found.rank() == declared.rank())
        && axes.all(|(found, declared)| *declared == Dimension::Unknown || found == declared)
}

fn is_zero(tensor: &Tensor) -> bool {
    tensor.as_floats().expect("floats").iter().all(|value| *value == 0.0)
}

/// Everything in tensors, to be compared.
fn bits(tensors: &Tensors) -> Vec<(String, Vec<u32>)> {
    let of = |tensor: &Tensor| match tensor.as_floats() {
        Ok(values) => values.iter().map(|value| value.to_bits()).collect(),
        Err(_) => tensor.as_integers().expect("integers").iter().map(|value| value.cast_unsigned()).collect(),
    };
    tensors.iter().map(|(name, tensor)| (name.clone(), of(tensor))).collect()
}

#[track_caller]
fn assert_same(expected: &Tensors, found: &Tensors, what: &str) {
    assert!(bits(expected) == bits(found), "{what}: the same inputs give other results");
}
