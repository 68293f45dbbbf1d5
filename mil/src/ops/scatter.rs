//! Elements that are put at places which other tensors tell, and the reading counterpart for several axes.

use super::decl::{BOOL, Change, INT32, InferError, NUMBERS, OpContext, OpDecl, Parameter, STRING};
use super::elementwise::{larger, smaller};
use super::gather::{TABLE, places, places_operand};
use super::shape::{axis_or, compatible, compatible_shapes, known_int_or, known_string_or};
use crate::evaluate::{Call, Elements, EvaluateError, Tensor, along_axis};
use crate::opset::Opset;
use crate::types::{Dimension, TensorType, ValueType};

const DATA: Parameter = Parameter::new("data", NUMBERS).group('T');
const SCATTERED: Parameter = Parameter::new("indices", INT32);
const UPDATES: Parameter = Parameter::new("updates", NUMBERS).group('T');
const AXIS: Parameter = Parameter::new("axis", INT32).constant().defaulted();
const MODE: Parameter = Parameter::new("mode", STRING).constant().defaulted();
const VALIDATE: Parameter =
    Parameter::new("validate_indices", BOOL).constant().defaulted().changes(&[Change::Since(Opset::Ios17)]);

/// Slices at several indices each.
pub static GATHER_ND: OpDecl = OpDecl::new(
    "gather_nd",
    "Takes the slices of `x` at `indices`, each of which is as many numbers as axes it chooses on.",
    &[
        Parameter::new("x", NUMBERS).changes(&[Change::Takes(Opset::Ios17, TABLE)]),
        places_operand(),
        Parameter::new("batch_dims", INT32).constant().defaulted().changes(&[Change::Since(Opset::Ios16)]),
        VALIDATE,
    ],
    infer_gather_nd,
)
.moves(gather_nd);
/// Slices along one axis.
pub static SCATTER: OpDecl = OpDecl::new(
    "scatter",
    "Puts the slices of `updates` at `indices` along `axis` of `data`.",
    &[DATA, SCATTERED, UPDATES, AXIS, MODE, VALIDATE],
    infer_scatter,
)
.computes(scatter);
/// Elements along one axis.
pub static SCATTER_ALONG_AXIS: OpDecl = OpDecl::new(
    "scatter_along_axis",
    "Puts each element of `updates` at its own index along `axis` of `data`.",
    &[DATA, SCATTERED, UPDATES, AXIS, MODE, VALIDATE],
    infer_scatter_along_axis,
)
.computes(scatter_along_axis);
/// Slices at several indices each.
pub static SCATTER_ND: OpDecl = OpDecl::new(
    "scatter_nd",
    "Puts the slices of `updates` at `indices` of `data`, each of which is as many numbers as axes it chooses on.",
    &[DATA, SCATTERED, UPDATES, MODE, VALIDATE],
    infer_scatter_nd,
)
.computes(scatter_nd);

/// How an update meets what is there.
#[derive(Clone, Copy)]
enum Mode {
    Add,
    Div,
    Max,
    Min,
    Mul,
    Sub,
    Update,
}

impl Mode {
    fn named(name: &str) -> Result<Self, InferError> {
        match name {
            "add" => Ok(Self::Add),
            "div" => Ok(Self::Div),
            "max" => Ok(Self::Max),
            "min" => Ok(Self::Min),
            "mul" => Ok(Self::Mul),
            "sub" => Ok(Self::Sub),
            "update" => Ok(Self::Update),
            other => {
                let expected = "`add`, `div`, `max`, `min`, `mul`, `sub` or `update`";
                Err(InferError::operand("mode", expected, format!("`{other}`")))
            }
        }
    }

    fn floats(self, old: f32, new: f32) -> f32 {
        match self {
            Self::Add => old + new,
            Self::Div => old / new,
            Self::Max => larger(old, new),
            Self::Min => smaller(old, new),
            Self::Mul => old * new,
            Self::Sub => old - new,
            Self::Update => new,
        }
    }

    fn integers(self, old: i32, new: i32) -> i32 {
        match self {
            Self::Add => old.wrapping_add(new),
            Self::Div => old.checked_div(new).unwrap_or(0),
            Self::Max => old.max(new),
            Self::Min => old.min(new),
            Self::Mul => old.wrapping_mul(new),
            Self::Sub => old.wrapping_sub(new),
            Self::Update => new,
        }
    }
}

fn like_data(ctx: &OpContext<'_>, expected: &[Dimension]) -> Result<Vec<ValueType>, InferError> {
    let (data, updates) = (ctx.tensor("data")?, ctx.tensor("updates")?);
    Mode::named(known_string_or(ctx, "mode", "add")?)?;
    if !compatible_shapes(&updates.shape, expected) {
        let expected = TensorType { dtype: data.dtype, shape: expected.to_vec() };
        return Err(InferError::operand("updates", expected.to_string(), updates));
    }
    Ok(vec![data.clone().into()])
}

