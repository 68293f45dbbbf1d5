//! Resizing of the last two axes: to a size, by factors, and by cutting off.

use super::decl::{BOOL, Change, Domain, FLOATS, INT32, InferError, NUMBERS, OpContext, OpDecl, Parameter, STRING};
use super::evidence::{ANEFORGE, KOKORO};
use super::sampling::{Between, Grid, resampled};
use super::shape::{known_int_or, known_ints, known_string_or};
use crate::dtype::DataType;
use crate::evaluate::{Call, EvaluateError, Tensor};
use crate::opset::Opset;
use crate::types::{Dimension, TensorType, ValueType};
use crate::value::Value;

const X: Parameter = Parameter::new("x", FLOATS);
const FACTOR: Domain = Domain::OneOf(&[DataType::Float32, DataType::Int32]);
const HEIGHT_FACTOR: Parameter = Parameter::new("scale_factor_height", FACTOR).group('U').constant().defaulted();
const WIDTH_FACTOR: Parameter = Parameter::new("scale_factor_width", FACTOR).group('U').constant().defaulted();
const LENGTHS: Domain = Domain::OneOf(&[DataType::Int32, DataType::Int16, DataType::UInt16, DataType::UInt32]);
const SIZE: [&str; 2] = ["target_size_height", "target_size_width"];
const FACTORS: [&str; 2] = ["scale_factor_height", "scale_factor_width"];

/// Cuts off borders.
pub static CROP: OpDecl = OpDecl::new(
    "crop",
    "Cuts off `crop_height` and `crop_width` elements before and behind.",
    &[X, Parameter::new("crop_height", INT32).constant(), Parameter::new("crop_width", INT32).constant()],
    infer_crop,
)
.moves(crop)
.seen(ANEFORGE);
/// To the lengths in another tensor.
pub static RESIZE: OpDecl = OpDecl::new(
    "resize",
    "Resizes the last `resized_dims` axes of `x` to the last lengths in `shape`; 0 keeps a length.",
    &[
        Parameter::new("x", NUMBERS),
        Parameter::new("shape", LENGTHS),
        Parameter::new("resized_dims", Domain::OneOf(&[DataType::UInt32])).constant(),
        Parameter::new("interpolation_mode", STRING).constant().defaulted(),
        Parameter::new("sampling_mode", STRING).constant().defaulted(),
    ],
    infer_resize,
)
.since(Opset::Ios17)
.computes(resize)
.seen(ANEFORGE);
/// To a size, by lines between elements.
pub static RESIZE_BILINEAR: OpDecl = OpDecl::new(
    "resize_bilinear",
    "Resizes the last two axes of `x` by lines between elements.",
    &[
        X,
        Parameter::new(SIZE[0], INT32).constant().defaulted(),
        Parameter::new(SIZE[1], INT32).constant().defaulted(),
        Parameter::new("sampling_mode", STRING).constant().defaulted(),
    ],
    |ctx| {
        Grid::named("sampling_mode", known_string_or(ctx, "sampling_mode", "DEFAULT")?)?;
        infer_size(ctx)
    },
)
.computes(|call| {
    let grid = Grid::named("sampling_mode", call.string_or("sampling_mode", "DEFAULT")?)?;
    to_size(call, target(call)?, grid, false)
})
.seen(ANEFORGE);
/// To a size, by the nearest elements.
pub static RESIZE_NEAREST_NEIGHBOR: OpDecl = OpDecl::new(
    "resize_nearest_neighbor",
    "Resizes the last two axes of `x` by the nearest elements.",
    &[X, Parameter::new(SIZE[0], INT32).constant(), Parameter::new(SIZE[1], INT32).constant()],
    infer_size,
)
.computes(|call| to_size(call, target(call)?, Grid::Default, true))
.seen(ANEFORGE);
/// By factors, by lines between elements.
pub static UPSAMPLE_BILINEAR: OpDecl = OpDecl::new(
    "upsample_bilinear",
    "Multiplies the lengths of the last two axes of `x`, by lines between elements.",
    &[
        X,
        HEIGHT_FACTOR,
        WIDTH_FACTOR,
        Parameter::new("align_corners", BOOL).constant().defaulted(),
        Parameter::new("half_pixel_centers", BOOL).constant().optional().changes(&[Change::Since(Opset::Ios16)]),
    ],
    infer_factors,
)
.computes(|call| {
    let align = call.bool_or("align_corners", true)?;
    let grid = match (align, call.bool_or("half_pixel_centers", !align)?) {
        (true, false) => Grid::StrictAlign,
        (false, true) => Grid::Unalign,
        (false, false) => Grid::Default,
        (true, true) => {
            let message = "`align_corners` and `half_pixel_centers` exclude each other";
            return Err(InferError::Mismatch(message.to_owned()).into());
        }
    };
    to_size(call, multiplied(call)?, grid, false)
})
.seen(KOKORO);
/// By factors, by the nearest elements.
pub static UPSAMPLE_NEAREST_NEIGHBOR: OpDecl = OpDecl::new(
    "upsample_nearest_neighbor",
    "Multiplies the lengths of the last two axes of `x`, by the nearest elements.",
    &[X, HEIGHT_FACTOR, WIDTH_FACTOR],
    infer_factors,
)
.computes(|call| to_size(call, multiplied(call)?, Grid::Default, true))
.seen(KOKORO);

