//! Types of MIL values: tensors, states and the aggregates that constants use.

use std::fmt;

use crate::dtype::DataType;

/// One axis of a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Dimension {
    /// A length known when the program is written.
    Fixed(u64),
    /// A length known when the program runs; `?` in text.
    Unknown,
}

impl Dimension {
    /// The length, where it is known.
    pub fn fixed(self) -> Option<u64> {
        match self {
            Self::Fixed(size) => Some(size),
            Self::Unknown => None,
        }
    }
}

impl From<u64> for Dimension {
    fn from(size: u64) -> Self {
        Self::Fixed(size)
    }
}

impl fmt::Display for Dimension {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(size) => write!(f, "{size}"),
            Self::Unknown => f.write_str("?"),
        }
    }
}

/// Element type and shape of a tensor; a scalar is a tensor of rank 0.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TensorType {
    /// Element type.
    pub dtype: DataType,
    /// Axes, outermost first.
    pub shape: Vec<Dimension>,
}

impl TensorType {
    /// A tensor with these fixed axes.
    pub fn fixed(dtype: DataType, shape: &[u64]) -> Self {
        Self { dtype, shape: shape.iter().copied().map(Dimension::Fixed).collect() }
    }

    /// A scalar.
    pub fn scalar(dtype: DataType) -> Self {
        Self { dtype, shape: Vec::new() }
    }

    /// Number of axes.
    pub fn rank(&self) -> usize {
        self.shape.len()
    }

    /// The axes, if all are fixed.
    pub fn fixed_shape(&self) -> Option<Vec<u64>> {
        self.shape.iter().map(|dimension| dimension.fixed()).collect()
    }

    /// Number of elements, if all axes are fixed and the product fits.
    pub fn element_count(&self) -> Option<u64> {
        self.shape.iter().try_fold(1_u64, |count, dimension| count.checked_mul(dimension.fixed()?))
    }
}

impl fmt::Display for TensorType {
    /// Writes a rank-0 type as the bare element type, as `program(1.3)` does.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.shape.is_empty() {
            return write!(f, "{}", self.dtype);
        }
        write!(f, "tensor<{}, [", self.dtype)?;
        for (position, dimension) in self.shape.iter().enumerate() {
            let separator = if position == 0 { "" } else { ", " };
            write!(f, "{separator}{dimension}")?;
        }
        f.write_str("]>")
    }
}

/// The type of a value.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ValueType {
    /// A tensor or scalar.
    Tensor(TensorType),
    /// A mutable buffer that outlives a prediction; only a function input can have this type.
    State(TensorType),
    /// A list; the length may be unknown.
    List(Box<ValueType>, Dimension),
    /// A tuple.
    Tuple(Vec<ValueType>),
    /// A dictionary from key type to value type.
    Dictionary(Box<ValueType>, Box<ValueType>),
}

impl ValueType {
    /// The tensor type, if this is a tensor.
    pub fn as_tensor(&self) -> Option<&TensorType> {
        match self {
            Self::Tensor(tensor) => Some(tensor),
            _ => None,
        }
    }

    /// A scalar string, the type of `name` attributes.
    pub fn string() -> Self {
        Self::Tensor(TensorType::scalar(DataType::String))
    }
}

impl From<TensorType> for ValueType {
    fn from(tensor: TensorType) -> Self {
        Self::Tensor(tensor)
    }
}

impl fmt::Display for ValueType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tensor(tensor) => write!(f, "{tensor}"),
            Self::State(tensor) => write!(f, "state<{tensor}>"),
            Self::List(element, length) => write!(f, "list<{element}, {length}>"),
            Self::Tuple(elements) => {
                f.write_str("tuple<")?;
                for (position, element) in elements.iter().enumerate() {
                    let separator = if position == 0 { "" } else { ", " };
                    write!(f, "{separator}{element}")?;
                }
                f.write_str(">")
            }
            Self::Dictionary(key, value) => write!(f, "dict<{key}, {value}>"),
        }
    }
}
