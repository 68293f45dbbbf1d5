//! Numbers with a shape, as files hold them, on their way to and from tensors.

use anec_mil::DataType;
use anec_mil::evaluate::{Elements, Tensor, TensorError};

/// Numbers in row-major order.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Array {
    /// Axes, outermost first.
    pub(super) shape: Vec<usize>,
    /// As many as the shape has.
    pub(super) numbers: Numbers,
}

/// The numbers of an array.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Numbers {
    /// Floats.
    Floats(Vec<f64>),
    /// Integers.
    Integers(Vec<i64>),
    /// Booleans.
    Bools(Vec<bool>),
}

/// Numbers that do not make the tensor asked for, or a tensor without numbers.
#[derive(Debug, thiserror::Error)]
pub(super) enum ArrayError {
    /// Numbers of another kind.
    #[error("it holds {found}, expected {expected}")]
    Kind {
        /// What is there.
        found: &'static str,
        /// The element type asked for.
        expected: DataType,
    },
    /// An integer that the element type does not have.
    #[error("it holds {found}, which is no {expected}")]
    Range {
        /// The integer.
        found: i64,
        /// The element type.
        expected: DataType,
    },
    /// The shape does not hold as many.
    #[error(transparent)]
    Tensor(#[from] TensorError),
}

impl Numbers {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Floats(values) => values.len(),
            Self::Integers(values) => values.len(),
            Self::Bools(values) => values.len(),
        }
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::Floats(_) => "floats",
            Self::Integers(_) => "integers",
            Self::Bools(_) => "booleans",
        }
    }
}

impl Array {
    /// The tensor of this element type: floats are rounded to it, integers become floats where it is one, and nothing else
    /// is converted.
    ///
    /// # Errors
    /// The numbers are of another kind, or too large.
    pub(super) fn to_tensor(&self, dtype: DataType) -> Result<Tensor, ArrayError> {
        let kind = || ArrayError::Kind { found: self.numbers.kind(), expected: dtype };
        match (&self.numbers, dtype) {
            (Numbers::Bools(values), DataType::Bool) => Ok(Tensor::bools(&self.shape, values.clone())?),
            (Numbers::Floats(values), _) if dtype.is_float() => {
                #[expect(clippy::cast_possible_truncation, reason = "the reference engine computes in f32")]
                let floats = values.iter().map(|value| *value as f32).collect();
                Ok(Tensor::floats(dtype, &self.shape, floats)?)
            }
            (Numbers::Integers(values), _) if dtype.is_float() => {
                #[expect(clippy::cast_precision_loss, reason = "rounded to the element type in any case")]
                let floats = values.iter().map(|value| *value as f32).collect();
                Ok(Tensor::floats(dtype, &self.shape, floats)?)
            }
            (Numbers::Integers(values), _) if dtype.is_integer() => {
                let (low, high) = bounds(dtype);
                let narrow = |value: &i64| {
                    let fits = (low..=high).contains(value);
                    let narrow = i32::try_from(*value).ok().filter(|_| fits);
                    narrow.ok_or(ArrayError::Range { found: *value, expected: dtype })
                };
                Ok(Tensor::integers(dtype, &self.shape, values.iter().map(narrow).collect::<Result<_, _>>()?)?)
            }
            _ => Err(kind()),
        }
    }

    /// The numbers of a tensor.
    ///
    /// # Errors
    /// It holds strings.
    pub(super) fn of(tensor: &Tensor) -> Result<Self, ArrayError> {
        let numbers = match tensor.elements() {
            Elements::Bools(values) => Numbers::Bools(values.to_vec()),
            Elements::Strings(_) => return Err(ArrayError::Kind { found: "strings", expected: tensor.dtype() }),
            _ if tensor.dtype().is_float() => {
                Numbers::Floats(tensor.as_floats()?.iter().map(|value| f64::from(*value)).collect())
            }
            _ => Numbers::Integers(tensor.as_integers()?.iter().map(|value| i64::from(*value)).collect()),
        };
        Ok(Self { shape: tensor.shape().to_vec(), numbers })
    }
}

/// The least and largest integer of a type, as far as tensors of a running program hold them.
fn bounds(dtype: DataType) -> (i64, i64) {
    let bits = dtype.bits().min(32);
    if dtype.text_name().starts_with('u') {
        (0, (1_i64 << bits) - 1)
    } else {
        (-(1_i64 << (bits - 1)), (1_i64 << (bits - 1)) - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_keeps_its_meaning_is_converted() {
        let integers = Array { shape: vec![2], numbers: Numbers::Integers(vec![-3, 300]) };
        let tensor = integers.to_tensor(DataType::Float16).expect("floats of integers");
        assert_eq!(&*tensor.as_floats().expect("floats"), &[-3.0, 300.0]);
        assert!(matches!(integers.to_tensor(DataType::Int8), Err(ArrayError::Range { found: 300, .. })));
        assert!(matches!(integers.to_tensor(DataType::UInt16), Err(ArrayError::Range { found: -3, .. })));
        let floats = Array { shape: vec![1], numbers: Numbers::Floats(vec![1.0]) };
        assert!(matches!(floats.to_tensor(DataType::Int32), Err(ArrayError::Kind { found: "floats", .. })));
        assert_eq!(Array::of(&floats.to_tensor(DataType::Float32).expect("floats")).expect("numbers"), floats);
    }
}
