//! Pools: what stands in a window that moves over the spatial axes, as one number.

use rayon::prelude::*;

use super::decl::{BOOL, FLOATS, INT32, InferError, OpContext, OpDecl, Parameter, STRING};
use super::elementwise::larger;
use super::evidence::YOLO;
use super::evidence::{ANEFORGE, KOKORO};
use super::shape::{known_bool_or, known_ints, known_string_or};
use super::window::{Axis, axes, positive, spatial_size};
use crate::evaluate::{Call, EvaluateError, Tensor, check_size, row_major};
use crate::opset::Opset;
use crate::types::{Dimension, TensorType, ValueType};

const X: Parameter = Parameter::new("x", FLOATS);
const KERNEL_SIZES: Parameter = Parameter::new("kernel_sizes", INT32).constant();
const STRIDES: Parameter = Parameter::new("strides", INT32).constant().defaulted();
const PAD_TYPE: Parameter = Parameter::new("pad_type", STRING).constant();
const PAD: Parameter = Parameter::new("pad", INT32).constant().defaulted();
const CEIL_MODE: Parameter = Parameter::new("ceil_mode", BOOL).constant().defaulted();
const EXCLUDE: Parameter = Parameter::new("exclude_padding_from_average", BOOL).constant().defaulted();
const WINDOW: &[Parameter] = &[X, KERNEL_SIZES, STRIDES, PAD_TYPE, PAD, CEIL_MODE];

/// Means.
pub static AVG_POOL: OpDecl = OpDecl::new(
    "avg_pool",
    "The mean of `x` in each window.",
    &[X, KERNEL_SIZES, STRIDES, PAD_TYPE, PAD, EXCLUDE, CEIL_MODE],
    |ctx| infer(ctx, 3),
)
.computes(average)
.seen(KOKORO);
/// Square roots of sums of squares.
pub static L2_POOL: OpDecl =
    OpDecl::new("l2_pool", "The root of the sum of the squares of `x` in each window.", WINDOW, |ctx| infer(ctx, 2))
        .computes(|call| pool(call, |window, _| root_of_squares(window)))
        .seen(ANEFORGE);
/// Largest elements.
pub static MAX_POOL: OpDecl =
    OpDecl::new("max_pool", "The largest element of `x` in each window.", WINDOW, |ctx| infer(ctx, 3))
        .computes(|call| pool(call, |window, _| window.iter().copied().fold(f32::NEG_INFINITY, |a, b| larger(b, a))))
        .seen(YOLO);

/// # Shapes
/// `x: [batch, channels, spatial..]` with up to `most` spatial axes, and a number for each of them in `kernel_sizes` and
/// `strides`, two in `pad`; the result is `[batch, channels, spatial..]`.
fn infer(ctx: &OpContext<'_>, most: usize) -> Result<Vec<ValueType>, InferError> {
    let x = ctx.tensor("x")?;
    if !(3..=most + 2).contains(&x.rank()) {
        return Err(InferError::operand("x", format!("a tensor of rank 3 to {}", most + 2), x));
    }
    let axes = x.rank() - 2;
    for (parameter, count) in [("kernel_sizes", axes), ("strides", axes), ("pad", 2 * axes)] {
        if let Some(found) = known_ints(ctx, parameter)?.filter(|values| values.len() != count) {
            return Err(InferError::operand(parameter, format!("{count} integers"), format!("{found:?}")));
        }
    }
    let ceil = known_bool_or(ctx, "ceil_mode", false)?;
    let pad_type = known_string_or(ctx, "pad_type", "valid")?;
    if ceil && (pad_type.starts_with("same") || axes > 2) {
        let message = "`ceil_mode` is for one or two spatial axes without the `same` padding";
        return Err(InferError::Mismatch(message.to_owned()));
    }
    if pad_type == "same_lower" && ctx.opset() == Opset::Ios15 {
        let found = format!("`same_lower`, which exists since {}", Opset::Ios16);
        return Err(InferError::operand("pad_type", "`valid`, `same` or `custom`", found));
    }
    let kernel = known_ints(ctx, "kernel_sizes")?.ok_or_else(|| InferError::Missing("kernel_sizes".to_owned()))?;
    let mut shape = x.shape.iter().take(2).copied().collect::<Vec<_>>();
    for (axis, (size, kernel)) in x.shape.iter().skip(2).zip(&kernel).enumerate() {
        let places = u64::try_from(*kernel).ok().filter(|kernel| *kernel > 0);
        let places = places.ok_or_else(|| InferError::operand("kernel_sizes", "positive integers", kernel))?;
        shape.push(spatial_size(ctx, axis, *size, Dimension::Fixed(places), ceil)?);
    }
    Ok(vec![TensorType { dtype: x.dtype, shape }.into()])
}

