//! The contract of ANEMLL's clients: embeddings, chunks of decoder layers over one Core ML state, LM head.
//!
//! # Source
//! ANEMLL's Python and Swift clients, 0.3.5. Its clients do not know the variant [`SINGLE`], which is anec's own.

use super::{
    Cache, Call, Contract, Count, Dimension, ElementType, FileContract, FunctionContract, Phase, Role, Size,
    TensorContract, TensorName, Variant, When,
};

/// Token ids to hidden states.
pub const EMBEDDINGS: Role = Role("embeddings");
/// Decoder layers.
pub const CHUNK: Role = Role("chunk");
/// Hidden states to logits.
pub const LM_HEAD: Role = Role("lm_head");

/// Chunks have one function of several rows.
pub const SINGLE: Variant = Variant {
    name: "single",
    meaning: "chunks have one function of `query_length` rows: `--functions single`, `query_length` in the meta file",
};
/// The head gives the best token of each part.
pub const ARGMAX: Variant = Variant {
    name: "argmax",
    meaning: "the head gives the best token of each part instead of logits: `--argmax`, `argmax_in_model` in the meta file",
};
/// Chunks and head have a function that checks drafts.
pub const VERIFY: Variant = Variant {
    name: "verify",
    meaning: "a function of `verify_length` rows gives logits for each: `--functions infer,prefill,verify:K`, `verify_length` in \
              the meta file",
};
/// There is a state of the layers that keep their window, and another of those that keep the whole context.
pub const SPLIT_CACHE: Variant = Variant {
    name: "split cache",
    meaning: "some layers keep their window only, in a state of their own; `--single-cache` makes it one state",
};
/// Functions of their own shift the window once it is full.
pub const ROTATE: Variant = Variant {
    name: "rotate",
    meaning: "layers with a window shift it once it is full, by functions of their own: `sliding_window` in the meta file",
};
/// The file is the last of the chunks.
pub const LAST_CHUNK: Variant = Variant { name: "last chunk", meaning: "the chunk with the model's last layer" };

/// Names of functions and tensors.
pub mod names {
    /// Function of a model that has only one.
    pub const MAIN: &str = "main";
    /// Function of a chunk that takes one token.
    pub const INFER: &str = "infer";
    /// Function of a chunk that takes a batch of tokens.
    pub const PREFILL: &str = "prefill";
    /// Function of a chunk that takes one token, at positions where the window is full.
    pub const INFER_ROTATE: &str = "infer_rotate";
    /// Function of a chunk that takes a batch of tokens, from a position on where the window is full.
    pub const PREFILL_ROTATE: &str = "prefill_rotate";
    /// Function of chunks and head that checks drafted tokens.
    pub const VERIFY: &str = "verify";
    /// Token ids.
    pub const INPUT_IDS: &str = "input_ids";
    /// Activations.
    pub const HIDDEN_STATES: &str = "hidden_states";
    /// Activations that a chunk gives.
    pub const OUTPUT_HIDDEN_STATES: &str = "output_hidden_states";
    /// Positions of the tokens.
    pub const POSITION_IDS: &str = "position_ids";
    /// Additive mask.
    pub const CAUSAL_MASK: &str = "causal_mask";
    /// Position of the first token.
    pub const CURRENT_POS: &str = "current_pos";
    /// The state, where there is one.
    pub const KV_CACHE: &str = "model_model_kv_cache_0";
    /// The state of layers that keep their window, where there are two.
    pub const KV_CACHE_LOCAL: &str = "model_model_kv_cache_local";
    /// The state of layers that keep the whole context, where there are two.
    pub const KV_CACHE_GLOBAL: &str = "model_model_kv_cache_global";
    /// Prefix of the outputs that hold logits; a number from 1 on follows.
    pub const LOGITS: &str = "logits";
    /// Index of the best token of each part, counted from the first of the part.
    pub const ARGMAX_INDEX: &str = "argmax_idx";
    /// Logit of the best token of each part.
    pub const ARGMAX_VALUE: &str = "argmax_val";
}

