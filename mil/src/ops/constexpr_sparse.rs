//! Constants that are both sparse and in few bits: palettes and scales for the elements that a mask marks. What comes out
//! is a mask and the elements at its places, for `constexpr_sparse_to_dense`.

use super::constexpr_blockwise_shift_scale::QUANTIZED;
use super::constexpr_lut_to_dense::{INDICES, TABLE_ENTRIES};
use super::decl::{Domain, FLOATS, INT32, InferError, OpContext, OpDecl, Parameter, Results};
use super::evidence::ANEFORGE;
use super::shape::{axis_or, known_int_or};
use crate::dtype::DataType;
use crate::evaluate::{Call, Elements, EvaluateError, Tensor, check_size, row_major};
use crate::opset::Opset;
use crate::types::{Dimension, TensorType, ValueType};

const BITS: Domain = Domain::OneOf(&[DataType::UInt1]);

/// A wider type.
pub static CONSTEXPR_CAST: OpDecl = OpDecl::new(
    "constexpr_cast",
    "A constant in another type.",
    &[
        Parameter::new("source_val", Domain::OneOf(&[DataType::Float16])).constant(),
        Parameter::new("output_dtype", super::decl::STRING).constant(),
    ],
    |ctx| {
        let dtype = super::shape::known_string_or(ctx, "output_dtype", "fp32")?;
        if dtype != "fp32" {
            return Err(InferError::operand("output_dtype", "`fp32`", format!("`{dtype}`")));
        }
        let source = ctx.tensor("source_val")?;
        Ok(vec![TensorType { dtype: DataType::Float32, shape: source.shape.clone() }.into()])
    },
)
.since(Opset::Ios16)
.moves(|call| {
    let source = call.tensor("source_val")?;
    Ok(vec![Tensor::floats(DataType::Float32, source.shape(), source.as_floats()?.into_owned())?])
})
.seen(ANEFORGE);
/// Palettes for the elements that are there.
pub static CONSTEXPR_LUT_TO_SPARSE: OpDecl = OpDecl::new(
    "constexpr_lut_to_sparse",
    "Looks the indices of the marked places up in the tables of `lut`.",
    &[
        Parameter::new("indices_mask", BITS).constant(),
        Parameter::new("indices_nonzero_data", INDICES).constant(),
        Parameter::new("lut", TABLE_ENTRIES).constant(),
        Parameter::new("vector_axis", INT32).constant().optional(),
    ],
    infer_lookup,
)
.since(Opset::Ios18)
.results(Results::Exactly(2))
.moves(look_up)
.seen(ANEFORGE);
/// Scales for the elements that are there.
pub static CONSTEXPR_SPARSE_BLOCKWISE_SHIFT_SCALE: OpDecl = OpDecl::new(
    "constexpr_sparse_blockwise_shift_scale",
    "Computes `scale * (data - offset)` at the marked places, with one scale and offset per block.",
    &[
        Parameter::new("data_mask", BITS).constant(),
        Parameter::new("nonzero_data", QUANTIZED).constant(),
        Parameter::new("scale", FLOATS).constant(),
        Parameter::new("offset", QUANTIZED).constant().optional(),
    ],
    infer_scale,
)
.since(Opset::Ios18)
.results(Results::Exactly(2))
.computes(scale)
.seen(ANEFORGE);

fn divides(size: &[Dimension], blocks: &[Dimension]) -> bool {
    size.len() == blocks.len()
        && size.iter().zip(blocks).all(|(size, blocks)| match (size.fixed(), blocks.fixed()) {
            (Some(size), Some(blocks)) => size.checked_rem(blocks) == Some(0),
            _ => true,
        })
}

fn vector<'a>(ctx: &OpContext<'a>, parameter: &str) -> Result<&'a TensorType, InferError> {
    let data = ctx.tensor(parameter)?;
    if data.rank() == 1 { Ok(data) } else { Err(InferError::operand(parameter, "a vector", data)) }
}