/// The axes before the last two, and the lengths of those.
fn image<'a>(ctx: &OpContext<'a>) -> Result<(&'a TensorType, &'a [Dimension], [Dimension; 2]), InferError> {
    let x = ctx.tensor("x")?;
    match x.shape.as_slice() {
        [outer @ .., height, width] if !outer.is_empty() => Ok((x, outer, [*height, *width])),
        _ => Err(InferError::operand("x", "a tensor of rank 3 or more", x)),
    }
}

fn with_size(x: &TensorType, outer: &[Dimension], size: [Dimension; 2]) -> Vec<ValueType> {
    let shape = outer.iter().copied().chain(size).collect();
    vec![TensorType { dtype: x.dtype, shape }.into()]
}

fn positive(parameter: &str, value: i64) -> Result<Dimension, InferError> {
    let length = u64::try_from(value).ok().filter(|value| *value > 0);
    length.map(Dimension::Fixed).ok_or_else(|| InferError::operand(parameter, "a positive integer", value))
}

fn infer_size(ctx: &OpContext<'_>) -> Result<Vec<ValueType>, InferError> {
    let (x, outer, _) = image(ctx)?;
    let length = |parameter: &str| positive(parameter, known_int_or(ctx, parameter, 1)?);
    Ok(with_size(x, outer, [length(SIZE[0])?, length(SIZE[1])?]))
}

fn infer_factors(ctx: &OpContext<'_>) -> Result<Vec<ValueType>, InferError> {
    let (x, outer, size) = image(ctx)?;
    let mut lengths = size;
    for (length, parameter) in lengths.iter_mut().zip(FACTORS) {
        let factor = ctx.value(parameter, "a constant number", Value::as_number)?;
        if let (Some(own), Some(factor)) = (length.fixed(), factor.or(Some(1.0))) {
            let product = multiply(own, factor).filter(|product| *product > 0);
            *length =
                Dimension::Fixed(product.ok_or_else(|| InferError::operand(parameter, "a positive factor", factor))?);
        }
    }
    Ok(with_size(x, outer, lengths))
}

/// The product in fp32, rounded down, as coremltools has it.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "bounded")]
fn multiply(length: u64, factor: f64) -> Option<u64> {
    let product = (length as f32 * factor as f32).floor();
    (product.is_finite() && (0.0..1e12).contains(&product)).then_some(product as u64)
}