pub(super) const ONE: Dimension = Dimension::Fixed(1);
pub(super) const BATCH_SIZE: Dimension = Dimension::Size(Size::BATCH_SIZE);
const VERIFY_LENGTH: Dimension = Dimension::Size(Size::VERIFY_LENGTH);
pub(super) const QUERY_LENGTH: Dimension = Dimension::Size(Size::QUERY_LENGTH);
pub(super) const CONTEXT_LENGTH: Dimension = Dimension::Size(Size::CONTEXT_LENGTH);
pub(super) const HIDDEN_SIZE: Dimension = Dimension::Size(Size::HIDDEN_SIZE);
pub(super) const SPLIT_LM_HEAD: Dimension = Dimension::Size(Size::SPLIT_LM_HEAD);
pub(super) const PART: Dimension = Dimension::Size(Size::LM_HEAD_CHUNK_SIZES);
const ONE_OR_BATCH: Dimension = Dimension::OneOf(&[ONE, BATCH_SIZE]);
const ONE_BATCH_OR_DRAFT: Dimension = Dimension::OneOf(&[ONE, BATCH_SIZE, VERIFY_LENGTH]);
const BATCHES: When = When::All(&[When::Without(SINGLE), When::Without(VERIFY)]);

/// A tensor that is always there.
pub(super) const fn tensor(
    name: &'static str,
    dtype: ElementType,
    shape: &'static [Dimension],
    meaning: &'static str,
) -> TensorContract {
    TensorContract { name: TensorName::One(name), dtype, shape, when: When::Always, meaning }
}

pub(super) const fn hidden_states(shape: &'static [Dimension], when: When) -> TensorContract {
    let meaning = "activations of the tokens";
    TensorContract { when, ..tensor(names::HIDDEN_STATES, ElementType::Float16, shape, meaning) }
}

pub(super) const fn output_hidden_states(shape: &'static [Dimension], when: When) -> TensorContract {
    let meaning = "activations for the next chunk, normalized after the model's last layer";
    TensorContract { when, ..tensor(names::OUTPUT_HIDDEN_STATES, ElementType::Float16, shape, meaning) }
}

pub(super) const fn position_ids(shape: &'static [Dimension]) -> TensorContract {
    tensor(names::POSITION_IDS, ElementType::Int32, shape, "positions of the tokens, from 0")
}

pub(super) const fn causal_mask(shape: &'static [Dimension]) -> TensorContract {
    let meaning = "0 where a token attends to a position, else minus infinity";
    tensor(names::CAUSAL_MASK, ElementType::Float16, shape, meaning)
}

pub(super) const fn current_pos() -> TensorContract {
    let meaning = "position of the first token; the call writes the cache from there on";
    tensor(names::CURRENT_POS, ElementType::Int32, &[ONE], meaning)
}

const fn state(name: &'static str, shape: &'static [Dimension], when: When, meaning: &'static str) -> TensorContract {
    TensorContract { when, ..tensor(name, ElementType::Float16, shape, meaning) }
}

/// The states of every chunk and function.
pub(super) const STATES: &[TensorContract] = &[
    state(
        names::KV_CACHE,
        &[
            Dimension::Product(&[Dimension::Fixed(2), Dimension::Size(Size::NUM_HIDDEN_LAYERS)]),
            Dimension::Size(Size::NUM_KEY_VALUE_HEADS),
            Dimension::Size(Size::CACHE_LENGTH),
            Dimension::Size(Size::HEAD_DIM),
        ],
        When::Without(SPLIT_CACHE),
        "keys of layer l in row l, its values in row num_hidden_layers + l; every chunk declares all of it",
    ),
    state(
        names::KV_CACHE_LOCAL,
        &[
            Dimension::Product(&[Dimension::Fixed(2), Dimension::Size(Size::NUM_LOCAL_LAYERS)]),
            Dimension::Size(Size::NUM_KEY_VALUE_HEADS),
            Dimension::Size(Size::WINDOW_LENGTH),
            Dimension::Size(Size::HEAD_DIM),
        ],
        When::With(SPLIT_CACHE),
        "keys of the i-th layer with a window in row i, its values in row num_local_layers + i; every chunk declares all of it",
    ),
    state(
        names::KV_CACHE_GLOBAL,
        &[
            Dimension::Product(&[Dimension::Fixed(2), Dimension::Size(Size::NUM_GLOBAL_LAYERS)]),
            Dimension::Size(Size::NUM_KEY_VALUE_HEADS),
            CONTEXT_LENGTH,
            Dimension::Size(Size::HEAD_DIM),
        ],
        When::With(SPLIT_CACHE),
        "keys of the i-th layer without a window in row i, its values in row num_global_layers + i; every chunk declares all \
         of it",
    ),
];

