//! Sampling of images at points: by coordinates, by a matrix, and in boxes.

use super::decl::{BOOL, Change, Domain, FLOATS, INT32, InferError, OpContext, OpDecl, Parameter, STRING};
use super::evidence::ANEFORGE;
use super::sampling::{Between, Grid, between};
use super::shape::{SMALL_NUMBERS, compatible, known_int_or, known_string_or};
use crate::dtype::DataType;
use crate::evaluate::{Call, EvaluateError, Tensor, check_made};
use crate::opset::Opset;
use crate::types::{Dimension, TensorType, ValueType};

const COORDINATES: Domain = Domain::OneOf(&[DataType::Float32, DataType::Int32]);
const COORDINATES_IOS16: Domain = Domain::OneOf(&[DataType::Float16, DataType::Float32, DataType::Int32]);
const BOXES: Domain = Domain::OneOf(&[DataType::Float16, DataType::Float32, DataType::UInt16]);
const BOX_INDICES: Domain = Domain::OneOf(&[DataType::Int32, DataType::UInt16]);
const X: Parameter = Parameter::new("x", FLOATS).group('T');
const SAMPLING_MODE: Parameter = Parameter::new("sampling_mode", STRING).constant();
const PADDING_MODE: Parameter = Parameter::new("padding_mode", STRING).constant();
const PADDING_VALUE: Parameter = Parameter::new("padding_value", FLOATS).group('T').constant();
const COORDINATES_MODE: Parameter = Parameter::new("coordinates_mode", STRING).constant();
const ALIGN_CORNERS: Parameter = Parameter::new("align_corners", BOOL).constant();

/// At the points of a grid under a matrix.
pub static AFFINE: OpDecl = OpDecl::new(
    "affine",
    "Reads `x` at the points of a grid under `transform_matrix`.",
    &[
        X,
        Parameter::new("transform_matrix", FLOATS).group('T'),
        Parameter::new("output_height", INT32).constant(),
        Parameter::new("output_width", INT32).constant(),
        SAMPLING_MODE,
        PADDING_MODE,
        PADDING_VALUE,
        COORDINATES_MODE,
        ALIGN_CORNERS,
    ],
    infer_affine,
)
.computes(affine)
.seen(ANEFORGE);
/// In boxes.
pub static CROP_RESIZE: OpDecl = OpDecl::new(
    "crop_resize",
    "Cuts boxes out of images and resizes them by lines between elements.",
    &[
        X,
        Parameter::new("roi", FLOATS).group('T').changes(&[Change::Until(Opset::Ios17)]),
        Parameter::new("boxes", BOXES).changes(&[Change::Since(Opset::Ios17)]),
        Parameter::new("box_indices", BOX_INDICES).optional().changes(&[Change::Since(Opset::Ios17)]),
        Parameter::new("target_height", INT32).constant().defaulted(),
        Parameter::new("target_width", INT32).constant().defaulted(),
        Parameter::new("normalized_coordinates", BOOL).constant().defaulted(),
        Parameter::new("spatial_scale", Domain::OneOf(&[DataType::Float32])).constant().defaulted(),
        Parameter::new("box_coordinate_mode", STRING).constant().defaulted(),
        Parameter::new("sampling_mode", STRING).constant().defaulted(),
        Parameter::new("pad_value", FLOATS).group('T').constant().defaulted().changes(&[Change::Since(Opset::Ios16)]),
    ],
    infer_boxes,
)
.computes(crop_resize);
/// At given points.
pub static RESAMPLE: OpDecl = OpDecl::new(
    "resample",
    "Reads `x` at `coordinates`.",
    &[
        X,
        Parameter::new("coordinates", COORDINATES)
            .changes(&[Change::Takes(Opset::Ios16, COORDINATES_IOS16), Change::Takes(Opset::Ios17, SMALL_NUMBERS)]),
        SAMPLING_MODE,
        PADDING_MODE,
        PADDING_VALUE,
        COORDINATES_MODE,
        ALIGN_CORNERS,
    ],
    infer_resample,
)
.computes(resample);

