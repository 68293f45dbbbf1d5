//! Lengths of axes, in sizes that a conversion fixes.

use std::fmt;

/// A size that a conversion fixes, by its name in configs and meta files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Size(pub &'static str);

impl Size {
    /// Tokens of the context: columns of masks.
    pub const CONTEXT_LENGTH: Self = Self("context_length");
    /// Positions that a cache holds, where these may be fewer than the context: before a block, or of the windows of all layers.
    pub const CACHE_LENGTH: Self = Self("cache_length");
    /// Tokens of one call for a prompt.
    pub const BATCH_SIZE: Self = Self("batch_size");
    /// Rows of a single function.
    pub const QUERY_LENGTH: Self = Self("query_length");
    /// Rows of the function that checks drafts.
    pub const VERIFY_LENGTH: Self = Self("verify_length");
    /// Tokens of the vocabulary.
    pub const VOCAB_SIZE: Self = Self("vocab_size");
    /// Channels of the residual stream.
    pub const HIDDEN_SIZE: Self = Self("hidden_size");
    /// Decoder layers of the model.
    pub const NUM_HIDDEN_LAYERS: Self = Self("num_hidden_layers");
    /// Channels within an MLP.
    pub const INTERMEDIATE_SIZE: Self = Self("intermediate_size");
    /// Heads of queries.
    pub const NUM_ATTENTION_HEADS: Self = Self("num_attention_heads");
    /// Heads of keys and values.
    pub const NUM_KEY_VALUE_HEADS: Self = Self("num_key_value_heads");
    /// Channels of a head.
    pub const HEAD_DIM: Self = Self("head_dim");
    /// Positions that the state of layers with a window keeps, where there are two.
    pub const WINDOW_LENGTH: Self = Self("window_length");
    /// Decoder layers that keep their window only.
    pub const NUM_LOCAL_LAYERS: Self = Self("num_local_layers");
    /// Decoder layers that keep the whole context, where others keep their window only.
    pub const NUM_GLOBAL_LAYERS: Self = Self("num_global_layers");
    /// Decoder layers of one file.
    pub const CHUNK_LAYERS: Self = Self("chunk_layers");
    /// Masks that differ, one for each window that layers look back over.
    pub const ATTENTION_MASKS: Self = Self("attention_masks");
    /// Rotary embeddings that differ.
    pub const ROTARY_EMBEDDINGS: Self = Self("rotary_embeddings");
    /// Channels of a head that each rotary embedding rotates: as many numbers as there are embeddings.
    pub const ROTARY_DIMS: Self = Self("rotary_dims");
    /// Parts of the LM head.
    pub const SPLIT_LM_HEAD: Self = Self("split_lm_head");
    /// Tokens in each part of the LM head: as many numbers as there are parts.
    pub const LM_HEAD_CHUNK_SIZES: Self = Self("lm_head_chunk_sizes");
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// The length of an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dimension {
    /// This number.
    Fixed(u64),
    /// A size; of a size with several numbers, the one of the tensor's position among those of its name.
    Size(Size),
    /// A product.
    Product(&'static [Dimension]),
    /// A sum.
    Sum(&'static [Dimension]),
    /// Any of these, as the caller chooses.
    OneOf(&'static [Dimension]),
}

impl fmt::Display for Dimension {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (dimensions, between) = match self {
            Self::Fixed(length) => return write!(f, "{length}"),
            Self::Size(size) => return write!(f, "{size}"),
            Self::Product(factors) => (factors, " * "),
            Self::Sum(terms) => (terms, " + "),
            Self::OneOf(lengths) => (lengths, " or "),
        };
        for (index, dimension) in dimensions.iter().enumerate() {
            f.write_str(if index == 0 { "" } else { between })?;
            write!(f, "{dimension}")?;
        }
        Ok(())
    }
}

/// The length of an axis in a conversion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Axis {
    /// This length.
    One(u64),
    /// Any of these lengths, each once, at least two.
    OneOf(Vec<u64>),
    /// A length that depends on a size that is not known.
    Any,
}

impl Axis {
    /// Whether an axis may have this length.
    pub fn allows(&self, length: u64) -> bool {
        match self {
            Self::One(expected) => *expected == length,
            Self::OneOf(expected) => expected.contains(&length),
            Self::Any => true,
        }
    }
}

impl fmt::Display for Axis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One(length) => write!(f, "{length}"),
            Self::OneOf(lengths) => f.write_str(&lengths.iter().map(u64::to_string).collect::<Vec<_>>().join(" or ")),
            Self::Any => f.write_str("?"),
        }
    }
}