/// # Shapes
/// `data: [before.., size, after..]`, `updates: [before.., indices.., after..]`.
fn infer_scatter(ctx: &OpContext<'_>) -> Result<Vec<ValueType>, InferError> {
    let (data, indices) = (ctx.tensor("data")?, ctx.tensor("indices")?);
    let axis = axis_or(ctx, "axis", 0, data.rank())?;
    let (before, rest) = data.shape.split_at(axis);
    let expected: Vec<_> = before.iter().chain(&indices.shape).chain(rest.iter().skip(1)).copied().collect();
    like_data(ctx, &expected)
}

/// # Shapes
/// `indices` and `updates` have the axes of `data`, but for the length of `axis`.
fn infer_scatter_along_axis(ctx: &OpContext<'_>) -> Result<Vec<ValueType>, InferError> {
    let (data, indices) = (ctx.tensor("data")?, ctx.tensor("indices")?);
    let axis = axis_or(ctx, "axis", 0, data.rank())?;
    let pairs = data.shape.iter().zip(&indices.shape).enumerate();
    let fits = pairs.into_iter().all(|(index, (own, given))| index == axis || compatible(*own, *given));
    if data.rank() != indices.rank() || !fits {
        return Err(InferError::operand("indices", format!("the axes of {data} but for axis {axis}"), indices));
    }
    like_data(ctx, &indices.shape)
}

/// # Shapes
/// `indices: [places.., count]`, `updates: [places.., the axes of data behind the first count]`.
fn infer_scatter_nd(ctx: &OpContext<'_>) -> Result<Vec<ValueType>, InferError> {
    let (data, indices) = (ctx.tensor("data")?, ctx.tensor("indices")?);
    let (places, depth) = depth(indices, data.rank())?;
    let expected: Vec<_> = places.iter().chain(data.shape.iter().skip(depth)).copied().collect();
    like_data(ctx, &expected)
}

/// The axes of places, and how many axes of at most `rank` each place chooses on.
fn depth(indices: &TensorType, rank: usize) -> Result<(&[Dimension], usize), InferError> {
    let expected = || InferError::operand("indices", format!("at most {rank} numbers on the last axis"), indices);
    let (last, places) = indices.shape.split_last().ok_or_else(expected)?;
    let depth = last.fixed().and_then(|depth| usize::try_from(depth).ok()).filter(|depth| *depth <= rank);
    Ok((places, depth.ok_or_else(expected)?))
}

/// # Shapes
/// `x: [batch.., size..]`, `indices: [batch.., places.., count]`; the result is
/// `[batch.., places.., the axes of x behind batch and count]`.
fn infer_gather_nd(ctx: &OpContext<'_>) -> Result<Vec<ValueType>, InferError> {
    let (x, indices) = (ctx.tensor("x")?, ctx.tensor("indices")?);
    let batch_dims = known_int_or(ctx, "batch_dims", 0)?;
    let most = x.rank().min(indices.rank().saturating_sub(1));
    let batch = usize::try_from(batch_dims).ok().filter(|batch| *batch <= most);
    let batch = batch.ok_or_else(|| InferError::operand("batch_dims", format!("at most {most}"), batch_dims))?;
    let (places, depth) = depth(indices, x.rank() - batch)?;
    if !x.shape.iter().zip(places).take(batch).all(|(own, given)| compatible(*own, *given)) {
        return Err(InferError::operand("indices", format!("the first {batch} axes of {x}"), indices));
    }
    let shape = places.iter().chain(x.shape.iter().skip(batch + depth)).copied().collect();
    Ok(vec![TensorType { dtype: x.dtype, shape }.into()])
}

/// `data` with the elements of `updates` put at `targets`, one for each run of `inner` elements.
fn put(call: &mut Call<'_>, targets: &[usize], inner: usize) -> Result<Vec<Tensor>, EvaluateError> {
    let mode = Mode::named(call.string_or("mode", "add")?)?;
    let updates = call.take("updates")?.expanded()?;
    let mut data = call.take("data")?.expanded()?;
    if updates.count() != targets.len() * inner {
        let expected = format!("{} elements", targets.len() * inner);
        return Err(InferError::operand("updates", expected, updates.ty()).into());
    }
    let shape = data.shape().to_vec();
    if data.dtype().is_float() {
        let new = updates.as_floats()?;
        let old = data.floats_mut()?;
        merge(old, &new, targets, inner, |old, new| mode.floats(old, new));
        return Ok(vec![data]);
    }
    let mut old = data.as_integers()?.into_owned();
    merge(&mut old, &updates.as_integers()?, targets, inner, |old, new| mode.integers(old, new));
    Ok(vec![Tensor::integers(data.dtype(), &shape, old)?])
}

