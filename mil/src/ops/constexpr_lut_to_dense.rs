//! `constexpr_lut_to_dense`: a weight stored as indices into lookup tables.
//!
//! There are two forms. Since ios18, `indices` has the shape of the weight and an index type of 1 to 8 bits, and `lut` holds
//! one table per group of channels. Before, the op has attributes for inputs: `indices` are packed bytes, `lut` is one
//! table and `shape` tells the shape of the weight; its presence tells the forms apart.

use std::sync::Arc;

use super::decl::{Change, Domain, INT32, InferError, OpContext, OpDecl, Parameter, normalize_axis};
use super::evidence::SILERO;
use super::palette::Palettized;
use super::shape::{known_int_or, known_ints};
use crate::builder::{BuildError, FunctionBuilder, Var};
use crate::dtype::DataType;
use crate::evaluate::{Call, Elements, EvaluateError, Expand, Tensor};
use crate::opset::Opset;
use crate::program::Operation;
use crate::types::{Dimension, TensorType, ValueType};
use crate::value::{TensorData, Value, ValueData};

/// Types of the indices; each has as many bits as an index into the table needs.
pub(super) const INDICES: Domain = Domain::OneOf(&[
    DataType::UInt1,
    DataType::UInt2,
    DataType::UInt3,
    DataType::UInt4,
    DataType::UInt6,
    DataType::UInt8,
]);
pub(super) const TABLE_ENTRIES: Domain =
    Domain::OneOf(&[DataType::Float16, DataType::Float32, DataType::Int8, DataType::UInt8]);
const UINT32: Domain = Domain::OneOf(&[DataType::UInt32]);

/// The declaration, with the parameters of both forms.
pub static DECL: OpDecl = OpDecl::new(
    "constexpr_lut_to_dense",
    "Looks `indices` up in the tables of `lut`.",
    &[
        Parameter::new("indices", Domain::OneOf(&[DataType::UInt8]))
            .constant()
            .changes(&[Change::Takes(Opset::Ios18, INDICES)]),
        Parameter::new("lut", TABLE_ENTRIES).constant(),
        Parameter::new("vector_axis", INT32).constant().optional().changes(&[Change::Since(Opset::Ios18)]),
        Parameter::new("shape", UINT32).constant().changes(&[Change::Until(Opset::Ios18)]),
    ],
    infer,
)
.moves(evaluate)
.since(Opset::Ios16)
.seen(SILERO);

fn infer(ctx: &OpContext<'_>) -> Result<Vec<ValueType>, InferError> {
    let indices = ctx.tensor("indices")?;
    let lut = ctx.tensor("lut")?;
    let shape = match known_ints(ctx, "shape")? {
        Some(shape) => unpacked_shape(indices, lut, &shape)?,
        None => grouped_shape(ctx, indices, lut)?,
    };
    Ok(vec![TensorType { dtype: lut.dtype, shape }.into()])
}

/// # Shapes
/// `indices: uint8 [bytes]`, `lut: [2^bits]`; the result is `shape`.
fn unpacked_shape(indices: &TensorType, lut: &TensorType, shape: &[i64]) -> Result<Vec<Dimension>, InferError> {
    let refused = |expected: &str| InferError::operand("shape", expected, format!("{shape:?}"));
    let sizes = shape.iter().map(|size| u64::try_from(*size).map(Dimension::Fixed));
    let shape = sizes.collect::<Result<Vec<_>, _>>().map_err(|_| refused("lengths"))?;
    let bits = match lut.shape.as_slice() {
        [Dimension::Fixed(entries @ (2 | 4 | 16 | 64 | 256))] => entries.trailing_zeros(),
        _ => return Err(InferError::operand("lut", "one table of 2, 4, 16, 64 or 256 entries", lut)),
    };
    let dense = TensorType { dtype: lut.dtype, shape };
    let index = DataType::unsigned(bits);
    let bytes = index.zip(dense.element_count()).and_then(|(index, count)| index.packed_bytes(count));
    let bytes = bytes.ok_or_else(|| refused("a weight of a size that can be stored"))?;
    if *indices != TensorType::fixed(DataType::UInt8, &[bytes]) {
        return Err(InferError::operand("indices", TensorType::fixed(DataType::UInt8, &[bytes]).to_string(), indices));
    }
    Ok(dense.shape)
}

