//! What training tools put before the names of tensors, and how it is left out.

use std::collections::BTreeMap;

use super::{Checkpoint, CheckpointError};

/// What training tools put before the names of all tensors: torch.compile, data parallelism, multimodal models, PEFT.
const PREFIXES: [&str; 4] = ["_orig_mod.", "module.", "language_model.", "base_model.model."];

/// Those of them that a part of a model may have, because the tool was given that part. Others tell a model's parts apart.
const PREFIXES_OF_PARTS: [&str; 2] = ["_orig_mod.", "module."];

impl Checkpoint {
    /// The checkpoint with `prefix` left out of the names of the tensors that begin with it.
    ///
    /// # Errors
    /// No name begins with it, or two tensors would have one name.
    pub fn without_prefix(mut self, prefix: &str) -> Result<Self, CheckpointError> {
        let failed = |problem| CheckpointError::Prefix { prefix: prefix.to_owned(), problem };
        let count = with_prefix(&self.tensors, prefix);
        if count == 0 {
            return Err(failed("no name begins with it".to_owned()));
        }
        if let Some(name) = clash(&self.tensors, prefix) {
            return Err(failed(format!("there is a `{name}` and a `{prefix}{name}`")));
        }
        let note = note(prefix, count, self.tensors.len());
        self.tensors = stripped(self.tensors, prefix);
        self.notes.found = Some(self.notes.found.map_or_else(|| note.clone(), |found| format!("{found}; {note}")));
        Ok(self)
    }
}

/// Leaves out what training tools put before names, where no two names become one, and says what that was.
pub(super) fn without_known<V>(mut tensors: BTreeMap<String, V>) -> (BTreeMap<String, V>, Option<String>) {
    let (mut left_out, mut most, total) = (String::new(), 0, tensors.len());
    let is_left_out = |tensors: &BTreeMap<String, V>, prefix: &str| {
        let count = with_prefix(tensors, prefix);
        let is_enough =
            if PREFIXES_OF_PARTS.contains(&prefix) { count > 0 } else { count == tensors.len() && count > 0 };
        is_enough && clash(tensors, prefix).is_none()
    };
    while let Some(prefix) = PREFIXES.iter().find(|prefix| is_left_out(&tensors, prefix)) {
        most = most.max(with_prefix(&tensors, prefix));
        left_out.push_str(prefix);
        tensors = stripped(tensors, prefix);
    }
    let note = (!left_out.is_empty()).then(|| note(&left_out, most, total));
    (tensors, note)
}

/// How many names begin with a prefix.
fn with_prefix<V>(tensors: &BTreeMap<String, V>, prefix: &str) -> usize {
    tensors.keys().filter(|name| name.starts_with(prefix)).count()
}

/// A name that a tensor would get and another one has.
fn clash<'a, V>(tensors: &'a BTreeMap<String, V>, prefix: &str) -> Option<&'a str> {
    let shorter = tensors.keys().filter_map(|name| name.strip_prefix(prefix));
    shorter.into_iter().find(|name| tensors.contains_key(*name) && !name.starts_with(prefix))
}

fn stripped<V>(tensors: BTreeMap<String, V>, prefix: &str) -> BTreeMap<String, V> {
    let shorter = |(name, tensor): (String, V)| match name.strip_prefix(prefix) {
        Some(shorter) => (shorter.to_owned(), tensor),
        None => (name, tensor),
    };
    tensors.into_iter().map(shorter).collect()
}

fn note(prefix: &str, count: usize, total: usize) -> String {
    let which = if count == total { "all begin" } else { "begin" };
    format!("tensors whose names {which} with `{prefix}`, which is left out")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(names: &[&str]) -> (Vec<String>, Option<String>) {
        let (tensors, note) = without_known(names.iter().map(|name| ((*name).to_owned(), ())).collect());
        (tensors.into_keys().collect(), note)
    }

    #[test]
    fn what_training_tools_add_is_left_out_where_no_names_become_one() {
        let (names, note) = left(&["module._orig_mod.a", "module._orig_mod.b"]);
        assert_eq!(names, ["a", "b"]);
        assert!(note.is_some_and(|note| note.contains("all begin with `module._orig_mod.`")));
        // A compiled decoder under a head that is not.
        let (names, note) = left(&["_orig_mod.a", "lm_head"]);
        assert_eq!(names, ["a", "lm_head"]);
        assert!(note.is_some_and(|note| note.contains("begin with `_orig_mod.`") && !note.contains("all begin")));
        assert_eq!(left(&["module.a", "a"]), (vec!["a".to_owned(), "module.a".to_owned()], None));
        assert_eq!(left(&["model.a"]), (vec!["model.a".to_owned()], None));
        assert_eq!(left(&["language_model.a", "vision_tower.b"]).1, None, "parts of one model");
    }
}
