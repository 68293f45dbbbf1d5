//! Inputs, outputs and states.

use std::fmt;

use super::{Axis, ContractError, Dimension, Instance, Size, When};

/// The type of a tensor's elements, of those that pass between a model and its client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ElementType {
    /// Half-precision floating point.
    Float16,
    /// Single-precision floating point.
    Float32,
    /// Integers of 32 bits.
    Int32,
}

impl ElementType {
    /// Its name in program texts.
    pub fn name(self) -> &'static str {
        match self {
            Self::Float16 => "fp16",
            Self::Float32 => "fp32",
            Self::Int32 => "int32",
        }
    }
}

impl fmt::Display for ElementType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The name of a tensor, or of several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TensorName {
    /// One.
    One(&'static str),
    /// Several: the prefix with a number behind.
    Numbered {
        /// What stands before the number.
        prefix: &'static str,
        /// The first number.
        first: u64,
        /// How many there are.
        count: Size,
    },
}

impl fmt::Display for TensorName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One(name) => f.write_str(name),
            Self::Numbered { prefix, first, count } => write!(f, "{prefix}{first} ... ({count})"),
        }
    }
}

/// An input, output or state.
#[derive(Debug)]
pub struct TensorContract {
    /// Its name.
    pub name: TensorName,
    /// The type of its elements.
    pub dtype: ElementType,
    /// Its axes, outermost first.
    pub shape: &'static [Dimension],
    /// Whether it is there. Of one name, one tensor is there at most.
    pub when: When,
    /// What it holds.
    pub meaning: &'static str,
}

/// A tensor in one conversion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolvedTensor {
    /// Its name.
    pub name: String,
    /// The type of its elements.
    pub dtype: ElementType,
    /// Its axes, outermost first.
    pub axes: Vec<Axis>,
}

impl ResolvedTensor {
    /// Whether a tensor may have this shape.
    pub fn allows(&self, shape: &[u64]) -> bool {
        self.axes.len() == shape.len() && self.axes.iter().zip(shape).all(|(axis, length)| axis.allows(*length))
    }

    /// Every shape that it may have, with the lengths of an axis in ascending order; `None` where a length is not known.
    pub fn shapes(&self) -> Option<Vec<Vec<u64>>> {
        let mut shapes = vec![Vec::with_capacity(self.axes.len())];
        for axis in &self.axes {
            let lengths = match axis {
                Axis::One(length) => vec![*length],
                Axis::OneOf(lengths) => lengths.clone(),
                Axis::Any => return None,
            };
            let longer = shapes.iter().flat_map(|shape: &Vec<u64>| {
                lengths.iter().map(move |length| shape.iter().copied().chain([*length]).collect())
            });
            shapes = longer.collect();
        }
        Some(shapes)
    }
}

impl fmt::Display for ResolvedTensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let axes: Vec<String> = self.axes.iter().map(Axis::to_string).collect();
        write!(f, "{} {} [{}]", self.name, self.dtype, axes.join(", "))
    }
}

/// The tensors that are there in a conversion.
pub(super) fn resolve(tensors: &[TensorContract], instance: &Instance) -> Result<Vec<ResolvedTensor>, ContractError> {
    let mut resolved = Vec::new();
    for tensor in tensors.iter().filter(|tensor| instance.is(tensor.when)) {
        let at = |name: String, position: usize| ResolvedTensor {
            name,
            dtype: tensor.dtype,
            axes: tensor.shape.iter().map(|dimension| instance.axis(*dimension, position)).collect(),
        };
        match tensor.name {
            TensorName::One(name) => resolved.push(at(name.to_owned(), 0)),
            TensorName::Numbered { prefix, first, count } => {
                let unknown = || ContractError::Size { name: prefix.to_owned(), size: count };
                let count = instance.size(count).ok_or_else(unknown)?;
                let numbers = (first..first.saturating_add(count)).enumerate();
                resolved.extend(numbers.map(|(position, number)| at(format!("{prefix}{number}"), position)));
            }
        }
    }
    Ok(resolved)
}