fn image(ctx: &OpContext<'_>) -> Result<(DataType, [Dimension; 4]), InferError> {
    let x = ctx.tensor("x")?;
    let shape = <[Dimension; 4]>::try_from(x.shape.as_slice());
    Ok((x.dtype, shape.map_err(|_| InferError::operand("x", "a tensor of rank 4", x))?))
}

fn length(ctx: &OpContext<'_>, parameter: &str) -> Result<Dimension, InferError> {
    let value = known_int_or(ctx, parameter, 1)?;
    let length = u64::try_from(value).ok().filter(|length| *length > 0);
    length.map(Dimension::Fixed).ok_or_else(|| InferError::operand(parameter, "a positive integer", value))
}

/// # Shapes
/// `x: [batch, channels, height, width]`, `transform_matrix: [batch or 1, 6]`; the result is
/// `[batch, channels, output_height, output_width]`.
fn infer_affine(ctx: &OpContext<'_>) -> Result<Vec<ValueType>, InferError> {
    let (dtype, [batch, channels, ..]) = image(ctx)?;
    check_modes(ctx)?;
    let matrix = ctx.tensor("transform_matrix")?;
    let fits = |rows: Dimension| rows == Dimension::Fixed(1) || compatible(rows, batch);
    if !matches!(matrix.shape.as_slice(), [rows, columns] if fits(*rows) && compatible(*columns, 6.into())) {
        return Err(InferError::operand("transform_matrix", format!("a matrix of {batch} or 1 by 6"), matrix));
    }
    let shape = vec![batch, channels, length(ctx, "output_height")?, length(ctx, "output_width")?];
    Ok(vec![TensorType { dtype, shape }.into()])
}

/// # Shapes
/// `x: [batch, channels, height, width]`, `coordinates: [batch, rows, columns, 2]`, x before y; the result is
/// `[batch, channels, rows, columns]`.
fn infer_resample(ctx: &OpContext<'_>) -> Result<Vec<ValueType>, InferError> {
    let (dtype, [batch, channels, ..]) = image(ctx)?;
    check_modes(ctx)?;
    let coordinates = ctx.tensor("coordinates")?;
    match coordinates.shape.as_slice() {
        [own, rows, columns, two] if compatible(*own, batch) && compatible(*two, 2.into()) => {
            Ok(vec![TensorType { dtype, shape: vec![batch, channels, *rows, *columns] }.into()])
        }
        _ => Err(InferError::operand("coordinates", format!("a tensor [{batch}, rows, columns, 2]"), coordinates)),
    }
}

fn check_modes(ctx: &OpContext<'_>) -> Result<(), InferError> {
    Padding::named(known_string_or(ctx, "padding_mode", "constant")?)?;
    Scale::named(known_string_or(ctx, "coordinates_mode", "unnormalized")?, true)?;
    let mode = known_string_or(ctx, "sampling_mode", "bilinear")?;
    if ["bilinear", "nearest"].contains(&mode) {
        return Ok(());
    }
    Err(InferError::operand("sampling_mode", "`bilinear` or `nearest`", format!("`{mode}`")))
}

