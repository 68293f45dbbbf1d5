//! Tensors of a running program.

use std::borrow::Cow;
use std::sync::Arc;

use super::packed::{Expand, expand_stored, expand_stored_integers, stored_integers};
use crate::dtype::DataType;
use crate::types::TensorType;
use crate::value::{TensorData, Value, ValueData};

/// A tensor: element type, shape, and elements in row-major order. Cloning shares the elements.
#[derive(Clone, Debug)]
pub struct Tensor {
    dtype: DataType,
    shape: Vec<usize>,
    elements: Elements,
}

/// The elements of a tensor.
#[derive(Clone, Debug)]
pub enum Elements {
    /// fp16 and fp32, both computed in f32.
    Floats(Arc<Vec<f32>>),
    /// Integers of all widths up to 32 bits.
    Integers(Arc<Vec<i32>>),
    /// Booleans.
    Bools(Arc<Vec<bool>>),
    /// Strings.
    Strings(Arc<Vec<String>>),
    /// Elements as a weight file packs them: little-endian, sub-byte elements from the low bits up.
    Stored(Arc<Vec<u8>>),
    /// Floats that are computed when they are needed, such as those behind a palette.
    Lazy(Arc<dyn Expand>),
}

/// Elements that do not make a tensor of the type asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TensorError {
    /// More or fewer elements than the shape has.
    #[error("a tensor of shape {shape:?} cannot have {found} elements")]
    Count {
        /// The shape.
        shape: Vec<usize>,
        /// Elements given.
        found: usize,
    },
    /// The tensor holds something else.
    #[error("expected {expected}, got {found} elements")]
    Kind {
        /// What was asked for.
        expected: &'static str,
        /// The element type.
        found: DataType,
    },
    /// The shape has more elements than memory could hold.
    #[error("a tensor of shape {shape:?} is too large")]
    TooLarge {
        /// The shape.
        shape: Vec<usize>,
    },
    /// A value that is no tensor with a fixed shape, or an integer that does not fit.
    #[error("{found} cannot be a tensor of a running program")]
    Value {
        /// Its type.
        found: String,
    },
}

impl Tensor {
    /// A tensor of floats, of type fp16 or fp32.
    ///
    /// # Errors
    /// The count is not that of the shape.
    pub fn floats(dtype: DataType, shape: &[usize], elements: Vec<f32>) -> Result<Self, TensorError> {
        Self::new(dtype, shape, Elements::Floats(Arc::new(elements)))
    }

    /// A tensor of integers of up to 32 bits.
    ///
    /// # Errors
    /// The count is not that of the shape.
    pub fn integers(dtype: DataType, shape: &[usize], elements: Vec<i32>) -> Result<Self, TensorError> {
        Self::new(dtype, shape, Elements::Integers(Arc::new(elements)))
    }

    /// A tensor of booleans.
    ///
    /// # Errors
    /// The count is not that of the shape.
    pub fn bools(shape: &[usize], elements: Vec<bool>) -> Result<Self, TensorError> {
        Self::new(DataType::Bool, shape, Elements::Bools(Arc::new(elements)))
    }

    /// A tensor whose floats are computed when they are needed.
    ///
    /// # Errors
    /// The count is not that of the shape.
    pub fn lazy(dtype: DataType, shape: &[usize], elements: Arc<dyn Expand>) -> Result<Self, TensorError> {
        Self::new(dtype, shape, Elements::Lazy(elements))
    }

    /// A tensor of zeros.
    ///
    /// # Errors
    /// The shape is too large, or not one of numbers or booleans.
    pub fn zeros(dtype: DataType, shape: &[usize]) -> Result<Self, TensorError> {
        let count = check_size(shape)?;
        match dtype {
            DataType::Float16 | DataType::Float32 => Self::floats(dtype, shape, vec![0.0; count]),
            DataType::Bool => Self::bools(shape, vec![false; count]),
            _ if dtype.is_integer() => Self::integers(dtype, shape, vec![0; count]),
            _ => Err(TensorError::Kind { expected: "numbers", found: dtype }),
        }
    }

