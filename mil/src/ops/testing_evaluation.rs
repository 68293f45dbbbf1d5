//! Evaluates every op on operands that are drawn at random: it gives results or an error, and does not panic.

use std::collections::{BTreeMap, BTreeSet};

use super::decl::{Domain, OpDecl, Parameter, Presence};
use super::testing::NoWeights;
use super::{OPS, special};
use crate::builder::{FunctionBuilder, Var};
use crate::dtype::DataType;
use crate::evaluate::{Accumulator, EvaluableFunction, Numerics, Tensor};
use crate::opset::Opset;
use crate::program::Program;
use crate::types::{Dimension, TensorType, ValueType};
use crate::value::{TensorData, Value, ValueData};

/// Draws of one case, which are the same on every machine.
struct Dice(u64);

impl Dice {
    /// A number below `sides`.
    fn roll(&mut self, sides: usize) -> usize {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % sides as u64).expect("below sides")
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.roll(from.len())]
    }

    /// A shape that often fits `base`.
    fn shape(&mut self, base: &[u64]) -> Vec<u64> {
        let mut shape = base.to_vec();
        match self.roll(12) {
            0 => shape.clear(),
            1 => shape = vec![base.len() as u64],
            2 => shape = vec![2 * base.len().saturating_sub(2) as u64],
            3 => shape = vec![base.get(self.roll(4)).copied().unwrap_or(1)],
            4 => drop(shape.drain(..self.roll(base.len() + 1))),
            5 => shape.extend([2, 1]),
            6 if !shape.is_empty() => {
                let axis = self.roll(base.len());
                shape[axis] = self.pick(&[0, 1, 2, 4, 8]);
            }
            _ => {}
        }
        shape
    }

    fn value(&mut self, parameter: &Parameter, dtype: DataType, shape: &[u64]) -> Value {
        let count = usize::try_from(shape.iter().product::<u64>()).expect("small");
        let mut number = || match self.roll(16) {
            // Numbers that decide about memory stay small.
            0 if !["reps", "pad", "shape"].contains(&parameter.name) => self.pick(&[i32::MIN, i32::MAX, -9, 300]),
            _ => self.pick(&[-2, -1, 0, 0, 1, 1, 2, 3]),
        };
        let data = match dtype {
            DataType::Bool => TensorData::Bools((0..count).map(|_| number() > 0).collect()),
            DataType::Float32 | DataType::Float16 => {
                let floats = (0..count).map(|_| number());
                #[expect(clippy::cast_precision_loss, reason = "any float will do")]
                let floats: Vec<f32> = floats.map(|value| if value == 3 { f32::NAN } else { value as f32 }).collect();
                match dtype {
                    DataType::Float32 => TensorData::Floats(floats),
                    _ => TensorData::Bytes(
                        floats.iter().flat_map(|value| half::f16::from_f32(*value).to_le_bytes()).collect(),
                    ),
                }
            }
            DataType::Int32 | DataType::Int16 | DataType::UInt16 => {
                TensorData::Ints((0..count).map(|_| number()).collect())
            }
            DataType::String => {
                const NAMES: [&str; 14] = [
                    "valid",
                    "same",
                    "same_lower",
                    "custom",
                    "constant",
                    "reflect",
                    "replicate",
                    "int32",
                    "fp16",
                    "bidirectional",
                    "int8",
                    "reverse",
                    "tanh",
                    "EXACT",
                ];
                TensorData::Strings((0..count).map(|_| self.pick(&NAMES).to_owned()).collect())
            }
            _ => {
                let bytes = dtype.packed_bytes(count as u64).expect("small");
                TensorData::Bytes((0..bytes).map(|_| number().to_le_bytes()[0]).collect())
            }
        };
        Value { ty: TensorType::fixed(dtype, shape).into(), data: ValueData::Tensor(data) }
    }
}

/// What a parameter is given.
enum Given {
    State(ValueType),
    Tensors(Vec<Value>),
}

fn given(dice: &mut Dice, parameter: &Parameter, base: &[u64], group: &mut BTreeMap<char, DataType>) -> Given {
    let all = [DataType::Float32, DataType::Float16, DataType::Int32, DataType::UInt8, DataType::Bool];
    let mut dtype = match parameter.domain {
        Domain::OneOf(dtypes) => dice.pick(dtypes),
        Domain::Any | Domain::State | Domain::List | Domain::AnyOrList => dice.pick(&all),
    };
    if let Some(letter) = parameter.group {
        dtype = *group.entry(letter).or_insert(dtype);
    }
    if matches!(parameter.domain, Domain::State) {
        return Given::State(ValueType::State(TensorType::fixed(dtype, base)));
    }
    let length = base.first().copied().unwrap_or(1);
    let shape = match parameter.name {
        _ if dtype == DataType::String => Vec::new(),
        "axis" | "keep_dims" | "groups" | "epsilon" | "alpha" | "beta" | "k" | "vector_axis" | "num_splits" => {
            Vec::new()
        }
        "begin" | "end" | "stride" | "begin_mask" | "end_mask" | "squeeze_mask" | "size" | "reps" | "perm" => {
            vec![base.len() as u64]
        }
        // An `lstm` has too many operands to fit by chance.
        "weight_ih" | "weight_hh" => vec![4 * length, length],
        "initial_h" | "initial_c" => vec![length, length],
        _ => dice.shape(base),
    };
    let count = if parameter.variadic { 1 + dice.roll(3) } else { 1 };
    Given::Tensors((0..count).map(|_| dice.value(parameter, dtype, &shape)).collect())
}