/// # Shapes
/// `x: [batch, channels, height, width]`. Since ios17: `boxes: [count, 4]`, `box_indices: [count]`, and the result is
/// `[count, channels, target_height, target_width]`. Before: `roi: [count, 1, 4 or 5, 1, 1]`, and the result is
/// `[count, batch, channels, target_height, target_width]`.
fn infer_boxes(ctx: &OpContext<'_>) -> Result<Vec<ValueType>, InferError> {
    let (dtype, [batch, channels, ..]) = image(ctx)?;
    Grid::named("sampling_mode", known_string_or(ctx, "sampling_mode", "DEFAULT")?)?;
    BoxForm::named(known_string_or(ctx, "box_coordinate_mode", BoxForm::DEFAULT)?)?;
    let size = [length(ctx, "target_height")?, length(ctx, "target_width")?];
    let shape = if ctx.opset() >= Opset::Ios17 {
        let boxes = ctx.tensor("boxes")?;
        let &[count, four] = boxes.shape.as_slice() else {
            return Err(InferError::operand("boxes", "a matrix of 4 columns", boxes));
        };
        if !compatible(four, 4.into()) {
            return Err(InferError::operand("boxes", "a matrix of 4 columns", boxes));
        }
        if ctx.optional("box_indices").is_some() {
            let indices = ctx.tensor("box_indices")?;
            if !matches!(indices.shape.as_slice(), [own] if compatible(*own, count)) {
                return Err(InferError::operand("box_indices", format!("a vector of {count} elements"), indices));
            }
        }
        vec![count, channels, size[0], size[1]]
    } else {
        let roi = ctx.tensor("roi")?;
        let count = match roi.shape.as_slice() {
            [count, Dimension::Fixed(1), Dimension::Fixed(4 | 5), Dimension::Fixed(1), Dimension::Fixed(1)] => *count,
            _ => return Err(InferError::operand("roi", "a tensor [count, 1, 4 or 5, 1, 1]", roi)),
        };
        vec![count, batch, channels, size[0], size[1]]
    };
    Ok(vec![TensorType { dtype, shape }.into()])
}

/// What stands outside of an image.
#[derive(Clone, Copy, PartialEq)]
enum Padding {
    Constant,
    Border,
    /// Mirrored at the middles of the first and last elements.
    Reflection,
    /// Mirrored at the edges of the first and last elements.
    Symmetric,
}

impl Padding {
    fn named(name: &str) -> Result<Self, InferError> {
        match name {
            "constant" => Ok(Self::Constant),
            "border" => Ok(Self::Border),
            "reflection" => Ok(Self::Reflection),
            "symmetric" => Ok(Self::Symmetric),
            other => {
                let expected = "`constant`, `border`, `reflection` or `symmetric`";
                Err(InferError::operand("padding_mode", expected, format!("`{other}`")))
            }
        }
    }

    /// Where an axis of `length` elements is read for `place`.
    #[expect(clippy::cast_precision_loss, reason = "lengths of axes are far below 2^53")]
    fn fold(self, place: f64, length: usize) -> f64 {
        let last = length.saturating_sub(1) as f64;
        let mirrored = |low: f64, span: f64| {
            let distance = (place - low).abs();
            let (turns, rest) = ((distance / span).floor(), distance % span);
            if turns % 2.0 == 0.0 { low + rest } else { low + span - rest }
        };
        match self {
            Self::Constant => place,
            Self::Border => place.clamp(0.0, last),
            Self::Reflection if length <= 1 => 0.0,
            Self::Reflection => mirrored(0.0, last).clamp(0.0, last),
            Self::Symmetric => mirrored(-0.5, length as f64).clamp(0.0, last),
        }
    }
}

/// What coordinates mean.
#[derive(Clone, Copy)]
enum Scale {
    Elements,
    /// From `low` to `low + span` over an axis, up to the middles or the edges of its first and last elements.
    Unit {
        low: f64,
        span: f64,
        middles: bool,
    },
}

impl Scale {
    fn named(name: &str, middles: bool) -> Result<Self, InferError> {
        match name {
            "unnormalized" => Ok(Self::Elements),
            "normalized_minus_one_to_one" => Ok(Self::Unit { low: -1.0, span: 2.0, middles }),
            "normalized_zero_to_one" => Ok(Self::Unit { low: 0.0, span: 1.0, middles }),
            other => {
                let expected = "`unnormalized`, `normalized_minus_one_to_one` or `normalized_zero_to_one`";
                Err(InferError::operand("coordinates_mode", expected, format!("`{other}`")))
            }
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "lengths of axes are far below 2^53")]
    fn place(self, coordinate: f64, length: usize) -> f64 {
        match self {
            Self::Elements => coordinate,
            Self::Unit { low, span, middles: true } => (coordinate - low) / span * length.saturating_sub(1) as f64,
            Self::Unit { low, span, middles: false } => (coordinate - low) / span * length as f64 - 0.5,
        }
    }
}

