//! Tensors into and out of memory whose rows may be padded.
//!
//! Buffers of the Neural Engine are pixel buffers, whose rows are as long as the hardware likes. Whoever fills one as if it
//! were dense shifts every row but the first.

use anec_mil::DataType;
use anec_mil::evaluate::{Tensor, TensorError, check_size};

/// How an element is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NumberFormat {
    /// IEEE half.
    Float16,
    /// IEEE single.
    Float32,
    /// Two's complement.
    Int32,
    /// Two's complement, one byte.
    Int8,
}

/// Where the elements of a tensor are in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// How each is stored.
    pub format: NumberFormat,
    /// Axes, outermost first.
    pub shape: Vec<usize>,
    /// Elements from one index of each axis to the next.
    pub strides: Vec<usize>,
}

/// Memory that does not hold a tensor, or a tensor that it does not take.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    /// The tensor has another shape.
    #[error("a buffer of shape {expected:?} cannot take a tensor of shape {found:?}")]
    Shape {
        /// Of the buffer.
        expected: Vec<usize>,
        /// Of the tensor.
        found: Vec<usize>,
    },
    /// The tensor has elements of another kind.
    #[error(transparent)]
    Tensor(#[from] TensorError),
    /// An integer that the format cannot hold.
    #[error("{value} does not fit into {format:?}")]
    Range {
        /// The integer.
        value: i32,
        /// The format.
        format: NumberFormat,
    },
    /// The strides lead out of the buffer, or there are not as many as axes.
    #[error("strides {strides:?} of shape {shape:?} lead out of {bytes} bytes")]
    Bounds {
        /// The strides.
        strides: Vec<usize>,
        /// The shape.
        shape: Vec<usize>,
        /// Size of the buffer.
        bytes: usize,
    },
}

impl NumberFormat {
    /// The format of an element type; `None` where Core ML has none for it.
    pub fn of(dtype: DataType) -> Option<Self> {
        Some(match dtype {
            DataType::Float16 => Self::Float16,
            DataType::Float32 => Self::Float32,
            DataType::Int32 => Self::Int32,
            DataType::Int8 => Self::Int8,
            _ => return None,
        })
    }

    /// The element type.
    pub fn dtype(self) -> DataType {
        match self {
            Self::Float16 => DataType::Float16,
            Self::Float32 => DataType::Float32,
            Self::Int32 => DataType::Int32,
            Self::Int8 => DataType::Int8,
        }
    }

    /// Bytes of an element.
    pub fn size(self) -> usize {
        match self {
            Self::Int8 => 1,
            Self::Float16 => 2,
            Self::Float32 | Self::Int32 => 4,
        }
    }
}

impl Layout {
    /// Elements without gaps, in row-major order.
    pub fn dense(format: NumberFormat, shape: &[usize]) -> Self {
        let mut strides = vec![1_usize; shape.len()];
        for axis in (1..shape.len()).rev() {
            strides[axis - 1] = strides[axis].saturating_mul(shape[axis]);
        }
        Self { format, shape: shape.to_vec(), strides }
    }

    /// Byte offsets of all elements in row-major order, after a check that all are within `bytes`.
    fn offsets(&self, bytes: usize) -> Result<Offsets<'_>, LayoutError> {
        let outside = || LayoutError::Bounds { strides: self.strides.clone(), shape: self.shape.clone(), bytes };
        let count = check_size(&self.shape)?;
        if self.strides.len() != self.shape.len() {
            return Err(outside());
        }
        if count > 0 {
            let mut last = 0_usize;
            for (size, stride) in self.shape.iter().zip(&self.strides) {
                let step = (size - 1).checked_mul(*stride).ok_or_else(outside)?;
                last = last.checked_add(step).ok_or_else(outside)?;
            }
            let end = last.checked_add(1).and_then(|count| count.checked_mul(self.format.size()));
            if end.is_none_or(|end| end > bytes) {
                return Err(outside());
            }
        }
        Ok(Offsets { layout: self, index: vec![0; self.shape.len()], element: 0, left: count })
    }
}

/// Offsets in row-major order.
struct Offsets<'a> {
    layout: &'a Layout,
    index: Vec<usize>,
    element: usize,
    left: usize,
}

impl Iterator for Offsets<'_> {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        self.left = self.left.checked_sub(1)?;
        let offset = self.element * self.layout.format.size();
        let axes = self.index.iter_mut().zip(&self.layout.shape).zip(&self.layout.strides);
        for ((index, size), stride) in axes.rev() {
            *index += 1;
            if *index < *size {
                self.element += stride;
                break;
            }
            self.element -= (*size - 1) * stride;
            *index = 0;
        }
        Some(offset)
    }
}

/// Writes a tensor into `bytes`. What is between its elements stays as it is.
///
/// # Errors
/// The tensor has another shape or kind, or the layout leads out of `bytes`.
pub fn write_strided(tensor: &Tensor, layout: &Layout, bytes: &mut [u8]) -> Result<(), LayoutError> {
    if tensor.shape() != layout.shape {
        return Err(LayoutError::Shape { expected: layout.shape.clone(), found: tensor.shape().to_vec() });
    }
    let offsets = layout.offsets(bytes.len())?;
    let mut put = |offset: usize, element: &[u8]| {
        if let Some(place) = bytes.get_mut(offset..offset + element.len()) {
            place.copy_from_slice(element);
        }
    };
    match layout.format {
        NumberFormat::Float16 => {
            for (offset, value) in offsets.zip(tensor.as_floats()?.iter()) {
                put(offset, &half::f16::from_f32(*value).to_le_bytes());
            }
        }
        NumberFormat::Float32 => {
            for (offset, value) in offsets.zip(tensor.as_floats()?.iter()) {
                put(offset, &value.to_le_bytes());
            }
        }
        NumberFormat::Int32 => {
            for (offset, value) in offsets.zip(tensor.as_integers()?.iter()) {
                put(offset, &value.to_le_bytes());
            }
        }
        NumberFormat::Int8 => {
            for (offset, value) in offsets.zip(tensor.as_integers()?.iter()) {
                let format = layout.format;
                let byte = i8::try_from(*value).map_err(|_| LayoutError::Range { value: *value, format })?;
                put(offset, &byte.to_le_bytes());
            }
        }
    }
    Ok(())
}

