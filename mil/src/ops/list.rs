//! Lists of tensors. While a program runs, a list is a tensor with one more axis, the first.

use super::decl::{BOOL, Domain, INT32, InferError, OpContext, OpDecl, Parameter, STRING};
use super::gather::places;
use super::shape::{CLASSIC, compatible, compatible_shapes, known_bool_or, known_string_or};
use crate::dtype::DataType;
use crate::evaluate::{Call, Elements, EvaluateError, Tensor, check_made, row_major};
use crate::types::{Dimension, TensorType, ValueType};
use crate::value::Value;

const LS: Parameter = Parameter::new("ls", Domain::List);
const VALUE: Parameter = Parameter::new("value", CLASSIC);

/// An empty list.
pub static MAKE_LIST: OpDecl = OpDecl::new(
    "make_list",
    "A list of `init_length` tensors of `elem_shape`.",
    &[
        Parameter::new("init_length", INT32).defaulted(),
        Parameter::new("dynamic_length", BOOL).constant().defaulted(),
        Parameter::new("elem_shape", Domain::OneOf(&[DataType::Int32, DataType::String])).variadic().optional(),
        Parameter::new("dtype", STRING).constant().defaulted(),
    ],
    infer_make,
)
.moves(make);
/// Several elements as one tensor.
pub static LIST_GATHER: OpDecl = OpDecl::new(
    "list_gather",
    "The elements of a list at `indices`, as one tensor.",
    &[LS, Parameter::new("indices", INT32)],
    |ctx| {
        let (indices, element) = (ctx.tensor("indices")?, element(ctx)?);
        let &[count] = indices.shape.as_slice() else {
            return Err(InferError::operand("indices", "a vector", indices));
        };
        let shape = [count].into_iter().chain(element.shape.iter().copied()).collect();
        Ok(vec![TensorType { dtype: element.dtype, shape }.into()])
    },
)
.moves(gather);
/// How many elements there are.
pub static LIST_LENGTH: OpDecl = OpDecl::new("list_length", "How many elements a list has.", &[LS], |ctx| {
    element(ctx)?;
    Ok(vec![TensorType::scalar(DataType::Int32).into()])
})
.moves(|call| {
    let length = call.tensor("ls")?.shape().first().copied().unwrap_or(0);
    Ok(vec![Tensor::integers(DataType::Int32, &[], super::reduce::index_elements(DataType::Int32, &[length])?)?])
});
/// One element.
pub static LIST_READ: OpDecl =
    OpDecl::new("list_read", "The element of a list at `index`.", &[LS, Parameter::new("index", INT32)], |ctx| {
        one_index(ctx)?;
        Ok(vec![element(ctx)?.clone().into()])
    })
    .moves(read);
/// Several elements are set.
pub static LIST_SCATTER: OpDecl = OpDecl::new(
    "list_scatter",
    "A list with the tensors of `value` at `indices`.",
    &[LS, Parameter::new("indices", INT32), VALUE],
    |ctx| {
        let (indices, value) = (ctx.tensor("indices")?, ctx.tensor("value")?);
        match (indices.shape.as_slice(), value.shape.split_first()) {
            ([count], Some((values, inner))) if compatible(*count, *values) => {
                same_element(ctx, &TensorType { dtype: value.dtype, shape: inner.to_vec() })
            }
            _ => Err(InferError::operand("value", format!("a tensor for each of {indices}"), value)),
        }
    },
)
.moves(|call| {
    let value = call.tensor("value")?.clone();
    let inner = value.shape().split_first().map_or(&[][..], |(_, inner)| inner).to_vec();
    write(call, "indices", &value, &inner)
});
/// One element is set.
pub static LIST_WRITE: OpDecl =
    OpDecl::new("list_write", "A list with `value` at `index`.", &[LS, Parameter::new("index", INT32), VALUE], |ctx| {
        one_index(ctx)?;
        same_element(ctx, ctx.tensor("value")?)
    })
    .moves(|call| {
        let value = call.tensor("value")?.clone();
        let inner = value.shape().to_vec();
        write(call, "index", &value, &inner)
    });

fn element<'a>(ctx: &OpContext<'a>) -> Result<&'a TensorType, InferError> {
    let ty = ctx.required("ls")?.ty;
    let element = if let ValueType::List(element, _) = ty { element.as_tensor() } else { None };
    element.ok_or_else(|| InferError::operand("ls", "a list of tensors", ty))
}

fn one_index(ctx: &OpContext<'_>) -> Result<(), InferError> {
    let index = ctx.tensor("index")?;
    if index.element_count() == Some(1) { Ok(()) } else { Err(InferError::operand("index", "one integer", index)) }
}

/// The type of the list, whose elements must be able to be of type `found`.
fn same_element(ctx: &OpContext<'_>, found: &TensorType) -> Result<Vec<ValueType>, InferError> {
    let element = element(ctx)?;
    if found.dtype != element.dtype || !compatible_shapes(&found.shape, &element.shape) {
        return Err(InferError::operand("value", format!("a value of {element}"), found));
    }
    Ok(vec![ctx.required("ls")?.ty.clone()])
}