/// How a call reads images.
struct Sampler {
    padding: Padding,
    value: f32,
    scale: Scale,
    nearest: bool,
}

impl Sampler {
    fn of(call: &Call<'_>) -> Result<Self, EvaluateError> {
        Ok(Self {
            padding: Padding::named(call.string_or("padding_mode", "constant")?)?,
            value: call.float_or("padding_value", 0.0)?,
            scale: Scale::named(
                call.string_or("coordinates_mode", "unnormalized")?,
                call.bool_or("align_corners", false)?,
            )?,
            nearest: call.string_or("sampling_mode", "bilinear")? == "nearest",
        })
    }

    /// The value of an image at coordinates.
    #[expect(clippy::cast_possible_truncation, reason = "rounded once at the end")]
    fn read(&self, values: &[f32], [height, width]: [usize; 2], [x, y]: [f64; 2]) -> f32 {
        let row = self.padding.fold(self.scale.place(y, height), height);
        let column = self.padding.fold(self.scale.place(x, width), width);
        if self.nearest {
            return self.element(values, [height, width], [row.round_ties_even(), column.round_ties_even()]);
        }
        let (top, left) = (row.floor(), column.floor());
        let (down, right) = (row - top, column - left);
        let corners = [
            ([top, left], (1.0 - down) * (1.0 - right)),
            ([top, left + 1.0], (1.0 - down) * right),
            ([top + 1.0, left], down * (1.0 - right)),
            ([top + 1.0, left + 1.0], down * right),
        ];
        let part = |(place, weight): ([f64; 2], f64)| {
            // An element that does not count may be anything.
            if weight == 0.0 { 0.0 } else { f64::from(self.element(values, [height, width], place)) * weight }
        };
        corners.into_iter().map(part).sum::<f64>() as f32
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be within the image")]
    #[expect(clippy::cast_precision_loss, reason = "lengths of axes are far below 2^53")]
    fn element(&self, values: &[f32], [height, width]: [usize; 2], [row, column]: [f64; 2]) -> f32 {
        let inside = (0.0..height as f64).contains(&row) && (0.0..width as f64).contains(&column);
        let found = if inside { values.get(row as usize * width + column as usize) } else { None };
        found.copied().unwrap_or(self.value)
    }
}

/// Four lengths of an image tensor that is running.
fn lengths(x: &Tensor) -> Result<[usize; 4], InferError> {
    <[usize; 4]>::try_from(x.shape()).map_err(|_| InferError::operand("x", "a tensor of rank 4", x.ty()))
}

/// Reads every channel of every image at the points that `point(image, row, column)` gives, x before y.
fn read_all(
    call: &Call<'_>,
    [rows, columns]: [usize; 2],
    point: impl Fn(usize, usize, usize) -> [f64; 2],
) -> Result<Vec<Tensor>, EvaluateError> {
    let x = call.tensor("x")?;
    let [batch, channels, height, width] = lengths(x)?;
    let sampler = Sampler::of(call)?;
    let values = call.floats("x")?;
    let shape = [batch, channels, rows, columns];
    let mut output = Vec::with_capacity(check_made(&shape)?);
    for plane in 0..batch * channels {
        let image = values.get(plane * height * width..(plane + 1) * height * width).unwrap_or_default();
        for row in 0..rows {
            let at = |column| point(plane / channels, row, column);
            output.extend((0..columns).map(|column| sampler.read(image, [height, width], at(column))));
        }
    }
    Ok(vec![Tensor::floats(x.dtype(), &shape, output)?])
}

fn affine(call: &mut Call<'_>) -> Result<Vec<Tensor>, EvaluateError> {
    let matrix = call.floats("transform_matrix")?;
    let size = |parameter: &str| -> Result<usize, EvaluateError> {
        Ok(usize::try_from(call.int_or(parameter, 1)?).unwrap_or(0))
    };
    let (rows, columns) = (size("output_height")?, size("output_width")?);
    let several = call.tensor("transform_matrix")?.shape().first().is_some_and(|count| *count > 1);
    let scale =
        Scale::named(call.string_or("coordinates_mode", "unnormalized")?, call.bool_or("align_corners", true)?)?;
    read_all(call, [rows, columns], |image, row, column| {
        let line = matrix.get(if several { image * 6 } else { 0 }..).unwrap_or_default();
        let factor = |index: usize| f64::from(line.get(index).copied().unwrap_or(f32::NAN));
        let (x, y) = (coordinate(scale, column, columns), coordinate(scale, row, rows));
        [factor(0) * x + factor(1) * y + factor(2), factor(3) * x + factor(4) * y + factor(5)]
    })
}

/// The coordinate of the element `index` of `count`.
#[expect(clippy::cast_precision_loss, reason = "lengths of axes are far below 2^53")]
fn coordinate(scale: Scale, index: usize, count: usize) -> f64 {
    match scale {
        Scale::Elements => index as f64,
        Scale::Unit { low, .. } if count <= 1 => low,
        Scale::Unit { low, span, middles: true } => low + span * index as f64 / (count - 1) as f64,
        Scale::Unit { low, span, middles: false } => low + span * (index as f64 + 0.5) / count as f64,
    }
}

fn resample(call: &mut Call<'_>) -> Result<Vec<Tensor>, EvaluateError> {
    let coordinates = call.tensor("coordinates")?;
    let [batch, ..] = lengths(call.tensor("x")?)?;
    let &[own, rows, columns, 2] = coordinates.shape() else {
        return Err(InferError::operand("coordinates", "a tensor of rank 4", coordinates.ty()).into());
    };
    if own != batch {
        return Err(InferError::operand("coordinates", format!("{batch} images"), coordinates.ty()).into());
    }
    let points = numbers(coordinates)?;
    read_all(call, [rows, columns], |image, row, column| {
        let place = ((image * rows + row) * columns + column) * 2;
        [place, place + 1].map(|place| points.get(place).copied().unwrap_or(f64::NAN))
    })
}

fn numbers(tensor: &Tensor) -> Result<Vec<f64>, EvaluateError> {
    if tensor.dtype().is_float() {
        return Ok(tensor.as_floats()?.iter().map(|value| f64::from(*value)).collect());
    }
    Ok(tensor.as_integers()?.iter().map(|value| f64::from(*value)).collect())
}

/// What the four numbers of a box are.
#[derive(Clone, Copy)]
struct BoxForm {
    corners: bool,
    height_first: bool,
}

impl BoxForm {
    const DEFAULT: &str = "CORNERS_HEIGHT_FIRST";

