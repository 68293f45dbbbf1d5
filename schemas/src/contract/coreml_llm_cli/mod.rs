//! The contract of coreml-llm-cli: compiled models in a pipeline of chunks, over a KV cache that the client keeps and another
//! model shifts.
//!
//! # Source
//! `smpanaro/coreml-llm-cli`, branch `main` at 9d141fc: `ModelPipeline.swift`, `MultiArrayStore.swift`, `KVCacheProcessor.swift`,
//! `LogitProcessor.swift`, and the interfaces of the models that its author published.

pub mod buffers;
pub mod discovery;
pub mod sequoia;

use super::stateful::{self, BATCH_SIZE, CONTEXT_LENGTH, HIDDEN_SIZE, ONE, PART};
use super::{Cache, Call, Contract, Count, Dimension, ElementType, FileContract, FunctionContract, Phase, Role, Size};
use super::{TensorContract, TensorName, Variant, When};

/// Token ids to activations, rotations and the mask; on the CPU.
pub const EMBEDDINGS: Role = stateful::EMBEDDINGS;
/// Decoder layers.
pub const CHUNK: Role = stateful::CHUNK;
/// Activations to logits.
pub const LM_HEAD: Role = stateful::LM_HEAD;
/// Shifts the cache of a layer by a block.
pub const CACHE_PROCESSOR: Role = Role("cache_processor");
/// Logits to the best token of each column.
pub const LOGIT_PROCESSOR: Role = Role("logit_processor");

/// Tokens of a block, which every call of the pipeline takes.
pub const BLOCK: u64 = 64;

/// The sides of a block where its tokens lie as a square.
pub const SIDE: u64 = 8;

/// What the mask holds where a token attends to nothing.
pub const MASKED: f32 = -1e4;

/// The fewest models of the pipeline that the client loads.
pub const FEWEST_CHUNKS: usize = 3;

/// What names of the pipeline's models end in before their number.
pub const CHUNK_SUFFIX: &str = "chunk";

/// The name of the model that shifts the cache.
pub const CACHE_PROCESSOR_NAME: &str = "cache-processor";

/// What the program looks for.
pub const PROGRAM: discovery::Program =
    discovery::Program { cache_processor: CACHE_PROCESSOR_NAME, cuts_at_dots: false };

/// The name of the model that picks tokens.
pub const LOGIT_PROCESSOR_NAME: &str = "logit-processor";

/// The head gives all logits in one output.
pub const WHOLE_HEAD: Variant =
    Variant { name: "whole head", meaning: "the head gives one output for the whole vocabulary: `--lm-head-splits 1`" };

/// Names of tensors.
pub mod names {
    pub use crate::contract::stateful::names::{INPUT_IDS, MAIN};

    /// Tokens so far, padding of the last block included.
    pub const FULL_SEQUENCE_LENGTH: &str = "full_sequence_length";
    /// Activations, which the client has overwritten.
    pub const X: &str = "x";
    /// Activations that a chunk gives, in the place of [`X`].
    pub const NEW_X: &str = "new_x";
    /// Cosines.
    pub const COS: &str = "cos";
    /// Sines.
    pub const SIN: &str = "sin";
    /// The additive mask.
    pub const MASK: &str = "mask";
    /// Prefix of the keys of a layer; its number in the chunk follows, from 0.
    pub const K_CACHE: &str = "k_cache_";
    /// Prefix of the values of a layer; its number in the chunk follows, from 0.
    pub const V_CACHE: &str = "v_cache_";
    /// Prefix of a block's own keys of a layer.
    pub const NEW_K_CACHE: &str = "new_k_cache_";
    /// Prefix of a block's own values of a layer.
    pub const NEW_V_CACHE: &str = "new_v_cache_";
    /// The logits, where one output has all of them.
    pub const WHOLE_LOGITS: &str = "logits";
    /// Prefix of the logits of a part; its number follows, from 0.
    pub const LOGITS: &str = "logits_";
    /// Keys before a block.
    pub const OLD_KEYS: &str = "old_k_cache";
    /// Keys of a block.
    pub const NEW_KEYS: &str = "new_k_cache";
    /// Values before a block.
    pub const OLD_VALUES: &str = "old_v_cache";
    /// Values of a block.
    pub const NEW_VALUES: &str = "new_v_cache";
    /// Keys behind a block.
    pub const UPDATED_KEYS: &str = "updated_k_cache";
    /// Values behind a block.
    pub const UPDATED_VALUES: &str = "updated_v_cache";
    /// The best token after each token of a block.
    pub const ARGMAX: &str = "argmax";
}

