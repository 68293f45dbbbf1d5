//! The contract without a Core ML state: the client keeps keys and values, gives them to every call, and writes the rows that
//! the call gives back.
//!
//! # Source
//! Apple's guidance for models on the Neural Engine, Argmax's `TTSKit` and Anemll-forge keep caches this way; names and
//! numbers of functions are anec's own. Caches lie as in coreml-llm-cli, `[1, channels, 1, positions]`.

use super::stateful::{self, ARGMAX, HIDDEN_SIZE, LM_HEAD_FILE, ONE, QUERY_LENGTH, SINGLE};
use super::{Cache, Call, Contract, Count, Dimension, ElementType, FileContract, FunctionContract, Phase, Role, Size};
use super::{TensorContract, TensorName, When};

/// Token ids to hidden states, positions to rotations.
pub const EMBEDDINGS: Role = stateful::EMBEDDINGS;
/// Decoder layers.
pub const CHUNK: Role = stateful::CHUNK;
/// Hidden states to logits.
pub const LM_HEAD: Role = stateful::LM_HEAD;

/// What masks hold where a token attends to nothing; far enough below any score that softmax gives 0, and near enough to
/// leave fp16 room for the score.
pub const MASKED: f32 = -1e4;

/// The functions of embeddings and chunks, by the tokens that they take, the fewest first.
pub const FUNCTIONS: [(u64, &str); 4] = [(1, "query_1"), (8, "query_8"), (16, "query_16"), (64, "query_64")];

/// Names of tensors that the stateful contract does not have.
pub mod names {
    pub use crate::contract::stateful::names::{
        HIDDEN_STATES, INPUT_IDS, LOGITS, MAIN, OUTPUT_HIDDEN_STATES, POSITION_IDS,
    };

    /// Prefix of masks; a number from 1 on follows, that of their window in the meta file.
    pub const MASK: &str = "mask";
    /// Prefix of cosines; a number from 1 on follows.
    pub const COS: &str = "cos";
    /// Prefix of sines; a number from 1 on follows.
    pub const SIN: &str = "sin";
    /// Prefix of the keys of a layer; its number in the chunk follows, from 0.
    pub const K_CACHE: &str = "k_cache_";
    /// Prefix of the values of a layer; its number in the chunk follows, from 0.
    pub const V_CACHE: &str = "v_cache_";
    /// Prefix of a call's own keys of a layer.
    pub const NEW_K_CACHE: &str = "new_k_cache_";
    /// Prefix of a call's own values of a layer.
    pub const NEW_V_CACHE: &str = "new_v_cache_";
}

const CHANNELS: Dimension =
    Dimension::Product(&[Dimension::Size(Size::NUM_KEY_VALUE_HEADS), Dimension::Size(Size::HEAD_DIM)]);
const CONTEXT_LENGTH: Dimension = Dimension::Size(Size::CONTEXT_LENGTH);
const ROTARY_DIM: Dimension = Dimension::Size(Size::ROTARY_DIMS);

pub(super) const fn one(
    name: &'static str,
    dtype: ElementType,
    shape: &'static [Dimension],
    meaning: &'static str,
) -> TensorContract {
    TensorContract { name: TensorName::One(name), dtype, shape, when: When::Always, meaning }
}

pub(super) const fn several(
    prefix: &'static str,
    first: u64,
    count: Size,
    shape: &'static [Dimension],
    meaning: &'static str,
) -> TensorContract {
    let name = TensorName::Numbered { prefix, first, count };
    TensorContract { name, dtype: ElementType::Float16, shape, when: When::Always, meaning }
}

pub(super) const fn rotation(prefix: &'static str, shape: &'static [Dimension]) -> TensorContract {
    several(prefix, 1, Size::ROTARY_EMBEDDINGS, shape, "the rotation at each position, of one rotary embedding")
}

const fn cache(prefix: &'static str, shape: &'static [Dimension]) -> TensorContract {
    let meaning =
        "what calls gave for earlier positions, in their columns; columns that masks hide may hold anything finite";
    several(prefix, 0, Size::CHUNK_LAYERS, shape, meaning)
}

const fn rows(prefix: &'static str, shape: &'static [Dimension]) -> TensorContract {
    several(prefix, 0, Size::CHUNK_LAYERS, shape, "what this call adds, a column for each token")
}

/// A function of the embeddings.
macro_rules! embeddings {
    ($name:expr, $tokens:expr, $when:expr) => {
        FunctionContract {
            name: $name,
            when: $when,
            meaning: "looks up tokens and positions",
            inputs: &[
                one(names::INPUT_IDS, ElementType::Int32, &[ONE, $tokens], "token ids"),
                one(names::POSITION_IDS, ElementType::Int32, &[$tokens], "their positions, from 0"),
            ],
            states: &[],
            outputs: &[
                one(
                    names::HIDDEN_STATES,
                    ElementType::Float16,
                    &[ONE, $tokens, HIDDEN_SIZE],
                    "activations of the tokens",
                ),
                rotation(names::COS, &[ONE, ONE, $tokens, ROTARY_DIM]),
                rotation(names::SIN, &[ONE, ONE, $tokens, ROTARY_DIM]),
            ],
        }
    };
}