/// A length that is a word is not known before the program runs.
fn infer_make(ctx: &OpContext<'_>) -> Result<Vec<ValueType>, InferError> {
    let mut shape = Vec::new();
    for operand in ctx.operands("elem_shape").iter().take(super::shape::MAX_RANK) {
        shape.push(match operand.value.and_then(Value::as_int) {
            None => Dimension::Unknown,
            Some(length) => u64::try_from(length)
                .map(Dimension::Fixed)
                .map_err(|_| InferError::operand("elem_shape", "lengths", length))?,
        });
    }
    let name = known_string_or(ctx, "dtype", "fp32")?;
    let dtype =
        element_type(name).ok_or_else(|| InferError::operand("dtype", "`bool`, `fp16`, `fp32` or `int32`", name))?;
    let length = if known_bool_or(ctx, "dynamic_length", true)? {
        Dimension::Unknown
    } else {
        let length = ctx.int_or("init_length", 1)?;
        u64::try_from(length)
            .map(Dimension::Fixed)
            .map_err(|_| InferError::operand("init_length", "a length", length))?
    };
    Ok(vec![ValueType::List(Box::new(TensorType { dtype, shape }.into()), length)])
}

fn element_type(name: &str) -> Option<DataType> {
    let dtype = DataType::from_text_name(name)?;
    matches!(dtype, DataType::Bool | DataType::Float16 | DataType::Float32 | DataType::Int32).then_some(dtype)
}

/// Elements that were never written are zeros. A list of elements of unknown lengths has none until the first is written.
fn make(call: &mut Call<'_>) -> Result<Vec<Tensor>, EvaluateError> {
    let length = call.int_or("init_length", 1)?;
    let length = usize::try_from(length).map_err(|_| InferError::operand("init_length", "a length", length))?;
    let mut shape = vec![length];
    for length in call.operands("elem_shape") {
        shape.push(match length.elements() {
            Elements::Strings(_) => 0,
            _ => length.as_integers()?.first().and_then(|length| usize::try_from(*length).ok()).unwrap_or(0),
        });
    }
    let name = call.string_or("dtype", "fp32")?;
    let dtype =
        element_type(name).ok_or_else(|| InferError::operand("dtype", "`bool`, `fp16`, `fp32` or `int32`", name))?;
    bounded(&shape)?;
    Ok(vec![Tensor::zeros(dtype, &shape)?])
}

/// A loop must not take all memory by a number in the program.
fn bounded(shape: &[usize]) -> Result<(), EvaluateError> {
    check_made(shape)?;
    check_made(shape.get(..1).unwrap_or_default())?;
    Ok(())
}

/// The axes of one element.
fn inner_shape(list: &Tensor) -> &[usize] {
    list.shape().split_first().map_or(&[], |(_, inner)| inner)
}

fn take(list: &Tensor, places: &[usize], shape: &[usize]) -> Result<Tensor, EvaluateError> {
    let inner: usize = inner_shape(list).iter().product();
    let runs = places.iter().map(|place| (0, place * inner..(place + 1) * inner));
    Ok(Tensor::from_runs(std::slice::from_ref(list), shape, runs)?)
}

fn read(call: &mut Call<'_>) -> Result<Vec<Tensor>, EvaluateError> {
    let list = call.tensor("ls")?;
    let length = list.shape().first().copied().unwrap_or(0);
    let index = call.int_or("index", 0)?;
    let place = usize::try_from(index).ok().filter(|place| *place < length);
    let place = place.ok_or(EvaluateError::Index { index, length })?;
    Ok(vec![take(list, &[place], inner_shape(list))?])
}

fn gather(call: &mut Call<'_>) -> Result<Vec<Tensor>, EvaluateError> {
    let list = call.tensor("ls")?;
    let places = places(call, list.shape().first().copied().unwrap_or(0))?;
    let shape: Vec<usize> = [places.len()].into_iter().chain(inner_shape(list).iter().copied()).collect();
    Ok(vec![take(list, &places, &shape)?])
}

/// The list with the elements of `value`, of shape `inner` each, at the places of `parameter`. It grows: coremltools declares
/// the length that a list has at first, also where it may grow.
fn write(call: &mut Call<'_>, parameter: &str, value: &Tensor, inner: &[usize]) -> Result<Vec<Tensor>, EvaluateError> {
    let indices = call.integers(parameter)?.into_owned();
    let mut list = call.take("ls")?;
    let mut length = list.shape().first().copied().unwrap_or(0);
    let mut places = Vec::with_capacity(indices.len());
    for index in indices {
        let place = usize::try_from(index).ok();
        let place = place.ok_or(EvaluateError::Index { index: i64::from(index), length })?;
        length = length.max(place.saturating_add(1));
        places.push(place);
    }
    let shape: Vec<usize> = [length].into_iter().chain(inner.iter().copied()).collect();
    bounded(&shape)?;
    if list.shape() != shape {
        let fits = list.count() == 0 || inner_shape(&list) == inner;
        let misfit = || InferError::operand("value", format!("a value of shape {:?}", inner_shape(&list)), value.ty());
        if !fits {
            return Err(misfit().into());
        }
        let mut longer = Tensor::zeros(list.dtype(), &shape)?;
        if list.count() > 0 {
            longer.write_strided(0, &strides(&shape), &list)?;
        }
        list = longer;
    }
    let count: usize = inner.iter().product();
    let one: Vec<usize> = [1].into_iter().chain(inner.iter().copied()).collect();
    for (index, place) in places.into_iter().enumerate() {
        let runs = std::iter::once((0, index * count..(index + 1) * count));
        let update = Tensor::from_runs(std::slice::from_ref(value), &one, runs)?;
        list.write_strided(place * count, &strides(&shape), &update)?;
    }
    Ok(vec![list])
}

fn strides(shape: &[usize]) -> Vec<isize> {
    row_major(shape).iter().map(|stride| isize::try_from(*stride).unwrap_or(0)).collect()
}