/// # Shapes
/// `indices_mask: [size..]`, `indices_nonzero_data: [count]`, `lut: [groups.., 2^bits, vector]`; the results are a mask,
/// `vector` times as long on `vector_axis`, and `[count * vector]` elements.
fn infer_lookup(ctx: &OpContext<'_>) -> Result<Vec<ValueType>, InferError> {
    let (mask, data, lut) = (ctx.tensor("indices_mask")?, vector(ctx, "indices_nonzero_data")?, ctx.tensor("lut")?);
    let misfit =
        || InferError::operand("lut", format!("tables of {}-bit indices that fit {mask}", data.dtype.bits()), lut);
    let Some((groups, [entries, width])) = lut.shape.split_last_chunk::<2>() else { return Err(misfit()) };
    let fits = entries.fixed().is_none_or(|entries| 1_u64.checked_shl(data.dtype.bits()) == Some(entries));
    if !divides(&mask.shape, groups) || !fits {
        return Err(misfit());
    }
    let times = |length: Dimension| match (length.fixed(), width.fixed()) {
        (Some(length), Some(width)) => length.checked_mul(width).map(Dimension::Fixed).ok_or_else(misfit),
        _ => Ok(Dimension::Unknown),
    };
    let mut shape = mask.shape.clone();
    if ctx.optional("vector_axis").is_some() {
        let axis = axis_or(ctx, "vector_axis", 0, mask.rank())?;
        if let Some(length) = shape.get_mut(axis) {
            *length = times(*length)?;
        }
    } else if *width != Dimension::Fixed(1) {
        known_int_or(ctx, "vector_axis", 0)?;
        return Err(InferError::Missing("vector_axis".to_owned()));
    }
    let count = data.shape.first().copied().unwrap_or(Dimension::Unknown);
    let data = TensorType { dtype: lut.dtype, shape: vec![times(count)?] };
    Ok(vec![TensorType { dtype: mask.dtype, shape }.into(), data.into()])
}

/// # Shapes
/// `data_mask: [size..]`, `nonzero_data: [count]`, `scale` and `offset: [blocks..]`; the results are like the first two.
fn infer_scale(ctx: &OpContext<'_>) -> Result<Vec<ValueType>, InferError> {
    let (mask, data, scale) = (ctx.tensor("data_mask")?, vector(ctx, "nonzero_data")?, ctx.tensor("scale")?);
    if !divides(&mask.shape, &scale.shape) {
        return Err(InferError::operand("scale", format!("a shape that divides {mask}"), scale));
    }
    if ctx.optional("offset").is_some() {
        let offset = ctx.tensor("offset")?;
        if offset.shape != scale.shape {
            return Err(InferError::operand("offset", format!("the shape of {scale}"), offset));
        }
    }
    let result = TensorType { dtype: scale.dtype, shape: data.shape.clone() };
    Ok(vec![mask.clone().into(), result.into()])
}

/// Whether each element of the mask's shape is there.
fn marked(mask: &Tensor) -> Result<Vec<bool>, EvaluateError> {
    let count = check_size(mask.shape())?;
    match mask.elements() {
        Elements::Stored(bytes) => {
            let bit = |index: usize| bytes.get(index / 8).is_some_and(|byte| byte >> (index % 8) & 1 == 1);
            Ok((0..count).map(bit).collect())
        }
        _ => Ok(mask.as_integers()?.iter().map(|bit| *bit != 0).collect()),
    }
}

/// A mask as weight files pack it.
fn packed(shape: &[usize], marked: &[bool]) -> Result<Tensor, EvaluateError> {
    let byte = |bits: &[bool]| bits.iter().enumerate().fold(0, |byte, (index, bit)| byte | u8::from(*bit) << index);
    let bytes = marked.chunks(8).map(byte).collect();
    let sizes: Vec<u64> = shape.iter().map(|size| *size as u64).collect();
    Ok(Tensor::stored(&TensorType::fixed(DataType::UInt1, &sizes), std::sync::Arc::new(bytes))?)
}

/// Which of the blocks, `groups` on each axis of `shape`, an element is in.
fn block_of(place: usize, shape: &[usize], groups: &[usize]) -> usize {
    let strides = row_major(shape);
    shape.iter().zip(&strides).zip(groups).fold(0, |block, ((length, stride), groups)| {
        let index = place / stride % length.max(&1);
        block * groups + index / (length / groups.max(&1)).max(1)
    })
}