    /// The tensor of a constant that stands in the program.
    ///
    /// # Errors
    /// The value is a blob or an aggregate, or has a wrong count of elements.
    pub fn from_value(value: &Value) -> Result<Self, TensorError> {
        let unusable = || TensorError::Value { found: value.ty.to_string() };
        if let ValueData::List(elements) = &value.data {
            return Self::from_list(elements).ok_or_else(unusable);
        }
        let ty = value.tensor_type().ok_or_else(unusable)?;
        let ValueData::Tensor(data) = &value.data else { return Err(unusable()) };
        let shape = fixed_shape(ty)?;
        let elements = match data {
            TensorData::Floats(values) => Elements::Floats(Arc::new(values.clone())),
            TensorData::Ints(values) => Elements::Integers(Arc::new(values.clone())),
            TensorData::Bools(values) => Elements::Bools(Arc::new(values.clone())),
            TensorData::Strings(values) => Elements::Strings(Arc::new(values.clone())),
            TensorData::LongInts(values) => {
                let narrow: Result<Vec<i32>, _> = values.iter().map(|value| i32::try_from(*value)).collect();
                Elements::Integers(Arc::new(narrow.map_err(|_| unusable())?))
            }
            #[expect(clippy::cast_possible_truncation, reason = "everything is computed in f32")]
            TensorData::Doubles(values) => {
                Elements::Floats(Arc::new(values.iter().map(|value| *value as f32).collect()))
            }
            TensorData::Bytes(bytes) => return Self::stored(ty, Arc::new(bytes.clone())),
        };
        Self::new(ty.dtype, &shape, elements)
    }

    /// The scalars of a list as a vector: class labels, which are strings or integers.
    fn from_list(elements: &[Value]) -> Option<Self> {
        let labels: Option<Vec<&str>> = elements.iter().map(Value::as_str).collect();
        let (dtype, made) = if let Some(labels) = labels {
            let labels = labels.into_iter().map(str::to_owned).collect();
            (DataType::String, Elements::Strings(Arc::new(labels)))
        } else {
            let numbers: Option<Vec<i32>> =
                elements.iter().map(|element| i32::try_from(element.as_int()?).ok()).collect();
            (DataType::Int64, Elements::Integers(Arc::new(numbers?)))
        };
        Self::new(dtype, &[elements.len()], made).ok()
    }

    /// A tensor of elements as a weight file packs them.
    ///
    /// # Errors
    /// The count of bytes is not that of the type.
    pub fn stored(ty: &TensorType, bytes: Arc<Vec<u8>>) -> Result<Self, TensorError> {
        let shape = fixed_shape(ty)?;
        let count = check_size(&shape)?;
        let expected = ty.dtype.packed_bytes(count as u64);
        if expected != u64::try_from(bytes.len()).ok() {
            return Err(TensorError::Count { shape, found: bytes.len() });
        }
        Ok(Self { dtype: ty.dtype, shape, elements: Elements::Stored(bytes) })
    }

    /// A tensor of elements of the kind that `dtype` has.
    ///
    /// # Errors
    /// The count is not that of the shape.
    pub(super) fn new(dtype: DataType, shape: &[usize], elements: Elements) -> Result<Self, TensorError> {
        let found = match &elements {
            Elements::Floats(values) => values.len(),
            Elements::Integers(values) => values.len(),
            Elements::Bools(values) => values.len(),
            Elements::Strings(values) => values.len(),
            Elements::Lazy(values) => values.count(),
            Elements::Stored(_) => return Err(TensorError::Kind { expected: "unpacked", found: dtype }),
        };
        check_count(shape, found)?;
        Ok(Self { dtype, shape: shape.to_vec(), elements })
    }

    /// Element type.
    pub fn dtype(&self) -> DataType {
        self.dtype
    }

    /// Axes, outermost first.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Number of axes.
    pub fn rank(&self) -> usize {
        self.shape.len()
    }

    /// Number of elements.
    pub fn count(&self) -> usize {
        self.shape.iter().product()
    }

    /// The elements.
    pub fn elements(&self) -> &Elements {
        &self.elements
    }

    /// The type.
    pub fn ty(&self) -> TensorType {
        let shape: Vec<u64> = self.shape.iter().map(|size| *size as u64).collect();
        TensorType::fixed(self.dtype, &shape)
    }

