//! Ops that find: places that are not zero, boxes that stand out, and the class of the largest probability.

use super::decl::{BOOL, Change, Domain, FLOATS, INT32, InferError, OpContext, OpDecl, Parameter, Results};
use super::evidence::ANEFORGE;
use super::reduce::index_elements;
use super::shape::{CLASSIC, compatible, known_int_or};
use crate::dtype::DataType;
use crate::evaluate::{Call, Elements, EvaluateError, Tensor, check_size, row_major};
use crate::opset::Opset;
use crate::types::{Dimension, TensorType, ValueType};

/// The class of the largest probability, and all probabilities by class.
pub static CLASSIFY: OpDecl = OpDecl::new(
    "classify",
    "The class of the largest of `probabilities`, and all of them by class.",
    &[
        Parameter::new("probabilities", Domain::OneOf(&[DataType::Float32])),
        Parameter::new("classes", Domain::List).constant(),
    ],
    infer_classify,
)
.results(Results::Exactly(2))
.moves(classify);
/// Boxes that do not overlap better ones.
pub static NON_MAXIMUM_SUPPRESSION: OpDecl = OpDecl::new(
    "non_maximum_suppression",
    "The boxes of the highest scores that do not overlap a chosen one by more than `iou_threshold`.",
    &[
        Parameter::new("boxes", FLOATS).group('T'),
        Parameter::new("scores", FLOATS).group('T'),
        Parameter::new("iou_threshold", FLOATS).group('T').constant(),
        Parameter::new("score_threshold", FLOATS).group('T').constant().changes(&[Change::Until(Opset::Ios17)]),
        Parameter::new("max_boxes", INT32).constant(),
        Parameter::new("per_class_suppression", BOOL).constant().defaulted(),
    ],
    infer_suppression,
)
.results(Results::Several)
.moves(suppress)
.seen(ANEFORGE);
/// Places that are not zero.
pub static NON_ZERO: OpDecl = OpDecl::new(
    "non_zero",
    "The indices of the elements of `x` that are not 0, one a row.",
    &[Parameter::new("x", CLASSIC)],
    |ctx| {
        let rank = ctx.tensor("x")?.rank() as u64;
        let shape = vec![Dimension::Unknown, Dimension::Fixed(rank)];
        Ok(vec![TensorType { dtype: DataType::Int32, shape }.into()])
    },
)
.moves(non_zero);

fn non_zero(call: &mut Call<'_>) -> Result<Vec<Tensor>, EvaluateError> {
    let x = call.tensor("x")?;
    let there: Vec<bool> = match x.elements() {
        Elements::Bools(values) => values.to_vec(),
        _ if x.dtype().is_float() => x.as_floats()?.iter().map(|value| *value != 0.0).collect(),
        _ => x.as_integers()?.iter().map(|value| *value != 0).collect(),
    };
    let strides = row_major(x.shape());
    let mut places = Vec::new();
    for (place, _) in there.iter().enumerate().filter(|(_, there)| **there) {
        places.extend(x.shape().iter().zip(&strides).map(|(length, stride)| place / stride % length));
    }
    let count = there.iter().filter(|there| **there).count();
    Ok(vec![Tensor::integers(DataType::Int32, &[count, x.rank()], index_elements(DataType::Int32, &places)?)?])
}

/// # Shapes
/// `probabilities` has as many elements as `classes`; the results are a class, and a dictionary from classes to fp64.
fn infer_classify(ctx: &OpContext<'_>) -> Result<Vec<ValueType>, InferError> {
    let probabilities = ctx.tensor("probabilities")?;
    let classes = ctx.required("classes")?.ty;
    let ValueType::List(element, length) = classes else {
        return Err(InferError::operand("classes", "a list", classes));
    };
    let label =
        element.as_tensor().filter(|ty| ty.rank() == 0 && matches!(ty.dtype, DataType::String | DataType::Int64));
    let label = label.ok_or_else(|| InferError::operand("classes", "a list of string or int64", classes))?;
    if let (Some(count), Some(length)) = (probabilities.element_count(), length.fixed())
        && count != length
    {
        return Err(InferError::operand("probabilities", format!("{length} elements, one a class"), probabilities));
    }
    let label = ValueType::Tensor(label.clone());
    let probability = ValueType::Tensor(TensorType::scalar(DataType::Float64));
    Ok(vec![label.clone(), ValueType::Dictionary(Box::new(label), Box::new(probability))])
}