fn check_count(parameter: &str, marked: &[bool], data: &Tensor) -> Result<(), EvaluateError> {
    let count = marked.iter().filter(|there| **there).count();
    if count == data.count() {
        return Ok(());
    }
    Err(InferError::operand(parameter, format!("{count} elements, as the mask marks"), data.ty()).into())
}

fn look_up(call: &mut Call<'_>) -> Result<Vec<Tensor>, EvaluateError> {
    let (mask, data, lut) = (call.tensor("indices_mask")?, call.tensor("indices_nonzero_data")?, call.tensor("lut")?);
    let there = marked(mask)?;
    check_count("indices_nonzero_data", &there, data)?;
    let Some((groups, &[entries, width])) = lut.shape().split_last_chunk::<2>() else {
        return Err(InferError::operand("lut", "tables", lut.ty()).into());
    };
    if groups.len() != mask.rank() {
        return Err(InferError::operand("lut", format!("tables for {}", mask.ty()), lut.ty()).into());
    }
    let tables = lut.to_numbers()?;
    let indices = data.as_integers()?;
    // Where the elements of an entry lie: along the axis, or nowhere for entries of one element.
    let axis = if width == 1 { 0 } else { call.axis_or("vector_axis", 0, mask.rank())? };
    let mut shape = mask.shape().to_vec();
    if let Some(length) = shape.get_mut(axis) {
        *length *= width;
    }
    let count = check_size(&shape)?;
    let mut ranks = Vec::with_capacity(there.len());
    let mut next = 0;
    for there in &there {
        ranks.push(next);
        next += usize::from(*there);
    }
    let inner: usize = shape.iter().skip(axis + 1).product::<usize>().max(1);
    let length = shape.get(axis).copied().unwrap_or(1).max(1);
    let (mut long_mask, mut found) = (Vec::with_capacity(count), Vec::new());
    for place in 0..count {
        let (outer, along, column) = (place / (inner * length), place / inner % length, place % inner);
        let source = (outer * (length / width) + along / width) * inner + column;
        let marked = there.get(source).copied().unwrap_or(false);
        long_mask.push(marked);
        if marked {
            let index = ranks.get(source).and_then(|rank| indices.get(*rank)).copied().unwrap_or(-1);
            let index = usize::try_from(index).ok().filter(|index| *index < entries);
            let block = block_of(source, mask.shape(), groups);
            let entry = index.map(|index| (block * entries + index) * width + along % width);
            found.push(entry.and_then(|entry| tables.get(entry)).copied().unwrap_or(f32::NAN));
        }
    }
    #[expect(clippy::cast_possible_truncation, reason = "8-bit entries")]
    let values = if lut.dtype().is_float() {
        Tensor::floats(lut.dtype(), &[found.len()], found)?
    } else {
        Tensor::integers(lut.dtype(), &[found.len()], found.into_iter().map(|entry| entry as i32).collect())?
    };
    Ok(vec![packed(&shape, &long_mask)?, values])
}

fn scale(call: &mut Call<'_>) -> Result<Vec<Tensor>, EvaluateError> {
    let (mask, data, scale) = (call.tensor("data_mask")?, call.tensor("nonzero_data")?, call.tensor("scale")?);
    let there = marked(mask)?;
    check_count("nonzero_data", &there, data)?;
    if scale.rank() != mask.rank() {
        return Err(InferError::operand("scale", format!("a shape that divides {}", mask.ty()), scale.ty()).into());
    }
    let numbers = data.to_numbers()?;
    let scales = call.floats("scale")?;
    let offsets = call.optional("offset").map(Tensor::to_numbers).transpose()?.unwrap_or_default();
    let places = there.iter().enumerate().filter(|(_, there)| **there).map(|(place, _)| place);
    let value = |(place, number): (usize, f32)| {
        let block = block_of(place, mask.shape(), scale.shape());
        let offset = offsets.get(block).copied().unwrap_or(0.0);
        scales.get(block).copied().unwrap_or(f32::NAN) * (number - offset)
    };
    let values: Vec<f32> = places.zip(numbers).map(value).collect();
    Ok(vec![packed(mask.shape(), &there)?, Tensor::floats(scale.dtype(), &[values.len()], values)?])
}