pub(super) const EMBEDDINGS_FILE: FileContract = FileContract {
    role: EMBEDDINGS,
    meaning: "token ids to hidden states",
    count: Count::One,
    functions: &[FunctionContract {
        name: names::MAIN,
        when: When::Always,
        meaning: "looks up tokens",
        inputs: &[
            input_ids(&[ONE, ONE_OR_BATCH], BATCHES),
            input_ids(&[ONE, ONE_BATCH_OR_DRAFT], When::With(VERIFY)),
            input_ids(&[ONE, QUERY_LENGTH], When::With(SINGLE)),
        ],
        states: &[],
        outputs: &[
            hidden_states(&[ONE, ONE_OR_BATCH, HIDDEN_SIZE], BATCHES),
            hidden_states(&[ONE, ONE_BATCH_OR_DRAFT, HIDDEN_SIZE], When::With(VERIFY)),
            hidden_states(&[ONE, QUERY_LENGTH, HIDDEN_SIZE], When::With(SINGLE)),
        ],
    }],
};

pub(super) const fn input_ids(shape: &'static [Dimension], when: When) -> TensorContract {
    TensorContract { when, ..tensor(names::INPUT_IDS, ElementType::Int32, shape, "token ids") }
}

pub(super) const INFER: FunctionContract = FunctionContract {
    name: names::INFER,
    when: When::Without(SINGLE),
    meaning: "takes one token",
    inputs: &[
        hidden_states(&[ONE, ONE, HIDDEN_SIZE], When::Always),
        position_ids(&[ONE]),
        causal_mask(&[ONE, ONE, ONE, CONTEXT_LENGTH]),
        current_pos(),
    ],
    states: STATES,
    outputs: &[output_hidden_states(&[ONE, ONE, HIDDEN_SIZE], When::Always)],
};

pub(super) const PREFILL: FunctionContract = FunctionContract {
    name: names::PREFILL,
    when: When::Without(SINGLE),
    meaning: "takes a full batch of the prompt; nobody reads what the last chunk gives",
    inputs: &[
        hidden_states(&[ONE, BATCH_SIZE, HIDDEN_SIZE], When::Always),
        position_ids(&[BATCH_SIZE]),
        causal_mask(&[ONE, ONE, BATCH_SIZE, CONTEXT_LENGTH]),
        current_pos(),
    ],
    states: STATES,
    outputs: &[
        output_hidden_states(&[ONE, BATCH_SIZE, HIDDEN_SIZE], When::Without(LAST_CHUNK)),
        output_hidden_states(&[ONE, ONE, HIDDEN_SIZE], When::With(LAST_CHUNK)),
    ],
};

/// As [`INFER`], once the window is full.
pub(super) const INFER_ROTATE: FunctionContract = FunctionContract {
    name: names::INFER_ROTATE,
    when: When::With(ROTATE),
    meaning: "takes one token at a position from `sliding_window` on, and shifts the windows by one",
    ..INFER
};

/// As [`PREFILL`], once the window is full.
pub(super) const PREFILL_ROTATE: FunctionContract = FunctionContract {
    name: names::PREFILL_ROTATE,
    when: When::With(ROTATE),
    meaning: "takes a full batch of the prompt from a position from `sliding_window` on, and shifts the windows by as many",
    ..PREFILL
};