/// Whether the op took the operands and gave results.
fn evaluates(dice: &mut Dice, decl: &'static OpDecl) -> bool {
    let opset = dice.pick(&[Opset::Ios16, Opset::Ios18, Opset::Ios18]);
    let numerics =
        [Numerics::F32, Numerics::Fp16(Accumulator::F32), Numerics::Fp16(Accumulator::Saturating)][dice.roll(3)];
    let length = dice.pick(&[0, 1, 2, 2, 2, 3, 4]);
    let base = vec![length; dice.roll(5)];
    let mut builder = FunctionBuilder::new(opset);
    let (mut inputs, mut variables, mut constants) = (BTreeMap::new(), Vec::new(), Vec::new());
    let mut group = BTreeMap::new();
    for parameter in decl.parameters {
        if parameter.presence != Presence::Required && dice.roll(3) > 0 {
            continue;
        }
        match given(dice, parameter, &base, &mut group) {
            Given::State(ty) => variables.push((parameter.name, vec![builder.input(parameter.name, ty)])),
            // What an engine cannot be given, such as a uint32 beyond int32, can still be a constant.
            Given::Tensors(values)
                if parameter.constant || dice.roll(4) == 0 && !parameter.variadic || !values.iter().all(is_input) =>
            {
                constants.extend(values.into_iter().map(|value| (parameter.name, value)));
            }
            Given::Tensors(values) => {
                let declare = |(index, value): (usize, Value)| {
                    let name = format!("{}{index}", parameter.name);
                    let mut ty = value.tensor_type().expect("a tensor").clone();
                    if dice.roll(3) == 0 {
                        ty.shape.fill(Dimension::Unknown);
                    }
                    let tensor = Tensor::from_value(&value).and_then(Tensor::expanded).expect("of its own type");
                    inputs.insert(name.clone(), tensor);
                    builder.input(&name, ty)
                };
                variables.push((parameter.name, values.into_iter().enumerate().map(declare).collect()));
            }
        }
    }
    let mut call = builder.call(decl, "result");
    for (parameter, vars) in &variables {
        call = call.operands(parameter, &vars.iter().collect::<Vec<&Var>>());
    }
    for (parameter, value) in constants {
        let in_place = special::yields_constant(decl.name);
        call = if in_place { call.inline(parameter, value) } else { call.constant(parameter, value) };
    }
    let Ok(results) = call.finish() else { return false };
    let mut program = Program::default();
    program.functions.insert("main".to_owned(), builder.finish(&results.iter().collect::<Vec<_>>()));
    let Ok(function) = EvaluableFunction::new(&program, "main", &NoWeights, numerics) else { return false };
    let Ok(mut state) = function.new_state() else { return false };
    function.run(&inputs, &mut state, None).is_ok()
}

/// Ops whose operands are of one shape or one word, or are no tensors, and so may fit in none of the cases. Their vectors and
/// tests reach them.
const RARELY_FIT: &[&str] = &[
    "affine",
    "avg_pool",
    "batch_norm",
    "batch_to_space",
    "classify",
    "cond",
    special::CONST,
    "constexpr_cast",
    "constexpr_lut_to_sparse",
    "constexpr_sparse_blockwise_shift_scale",
    "conv_quantized",
    "conv_transpose",
    "crop",
    "crop_resize",
    "depth_to_space",
    "einsum",
    "gru",
    "instance_norm",
    "l2_pool",
    "list_gather",
    "list_length",
    "list_read",
    "list_scatter",
    "list_write",
    "local_response_norm",
    "make_list",
    "max_pool",
    "non_maximum_suppression",
    "pixel_shuffle",
    "pixel_unshuffle",
    "prelu",
    "random_categorical",
    "resample",
    "reshape_like",
    "resize",
    "resize_bilinear",
    "resize_nearest_neighbor",
    "reverse_sequence",
    "rnn",
    "scatter",
    "scatter_along_axis",
    "scatter_nd",
    "softplus_parametric",
    "space_to_batch",
    "space_to_depth",
    "upsample_bilinear",
    "upsample_nearest_neighbor",
    "while_loop",
];

/// Whether an engine can be given this value.
fn is_input(value: &Value) -> bool {
    Tensor::from_value(value).and_then(Tensor::expanded).is_ok()
}

#[test]
fn evaluation_survives_any_operands() {
    const CASES: u64 = 1000;
    let mut evaluated: BTreeSet<&str> = BTreeSet::new();
    for (number, decl) in OPS.iter().enumerate().filter(|(_, decl)| decl.name != special::CONST) {
        for case in 0..CASES {
            if evaluates(&mut Dice(case << 8 | number as u64), decl) {
                evaluated.insert(decl.name);
            }
        }
    }
    let never: Vec<_> = OPS.iter().map(|decl| decl.name).filter(|name| !evaluated.contains(name)).collect();
    let unexpected: Vec<_> = never.into_iter().filter(|name| !RARELY_FIT.contains(name)).collect();
    assert!(unexpected.is_empty(), "ops that no case reaches: {unexpected:?}");
}
