//! Finds the op that a misspelled name was meant to be.

use strsim::levenshtein;

use crate::ops::OPS;

/// Longer names are not compared: no op is nearly as long.
const LONGEST: usize = 64;

/// The name of the op nearest to `name`, if it is near enough to be meant.
pub(super) fn nearest_op(name: &str) -> Option<&'static str> {
    if name.len() > LONGEST {
        return None;
    }
    let near = OPS.iter().map(|decl| (levenshtein(name, decl.name), decl.name));
    let (distance, nearest) = near.min()?;
    (distance <= nearest.len().max(name.len()).div_ceil(3)).then_some(nearest)
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
}
