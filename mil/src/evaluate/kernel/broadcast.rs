//! Elementwise functions of two tensors that stretch axes of length 1.

use std::borrow::Cow;

use super::strided::strided_copy;
use crate::ops::decl::InferError;

/// The shape of an elementwise result: axes are aligned at the end, and an axis of length 1 stretches.
///
/// # Errors
/// The shapes do not fit.
pub fn broadcast_shape(x: &[usize], y: &[usize]) -> Result<Vec<usize>, InferError> {
    let rank = x.len().max(y.len());
    let axis = |shape: &[usize], position: usize| {
        (position + shape.len()).checked_sub(rank).and_then(|index| shape.get(index).copied()).unwrap_or(1)
    };
    (0..rank)
        .map(|position| match (axis(x, position), axis(y, position)) {
            (a, b) if a == b => Ok(a),
            (1, other) | (other, 1) => Ok(other),
            _ => Err(InferError::Mismatch(format!("shapes {x:?} and {y:?} do not broadcast"))),
        })
        .collect()
}

/// `function` of each pair of elements of `x` and `y`, both stretched to `shape`.
pub fn map_pairs<A: Copy, B>(
    shape: &[usize],
    (x, x_shape): (&[A], &[usize]),
    (y, y_shape): (&[A], &[usize]),
    function: impl Fn(A, A) -> B,
) -> Vec<B> {
    if x_shape == y_shape {
        return x.iter().zip(y).map(|(x, y)| function(*x, *y)).collect();
    }
    let mut output = Vec::with_capacity(shape.iter().product());
    for_each_pair(shape, x_shape, y_shape, |x_start, x_step, y_start, y_step, count| {
        let x = x.get(x_start..).unwrap_or_default();
        let y = y.get(y_start..).unwrap_or_default();
        match (x_step, y_step, x.first(), y.first()) {
            (1, 0, _, Some(y)) => output.extend(x.iter().take(count).map(|x| function(*x, *y))),
            (0, 1, Some(x), _) => output.extend(y.iter().take(count).map(|y| function(*x, *y))),
            (0, 0, Some(x), Some(y)) => output.extend((0..count).map(|_| function(*x, *y))),
            _ => output.extend(x.iter().zip(y).take(count).map(|(x, y)| function(*x, *y))),
        }
    });
    output
}

/// The elements of a tensor of shape `from`, stretched to `shape`.
pub fn stretched<'a, T: Copy>(values: &'a [T], from: &[usize], shape: &[usize]) -> Cow<'a, [T]> {
    if from == shape {
        return Cow::Borrowed(values);
    }
    let strides: Vec<isize> =
        strides(shape.len(), from).iter().map(|stride| isize::try_from(*stride).unwrap_or(0)).collect();
    let mut output = Vec::new();
    strided_copy(values, 0, shape, &strides, &mut output);
    Cow::Owned(output)
}

/// Calls `visit(x_start, x_step, y_start, y_step, count)` for each run of elements of `shape`, in row-major order. Within
/// a run, the operands advance by their step, which is 0 or 1.
pub fn for_each_pair(
    shape: &[usize],
    x_shape: &[usize],
    y_shape: &[usize],
    mut visit: impl FnMut(usize, usize, usize, usize, usize),
) {
    if shape.contains(&0) {
        return;
    }
    let x_strides = strides(shape.len(), x_shape);
    let y_strides = strides(shape.len(), y_shape);
    // Axes at the end that both operands run through in the same way make one run.
    let mut run = 1;
    let mut outer = shape.len();
    let mut steps = (0, 0);
    while let Some(axis) = outer.checked_sub(1) {
        let (size, x, y) = (shape[axis], x_strides[axis], y_strides[axis]);
        if size == 1 {
            outer = axis;
            continue;
        }
        let fits = if run == 1 { x <= 1 && y <= 1 } else { x == steps.0 * run && y == steps.1 * run };
        if !fits {
            break;
        }
        if run == 1 {
            steps = (x, y);
        }
        run *= size;
        outer = axis;
    }
    let mut index = vec![0; outer];
    let (mut x_start, mut y_start) = (0, 0);
    loop {
        visit(x_start, steps.0, y_start, steps.1, run);
        let mut axis = outer;
        loop {
            let Some(next) = axis.checked_sub(1) else { return };
            axis = next;
            index[axis] += 1;
            x_start += x_strides[axis];
            y_start += y_strides[axis];
            if index[axis] < shape[axis] {
                break;
            }
            index[axis] = 0;
            x_start -= x_strides[axis] * shape[axis];
            y_start -= y_strides[axis] * shape[axis];
        }
    }
}

/// Row-major strides of `shape`, aligned at the end of `rank` axes; 0 where an axis stretches.
fn strides(rank: usize, shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![0; rank];
    let mut stride = 1;
    for (position, size) in shape.iter().enumerate().rev() {
        if *size != 1 {
            strides[rank - shape.len() + position] = stride;
        }
        stride *= size;
    }
    strides
}

#[cfg(test)]
mod tests {
    use super::*;

    fn brute_force(shape: &[usize], x_shape: &[usize], y_shape: &[usize]) -> Vec<(usize, usize)> {
        let count = shape.iter().product::<usize>();
        let place = |flat: usize, operand: &[usize]| {
            let (mut rest, mut offset, mut stride) = (flat, 0, 1);
            for (position, size) in shape.iter().enumerate().rev() {
                let at = rest % size;
                rest /= size;
                if let Some(own) = (position + operand.len()).checked_sub(shape.len()) {
                    offset += if operand[own] == 1 { 0 } else { at * stride };
                    stride *= operand[own];
                }
            }
            offset
        };
        (0..count).map(|flat| (place(flat, x_shape), place(flat, y_shape))).collect()
    }

    #[test]
    fn runs_visit_every_pair_in_order() {
        let shapes: &[(&[usize], &[usize])] = &[
            (&[2, 3, 4], &[2, 3, 4]),
            (&[2, 3, 4], &[]),
            (&[2, 3, 4], &[4]),
            (&[2, 3, 4], &[3, 1]),
            (&[2, 1, 4], &[2, 3, 1]),
            (&[1, 1], &[3, 1, 2]),
            (&[1], &[1, 1]),
            (&[5, 1, 1, 2], &[1, 3, 1, 2]),
            (&[0, 3], &[1, 3]),
        ];
        for (x_shape, y_shape) in shapes {
            let shape = broadcast_shape(x_shape, y_shape).expect("they fit");
            let x: Vec<usize> = (0..x_shape.iter().product()).collect();
            let y: Vec<usize> = (0..y_shape.iter().product()).collect();
            let pairs = map_pairs(&shape, (&x, x_shape), (&y, y_shape), |x, y| (x, y));
            assert_eq!(pairs, brute_force(&shape, x_shape, y_shape), "{x_shape:?} {y_shape:?}");
        }
    }

    #[test]
    fn shapes_that_do_not_fit_are_refused() {
        assert!(broadcast_shape(&[2, 3], &[2]).is_err());
    }
}