    /// The elements as f32, expanded where they are stored otherwise.
    ///
    /// # Errors
    /// The elements are no floats.
    pub fn as_floats(&self) -> Result<Cow<'_, [f32]>, TensorError> {
        if let Elements::Floats(values) = &self.elements {
            return Ok(Cow::Borrowed(values));
        }
        let mut values = vec![0.0; self.count()];
        self.expand(0, &mut values)?;
        Ok(Cow::Owned(values))
    }

    /// Writes the floats from element `start` on into `output`.
    ///
    /// # Errors
    /// The elements are no floats, or end before `output` does.
    pub fn expand(&self, start: usize, output: &mut [f32]) -> Result<(), TensorError> {
        let found = start.saturating_add(output.len());
        if found > self.count() {
            return Err(TensorError::Count { shape: self.shape.clone(), found });
        }
        match &self.elements {
            Elements::Floats(values) => {
                output.copy_from_slice(values.get(start..found).unwrap_or_default());
                Ok(())
            }
            Elements::Stored(bytes) => expand_stored(self.dtype, bytes, start, output)
                .ok_or(TensorError::Kind { expected: "floats", found: self.dtype }),
            Elements::Lazy(lazy) => {
                lazy.expand(start, output);
                Ok(())
            }
            _ => Err(TensorError::Kind { expected: "floats", found: self.dtype }),
        }
    }

    /// Writes the numbers from element `start` on into `output`: floats, or integers as floats.
    ///
    /// # Errors
    /// The elements are no floats or integers of up to 8 bits, or end before `output` does.
    pub fn expand_numbers(&self, start: usize, output: &mut [f32]) -> Result<(), TensorError> {
        let kind = TensorError::Kind { expected: "floats or integers of up to 8 bits", found: self.dtype };
        if !self.dtype.is_integer() {
            return self.expand(start, output);
        }
        let found = start.saturating_add(output.len());
        if self.dtype.bits() > 8 {
            return Err(kind);
        }
        if found > self.count() {
            return Err(TensorError::Count { shape: self.shape.clone(), found });
        }
        match &self.elements {
            Elements::Integers(values) => {
                for (output, value) in output.iter_mut().zip(values.iter().skip(start)) {
                    *output = small_integer(*value);
                }
                Ok(())
            }
            Elements::Stored(bytes) => expand_stored_integers(self.dtype, bytes, start, output).ok_or(kind),
            _ => Err(kind),
        }
    }

    /// All numbers as [`Tensor::expand_numbers`] gives them.
    ///
    /// # Errors
    /// The elements are no floats or integers of up to 8 bits.
    pub fn to_numbers(&self) -> Result<Vec<f32>, TensorError> {
        let mut numbers = vec![0.0; self.count()];
        self.expand_numbers(0, &mut numbers)?;
        Ok(numbers)
    }

    /// The elements as integers.
    ///
    /// # Errors
    /// The elements are no integers.
    pub fn as_integers(&self) -> Result<Cow<'_, [i32]>, TensorError> {
        let kind = TensorError::Kind { expected: "integers", found: self.dtype };
        match &self.elements {
            Elements::Integers(values) => Ok(Cow::Borrowed(values)),
            Elements::Stored(bytes) => stored_integers(self.dtype, bytes, self.count()).map(Cow::Owned).ok_or(kind),
            _ => Err(kind),
        }
    }

    /// The elements as booleans.
    ///
    /// # Errors
    /// The elements are no booleans.
    pub fn as_bools(&self) -> Result<&[bool], TensorError> {
        match &self.elements {
            Elements::Bools(values) => Ok(values),
            _ => Err(TensorError::Kind { expected: "booleans", found: self.dtype }),
        }
    }

    /// The only string.
    ///
    /// # Errors
    /// The tensor is not one string.
    pub fn as_str(&self) -> Result<&str, TensorError> {
        match &self.elements {
            Elements::Strings(values) if values.len() == 1 => Ok(values.first().map_or("", String::as_str)),
            _ => Err(TensorError::Kind { expected: "a string", found: self.dtype }),
        }
    }

    /// The floats, to be changed: copied only where another tensor shares them.
    ///
    /// # Errors
    /// The elements are no floats.
    pub fn floats_mut(&mut self) -> Result<&mut Vec<f32>, TensorError> {
        if !matches!(self.elements, Elements::Floats(_)) {
            self.elements = Elements::Floats(Arc::new(self.as_floats()?.into_owned()));
        }
        match &mut self.elements {
            Elements::Floats(values) => Ok(Arc::make_mut(values)),
            _ => Err(TensorError::Kind { expected: "floats", found: self.dtype }),
        }
    }

    /// The same elements under another shape.
    ///
    /// # Errors
    /// The shape has another count of elements.
    pub fn reshaped(mut self, shape: &[usize]) -> Result<Self, TensorError> {
        check_count(shape, self.count())?;
        self.shape = shape.to_vec();
        Ok(self)
    }

    /// The tensor with its floats or integers in memory, where they are stored otherwise.
    ///
    /// # Errors
    /// The elements are neither.
    pub fn expanded(self) -> Result<Self, TensorError> {
        match &self.elements {
            Elements::Lazy(_) => Self::floats(self.dtype, &self.shape, self.as_floats()?.into_owned()),
            Elements::Stored(_) if self.dtype.is_float() => {
                Self::floats(self.dtype, &self.shape, self.as_floats()?.into_owned())
            }
            Elements::Stored(_) => Self::integers(self.dtype, &self.shape, self.as_integers()?.into_owned()),
            _ => Ok(self),
        }
    }

    /// [`Self::expanded`] where the tensor stands.
    pub(super) fn expand_in_place(&mut self) -> Result<(), TensorError> {
        if matches!(self.elements, Elements::Stored(_) | Elements::Lazy(_)) {
            *self = self.clone().expanded()?;
        }
        Ok(())
    }

    pub(super) fn elements_mut(&mut self) -> &mut Elements {
        &mut self.elements
    }

    /// Rounds fp16 floats to what fp16 can hold; other tensors stay as they are.
    pub(super) fn round(&mut self) {
        if self.dtype != DataType::Float16 {
            return;
        }
        if let Elements::Floats(values) = &mut self.elements {
            super::numerics::round_to_half(Arc::make_mut(values).as_mut_slice());
        }
    }
}