/// The first of the largest. The probabilities stand in the order of the classes.
fn classify(call: &mut Call<'_>) -> Result<Vec<Tensor>, EvaluateError> {
    let classes = call.tensor("classes")?;
    let probabilities = call.floats("probabilities")?;
    let mut best = 0;
    for (index, probability) in probabilities.iter().enumerate() {
        if probabilities.get(best).is_none_or(|largest| probability > largest) {
            best = index;
        }
    }
    if classes.count() != probabilities.len() || probabilities.is_empty() {
        let expected = format!("{} elements, one a class", classes.count());
        return Err(InferError::operand("probabilities", expected, probabilities.len()).into());
    }
    let label = classes.strided(best, &[], &[])?;
    let values = Tensor::floats(DataType::Float64, &[probabilities.len()], probabilities.to_vec())?;
    Ok(vec![label, values])
}

/// # Shapes
/// Since ios17: `boxes: [batch, 4, boxes]`, `scores: [batch, classes, boxes]`; before, the last two axes are swapped and
/// a fourth result tells how many boxes were chosen of each batch.
fn infer_suppression(ctx: &OpContext<'_>) -> Result<Vec<ValueType>, InferError> {
    let (boxes, scores) = (ctx.tensor("boxes")?, ctx.tensor("scores")?);
    let newer = ctx.opset() >= Opset::Ios17;
    let most = known_int_or(ctx, "max_boxes", 0)?;
    let most = u64::try_from(most).map_err(|_| InferError::operand("max_boxes", "a count", most))?;
    let (&[batch, b1, b2], &[score_batch, s1, s2]) = (boxes.shape.as_slice(), scores.shape.as_slice()) else {
        return Err(InferError::operand("boxes", "tensors of rank 3, as `scores`", boxes));
    };
    let ((four, count), (classes, scored)) = if newer { ((b1, b2), (s1, s2)) } else { ((b2, b1), (s2, s1)) };
    if !compatible(four, 4.into()) || !compatible(batch, score_batch) || !compatible(count, scored) {
        return Err(InferError::operand("boxes", format!("4 numbers for each box of {scores}"), boxes));
    }
    let most = Dimension::Fixed(most);
    let of = |dtype, shape: Vec<Dimension>| ValueType::Tensor(TensorType { dtype, shape });
    let in_order = |inner| if newer { vec![score_batch, inner, most] } else { vec![score_batch, most, inner] };
    let mut results = vec![
        of(boxes.dtype, in_order(4.into())),
        of(scores.dtype, in_order(classes)),
        of(DataType::Int32, vec![score_batch, most]),
    ];
    if !newer {
        results.push(of(DataType::Int32, vec![score_batch]));
    }
    Ok(results)
}