fn infer_crop(ctx: &OpContext<'_>) -> Result<Vec<ValueType>, InferError> {
    let (x, outer, size) = image(ctx)?;
    let mut lengths = size;
    for (length, parameter) in lengths.iter_mut().zip(["crop_height", "crop_width"]) {
        let crop = known_ints(ctx, parameter)?.unwrap_or_default();
        let expected = || InferError::operand(parameter, "two counts that leave something", format!("{crop:?}"));
        let &[before, after] = crop.as_slice() else { return Err(expected()) };
        if before < 0 || after < 0 {
            return Err(expected());
        }
        if let Some(own) = length.fixed() {
            let left = i128::from(own) - i128::from(before) - i128::from(after);
            let left = u64::try_from(left).ok().filter(|left| *left > 0);
            *length = Dimension::Fixed(left.ok_or_else(expected)?);
        }
    }
    Ok(with_size(x, outer, lengths))
}

fn infer_resize(ctx: &OpContext<'_>) -> Result<Vec<ValueType>, InferError> {
    let (x, lengths) = (ctx.tensor("x")?, ctx.tensor("shape")?);
    Grid::named("sampling_mode", known_string_or(ctx, "sampling_mode", "DEFAULT")?)?;
    let mode = known_string_or(ctx, "interpolation_mode", "LINEAR")?;
    if !["LINEAR", "NEAREST_NEIGHBOR"].contains(&mode) {
        return Err(InferError::operand("interpolation_mode", "`LINEAR` or `NEAREST_NEIGHBOR`", format!("`{mode}`")));
    }
    let count = known_int_or(ctx, "resized_dims", 0)?;
    let given = match lengths.shape.as_slice() {
        [Dimension::Fixed(given)] if *given <= x.rank() as u64 => *given,
        _ => return Err(InferError::operand("shape", format!("a vector of up to {} lengths", x.rank()), lengths)),
    };
    let count = u64::try_from(count).ok().filter(|count| *count <= given);
    let count = count.ok_or_else(|| InferError::operand("resized_dims", format!("at most {given}"), "more"))?;
    let values = ctx.ints("shape")?;
    let mut shape = x.shape.clone();
    let resized = shape.iter_mut().rev().take(usize::try_from(count).unwrap_or(0));
    for (index, length) in resized.enumerate() {
        match values.as_ref().and_then(|values| values.iter().rev().nth(index)) {
            Some(0) => {}
            Some(value) => *length = positive("shape", *value)?,
            None => *length = Dimension::Unknown,
        }
    }
    Ok(vec![TensorType { dtype: x.dtype, shape }.into()])
}

fn last_two(x: &Tensor) -> Result<[usize; 2], InferError> {
    match x.shape() {
        [.., height, width] => Ok([*height, *width]),
        _ => Err(InferError::operand("x", "a tensor of rank 2 or more", x.ty())),
    }
}

fn target(call: &Call<'_>) -> Result<[usize; 2], EvaluateError> {
    let length = |parameter: &str| -> Result<usize, EvaluateError> {
        Ok(usize::try_from(call.int_or(parameter, 1)?).unwrap_or(0))
    };
    Ok([length(SIZE[0])?, length(SIZE[1])?])
}

fn multiplied(call: &Call<'_>) -> Result<[usize; 2], EvaluateError> {
    let mut lengths = last_two(call.tensor("x")?)?;
    for (length, parameter) in lengths.iter_mut().zip(FACTORS) {
        let factor = call.number_or(parameter, 1.0)?;
        let product = multiply(*length as u64, f64::from(factor)).and_then(|product| usize::try_from(product).ok());
        *length = product.ok_or_else(|| InferError::operand(parameter, "a positive factor", factor))?;
    }
    Ok(lengths)
}

fn to_size(call: &Call<'_>, size: [usize; 2], grid: Grid, nearest: bool) -> Result<Vec<Tensor>, EvaluateError> {
    let x = call.tensor("x")?;
    let [height, width] = last_two(x)?;
    let (rows, columns) = (points(grid, height, size[0], nearest)?, points(grid, width, size[1], nearest)?);
    Ok(vec![resampled(x, &rows, &columns)?])
}