/// # Shapes
/// `indices: [size..]`, `lut: [groups.., 2^bits, vector]` with one `groups` per axis of `indices`, a divisor of its `size`.
/// The result is like `indices`, `vector` times as long on `vector_axis`.
fn grouped_shape(ctx: &OpContext<'_>, indices: &TensorType, lut: &TensorType) -> Result<Vec<Dimension>, InferError> {
    let rank = indices.rank();
    if rank == 0 {
        return Err(InferError::operand("indices", "a tensor with axes", indices));
    }
    let misfit = || InferError::operand("lut", format!("a table of rank {} that fits {indices}", rank + 2), lut);
    let Some((groups, [entries, vector])) = lut.shape.split_last_chunk::<2>() else { return Err(misfit()) };
    if groups.len() != rank {
        return Err(misfit());
    }
    for (size, groups) in indices.shape.iter().zip(groups) {
        if let (Some(size), Some(groups)) = (size.fixed(), groups.fixed())
            && size.checked_rem(groups) != Some(0)
        {
            return Err(misfit());
        }
    }
    let bits = indices.dtype.bits();
    if DataType::unsigned(bits) != Some(indices.dtype) {
        return Err(InferError::operand("indices", "an unsigned type of 1, 2, 3, 4, 6 or 8 bits", indices));
    }
    if entries.fixed().is_some_and(|entries| entries != 1 << bits) {
        return Err(InferError::operand("lut", format!("{} entries for {bits}-bit indices", 1 << bits), lut));
    }
    let mut shape = indices.shape.clone();
    if ctx.optional("vector_axis").is_some() {
        let axis = normalize_axis("vector_axis", known_int_or(ctx, "vector_axis", 0)?, rank)?;
        if let Some(size) = shape.get_mut(axis) {
            *size = match (size.fixed(), vector.fixed()) {
                (Some(size), Some(vector)) => Dimension::Fixed(size.checked_mul(vector).ok_or_else(misfit)?),
                _ => Dimension::Unknown,
            };
        }
    } else if *vector != Dimension::Fixed(1) {
        return Err(InferError::Missing("vector_axis".to_owned()));
    }
    Ok(shape)
}

fn evaluate(call: &mut Call<'_>) -> Result<Vec<Tensor>, EvaluateError> {
    let (indices, lut) = (call.tensor("indices")?, call.tensor("lut")?);
    let tables = match lut.as_integers() {
        #[expect(clippy::cast_precision_loss, reason = "8-bit entries")]
        Ok(entries) => entries.iter().map(|entry| *entry as f32).collect(),
        Err(_) => call.floats("lut")?.into_owned(),
    };
    let packed = match indices.elements() {
        Elements::Stored(packed) => Arc::clone(packed),
        // Small constants of whole bytes are unpacked already.
        Elements::Integers(values) => Arc::new(values.iter().filter_map(|value| u8::try_from(*value).ok()).collect()),
        _ => return Err(InferError::operand("indices", "packed indices", indices.ty()).into()),
    };
    let palettized = if let Some(shape) = call.optional_integers("shape")? {
        let shape: Vec<usize> = shape.iter().filter_map(|length| usize::try_from(*length).ok()).collect();
        Palettized::of_one_table(packed, tables, &shape)
    } else {
        let vector_axis = call.optional("vector_axis").map(|_| call.axis_or("vector_axis", 0, indices.rank()));
        Palettized::grouped(packed, indices.shape(), tables, lut.shape(), vector_axis.transpose()?)
    };
    let palettized =
        palettized.ok_or_else(|| InferError::operand("lut", format!("tables for {}", indices.ty()), lut.ty()))?;
    let shape = palettized.shape().to_vec();
    let dtype = lut.dtype();
    if dtype.is_float() {
        return Ok(vec![Tensor::lazy(dtype, &shape, Arc::new(palettized))?]);
    }
    let mut entries = vec![0.0; palettized.count()];
    palettized.expand(0, &mut entries);
    #[expect(clippy::cast_possible_truncation, reason = "8-bit entries")]
    let entries = entries.into_iter().map(|entry| entry as i32).collect();
    Ok(vec![Tensor::integers(dtype, &shape, entries)?])
}