/// What is left of `max_boxes` is filled with zeros, and with -1 for indices.
fn suppress(call: &mut Call<'_>) -> Result<Vec<Tensor>, EvaluateError> {
    let newer = call.opset() >= Opset::Ios17;
    let (boxes, scores) = (call.tensor("boxes")?, call.tensor("scores")?);
    let (&[batch, b1, b2], &[_, s1, s2]) = (boxes.shape(), scores.shape()) else {
        return Err(InferError::operand("boxes", "a tensor of rank 3", boxes.ty()).into());
    };
    let ((four, count), (classes, scored)) = if newer { ((b1, b2), (s1, s2)) } else { ((b2, b1), (s2, s1)) };
    if four != 4 || count != scored || scores.shape().first() != Some(&batch) {
        return Err(
            InferError::operand("boxes", format!("4 numbers for each box of {}", scores.ty()), boxes.ty()).into()
        );
    }
    let most = usize::try_from(call.int_or("max_boxes", 0)?).unwrap_or(0);
    let overlap = f64::from(call.float("iou_threshold")?);
    let least = f64::from(call.float_or("score_threshold", f32::NEG_INFINITY)?);
    let by_class = call.bool_or("per_class_suppression", false)?;
    let (box_values, score_values) = (call.floats("boxes")?, call.floats("scores")?);
    let at = |values: &[f32], batch: usize, place: usize, inner: usize, width: usize| {
        let index =
            if newer { (batch * width + inner) * count + place } else { (batch * count + place) * width + inner };
        f64::from(values.get(index).copied().unwrap_or(f32::NAN))
    };
    let sizes = [check_size(&[batch, most, 4])?, check_size(&[batch, most, classes])?, check_size(&[batch, most])?];
    let mut chosen_boxes = vec![0.0; sizes[0]];
    let mut chosen_scores = vec![0.0; sizes[1]];
    let mut indices = vec![-1; sizes[2]];
    let mut counts = Vec::with_capacity(batch);
    for image in 0..batch {
        let best = |place: usize| {
            let score = |class| (class, at(&score_values, image, place, class, classes));
            (0..classes).map(score).fold((0, f64::NEG_INFINITY), |best, next| if next.1 > best.1 { next } else { best })
        };
        let mut candidates: Vec<(usize, usize, f64)> =
            (0..count).map(|place| (place, best(place))).map(|(place, (class, score))| (place, class, score)).collect();
        candidates.retain(|(_, _, score)| *score >= least);
        candidates.sort_by(|a, b| b.2.total_cmp(&a.2));
        let corners = |place: usize| [0, 1, 2, 3].map(|inner| at(&box_values, image, place, inner, 4));
        let mut chosen: Vec<(usize, usize)> = Vec::new();
        for (place, class, _) in candidates {
            let covers = |(other, other_class): &(usize, usize)| {
                (!by_class || *other_class == class)
                    && intersection_over_union(corners(*other), corners(place)) > overlap
            };
            if chosen.len() < most && !chosen.iter().any(covers) {
                chosen.push((place, class));
            }
        }
        for (rank, (place, _)) in chosen.iter().enumerate() {
            let put = |target: &mut [f32], source: &[f32], width: usize| {
                for inner in 0..width {
                    let index = if newer {
                        (image * width + inner) * most + rank
                    } else {
                        (image * most + rank) * width + inner
                    };
                    #[expect(clippy::cast_possible_truncation, reason = "a float that came from f32")]
                    if let Some(target) = target.get_mut(index) {
                        *target = at(source, image, *place, inner, width) as f32;
                    }
                }
            };
            put(&mut chosen_boxes, &box_values, 4);
            put(&mut chosen_scores, &score_values, classes);
            if let Some(index) = indices.get_mut(image * most + rank) {
                *index = i32::try_from(*place).unwrap_or(i32::MAX);
            }
        }
        counts.push(i32::try_from(chosen.len()).unwrap_or(i32::MAX));
    }
    let in_order = |inner: usize| if newer { [batch, inner, most] } else { [batch, most, inner] };
    let mut results = vec![
        Tensor::floats(boxes.dtype(), &in_order(4), chosen_boxes)?,
        Tensor::floats(scores.dtype(), &in_order(classes), chosen_scores)?,
        Tensor::integers(DataType::Int32, &[batch, most], indices)?,
    ];
    if !newer {
        results.push(Tensor::integers(DataType::Int32, &[batch], counts)?);
    }
    Ok(results)
}

/// How much of two boxes, each a center and a size, is in both.
fn intersection_over_union(a: [f64; 4], b: [f64; 4]) -> f64 {
    let along = |axis: usize| {
        let [a_low, a_high] = [a[axis] - a[axis + 2] / 2.0, a[axis] + a[axis + 2] / 2.0];
        let [b_low, b_high] = [b[axis] - b[axis + 2] / 2.0, b[axis] + b[axis + 2] / 2.0];
        (a_high.min(b_high) - a_low.max(b_low)).max(0.0)
    };
    let both = along(0) * along(1);
    let either = a[2] * a[3] + b[2] * b[3] - both;
    if either > 0.0 { both / either } else { 0.0 }
}