pub(super) const CHUNK_FILE: FileContract = FileContract {
    role: CHUNK,
    meaning: "decoder layers, those of all chunks in order",
    count: Count::Many,
    functions: &[
        INFER,
        PREFILL,
        INFER_ROTATE,
        PREFILL_ROTATE,
        FunctionContract {
            name: names::VERIFY,
            when: When::With(VERIFY),
            meaning: "takes `verify_length` tokens, or fewer first and any behind them, of which it gives each one's activations",
            inputs: &[
                hidden_states(&[ONE, VERIFY_LENGTH, HIDDEN_SIZE], When::Always),
                position_ids(&[VERIFY_LENGTH]),
                causal_mask(&[ONE, ONE, VERIFY_LENGTH, CONTEXT_LENGTH]),
                current_pos(),
            ],
            states: STATES,
            outputs: &[output_hidden_states(&[ONE, VERIFY_LENGTH, HIDDEN_SIZE], When::Always)],
        },
        FunctionContract {
            name: names::MAIN,
            when: When::With(SINGLE),
            meaning: "takes `query_length` rows, of the prompt or of tokens to decode",
            inputs: &[
                hidden_states(&[ONE, QUERY_LENGTH, HIDDEN_SIZE], When::Always),
                position_ids(&[QUERY_LENGTH]),
                causal_mask(&[ONE, ONE, QUERY_LENGTH, CONTEXT_LENGTH]),
                current_pos(),
            ],
            states: STATES,
            outputs: &[output_hidden_states(&[ONE, QUERY_LENGTH, HIDDEN_SIZE], When::Always)],
        },
    ],
};

pub(super) const LM_HEAD_FILE: FileContract = FileContract {
    role: LM_HEAD,
    meaning: "hidden states of the last chunk to logits, in parts of the vocabulary",
    count: Count::One,
    functions: &[
        FunctionContract {
            name: names::MAIN,
            when: When::Always,
            meaning: "gives logits, or the best token of each part",
            inputs: &[
                hidden_states(&[ONE, ONE, HIDDEN_SIZE], When::Without(SINGLE)),
                hidden_states(&[ONE, QUERY_LENGTH, HIDDEN_SIZE], When::With(SINGLE)),
            ],
            states: &[],
            outputs: &[
                logits(&[ONE, ONE, PART], When::All(&[When::Without(ARGMAX), When::Without(SINGLE)])),
                logits(&[ONE, QUERY_LENGTH, PART], When::All(&[When::Without(ARGMAX), When::With(SINGLE)])),
                argmax_index(&[SPLIT_LM_HEAD], When::All(&[When::With(ARGMAX), When::Without(SINGLE)])),
                argmax_index(&[QUERY_LENGTH, SPLIT_LM_HEAD], When::All(&[When::With(ARGMAX), When::With(SINGLE)])),
                argmax_value(&[SPLIT_LM_HEAD], When::All(&[When::With(ARGMAX), When::Without(SINGLE)])),
                argmax_value(&[QUERY_LENGTH, SPLIT_LM_HEAD], When::All(&[When::With(ARGMAX), When::With(SINGLE)])),
            ],
        },
        FunctionContract {
            name: names::VERIFY,
            when: When::With(VERIFY),
            meaning: "gives the same for each of `verify_length` rows",
            inputs: &[hidden_states(&[ONE, VERIFY_LENGTH, HIDDEN_SIZE], When::Always)],
            states: &[],
            outputs: &[
                logits(&[ONE, VERIFY_LENGTH, PART], When::Without(ARGMAX)),
                argmax_index(&[VERIFY_LENGTH, SPLIT_LM_HEAD], When::With(ARGMAX)),
                argmax_value(&[VERIFY_LENGTH, SPLIT_LM_HEAD], When::With(ARGMAX)),
            ],
        },
    ],
};

pub(super) const fn logits(shape: &'static [Dimension], when: When) -> TensorContract {
    let name = TensorName::Numbered { prefix: names::LOGITS, first: 1, count: Size::SPLIT_LM_HEAD };
    TensorContract { name, dtype: ElementType::Float16, shape, when, meaning: "logits of one part of the vocabulary" }
}