/// Reads a tensor out of `bytes`.
///
/// # Errors
/// The layout leads out of `bytes`.
pub fn read_strided(layout: &Layout, bytes: &[u8]) -> Result<Tensor, LayoutError> {
    let offsets = layout.offsets(bytes.len())?;
    let dtype = layout.format.dtype();
    let tensor = match layout.format {
        NumberFormat::Float16 => {
            let values = offsets.map(|at| half::f16::from_le_bytes(element(bytes, at)).to_f32()).collect();
            Tensor::floats(dtype, &layout.shape, values)
        }
        NumberFormat::Float32 => {
            Tensor::floats(dtype, &layout.shape, offsets.map(|at| f32::from_le_bytes(element(bytes, at))).collect())
        }
        NumberFormat::Int32 => {
            Tensor::integers(dtype, &layout.shape, offsets.map(|at| i32::from_le_bytes(element(bytes, at))).collect())
        }
        NumberFormat::Int8 => {
            let values = offsets.map(|at| i32::from(i8::from_le_bytes(element(bytes, at)))).collect();
            Tensor::integers(dtype, &layout.shape, values)
        }
    };
    Ok(tensor?)
}

/// The bytes at an offset that was checked.
fn element<const SIZE: usize>(bytes: &[u8], offset: usize) -> [u8; SIZE] {
    bytes.get(offset..offset + SIZE).and_then(|bytes| bytes.try_into().ok()).unwrap_or([0; SIZE])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn floats(shape: &[usize]) -> Tensor {
        let count: usize = shape.iter().product();
        let values = (0..count).map(|value| f32::from(u8::try_from(value).expect("few"))).collect();
        Tensor::floats(DataType::Float16, shape, values).expect("as many")
    }

    #[test]
    fn padded_rows_are_skipped_and_left_alone() {
        let layout = Layout { format: NumberFormat::Float16, shape: vec![1, 2, 3], strides: vec![64, 32, 1] };
        let mut bytes = vec![0xAA; 128];
        write_strided(&floats(&[1, 2, 3]), &layout, &mut bytes).expect("fits");
        assert_eq!(bytes[64..66], half::f16::from_f32(3.0).to_le_bytes(), "the second row begins at its stride");
        assert!(bytes[6..64].iter().all(|byte| *byte == 0xAA), "padding");
        let back = read_strided(&layout, &bytes).expect("fits");
        assert_eq!(back.as_floats().expect("floats"), floats(&[1, 2, 3]).as_floats().expect("floats"));
    }

    #[test]
    fn every_format_comes_back_as_it_went() {
        for (format, values) in [(NumberFormat::Int32, [-7, 1 << 20]), (NumberFormat::Int8, [-128, 127])] {
            let tensor = Tensor::integers(format.dtype(), &[2], values.to_vec()).expect("two");
            let layout = Layout::dense(format, &[2]);
            let mut bytes = vec![0; 2 * format.size()];
            write_strided(&tensor, &layout, &mut bytes).expect("fits");
            assert_eq!(*read_strided(&layout, &bytes).expect("fits").as_integers().expect("integers"), values);
        }
        let layout = Layout::dense(NumberFormat::Float32, &[2, 2]);
        let mut bytes = vec![0; 16];
        write_strided(&floats(&[2, 2]), &layout, &mut bytes).expect("fits");
        assert_eq!(*read_strided(&layout, &bytes).expect("fits").as_floats().expect("floats"), [0.0, 1.0, 2.0, 3.0]);
    }

    #[test]
    fn infinite_masks_stay_infinite() {
        let mask = Tensor::floats(DataType::Float16, &[2], vec![f32::NEG_INFINITY, 0.0]).expect("two");
        let (layout, mut bytes) = (Layout::dense(NumberFormat::Float16, &[2]), vec![0; 4]);
        write_strided(&mask, &layout, &mut bytes).expect("fits");
        assert_eq!(bytes, [0x00, 0xFC, 0, 0]);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let layout = Layout { format: NumberFormat::Float32, shape: vec![2, 2], strides: vec![3, 1] };
        assert!(matches!(write_strided(&floats(&[4]), &layout, &mut [0; 20]), Err(LayoutError::Shape { .. })));
        assert!(matches!(write_strided(&floats(&[2, 2]), &layout, &mut [0; 19]), Err(LayoutError::Bounds { .. })));
        assert!(write_strided(&floats(&[2, 2]), &layout, &mut [0; 20]).is_ok());
        let overflow = Layout { strides: vec![usize::MAX, 1], ..layout.clone() };
        assert!(matches!(read_strided(&overflow, &[0; 20]), Err(LayoutError::Bounds { .. })));
        let ranks = Layout { strides: vec![1], ..layout };
        assert!(matches!(read_strided(&ranks, &[0; 20]), Err(LayoutError::Bounds { .. })));
        let wide = Tensor::integers(DataType::Int32, &[1], vec![300]).expect("one");
        let narrow = Layout::dense(NumberFormat::Int8, &[1]);
        assert!(matches!(write_strided(&wide, &narrow, &mut [0]), Err(LayoutError::Range { .. })));
    }
}