impl FunctionBuilder {
    /// Adds a weight of one `lut` entry per index, in the form of the operation set. `indices` has the shape of the weight
    /// and `lut` a table for each group, as since ios18; before, there is one table, and `indices` are the same bytes.
    pub fn lut_to_dense(&mut self, name: &str, indices: Value, lut: Value) -> Result<Var, BuildError> {
        if self.opset() >= Opset::Ios18 {
            return self.call(&DECL, name).inline("indices", indices).inline("lut", lut).single();
        }
        let call = self.call(&DECL, name);
        let (Some(shape), Some(indices), Some(lut)) = (shape_of(&indices), packed(indices), one_table(lut)) else {
            return call.single();
        };
        call.attribute("indices", indices).attribute("lut", lut).attribute("shape", shape).single()
    }
}

/// The type of the indices that the older form has as bytes; `None` of all other operations.
pub fn packed_index_type(operation: &Operation) -> Option<DataType> {
    let value = |wanted: &str| operation.values().find(|(name, _)| *name == wanted).map(|(_, value)| value);
    if operation.op != DECL.name || value("shape").is_none() {
        return None;
    }
    let entries = value("lut")?.tensor_type()?.element_count()?;
    DataType::unsigned(entries.checked_ilog2()?)
}

/// The shape of a weight as the older form has it.
fn shape_of(indices: &Value) -> Option<Value> {
    let lengths = indices.tensor_type()?.fixed_shape()?;
    let words: Option<Vec<u8>> = lengths
        .iter()
        .map(|length| u32::try_from(*length).ok())
        .collect::<Option<Vec<_>>>()
        .map(|lengths| lengths.into_iter().flat_map(u32::to_le_bytes).collect());
    let ty = TensorType::fixed(DataType::UInt32, &[lengths.len() as u64]);
    Some(Value { ty: ty.into(), data: ValueData::Tensor(TensorData::Bytes(words?)) })
}

/// The same indices as bytes.
fn packed(indices: Value) -> Option<Value> {
    let ty = indices.tensor_type()?;
    let bytes = ty.dtype.packed_bytes(ty.element_count()?)?;
    Some(Value { ty: TensorType::fixed(DataType::UInt8, &[bytes]).into(), ..indices })
}

