//! Where the ops that resample images read: grids along an axis, and points between elements.

use rayon::prelude::*;

use super::decl::InferError;
use crate::evaluate::{EvaluateError, Tensor, check_made};

/// How a grid of points is laid over an interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Grid {
    /// From the start, with steps of the interval's length over the count.
    Default,
    /// The first and last point are the ends; one point is the start.
    StrictAlign,
    /// The first and last point are the ends; one point is the middle.
    Align,
    /// The middles of parts of the interval between the first and last element.
    Offset,
    /// The middles of parts of the interval around the first and last element.
    Unalign,
}

impl Grid {
    /// Every name of a grid.
    pub(super) const NAMES: &str =
        "`DEFAULT`, `STRICT_ALIGN_CORNERS`, `ALIGN_CORNERS`, `OFFSET_CORNERS` or `UNALIGN_CORNERS`";

    /// The grid that `parameter` names.
    pub(super) fn named(parameter: &str, name: &str) -> Result<Self, InferError> {
        match name {
            "DEFAULT" => Ok(Self::Default),
            "STRICT_ALIGN_CORNERS" => Ok(Self::StrictAlign),
            "ALIGN_CORNERS" => Ok(Self::Align),
            "OFFSET_CORNERS" => Ok(Self::Offset),
            "UNALIGN_CORNERS" => Ok(Self::Unalign),
            other => Err(InferError::operand(parameter, Self::NAMES, format!("`{other}`"))),
        }
    }

    /// `count` points between the elements `start` and `end`, which may lie between elements themselves.
    ///
    /// # Source
    /// The documentation of `resize_bilinear` and `crop_resize`, coremltools@e0e2f42b.
    #[expect(clippy::cast_precision_loss, reason = "lengths of axes are far below 2^53")]
    pub(super) fn points(self, [start, end]: [f64; 2], count: usize) -> Vec<f64> {
        let (length, steps) = (end - start, count as f64);
        let aligned = if count > 1 { length / (steps - 1.0) } else { 0.0 };
        let (first, step) = match self {
            Self::Default => (start, (length + 1.0) / steps),
            Self::Align if count == 1 => (f64::midpoint(start, end), 0.0),
            Self::Align | Self::StrictAlign => (start, aligned),
            Self::Offset => {
                let step = length.max(1.0) / steps;
                (start + 0.5 * step, step)
            }
            Self::Unalign => {
                let step = (length + 1.0) / steps;
                (start + 0.5 * step - 0.5, step)
            }
        };
        (0..count).map(|index| (first + index as f64 * step).max(start).min(end.max(start))).collect()
    }
}

/// A point between two elements of an axis: the elements, and how much the second one counts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Between {
    elements: [usize; 2],
    weight: f64,
}

impl Between {
    /// The point at `place`, which is not outside of an axis of `length` elements.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within the axis")]
    pub(super) fn within(place: f64, length: usize) -> Self {
        let last = length.saturating_sub(1);
        let first = (place.max(0.0).floor() as usize).min(last);
        #[expect(clippy::cast_precision_loss, reason = "lengths of axes are far below 2^53")]
        let weight = (place - first as f64).clamp(0.0, 1.0);
        Self { elements: [first, (first + 1).min(last)], weight }
    }

    /// The element that is nearest, the second one where both are; or the first one where `floor` is set.
    pub(super) fn nearest(self, floor: bool) -> Self {
        let second = !floor && self.weight >= 0.5;
        Self { elements: [self.elements[usize::from(second)]; 2], weight: 0.0 }
    }
}

/// `x` with its last two axes read at `rows` and `columns`, between elements by lines.
pub(super) fn resampled(x: &Tensor, rows: &[Between], columns: &[Between]) -> Result<Tensor, EvaluateError> {
    let [outer @ .., height, width] = x.shape() else {
        return Err(InferError::operand("x", "a tensor of rank 2 or more", x.ty()).into());
    };
    let shape: Vec<usize> = outer.iter().copied().chain([rows.len(), columns.len()]).collect();
    let values = x.as_floats()?;
    let mut output = vec![0.0; check_made(&shape)?];
    let (image, plane) = (height * width, rows.len() * columns.len());
    if plane > 0 && image > 0 {
        output.par_chunks_mut(plane).zip(values.par_chunks(image)).for_each(|(output, values)| {
            for (output, row) in output.chunks_exact_mut(columns.len()).zip(rows) {
                for (output, column) in output.iter_mut().zip(columns) {
                    *output = between(values, *width, *row, *column);
                }
            }
        });
    }
    Ok(Tensor::floats(x.dtype(), &shape, output)?)
}

/// The value of an image between four of its elements.
#[expect(clippy::cast_possible_truncation, reason = "rounded once at the end")]
pub(super) fn between(values: &[f32], width: usize, row: Between, column: Between) -> f32 {
    let at = |row: usize, column: usize| f64::from(values.get(row * width + column).copied().unwrap_or(f32::NAN));
    let line = |row: usize| {
        let [first, second] = column.elements;
        if column.weight == 0.0 { at(row, first) } else { mix(at(row, first), at(row, second), column.weight) }
    };
    let [first, second] = row.elements;
    let value = if row.weight == 0.0 { line(first) } else { mix(line(first), line(second), row.weight) };
    value as f32
}

fn mix(first: f64, second: f64, weight: f64) -> f64 {
    first * (1.0 - weight) + second * weight
}
