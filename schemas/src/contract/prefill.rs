//! The contract for prompts alone: the Neural Engine takes the prompt, and something else decodes from keys and values.
//!
//! # Source
//! Hybrid runtimes that take prompts on the Neural Engine and decode on the GPU. Caches lie as those of MLX, candle and
//! transformers do, `[1, num_key_value_heads, positions, head_dim]`; names are anec's own.

use super::host_cache::{self, names, one, several};
use super::stateful::{self, BATCH_SIZE, CONTEXT_LENGTH, HIDDEN_SIZE, ONE};
use super::{Cache, Call, Contract, Count, Dimension, ElementType, FileContract, FunctionContract, Phase, Role, Size};
use super::{TensorContract, When};

/// Token ids to hidden states, positions to rotations.
pub const EMBEDDINGS: Role = stateful::EMBEDDINGS;
/// Decoder layers.
pub const CHUNK: Role = stateful::CHUNK;

/// The only function of each model.
pub const PREFILL: &str = names::MAIN;

const KV_HEADS: Dimension = Dimension::Size(Size::NUM_KEY_VALUE_HEADS);
const HEAD_DIM: Dimension = Dimension::Size(Size::HEAD_DIM);
const ROTATION: &[Dimension] = &[ONE, ONE, BATCH_SIZE, Dimension::Size(Size::ROTARY_DIMS)];
const HIDDEN_STATES: &[Dimension] = &[ONE, BATCH_SIZE, HIDDEN_SIZE];

const fn cache(prefix: &'static str) -> TensorContract {
    let meaning = "rows of earlier blocks at their positions; rows that masks hide may hold anything finite";
    several(prefix, 0, Size::CHUNK_LAYERS, &[ONE, KV_HEADS, CONTEXT_LENGTH, HEAD_DIM], meaning)
}

const fn rows(prefix: &'static str) -> TensorContract {
    let meaning = "what the block adds, a row for each token; keys are rotated";
    several(prefix, 0, Size::CHUNK_LAYERS, &[ONE, KV_HEADS, BATCH_SIZE, HEAD_DIM], meaning)
}

/// The contract.
pub static CONTRACT: Contract = Contract {
    name: "prefill",
    summary: "embeddings and chunks of decoder layers that give keys, values and hidden states of a prompt, and no head",
    source: "runtimes that take prompts on the Neural Engine and decode elsewhere; names are anec's own",
    variants: &[],
    cache: Cache::Client,
    files: &[
        FileContract {
            role: EMBEDDINGS,
            meaning: "token ids to hidden states, positions to rotations",
            count: Count::One,
            functions: &[FunctionContract {
                name: PREFILL,
                when: When::Always,
                meaning: "looks up a block of tokens and positions",
                inputs: &[
                    one(names::INPUT_IDS, ElementType::Int32, &[ONE, BATCH_SIZE], "token ids"),
                    one(names::POSITION_IDS, ElementType::Int32, &[BATCH_SIZE], "their positions, from 0"),
                ],
                states: &[],
                outputs: &[
                    one(names::HIDDEN_STATES, ElementType::Float16, HIDDEN_STATES, "activations of the tokens"),
                    host_cache::rotation(names::COS, ROTATION),
                    host_cache::rotation(names::SIN, ROTATION),
                ],
            }],
        },
        FileContract {
            role: CHUNK,
            meaning: "decoder layers, those of all chunks in order",
            count: Count::Many,
            functions: &[FunctionContract {
                name: PREFILL,
                when: When::Always,
                meaning: "takes a block of the prompt, or fewer tokens",
                inputs: &[
                    one(names::HIDDEN_STATES, ElementType::Float16, HIDDEN_STATES, "activations of the tokens"),
                    several(
                        names::MASK,
                        1,
                        Size::ATTENTION_MASKS,
                        &[ONE, ONE, BATCH_SIZE, Dimension::Sum(&[CONTEXT_LENGTH, BATCH_SIZE])],
                        "0 where a token attends, else -10000: a column for each of the cache, then one for each of the block",
                    ),
                    host_cache::rotation(names::COS, ROTATION),
                    host_cache::rotation(names::SIN, ROTATION),
                    cache(names::K_CACHE),
                    cache(names::V_CACHE),
                ],
                states: &[],
                outputs: &[
                    one(
                        names::OUTPUT_HIDDEN_STATES,
                        ElementType::Float16,
                        HIDDEN_STATES,
                        "activations for the next chunk, normalized after the model's last layer",
                    ),
                    rows(names::NEW_K_CACHE),
                    rows(names::NEW_V_CACHE),
                ],
            }],
        },
    ],
    calls: &[
        Call {
            phase: Phase::Prompt,
            role: EMBEDDINGS,
            function: PREFILL,
            when: When::Always,
            feeds: "token ids and positions of a block",
        },
        Call {
            phase: Phase::Prompt,
            role: CHUNK,
            function: PREFILL,
            when: When::Always,
            feeds: "hidden states of the file before, masks, rotations, and the caches of its layers",
        },
    ],
    rules: &[
        "Keep two caches for each layer, finite from the start; give all of a chunk to each of its calls, unchanged.",
        "After a call, copy row t of `new_k_cache_i` and `new_v_cache_i` to the row of the token's position.",
        "`mask<n>` is that of window n of `attention_windows`: a token at position p attends to position j of the cache where \
         j is before the call's first position and j + window > p, and to token s of the call where s <= t and s + window > t.",
        "Fewer tokens than a block come first; ids behind them are any, with positions below `context_length`, and their rows \
         are not copied.",
        "Behind the prompt the first rows of the caches are what a decoder with rotated keys would hold. The row of the \
         last token, times the LM head of the checkpoint, gives the logits of the next.",
    ],
    systems: "iOS 18 and macOS 15; iOS 17 and macOS 14 with `--target macos14`",
    memory: "the weights of the layers once, and the client's caches; the LM head is not part of it",
    swift: include_str!("swift/prefill.swift"),
};
