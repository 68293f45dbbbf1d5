//! What values of `model_type` mean that no key of config.json says: a row each.
//!
//! # Source
//! Config and model classes of transformers 4.57.

/// What a `model_type` means.
#[derive(Debug)]
pub(super) struct Kind {
    pub(super) model_type: &'static str,
    /// The key that names the activation, and the only one that is computed.
    pub(super) activation: (&'static str, &'static str),
    /// Channels of a head where nothing is said; none is `hidden_size / num_attention_heads`.
    pub(super) head_dim: Option<usize>,
    /// Key heads where nothing is said; none is as many as query heads.
    pub(super) num_key_value_heads: Option<usize>,
    pub(super) rope_theta: f64,
    pub(super) tie_word_embeddings: bool,
    pub(super) norms: Norms,
    pub(super) head_norms: HeadNorms,
    /// Added to the weights of norms.
    pub(super) norm_offset: f64,
    /// Whether queries, keys and values are in one weight, and gate and up in one.
    pub(super) fused: bool,
    /// Which layers slide where the config lists no kinds.
    pub(super) slides: Slides,
}

/// Where the norms of a layer stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Norms {
    /// Before attention and MLP.
    Before,
    /// Before and behind each.
    Around,
    /// Behind each.
    Behind,
}

/// Over what queries and keys are normalized.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeadNorms {
    /// Nothing.
    None,
    /// Each head.
    Each,
    /// All heads of a token together.
    Together,
}

/// Which layers slide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Slides {
    /// None.
    Never,
    /// All, where there is a window.
    All,
    /// Those from `max_window_layers` on, where `use_sliding_window` says so.
    Upper,
    /// All but every so many.
    Pattern,
    /// Those that do not rotate, where `use_sliding_window` says so.
    WithoutRotation,
}

const LLAMA: Kind = Kind {
    model_type: "llama",
    activation: ("hidden_act", "silu"),
    head_dim: None,
    num_key_value_heads: None,
    rope_theta: 1e4,
    tie_word_embeddings: false,
    norms: Norms::Before,
    head_norms: HeadNorms::None,
    norm_offset: 0.0,
    fused: false,
    slides: Slides::Never,
};

static KINDS: &[Kind] = &[
    LLAMA,
    Kind {
        model_type: "gemma3_text",
        activation: ("hidden_activation", "gelu_pytorch_tanh"),
        head_dim: Some(256),
        num_key_value_heads: Some(4),
        rope_theta: 1e6,
        tie_word_embeddings: true,
        norms: Norms::Around,
        head_norms: HeadNorms::Each,
        norm_offset: 1.0,
        slides: Slides::Pattern,
        ..LLAMA
    },
    Kind { model_type: "granite", ..LLAMA },
    Kind { model_type: "mistral", slides: Slides::All, ..LLAMA },
    Kind { model_type: "olmo2", norms: Norms::Behind, head_norms: HeadNorms::Together, ..LLAMA },
    Kind { model_type: "phi3", fused: true, slides: Slides::All, ..LLAMA },
    Kind { model_type: "qwen2", slides: Slides::Upper, ..LLAMA },
    Kind { model_type: "qwen3", head_dim: Some(128), head_norms: HeadNorms::Each, slides: Slides::Upper, ..LLAMA },
    Kind {
        model_type: "smollm3",
        num_key_value_heads: Some(4),
        rope_theta: 2e6,
        tie_word_embeddings: true,
        slides: Slides::WithoutRotation,
        ..LLAMA
    },
];

/// The row of a `model_type`.
pub(super) fn find(model_type: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|kind| kind.model_type == model_type)
}

/// All values of `model_type`, for messages.
pub(super) fn model_types() -> String {
    let mut names: Vec<&str> = KINDS.iter().map(|kind| kind.model_type).collect();
    names.sort_unstable();
    names.join(", ")
}