/// A function of a chunk.
macro_rules! chunk {
    ($name:expr, $tokens:expr, $when:expr) => {
        FunctionContract {
            name: $name,
            when: $when,
            meaning: "takes as many tokens as its name says, or fewer, of the prompt or to decode",
            inputs: &[
                one(
                    names::HIDDEN_STATES,
                    ElementType::Float16,
                    &[ONE, $tokens, HIDDEN_SIZE],
                    "activations of the tokens",
                ),
                several(
                    names::MASK,
                    1,
                    Size::ATTENTION_MASKS,
                    &[
                        ONE,
                        ONE,
                        $tokens,
                        Dimension::Sum(&[CONTEXT_LENGTH, $tokens]),
                    ],
                    "0 where a token attends, else -10000: a column for each of the cache, then one for each token of the call",
                ),
                rotation(names::COS, &[ONE, ONE, $tokens, ROTARY_DIM]),
                rotation(names::SIN, &[ONE, ONE, $tokens, ROTARY_DIM]),
                cache(names::K_CACHE, &[ONE, CHANNELS, ONE, CONTEXT_LENGTH]),
                cache(names::V_CACHE, &[ONE, CHANNELS, ONE, CONTEXT_LENGTH]),
            ],
            states: &[],
            outputs: &[
                one(
                    names::OUTPUT_HIDDEN_STATES,
                    ElementType::Float16,
                    &[ONE, $tokens, HIDDEN_SIZE],
                    "activations for the next chunk, normalized after the model's last layer",
                ),
                rows(names::NEW_K_CACHE, &[ONE, CHANNELS, ONE, $tokens]),
                rows(names::NEW_V_CACHE, &[ONE, CHANNELS, ONE, $tokens]),
            ],
        }
    };
}

const SEVERAL: When = When::Without(SINGLE);

const fn call(phase: Phase, role: Role, function: &'static str, when: When, feeds: &'static str) -> Call {
    Call { phase, role, function, when, feeds }
}

const LOOKED_UP: &str = "token ids and positions";
const LAYERS_TAKE: &str = "hidden states of the file before, masks, rotations, and the caches of its layers";

/// The contract.
pub static CONTRACT: Contract = Contract {
    name: "host-cache",
    summary: "embeddings, chunks of decoder layers that read a KV cache which the client keeps, and an LM head",
    source: "the form of Apple's and Argmax's runtimes; names and numbers of functions are anec's own",
    variants: &[SINGLE, ARGMAX],
    cache: Cache::Client,
    files: &[
        FileContract {
            role: EMBEDDINGS,
            meaning: "token ids to hidden states, positions to rotations",
            count: Count::One,
            functions: &[
                embeddings!("query_1", ONE, SEVERAL),
                embeddings!("query_8", Dimension::Fixed(8), SEVERAL),
                embeddings!("query_16", Dimension::Fixed(16), SEVERAL),
                embeddings!("query_64", Dimension::Fixed(64), SEVERAL),
                embeddings!(names::MAIN, QUERY_LENGTH, When::With(SINGLE)),
            ],
        },
        FileContract {
            role: CHUNK,
            meaning: "decoder layers, those of all chunks in order",
            count: Count::Many,
            functions: &[
                chunk!("query_1", ONE, SEVERAL),
                chunk!("query_8", Dimension::Fixed(8), SEVERAL),
                chunk!("query_16", Dimension::Fixed(16), SEVERAL),
                chunk!("query_64", Dimension::Fixed(64), SEVERAL),
                chunk!(names::MAIN, QUERY_LENGTH, When::With(SINGLE)),
            ],
        },
        LM_HEAD_FILE,
    ],
    calls: &[
        call(Phase::Prompt, EMBEDDINGS, "query_64", SEVERAL, LOOKED_UP),
        call(Phase::Prompt, EMBEDDINGS, names::MAIN, When::With(SINGLE), LOOKED_UP),
        call(Phase::Prompt, CHUNK, "query_64", SEVERAL, LAYERS_TAKE),
        call(Phase::Prompt, CHUNK, names::MAIN, When::With(SINGLE), LAYERS_TAKE),
        call(Phase::Decode, EMBEDDINGS, "query_1", SEVERAL, LOOKED_UP),
        call(Phase::Decode, EMBEDDINGS, names::MAIN, When::With(SINGLE), LOOKED_UP),
        call(Phase::Decode, CHUNK, "query_1", SEVERAL, LAYERS_TAKE),
        call(Phase::Decode, CHUNK, names::MAIN, When::With(SINGLE), LAYERS_TAKE),
        call(
            Phase::Decode,
            LM_HEAD,
            names::MAIN,
            When::Always,
            "the row of the last token, or all rows of a single function",
        ),
    ],
    rules: &[
        "Keep two caches for each layer, finite from the start; give all of a chunk to each of its calls, unchanged.",
        "After a call, copy column t of `new_k_cache_i` and `new_v_cache_i` to the column of the token's position.",
        "`mask<n>` is that of window n of `attention_windows`: a token at position p attends to position j of the cache where \
         j is before the call's first position and j + window > p, and to token s of the call where s <= t and s + window > t.",
        "Fewer tokens than a function takes come first; ids behind them are any, with positions below `context_length`, and \
         their columns are not copied.",
        "Any function serves any tokens: those of 8 and 16 are for drafts to verify and for short prompts.",
        "Logits of the parts are joined in order; an index of a part counts from the part's first token.",
    ],
    systems: "iOS 18 and macOS 15 with four functions; iOS 17 and macOS 14 with one (`--functions single --target macos14`)",
    memory: "the weights once for each function that is loaded; the cache is the client's, and is given to every call",
    swift: include_str!("swift/host_cache.swift"),
};
