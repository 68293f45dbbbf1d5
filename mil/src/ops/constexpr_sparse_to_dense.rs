//! `constexpr_sparse_to_dense`: a constant from its nonzero elements.

use std::sync::Arc;

use super::decl::{Change, Domain, InferError, OpContext, OpDecl, Parameter};
use super::evidence::SILERO;
use super::shape::known_ints;
use crate::dtype::DataType;
use crate::evaluate::{Call, Elements, EvaluateError, Expand, Tensor, check_size};
use crate::opset::Opset;
use crate::types::{Dimension, TensorType, ValueType};

/// The declaration.
pub static DECL: OpDecl = OpDecl::new(
    "constexpr_sparse_to_dense",
    "Spreads `nonzero_data` over the places that `mask` marks.",
    &[
        Parameter::new("nonzero_data", Domain::Any).constant(),
        Parameter::new("mask", Domain::OneOf(&[DataType::UInt8]))
            .constant()
            .changes(&[Change::Takes(Opset::Ios18, Domain::OneOf(&[DataType::UInt1]))]),
        Parameter::new("shape", Domain::OneOf(&[DataType::UInt32])).constant().changes(&[Change::Until(Opset::Ios18)]),
    ],
    infer,
)
.moves(evaluate)
.since(Opset::Ios16)
.seen(SILERO)
.renewed(&[Opset::Ios16]);

/// # Shapes
/// `nonzero_data: [count]`. From ios18 on the mask has one bit for each element and the shape of the result; before, it is
/// packed bytes, and `shape` says the shape.
fn infer(ctx: &OpContext<'_>) -> Result<Vec<ValueType>, InferError> {
    let data = ctx.tensor("nonzero_data")?;
    let mask = ctx.tensor("mask")?;
    if data.rank() != 1 {
        return Err(InferError::operand("nonzero_data", "a vector", data));
    }
    let shape = match known_ints(ctx, "shape")? {
        None => mask.shape.clone(),
        Some(shape) => {
            let sizes = shape.iter().map(|size| u64::try_from(*size).map(Dimension::Fixed)).collect::<Result<_, _>>();
            sizes.map_err(|_| InferError::operand("shape", "lengths", "a negative number"))?
        }
    };
    Ok(vec![TensorType { dtype: data.dtype, shape }.into()])
}

fn evaluate(call: &mut Call<'_>) -> Result<Vec<Tensor>, EvaluateError> {
    let data = call.take("nonzero_data")?;
    let mask = call.tensor("mask")?;
    let shape = match call.optional_integers("shape")? {
        None => mask.shape().to_vec(),
        Some(shape) => shape.iter().map(|size| usize::try_from(*size).unwrap_or(usize::MAX)).collect(),
    };
    let count = check_size(&shape)?;
    let places = Places::new(mask, count, data.count())?;
    if data.dtype().is_float() {
        let dtype = data.dtype();
        return Ok(vec![Tensor::lazy(dtype, &shape, Arc::new(Sparse { data, places }))?]);
    }
    if data.dtype() == DataType::Bool {
        let values = data.as_bools()?;
        let dense = (0..places.count).map(|index| places.rank_of(index).and_then(|rank| values.get(rank).copied()));
        return Ok(vec![Tensor::bools(&shape, dense.map(Option::unwrap_or_default).collect())?]);
    }
    let values = data.as_integers()?;
    let dense = (0..places.count).map(|index| places.rank_of(index).and_then(|rank| values.get(rank).copied()));
    Ok(vec![Tensor::integers(data.dtype(), &shape, dense.map(Option::unwrap_or_default).collect())?])
}

/// Floats at the places that a mask marks, and zeros elsewhere.
#[derive(Debug)]
struct Sparse {
    data: Tensor,
    places: Places,
}

impl Expand for Sparse {
    fn count(&self) -> usize {
        self.places.count
    }

