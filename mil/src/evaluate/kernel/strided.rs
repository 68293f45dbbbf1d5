//! Copies between layouts.

/// Row-major strides of `shape`.
pub fn row_major(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis] * shape[axis];
    }
    strides
}

/// How often `axis` is run through, its length, and the distance between its elements: `[outer, length, inner]`.
pub fn along_axis(shape: &[usize], axis: usize) -> [usize; 3] {
    let (outer, rest) = shape.split_at(axis.min(shape.len()));
    let (length, inner) = rest.split_first().map_or((1, rest), |(length, inner)| (*length, inner));
    [outer.iter().product(), length, inner.iter().product()]
}

/// Appends, in row-major order of `shape`, the elements of `source` at `start` plus index times `strides`, which may be
/// negative. Elements outside of `source` are left out, so callers check bounds before.
pub fn strided_copy<T: Clone>(source: &[T], start: usize, shape: &[usize], strides: &[isize], output: &mut Vec<T>) {
    if shape.contains(&0) {
        return;
    }
    output.reserve(shape.iter().product());
    copy(source, start, shape, strides, output);
}

fn copy<T: Clone>(source: &[T], start: usize, shape: &[usize], strides: &[isize], output: &mut Vec<T>) {
    let (Some((size, inner_shape)), Some((stride, inner_strides))) = (shape.split_first(), strides.split_first())
    else {
        output.extend(source.get(start).cloned());
        return;
    };
    if is_dense(shape, strides) {
        let count: usize = shape.iter().product();
        output.extend_from_slice(source.get(start..start.saturating_add(count)).unwrap_or_default());
        return;
    }
    if let ([], Ok(step)) = (inner_shape, usize::try_from(*stride))
        && step > 0
    {
        output.extend(source.get(start..).unwrap_or_default().iter().step_by(step).take(*size).cloned());
        return;
    }
    for index in 0..*size {
        let Some(place) = isize::try_from(index).ok().and_then(|index| start.checked_add_signed(index * stride)) else {
            return;
        };
        copy(source, place, inner_shape, inner_strides, output);
    }
}

/// Puts the elements of `source`, in row-major order of `shape`, at `start` plus index times `strides`; `None` where that is
/// outside of `target` or `source` has too few.
pub(in crate::evaluate) fn strided_write<T: Clone>(
    target: &mut [T],
    start: usize,
    shape: &[usize],
    strides: &[isize],
    source: &[T],
) -> Option<()> {
    let (Some((size, inner_shape)), Some((stride, inner_strides))) = (shape.split_first(), strides.split_first())
    else {
        *target.get_mut(start)? = source.first()?.clone();
        return Some(());
    };
    if is_dense(shape, strides) {
        let count: usize = shape.iter().product();
        target.get_mut(start..start.checked_add(count)?)?.clone_from_slice(source.get(..count)?);
        return Some(());
    }
    let inner: usize = inner_shape.iter().product();
    for index in 0..*size {
        let place = start.checked_add_signed(isize::try_from(index).ok()?.checked_mul(*stride)?)?;
        strided_write(target, place, inner_shape, inner_strides, source.get(index * inner..)?)?;
    }
    Some(())
}

/// Whether the elements lie one behind the other.
fn is_dense(shape: &[usize], strides: &[isize]) -> bool {
    let mut expected = 1;
    for (size, stride) in shape.iter().zip(strides).rev() {
        if *size != 1 && *stride != expected {
            return false;
        }
        expected *= isize::try_from(*size).unwrap_or(isize::MAX);
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strides_pick_transpose_and_reverse() {
        let source: Vec<usize> = (0..6).collect();
        let copied = |start, shape: &[usize], strides: &[isize]| {
            let mut output = Vec::new();
            strided_copy(&source, start, shape, strides, &mut output);
            output
        };
        assert_eq!(row_major(&[2, 3]), [3, 1]);
        assert_eq!(copied(0, &[2, 3], &[3, 1]), source);
        assert_eq!(copied(0, &[3, 2], &[1, 3]), [0, 3, 1, 4, 2, 5]);
        assert_eq!(copied(5, &[6], &[-1]), [5, 4, 3, 2, 1, 0]);
        assert_eq!(copied(1, &[2, 1], &[3, 7]), [1, 4]);
        assert_eq!(copied(2, &[], &[]), [2]);
        assert_eq!(copied(0, &[2, 0], &[1, 1]), Vec::<usize>::new());
    }

    #[test]
    fn writes_go_where_copies_come_from() {
        let mut target = vec![0; 6];
        assert_eq!(strided_write(&mut target, 1, &[2, 2], &[3, 1], &[1, 2, 3, 4]), Some(()));
        assert_eq!(target, [0, 1, 2, 0, 3, 4]);
        assert_eq!(strided_write(&mut target, 5, &[3], &[-2], &[7, 8, 9]), Some(()));
        assert_eq!(target, [0, 9, 2, 8, 3, 7]);
        assert_eq!(strided_write(&mut target, 5, &[3], &[2], &[7, 8, 9]), None);
        assert_eq!(strided_write(&mut target, 0, &[3], &[1], &[7]), None);
    }
}