    fn named(name: &str) -> Result<Self, InferError> {
        let (corners, height_first) = match name {
            "CORNERS_HEIGHT_FIRST" => (true, true),
            "CORNERS_WIDTH_FIRST" => (true, false),
            "CENTER_SIZE_HEIGHT_FIRST" => (false, true),
            "CENTER_SIZE_WIDTH_FIRST" => (false, false),
            other => {
                let expected = "`CORNERS_HEIGHT_FIRST`, `CORNERS_WIDTH_FIRST`, `CENTER_SIZE_HEIGHT_FIRST` or \
                                `CENTER_SIZE_WIDTH_FIRST`";
                return Err(InferError::operand("box_coordinate_mode", expected, format!("`{other}`")));
            }
        };
        Ok(Self { corners, height_first })
    }

    /// First and last row, and first and last column.
    fn intervals(self, numbers: [f64; 4]) -> [[f64; 2]; 2] {
        let [a, b, c, d] = numbers;
        let pairs = [[a, c], [b, d]].map(|[first, second]| {
            if self.corners { [first, second] } else { [first - second / 2.0, first + second / 2.0] }
        });
        if self.height_first { pairs } else { [pairs[1], pairs[0]] }
    }
}

#[expect(clippy::cast_precision_loss, reason = "lengths of axes are far below 2^53")]
fn crop_resize(call: &mut Call<'_>) -> Result<Vec<Tensor>, EvaluateError> {
    let x = call.tensor("x")?;
    let [batch, channels, height, width] = lengths(x)?;
    let newer = call.opset() >= Opset::Ios17;
    let boxes = call.tensor(if newer { "boxes" } else { "roi" })?;
    let count = boxes.shape().first().copied().unwrap_or(0);
    let columns = boxes.count().checked_div(count).unwrap_or(4);
    let all = numbers(boxes)?;
    let indices = call.optional_integers("box_indices")?;
    let grid = Grid::named("sampling_mode", call.string_or("sampling_mode", "DEFAULT")?)?;
    let form = BoxForm::named(call.string_or("box_coordinate_mode", BoxForm::DEFAULT)?)?;
    let size = |parameter: &str| -> Result<usize, EvaluateError> {
        Ok(usize::try_from(call.int_or(parameter, 1)?).unwrap_or(0))
    };
    let size = [size("target_height")?, size("target_width")?];
    let normalized = call.bool_or("normalized_coordinates", false)?;
    let factor = f64::from(call.float_or("spatial_scale", 1.0)?);
    let outside = call.float_or("pad_value", 0.0)?;
    let values = call.floats("x")?;
    let shape =
        if newer { vec![count, channels, size[0], size[1]] } else { vec![count, batch, channels, size[0], size[1]] };
    if !newer && columns == 5 && batch > 1 {
        return Err(EvaluateError::Unsupported(format!("`roi` that chooses among {batch} images")));
    }
    let mut output = Vec::with_capacity(check_made(&shape)?);
    check_made(&[size[0], std::mem::size_of::<Option<Between>>()])?;
    check_made(&[size[1], std::mem::size_of::<Option<Between>>()])?;
    for (index, numbers) in all.chunks_exact(columns.max(1)).enumerate() {
        let numbers = numbers.iter().rev().take(4).rev().copied().collect::<Vec<_>>();
        let numbers =
            <[f64; 4]>::try_from(numbers).map_err(|_| InferError::operand("boxes", "4 numbers each", columns))?;
        let intervals = form.intervals(numbers);
        let along = |axis: usize, length: usize| -> Vec<Option<Between>> {
            let last = length.saturating_sub(1) as f64;
            let scale = factor * if normalized { last } else { 1.0 };
            let points = grid.points(intervals[axis].map(|end| end * scale), size[axis]);
            let inside = |place: f64| (0.0..=last).contains(&place).then(|| Between::within(place, length));
            points.into_iter().map(inside).collect()
        };
        let (rows, columns) = (along(0, height), along(1, width));
        let images = if newer {
            let image = match &indices {
                Some(indices) => indices.get(index).copied().unwrap_or(-1).into(),
                None => i64::try_from(index).unwrap_or(i64::MAX),
            };
            let found = usize::try_from(image).ok().filter(|image| *image < batch);
            let found = found.ok_or(EvaluateError::Index { index: image, length: batch })?;
            found..found + 1
        } else {
            0..batch
        };
        for plane in images.start * channels..images.end * channels {
            let image = values.get(plane * height * width..(plane + 1) * height * width).unwrap_or_default();
            for row in &rows {
                output.extend(columns.iter().map(|column| match (row, column) {
                    (Some(row), Some(column)) => between(image, width, *row, *column),
                    _ => outside,
                }));
            }
        }
    }
    Ok(vec![Tensor::floats(x.dtype(), &shape, output)?])
}