    fn expand(&self, start: usize, output: &mut [f32]) {
        let first = self.places.marked_before(start);
        let last = self.places.marked_before(start + output.len());
        let mut values = vec![f32::NAN; last.saturating_sub(first)];
        if self.data.expand(first, &mut values).is_err() {
            values.fill(f32::NAN);
        }
        let mut values = values.into_iter();
        for (index, output) in output.iter_mut().enumerate() {
            let marked = self.places.is_marked(start + index);
            *output = if marked { values.next().unwrap_or(f32::NAN) } else { 0.0 };
        }
    }
}

/// The places that a mask marks.
#[derive(Debug)]
struct Places {
    /// One bit for each element, from the low bits up.
    words: Vec<u64>,
    /// How many are marked before each word.
    before: Vec<usize>,
    count: usize,
}

impl Places {
    /// Reads a mask of `count` bits, of which `marked` must be set.
    fn new(mask: &Tensor, count: usize, marked: usize) -> Result<Self, EvaluateError> {
        let bytes = match mask.elements() {
            Elements::Stored(bytes) => bytes.as_ref().clone(),
            _ => mask.as_integers()?.iter().map(|byte| byte.to_le_bytes()[0]).collect(),
        };
        if bytes.len() != count.div_ceil(8) {
            return Err(InferError::operand("mask", format!("a bit for each of {count} elements"), mask.ty()).into());
        }
        let words = bytes.chunks(8).map(|chunk| {
            let mut word = [0; 8];
            for (word, byte) in word.iter_mut().zip(chunk) {
                *word = *byte;
            }
            u64::from_le_bytes(word)
        });
        let mut words: Vec<u64> = words.collect();
        if let (Some(last), rest @ 1..) = (words.last_mut(), count % 64) {
            *last &= (1 << rest) - 1;
        }
        let mut total = 0;
        let mut before = Vec::with_capacity(words.len());
        for word in &words {
            before.push(total);
            total += word.count_ones() as usize;
        }
        if total != marked {
            let expected = format!("one element for each of {total} places of `mask`");
            return Err(InferError::operand("nonzero_data", expected, format!("{marked} elements")).into());
        }
        Ok(Self { words, before, count })
    }

    fn is_marked(&self, index: usize) -> bool {
        self.words.get(index / 64).is_some_and(|word| word >> (index % 64) & 1 == 1)
    }

    fn marked_before(&self, index: usize) -> usize {
        if let (Some(word), Some(before)) = (self.words.get(index / 64), self.before.get(index / 64)) {
            return before + (word & ((1 << (index % 64)) - 1)).count_ones() as usize;
        }
        let last = self.words.last().map_or(0, |word| word.count_ones() as usize);
        self.before.last().map_or(0, |before| before + last)
    }

    fn rank_of(&self, index: usize) -> Option<usize> {
        self.is_marked(index).then(|| self.marked_before(index))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_part_is_expanded_as_the_whole() {
        let count: u16 = 200;
        let marked = |index: u16| index.is_multiple_of(3) || index % 7 == 2;
        let mut bytes = vec![0_u8; 25];
        for index in (0..count).filter(|index| marked(*index)) {
            bytes[usize::from(index) / 8] |= 1 << (index % 8);
        }
        let data: Vec<f32> = (0..count).filter(|index| marked(*index)).map(|index| f32::from(index) + 1.0).collect();
        let expected: Vec<f32> =
            (0..count).map(|index| if marked(index) { f32::from(index) + 1.0 } else { 0.0 }).collect();
        let mask = Tensor::stored(&TensorType::fixed(DataType::UInt1, &[200]), Arc::new(bytes)).expect("200 bits");
        let places = Places::new(&mask, 200, data.len()).expect("all marks have an element");
        let data = Tensor::floats(DataType::Float16, &[data.len()], data).expect("a vector");
        let sparse = Sparse { data, places };
        for (start, end) in [(0, 200), (0, 0), (63, 65), (64, 128), (1, 199), (199, 200), (200, 200)] {
            let mut output = vec![f32::NAN; end - start];
            sparse.expand(start, &mut output);
            assert_eq!(output, expected[start..end]);
        }
    }
}