fn merge<T: Copy>(old: &mut [T], new: &[T], targets: &[usize], inner: usize, meet: impl Fn(T, T) -> T) {
    for (target, new) in targets.iter().zip(new.chunks(inner.max(1))) {
        let run = old.get_mut(target * inner..(target + 1) * inner).unwrap_or_default();
        for (old, new) in run.iter_mut().zip(new) {
            *old = meet(*old, *new);
        }
    }
}

fn scatter(call: &mut Call<'_>) -> Result<Vec<Tensor>, EvaluateError> {
    let data = call.tensor("data")?;
    let axis = call.axis_or("axis", 0, data.rank())?;
    let [outer, length, inner] = along_axis(data.shape(), axis);
    let places = places(call, length)?;
    let targets: Vec<usize> =
        (0..outer).flat_map(|outer| places.iter().map(move |place| outer * length + place)).collect();
    put(call, &targets, inner)
}

fn scatter_along_axis(call: &mut Call<'_>) -> Result<Vec<Tensor>, EvaluateError> {
    let data = call.tensor("data")?;
    let axis = call.axis_or("axis", 0, data.rank())?;
    let [_, length, inner] = along_axis(data.shape(), axis);
    let [_, count, own_inner] = along_axis(call.tensor("indices")?.shape(), axis);
    if inner != own_inner {
        return Err(InferError::operand("indices", format!("the axes of {}", data.ty()), "others").into());
    }
    let places = places(call, length)?;
    let lane = (count * inner).max(1);
    let target = |(index, place): (usize, &usize)| (index / lane * length + place) * inner + index % inner.max(1);
    let targets: Vec<usize> = places.iter().enumerate().map(target).collect();
    put(call, &targets, 1)
}

fn scatter_nd(call: &mut Call<'_>) -> Result<Vec<Tensor>, EvaluateError> {
    let shape = call.tensor("data")?.shape().to_vec();
    let (targets, depth) = chosen(call, &shape, 0)?;
    let inner = shape.iter().skip(depth).product();
    put(call, &targets, inner)
}

/// Which slice of a tensor of shape `shape` each place chooses behind the `batch` first axes, and on how many axes.
fn chosen(call: &Call<'_>, shape: &[usize], batch: usize) -> Result<(Vec<usize>, usize), EvaluateError> {
    let indices = call.tensor("indices")?;
    let misfit = || InferError::operand("indices", format!("places of {shape:?}"), indices.ty());
    let (depth, places) = indices.shape().split_last().ok_or_else(misfit)?;
    let axes = shape.get(batch..batch.saturating_add(*depth)).ok_or_else(misfit)?;
    if places.get(..batch) != shape.get(..batch) {
        return Err(misfit().into());
    }
    let count: usize = places.iter().product();
    let per_batch: usize = places.iter().skip(batch).product();
    let slices: usize = axes.iter().product();
    let values = call.integers("indices")?;
    let mut targets = Vec::with_capacity(count);
    for place in 0..count {
        let mut target = 0;
        for (axis, length) in axes.iter().enumerate() {
            let index = i64::from(values.get(place * depth + axis).copied().unwrap_or(-1));
            let from_end = index < 0 && call.opset() < Opset::Ios17;
            let signed = if from_end { index.saturating_add_unsigned(*length as u64) } else { index };
            let found = usize::try_from(signed).ok().filter(|index| index < length);
            target = target * length + found.ok_or(EvaluateError::Index { index, length: *length })?;
        }
        targets.push(place.checked_div(per_batch).unwrap_or(0) * slices + target);
    }
    Ok((targets, *depth))
}

fn gather_nd(call: &mut Call<'_>) -> Result<Vec<Tensor>, EvaluateError> {
    let x = call.tensor("x")?;
    let batch = usize::try_from(call.int_or("batch_dims", 0)?).unwrap_or(usize::MAX).min(x.rank());
    let (targets, depth) = chosen(call, x.shape(), batch)?;
    let rest = x.shape().iter().skip(batch + depth);
    let inner: usize = rest.clone().product();
    let places = call.tensor("indices")?.shape().split_last().map_or(&[][..], |(_, places)| places);
    let shape: Vec<usize> = places.iter().chain(rest).copied().collect();
    if let Elements::Strings(_) = x.elements() {
        return Err(InferError::operand("x", "numbers", x.ty()).into());
    }
    let runs = targets.iter().map(|target| (0, target * inner..(target + 1) * inner));
    Ok(vec![Tensor::from_runs(std::slice::from_ref(x), &shape, runs)?])
}