const KV: Dimension =
    Dimension::Product(&[Dimension::Size(Size::NUM_KEY_VALUE_HEADS), Dimension::Size(Size::HEAD_DIM)]);
const CACHE_LENGTH: Dimension = Dimension::Size(Size::CACHE_LENGTH);
const SQUARE: Dimension = Dimension::Fixed(SIDE);
const SQUARES: &[Dimension] = &[ONE, HIDDEN_SIZE, SQUARE, SQUARE];
const ROTATION: &[Dimension] = &[Dimension::Size(Size::HEAD_DIM), BATCH_SIZE];
const OLD_K: &[Dimension] = &[ONE, CACHE_LENGTH, ONE, KV];
const OLD_V: &[Dimension] = &[ONE, KV, ONE, CACHE_LENGTH];
const NEW_K: &[Dimension] = &[ONE, BATCH_SIZE, ONE, KV];
const NEW_V: &[Dimension] = &[ONE, KV, ONE, BATCH_SIZE];

const fn half(name: &'static str, shape: &'static [Dimension], meaning: &'static str) -> TensorContract {
    stateful::tensor(name, ElementType::Float16, shape, meaning)
}

const fn of_layers(prefix: &'static str, shape: &'static [Dimension], meaning: &'static str) -> TensorContract {
    let name = TensorName::Numbered { prefix, first: 0, count: Size::CHUNK_LAYERS };
    TensorContract { name, dtype: ElementType::Float16, shape, when: When::Always, meaning }
}

const X: TensorContract = half(names::X, SQUARES, "activations of the block, column t of row r being token 8 r + t");
const COS: TensorContract = half(names::COS, ROTATION, "cosines at the positions of the block");
const SIN: TensorContract = half(names::SIN, ROTATION, "sines at the positions of the block");
const MASK: TensorContract = half(
    names::MASK,
    &[ONE, CONTEXT_LENGTH, ONE, BATCH_SIZE],
    "0 where a token of the block attends to one of the context, else -10000 or less: keys first, queries last",
);
const LOGITS_MEANING: &str = "logits of one part of the vocabulary after each token of the block";
const LOGITS: TensorContract = TensorContract {
    name: TensorName::Numbered { prefix: names::LOGITS, first: 0, count: Size::SPLIT_LM_HEAD },
    dtype: ElementType::Float16,
    shape: &[ONE, BATCH_SIZE, PART],
    when: When::Without(WHOLE_HEAD),
    meaning: LOGITS_MEANING,
};
const WHOLE_LOGITS: TensorContract = TensorContract {
    when: When::With(WHOLE_HEAD),
    ..half(names::WHOLE_LOGITS, &[ONE, BATCH_SIZE, PART], "logits after each token of the block")
};

/// The only function of a model.
const fn main(
    meaning: &'static str,
    inputs: &'static [TensorContract],
    outputs: &'static [TensorContract],
) -> FunctionContract {
    FunctionContract { name: names::MAIN, when: When::Always, meaning, inputs, states: &[], outputs }
}

const fn call(phase: Phase, role: Role, feeds: &'static str) -> Call {
    Call { phase, role, function: names::MAIN, when: When::Always, feeds }
}

const IDS_FED: &str = "the ids of the block, and the length of the sequence with its padding";
const LAYERS_FED: &str = "`x`, `cos`, `sin`, `mask`, and the caches of its layers; `new_x` is written over `x`";
const SHIFT_FED: &str = "once for each layer of a chunk whose block is full: the layer's cache and its new rows; \
                         the result is written over the cache before the chunk's next call";