#[expect(clippy::cast_precision_loss, reason = "lengths of axes are far below 2^53")]
fn points(grid: Grid, length: usize, count: usize, nearest: bool) -> Result<Vec<Between>, EvaluateError> {
    crate::evaluate::check_made(&[count, std::mem::size_of::<Between>()])?;
    if nearest && grid == Grid::Default {
        // In integers, because the exact quotient decides.
        let place = |index: usize| Between::within((index * length / count) as f64, length);
        return Ok((0..count).map(place).collect());
    }
    let places = grid.points([0.0, length.saturating_sub(1) as f64], count);
    let between = |place: f64| {
        let between = Between::within(place, length);
        if nearest { between.nearest(false) } else { between }
    };
    Ok(places.into_iter().map(between).collect())
}

#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "int32 is resized in floats")]
fn resize(call: &mut Call<'_>) -> Result<Vec<Tensor>, EvaluateError> {
    let x = call.tensor("x")?;
    let count = usize::try_from(call.int_or("resized_dims", 0)?).unwrap_or(usize::MAX).min(x.rank());
    let lengths = call.integers("shape")?;
    let grid = Grid::named("sampling_mode", call.string_or("sampling_mode", "DEFAULT")?)?;
    let nearest = call.string_or("interpolation_mode", "LINEAR")? == "NEAREST_NEIGHBOR";
    let mut resized = match x.dtype() {
        DataType::Int32 => {
            let values = x.as_integers()?.iter().map(|value| *value as f32).collect();
            Tensor::floats(DataType::Float32, x.shape(), values)?
        }
        _ => x.clone(),
    };
    // One axis after another: the axis becomes a column of an image.
    for (index, length) in lengths.iter().rev().take(count).enumerate() {
        let axis = x.rank() - 1 - index;
        let shape = resized.shape().to_vec();
        let Some(length) = usize::try_from(*length).ok().filter(|length| *length > 0) else { continue };
        let [outer, own, inner] = crate::evaluate::along_axis(&shape, axis);
        let columns: Vec<Between> = (0..inner).map(|column| Between::within(column as f64, inner)).collect();
        let rows = points(grid, own, length, nearest)?;
        let mut target = shape;
        target[axis] = length;
        resized = resampled(&resized.reshaped(&[outer, own, inner])?, &rows, &columns)?.reshaped(&target)?;
    }
    if x.dtype() == DataType::Int32 {
        let values = resized.as_floats()?.iter().map(|value| value.round_ties_even() as i32).collect();
        resized = Tensor::integers(DataType::Int32, resized.shape(), values)?;
    }
    Ok(vec![resized])
}

fn crop(call: &mut Call<'_>) -> Result<Vec<Tensor>, EvaluateError> {
    let x = call.tensor("x")?;
    let [height, width] = last_two(x)?;
    let cut = |parameter: &str, length: usize| -> Result<[usize; 2], EvaluateError> {
        let values = call.integers(parameter)?;
        let counts: Option<Vec<usize>> = values.iter().map(|value| usize::try_from(*value).ok()).collect();
        let left = match counts.as_deref() {
            Some([before, after]) => length.checked_sub(*before).and_then(|left| left.checked_sub(*after)),
            _ => None,
        };
        let expected = || InferError::operand(parameter, "two counts that leave something", format!("{values:?}"));
        Ok([counts.and_then(|counts| counts.first().copied()).unwrap_or(0), left.ok_or_else(expected)?])
    };
    let ([top, rows], [left, columns]) = (cut("crop_height", height)?, cut("crop_width", width)?);
    let mut shape = x.shape().to_vec();
    let rank = shape.len();
    let strides: Vec<isize> =
        crate::evaluate::row_major(&shape).iter().map(|stride| isize::try_from(*stride).unwrap_or(0)).collect();
    (shape[rank - 2], shape[rank - 1]) = (rows, columns);
    Ok(vec![x.strided(top * width + left, &shape, &strides)?])
}