/// The same table without axes for groups; nothing where there are several.
fn one_table(lut: Value) -> Option<Value> {
    let ty = lut.tensor_type()?;
    let (groups, [entries, vector]) = ty.fixed_shape()?.split_last_chunk::<2>().map(|(a, b)| (a.to_vec(), *b))?;
    let is_one = vector == 1 && groups.iter().all(|group| *group == 1);
    let ty = TensorType::fixed(ty.dtype, &[entries]);
    is_one.then(|| Value { ty: ty.into(), ..lut })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{Operands, fp16, tensor};
    use crate::value::BlobReference;

    fn blob(dtype: DataType, shape: &[u64]) -> Value {
        let reference = BlobReference { file_name: "weights".to_owned(), offset: 64 };
        Value::blob(TensorType::fixed(dtype, shape), reference)
    }

    fn grouped(index: DataType, indices: &[u64], lut: &[u64], axis: Option<i32>) -> Result<Vec<ValueType>, InferError> {
        let mut operands =
            Operands::default().constant("indices", blob(index, indices)).constant("lut", blob(DataType::Float16, lut));
        if let Some(axis) = axis {
            operands = operands.constant("vector_axis", Value::int32(axis));
        }
        operands.infer(&DECL)
    }

    fn packed(bytes: u64, entries: u64, shape: &[u32]) -> Result<Vec<ValueType>, InferError> {
        let words = shape.iter().flat_map(|size| size.to_le_bytes()).collect();
        let shape = Value {
            ty: TensorType::fixed(DataType::UInt32, &[shape.len() as u64]).into(),
            data: ValueData::Tensor(TensorData::Bytes(words)),
        };
        Operands::default()
            .constant("indices", blob(DataType::UInt8, &[bytes]))
            .constant("lut", blob(DataType::Float16, &[entries]))
            .constant("shape", shape)
            .infer_in(&DECL, Opset::Ios16)
    }

    #[test]
    fn one_table_per_group_of_channels_gives_the_shape_of_the_indices() {
        let published = grouped(DataType::UInt6, &[2048, 1024, 1, 1], &[512, 1, 1, 1, 64, 1], None);
        assert_eq!(published, Ok(vec![fp16(&[2048, 1024, 1, 1])]));
    }

    #[test]
    fn vectors_lengthen_their_axis() {
        let halves = grouped(DataType::UInt4, &[16, 32], &[2, 1, 16, 2], Some(0));
        assert_eq!(halves, Ok(vec![fp16(&[32, 32])]));
        assert_eq!(grouped(DataType::UInt4, &[16, 32], &[2, 1, 16, 1], Some(-1)), Ok(vec![fp16(&[16, 32])]));
        assert!(grouped(DataType::UInt4, &[16, 32], &[2, 1, 16, 2], None).is_err());
        assert!(grouped(DataType::UInt4, &[16, 32], &[2, 1, 16, 2], Some(2)).is_err());
        assert!(grouped(DataType::UInt4, &[u64::MAX, 1], &[1, 1, 16, u64::MAX], Some(0)).is_err());
    }

    #[test]
    fn the_table_must_have_an_entry_per_index_and_groups_that_divide() {
        assert!(grouped(DataType::UInt4, &[16, 32], &[2, 1, 8, 1], None).is_err());
        assert!(grouped(DataType::UInt4, &[16, 32], &[3, 1, 16, 1], None).is_err());
        assert!(grouped(DataType::UInt4, &[16, 32], &[0, 1, 16, 1], None).is_err());
        assert!(grouped(DataType::UInt4, &[16, 32], &[1, 16, 1], None).is_err());
        assert!(grouped(DataType::UInt4, &[16, 32], &[16], None).is_err());
        assert!(grouped(DataType::UInt4, &[], &[16, 1], None).is_err());
        assert!(grouped(DataType::Int4, &[16, 32], &[1, 1, 16, 1], None).is_err());
    }

    #[test]
    fn the_older_form_takes_its_shape_from_an_attribute() {
        assert_eq!(packed(49_536, 64, &[258, 1, 256]), Ok(vec![fp16(&[258, 1, 256])]));
        assert_eq!(packed(2, 4, &[5]), Ok(vec![fp16(&[5])]));
    }

    #[test]
    fn the_older_form_must_have_the_bytes_of_its_shape() {
        assert!(packed(49_535, 64, &[258, 1, 256]).is_err());
        assert!(packed(3, 8, &[8]).is_err());
        assert!(packed(1, 4, &[u32::MAX, u32::MAX, u32::MAX]).is_err());
    }

    #[test]
    fn the_builder_writes_the_form_of_the_operation_set() {
        let mut builder = FunctionBuilder::new(Opset::Ios16);
        let indices = blob(DataType::UInt6, &[256, 258, 1, 1]);
        let weight =
            builder.lut_to_dense("weight", indices, blob(DataType::Float16, &[1, 1, 1, 1, 64, 1])).expect("one table");
        assert_eq!(weight.ty, fp16(&[256, 258, 1, 1]));
        let function = builder.finish(&[&weight]);
        let operation = function.block.operations.last().expect("just added");
        assert_eq!(operation.attributes["indices"].ty, tensor(DataType::UInt8, &[49_536]));
        assert_eq!(operation.attributes["lut"].ty, fp16(&[64]));
        assert_eq!(packed_index_type(operation), Some(DataType::UInt6));
        let several = blob(DataType::Float16, &[2, 1, 16, 1]);
        let mut builder = FunctionBuilder::new(Opset::Ios17);
        assert!(builder.lut_to_dense("weight", blob(DataType::UInt4, &[16, 32]), several).is_err());
    }

    #[test]
    fn the_builder_puts_both_values_in_place() {
        let mut builder = FunctionBuilder::new(Opset::Ios18);
        let indices = blob(DataType::UInt4, &[16, 32]);
        let weight =
            builder.lut_to_dense("weight", indices, blob(DataType::Float16, &[2, 1, 16, 1])).expect("the table fits");
        assert_eq!(weight.ty, tensor(DataType::Float16, &[16, 32]));
        assert_eq!(builder.finish(&[&weight]).block.operations.len(), 1);
    }
}