/// The contract.
pub static CONTRACT: Contract = Contract {
    name: "coreml-llm-cli",
    summary: "compiled chunks of 64-token blocks, whose KV cache the client keeps and another model shifts",
    source: "smpanaro's coreml-llm-cli, branch main at 9d141fc, and the models published for it",
    variants: &[WHOLE_HEAD],
    cache: Cache::Client,
    files: &[
        FileContract {
            role: EMBEDDINGS,
            meaning: "token ids to activations, rotations and mask; the client runs it on the CPU",
            count: Count::One,
            functions: &[main(
                "looks up a block",
                &[
                    stateful::input_ids(&[ONE, BATCH_SIZE], When::Always),
                    stateful::tensor(
                        names::FULL_SEQUENCE_LENGTH,
                        ElementType::Int32,
                        &[ONE],
                        "tokens so far, the padding of the last block included: a multiple of 64",
                    ),
                ],
                &[X, COS, SIN, MASK],
            )],
        },
        FileContract {
            role: CHUNK,
            meaning: "decoder layers, those of all chunks in order",
            count: Count::Many,
            functions: &[main(
                "takes a block",
                &[
                    X,
                    COS,
                    SIN,
                    MASK,
                    of_layers(
                        names::K_CACHE,
                        OLD_K,
                        "rotated keys of the tokens before the block, the last at the end",
                    ),
                    of_layers(names::V_CACHE, OLD_V, "values of the tokens before the block, the last at the end"),
                ],
                &[
                    half(names::NEW_X, SQUARES, "activations for the next chunk"),
                    of_layers(names::NEW_K_CACHE, NEW_K, "rotated keys of the block"),
                    of_layers(names::NEW_V_CACHE, NEW_V, "values of the block"),
                ],
            )],
        },
        FileContract {
            role: LM_HEAD,
            meaning: "activations to logits, in parts of the vocabulary; normalizes them first",
            count: Count::One,
            functions: &[main("gives the logits of a block", &[X], &[WHOLE_LOGITS, LOGITS])],
        },
        FileContract {
            role: CACHE_PROCESSOR,
            meaning: "shifts the cache of a layer by a block",
            count: Count::One,
            functions: &[main(
                "puts a block behind the cache, and drops as many of its first tokens",
                &[
                    half(names::OLD_KEYS, OLD_K, "keys before the block"),
                    half(names::NEW_KEYS, NEW_K, "keys of the block"),
                    half(names::OLD_VALUES, OLD_V, "values before the block"),
                    half(names::NEW_VALUES, NEW_V, "values of the block"),
                ],
                &[
                    half(names::UPDATED_KEYS, OLD_K, "keys before the next block"),
                    half(names::UPDATED_VALUES, OLD_V, "values before the next block"),
                ],
            )],
        },
        FileContract {
            role: LOGIT_PROCESSOR,
            meaning: "logits to tokens",
            count: Count::One,
            functions: &[main(
                "picks the best token of each column",
                &[WHOLE_LOGITS, LOGITS],
                &[stateful::tensor(
                    names::ARGMAX,
                    ElementType::Int32,
                    &[ONE, BATCH_SIZE],
                    "the best token after each token of the block",
                )],
            )],
        },
    ],
    calls: &[
        call(Phase::Prompt, EMBEDDINGS, IDS_FED),
        call(Phase::Prompt, CHUNK, LAYERS_FED),
        call(Phase::Prompt, CACHE_PROCESSOR, SHIFT_FED),
        call(Phase::Decode, EMBEDDINGS, IDS_FED),
        call(Phase::Decode, CHUNK, LAYERS_FED),
        call(Phase::Decode, LM_HEAD, "`x`"),
        call(Phase::Decode, LOGIT_PROCESSOR, "the logits; the token after token n is column (n - 1) modulo 64"),
        call(Phase::Decode, CACHE_PROCESSOR, SHIFT_FED),
    ],
    rules: &[
        "A block holds the tokens from the last multiple of 64 on, and zeros behind them: each token of a block computes the \
         block anew, and the cache changes when it is full.",
        "`x`, `cos`, `sin`, `mask` and logits are one buffer each for the whole pipeline; caches are buffers of a chunk, and \
         start with zeros.",
        "Every half-precision input and output is a pixel buffer of a fixed shape: rows of the last axis, as many as the \
         other axes have.",
        "Row j of the context is position full_sequence_length - context_length + j; a token attends to those from 0 to its \
         own, and no further back than the window of the model where it has one.",
        "The cache holds `cache_length` tokens, context_length - 64: what is older is forgotten, while positions go on.",
        "Names of the pipeline end in `_chunk` and a number that sorts them; everything before is the same, and no other \
         compiled model of the directory ends so. There are at least three.",
    ],
    systems: "macOS 14 and later, with programs of iOS 16 (`--target macos14`) or of iOS 18",
    memory: "the weights once; caches, activations, mask and logits are the client's buffers, and activations are written in place",
    swift: include_str!("../swift/coreml_llm_cli.swift"),
};
