//! Moves elements of any kind between tensors.

use std::ops::Range;
use std::sync::Arc;

use super::kernel::strided::{strided_copy, strided_write};
use super::tensor::{Elements, Tensor, TensorError};

impl Tensor {
    /// The elements at `start` plus index times `strides`, in row-major order of `shape`. Strides of 0 repeat elements.
    ///
    /// # Errors
    /// Elements outside of the tensor are asked for.
    pub fn strided(&self, start: usize, shape: &[usize], strides: &[isize]) -> Result<Self, TensorError> {
        let source = self.clone().expanded()?;
        let elements = match source.elements() {
            Elements::Floats(values) => Elements::Floats(Arc::new(copied(values, start, shape, strides))),
            Elements::Integers(values) => Elements::Integers(Arc::new(copied(values, start, shape, strides))),
            Elements::Bools(values) => Elements::Bools(Arc::new(copied(values, start, shape, strides))),
            Elements::Strings(values) => Elements::Strings(Arc::new(copied(values, start, shape, strides))),
            Elements::Stored(_) | Elements::Lazy(_) => {
                return Err(TensorError::Kind { expected: "expanded", found: self.dtype() });
            }
        };
        Self::new(self.dtype(), shape, elements)
    }

    /// Puts the elements of `update` at `start` plus index times `strides`, in row-major order of `update`.
    ///
    /// # Errors
    /// `update` holds elements of another kind, or does not fit.
    pub fn write_strided(&mut self, start: usize, strides: &[isize], update: &Self) -> Result<(), TensorError> {
        let update = update.clone().expanded()?;
        self.expand_in_place()?;
        let found = self.dtype();
        let shape = update.shape();
        let written = match (self.elements_mut(), update.elements()) {
            (Elements::Floats(target), Elements::Floats(source)) => {
                strided_write(Arc::make_mut(target).as_mut_slice(), start, shape, strides, source)
            }
            (Elements::Integers(target), Elements::Integers(source)) => {
                strided_write(Arc::make_mut(target).as_mut_slice(), start, shape, strides, source)
            }
            (Elements::Bools(target), Elements::Bools(source)) => {
                strided_write(Arc::make_mut(target).as_mut_slice(), start, shape, strides, source)
            }
            _ => return Err(TensorError::Kind { expected: "elements of one kind", found }),
        };
        written.ok_or_else(|| TensorError::Count { shape: shape.to_vec(), found: update.count() })
    }

    /// A tensor of runs of elements, one behind the other; each is a range of one of `sources`. Only what is taken is
    /// expanded, so that rows of a stored table cost nothing but themselves.
    ///
    /// # Errors
    /// The sources differ in kind, a range is outside of its source, or there are not as many elements as `shape` has.
    pub fn from_runs(
        sources: &[Self],
        shape: &[usize],
        runs: impl Iterator<Item = (usize, Range<usize>)>,
    ) -> Result<Self, TensorError> {
        let Some(first) = sources.first() else { return Err(TensorError::Count { shape: shape.to_vec(), found: 0 }) };
        let dtype = first.dtype();
        let elements = if dtype.is_float() {
            let mut output: Vec<f32> = Vec::new();
            for (index, range) in runs {
                let source = sources.get(index).unwrap_or(first);
                let filled = output.len();
                output.resize(filled.saturating_add(range.len()), 0.0);
                source.expand(range.start, output.get_mut(filled..).unwrap_or_default())?;
            }
            Elements::Floats(Arc::new(output))
        } else {
            let sources: Vec<Self> = sources.iter().cloned().map(Self::expanded).collect::<Result<_, _>>()?;
            match first.clone().expanded()?.elements() {
                Elements::Integers(_) => {
                    let of = |tensor: &Self| tensor.as_integers().map(std::borrow::Cow::into_owned);
                    Elements::Integers(Arc::new(joined(&sources, runs, of)?))
                }
                Elements::Bools(_) => {
                    let of = |tensor: &Self| tensor.as_bools().map(<[bool]>::to_vec);
                    Elements::Bools(Arc::new(joined(&sources, runs, of)?))
                }
                _ => return Err(TensorError::Kind { expected: "numbers or booleans", found: dtype }),
            }
        };
        Self::new(dtype, shape, elements)
    }
}

fn copied<T: Clone>(source: &[T], start: usize, shape: &[usize], strides: &[isize]) -> Vec<T> {
    let mut output = Vec::new();
    strided_copy(source, start, shape, strides, &mut output);
    output
}

fn joined<T: Clone>(
    sources: &[Tensor],
    runs: impl Iterator<Item = (usize, Range<usize>)>,
    of: impl Fn(&Tensor) -> Result<Vec<T>, TensorError>,
) -> Result<Vec<T>, TensorError> {
    let sources: Vec<Vec<T>> = sources.iter().map(of).collect::<Result<_, _>>()?;
    let mut output = Vec::new();
    for (index, range) in runs {
        output.extend_from_slice(sources.get(index).and_then(|source| source.get(range)).unwrap_or_default());
    }
    Ok(output)
}
