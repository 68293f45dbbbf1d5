//! Which weight is stored how.

use std::collections::BTreeMap;

use super::storage::Storage;

/// What a weight is for, as far as its storage depends on that. One tensor may be more than one: a tied head is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum WeightKind {
    /// A projection of a decoder layer.
    Layer,
    /// The LM head.
    LmHead,
    /// The table of token embeddings.
    Embeddings,
}

/// How every matrix of a model is stored: a storage for each kind, and others for some tensors.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recipe {
    /// Storage of the decoder layers.
    pub ffn: Storage,
    /// Storage of the LM head.
    pub lm_head: Storage,
    /// Storage of the token embeddings.
    pub embeddings: Storage,
    tensors: BTreeMap<(WeightKind, String), Storage>,
}

impl Recipe {
    /// One storage for each kind of weight.
    pub fn new(ffn: Storage, lm_head: Storage, embeddings: Storage) -> Self {
        Self { ffn, lm_head, embeddings, tensors: BTreeMap::new() }
    }

    /// Gives a tensor of the checkpoint a storage of its own.
    #[must_use]
    pub fn with_tensor(mut self, kind: WeightKind, tensor: &str, storage: Storage) -> Self {
        self.tensors.insert((kind, tensor.to_owned()), storage);
        self
    }

    /// The storage of a tensor of the checkpoint where it is used as `kind`.
    pub fn of(&self, kind: WeightKind, tensor: &str) -> &Storage {
        self.tensors.get(&(kind, tensor.to_owned())).unwrap_or_else(|| self.default_of(kind))
    }

    /// Every storage that weights of a kind may have.
    pub(crate) fn all_of(&self, kind: WeightKind) -> impl Iterator<Item = &Storage> {
        let own = self.tensors.iter().filter(move |((of, _), _)| *of == kind).map(|(_, storage)| storage);
        std::iter::once(self.default_of(kind)).chain(own)
    }

    fn default_of(&self, kind: WeightKind) -> &Storage {
        match kind {
            WeightKind::Layer => &self.ffn,
            WeightKind::LmHead => &self.lm_head,
            WeightKind::Embeddings => &self.embeddings,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tensor_has_its_own_storage_only_for_the_kind_that_was_named() {
        let storage = |text: &str| text.parse::<Storage>().expect("a storage");
        let recipe = Recipe::new(storage("lut4"), storage("lut6"), storage("int8"));
        let recipe = recipe.with_tensor(WeightKind::LmHead, "embed", storage("fp16"));
        assert_eq!(recipe.of(WeightKind::LmHead, "embed"), &storage("fp16"));
        assert_eq!(recipe.of(WeightKind::Embeddings, "embed"), &storage("int8"));
        assert_eq!(recipe.of(WeightKind::Layer, "q_proj"), &storage("lut4"));
        assert_eq!(recipe.all_of(WeightKind::LmHead).count(), 2);
    }
}