#[expect(clippy::cast_precision_loss, reason = "counts of elements of a window are far below 2^24")]
fn average(call: &mut Call<'_>) -> Result<Vec<Tensor>, EvaluateError> {
    let exclude = call.bool_or("exclude_padding_from_average", false)?;
    pool(call, |window, padded| {
        let count = if exclude { window.len() } else { padded };
        mean_over(window, count as f32)
    })
}

#[expect(clippy::cast_possible_truncation, reason = "sums are rounded once")]
fn mean_over(window: &[f32], count: f32) -> f32 {
    (window.iter().map(|x| f64::from(*x)).sum::<f64>() / f64::from(count)) as f32
}

#[expect(clippy::cast_possible_truncation, reason = "sums are rounded once")]
fn root_of_squares(window: &[f32]) -> f32 {
    window.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt() as f32
}

/// `function` of the elements of each window, and of how many there are with the padding.
fn pool(call: &mut Call<'_>, function: impl Fn(&[f32], usize) -> f32 + Sync) -> Result<Vec<Tensor>, EvaluateError> {
    let x = call.tensor("x")?;
    let (outer, spatial) = x.shape().split_at(2.min(x.rank()));
    let kernel = positive(call, "kernel_sizes", spatial.len())?;
    let ceil = call.bool_or("ceil_mode", false)?;
    let axes = axes(call, spatial, &kernel, call.string_or("pad_type", "valid")?, ceil)?;
    let shape: Vec<usize> = outer.iter().copied().chain(axes.iter().map(|axis| axis.output)).collect();
    let mut output = vec![0.0; check_size(&shape)?];
    let places: usize = axes.iter().map(|axis| axis.output).product();
    let size: usize = spatial.iter().product();
    let strides = row_major(spatial);
    let values = call.floats("x")?;
    if places > 0 {
        let pairs = output.par_chunks_mut(places).zip(values.par_chunks(size.max(1)));
        pairs.for_each_init(Vec::new, |window, (output, values)| {
            for (place, output) in output.iter_mut().enumerate() {
                window.clear();
                let padded = gather(&axes, &strides, place, values, window);
                *output = function(window, padded);
            }
        });
    }
    Ok(vec![Tensor::floats(x.dtype(), &shape, output)?])
}

/// Collects the elements of the window that is seen from `place`; tells how many places it has with the padding.
fn gather(axes: &[Axis], strides: &[usize], place: usize, values: &[f32], window: &mut Vec<f32>) -> usize {
    let mut rest = place;
    let mut starts = vec![0..0; axes.len()];
    let mut padded = 1;
    for (axis, range) in axes.iter().zip(&mut starts).rev() {
        *range = axis.range(rest % axis.output);
        padded *= axis.padded_length(rest % axis.output);
        rest /= axis.output;
    }
    collect(&starts, strides, 0, values, window);
    padded
}

fn collect(ranges: &[std::ops::Range<usize>], strides: &[usize], first: usize, values: &[f32], window: &mut Vec<f32>) {
    let (Some((range, ranges)), Some((stride, strides))) = (ranges.split_first(), strides.split_first()) else {
        window.extend(values.get(first));
        return;
    };
    if ranges.is_empty() {
        window.extend_from_slice(values.get(first + range.start..first + range.end).unwrap_or_default());
        return;
    }
    for index in range.clone() {
        collect(ranges, strides, first + index * stride, values, window);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{Operands, fp16};
    use crate::value::Value;

    fn operands(pad_type: &str) -> Operands {
        let operands = Operands::default().with("x", fp16(&[1, 3, 7, -1]));
        let operands = operands.constant("kernel_sizes", Value::int32s(&[3, 3]));
        operands.constant("strides", Value::int32s(&[2, 2])).constant("pad_type", Value::string(pad_type))
    }

    #[test]
    fn windows_that_are_partly_outside_count_under_ceil_mode() {
        assert_eq!(operands("valid").infer(&MAX_POOL), Ok(vec![fp16(&[1, 3, 3, -1])]));
        let ceil = operands("custom").constant("pad", Value::int32s(&[0, 1, 0, 1]));
        assert_eq!(ceil.constant("ceil_mode", Value::bool(true)).infer(&AVG_POOL), Ok(vec![fp16(&[1, 3, 4, -1])]));
    }

    #[test]
    fn ios15_has_no_same_lower() {
        assert!(operands("same_lower").infer_in(&MAX_POOL, Opset::Ios15).is_err());
        assert!(operands("same_lower").infer_in(&MAX_POOL, Opset::Ios16).is_ok());
    }

    #[test]
    fn a_window_has_a_length_for_each_axis() {
        let operands = operands("valid").constant("kernel_sizes", Value::int32s(&[3]));
        assert!(operands.infer(&L2_POOL).is_err());
    }
}
