//! Finds the op that a misspelled name was meant to be.

use crate::ops::OPS;

/// Longer names are not compared: no op is nearly as long.
const LONGEST: usize = 64;

/// The name of the op nearest to `name`, if it is near enough to be meant.
pub(super) fn nearest_op(name: &str) -> Option<&'static str> {
    if name.len() > LONGEST {
        return None;
    }
    let near = OPS.iter().map(|decl| (distance(name.as_bytes(), decl.name.as_bytes()), decl.name));
    let (distance, nearest) = near.min()?;
    (distance <= nearest.len().max(name.len()).div_ceil(3)).then_some(nearest)
}

/// Insertions, deletions and replacements that lead from `a` to `b`.
fn distance(a: &[u8], b: &[u8]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (line, x) in a.iter().enumerate() {
        let mut diagonal = line;
        let mut left = line + 1;
        if let Some(first) = row.first_mut() {
            *first = left;
        }
        for (y, cell) in b.iter().zip(row.iter_mut().skip(1)) {
            let replaced = diagonal + usize::from(x != y);
            diagonal = *cell;
            left = replaced.min(diagonal + 1).min(left + 1);
            *cell = left;
        }
    }
    row.last().copied().unwrap_or(a.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelled_op_is_recognized() {
        assert_eq!(nearest_op("slice_updat"), Some("slice_update"));
        assert_eq!(nearest_op("softmx"), Some("softmax"));
    }

    #[test]
    fn a_name_like_no_op_is_not_guessed_at() {
        assert_eq!(nearest_op("zzzzzzzz"), None);
        assert_eq!(nearest_op(&"relu".repeat(1000)), None);
    }

    #[test]
    fn distance_counts_single_letter_edits() {
        assert_eq!(distance(b"kitten", b"sitting"), 3);
        assert_eq!(distance(b"", b"abc"), 3);
        assert_eq!(distance(b"abc", b""), 3);
    }
}