/// How many elements a tensor of this shape has.
///
/// # Errors
/// More than memory could hold.
pub fn check_size(shape: &[usize]) -> Result<usize, TensorError> {
    // Ops multiply the lengths of some axes, so those of an empty tensor must be bounded, too.
    let largest = shape.iter().try_fold(1_usize, |count, size| count.checked_mul(*size.max(&1)));
    // The largest tensor of a real model is an embedding table of 2^31 elements.
    match largest.filter(|count| *count <= 1 << 36) {
        Some(_) if shape.contains(&0) => Ok(0),
        Some(count) => Ok(count),
        None => Err(TensorError::TooLarge { shape: shape.to_vec() }),
    }
}

/// How many elements a tensor has that an op makes of a few numbers, such as a filled shape or a resized image: those are
/// what a hostile program would take all memory with.
///
/// # Errors
/// More than any model makes so.
pub fn check_made(shape: &[usize]) -> Result<usize, TensorError> {
    const MOST: usize = 1 << 28;
    let count = check_size(shape)?;
    if count <= MOST { Ok(count) } else { Err(TensorError::TooLarge { shape: shape.to_vec() }) }
}

/// The shape of a type, all of whose axes must be fixed.
pub(super) fn fixed_shape(ty: &TensorType) -> Result<Vec<usize>, TensorError> {
    let shape: Option<Vec<usize>> =
        ty.fixed_shape().and_then(|shape| shape.into_iter().map(|size| usize::try_from(size).ok()).collect());
    shape.ok_or_else(|| TensorError::Value { found: ty.to_string() })
}

#[expect(clippy::cast_precision_loss, reason = "integers of up to 8 bits are exact")]
fn small_integer(value: i32) -> f32 {
    value as f32
}

fn check_count(shape: &[usize], found: usize) -> Result<(), TensorError> {
    if check_size(shape)? == found {
        return Ok(());
    }
    Err(TensorError::Count { shape: shape.to_vec(), found })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_axis_does_not_hide_others_that_are_too_large() {
        assert_eq!(check_size(&[0, 3]), Ok(0));
        assert_eq!(check_size(&[2, 3]), Ok(6));
        for shape in [[0, 1 << 40, 1 << 40], [1 << 40, 1 << 40, 0], [1 << 40, 1, 1]] {
            assert!(matches!(check_size(&shape), Err(TensorError::TooLarge { .. })), "{shape:?}");
        }
    }
}