pub(super) const fn argmax_index(shape: &'static [Dimension], when: When) -> TensorContract {
    let meaning = "best token of each part, counted from the first of the part";
    TensorContract { when, ..tensor(names::ARGMAX_INDEX, ElementType::Int32, shape, meaning) }
}

pub(super) const fn argmax_value(shape: &'static [Dimension], when: When) -> TensorContract {
    let meaning = "logit of the best token of each part";
    TensorContract { when, ..tensor(names::ARGMAX_VALUE, ElementType::Float16, shape, meaning) }
}

const fn call(phase: Phase, role: Role, function: &'static str, when: When, feeds: &'static str) -> Call {
    Call { phase, role, function, when, feeds }
}

/// The contract.
pub static CONTRACT: Contract = Contract {
    name: "stateful",
    summary: "embeddings, chunks of decoder layers over one KV cache that Core ML keeps as a state, and an LM head",
    source: "ANEMLL's Python and Swift clients, 0.3.5; the variant `single` is anec's own",
    variants: &[SINGLE, VERIFY, ARGMAX, SPLIT_CACHE, ROTATE, LAST_CHUNK],
    cache: Cache::State,
    files: &[EMBEDDINGS_FILE, CHUNK_FILE, LM_HEAD_FILE],
    calls: &[
        call(Phase::Prompt, EMBEDDINGS, names::MAIN, When::Always, "a full batch of token ids"),
        call(Phase::Prompt, CHUNK, names::PREFILL, When::Without(SINGLE), HIDDEN_FROM_BEFORE),
        call(Phase::Prompt, CHUNK, names::PREFILL_ROTATE, When::With(ROTATE), WHERE_FULL),
        call(Phase::Prompt, CHUNK, names::MAIN, When::With(SINGLE), HIDDEN_FROM_BEFORE),
        call(Phase::Decode, EMBEDDINGS, names::MAIN, When::Always, "one token id, or `query_length` of them"),
        call(Phase::Decode, CHUNK, names::INFER, When::Without(SINGLE), HIDDEN_FROM_BEFORE),
        call(Phase::Decode, CHUNK, names::INFER_ROTATE, When::With(ROTATE), WHERE_FULL),
        call(Phase::Decode, CHUNK, names::MAIN, When::With(SINGLE), HIDDEN_FROM_BEFORE),
        call(
            Phase::Decode,
            CHUNK,
            names::VERIFY,
            When::With(VERIFY),
            "the same for a token and those drafted after it",
        ),
        call(Phase::Decode, LM_HEAD, names::MAIN, When::Always, "the hidden states of the last chunk"),
        call(Phase::Decode, LM_HEAD, names::VERIFY, When::With(VERIFY), "those of `verify`"),
    ],
    rules: &[
        "One state object serves all chunks and functions: make it once, with any chunk, and give it to every call.",
        "A call writes the cache from `current_pos` on: `current_pos` plus its tokens must not exceed `context_length`.",
        "A prompt goes through `prefill` in full batches; what remains, and always the last token, through `infer`.",
        "A single function with fewer tokens than rows takes them first; rows behind them are hidden by the mask and \
         overwritten later.",
        "With `ring_length` in the meta file, layers with a window keep that many positions: once as many tokens were given, a \
         client may go back by `ring_length` minus `ring_window` tokens and no more. Where `max_positions` is there too, \
         positions may go beyond `context_length` up to it; masks have no column for them, and are 0 there.",
        "With `sliding_window` in the meta file, each token from that position on shifts the windows: give it once, in order, \
         and do not go back.",
        "After `verify`, go on at the position behind the drafted tokens that are kept: the others are overwritten.",
        "Logits of the parts are joined in order; an index of a part counts from the part's first token.",
    ],
    systems: "iOS 18 and macOS 15, which brought states and functions; see docs/ane-rules.md for systems that refuse states",
    memory: "the weights once for each function that is loaded, and one state for the whole directory, which Core ML keeps",
    swift: include_str!("swift/stateful.swift"),
};

const WHERE_FULL: &str = "the same, in place of the function without `_rotate`, from position `sliding_window` on";
const HIDDEN_FROM_BEFORE: &str = "the hidden states of the file before, positions, mask, and the state";
