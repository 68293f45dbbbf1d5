//! The contract of coreml-llm-cli's successor: one function for the whole prompt and one for a token, over caches that a
//! call writes in place.
//!
//! # Source
//! `smpanaro/coreml-llm-cli`, branch `sequoia` at a12f09e: `ModelPipeline.swift`, `MultiArrayStore.swift`,
//! `LogitProcessor.swift`, `KVCacheProcessor.swift`.

use super::discovery::Program;
use super::names;
use crate::contract::stateful::{self, HIDDEN_SIZE, ONE};
use crate::contract::{
    Cache, Call, Contract, Count, Dimension, ElementType, FileContract, FunctionContract, Phase, Role,
};
use crate::contract::{Size, TensorContract, TensorName, When};

/// Token ids to activations, rotations and the mask; on the CPU.
pub const EMBEDDINGS: Role = super::EMBEDDINGS;
/// Decoder layers.
pub const CHUNK: Role = super::CHUNK;
/// Activations to logits.
pub const LM_HEAD: Role = super::LM_HEAD;
/// Shifts the cache of a layer by a token; loaded, and called on no system that has functions.
pub const CACHE_PROCESSOR: Role = super::CACHE_PROCESSOR;
/// Logits to the best token.
pub const LOGIT_PROCESSOR: Role = super::LOGIT_PROCESSOR;

/// The only context that the names of functions know.
pub const CONTEXT: u64 = 512;

/// The function for a prompt.
pub const PROMPT: &str = "input_512_context_512";

/// The function for a token.
pub const GENERATION: &str = "input_1_context_512";

/// The name of the model that shifts a cache by a token.
pub const CACHE_PROCESSOR_NAME: &str = "generation-cache-processor";

/// What the program looks for.
pub const PROGRAM: Program = Program { cache_processor: CACHE_PROCESSOR_NAME, cuts_at_dots: true };

/// Prefix of what that model gives.
pub const GENERATION_KEYS: &str = "generation_k_cache";

/// Prefix of what that model gives.
pub const GENERATION_VALUES: &str = "generation_v_cache";

const PROMPT_TOKENS: Dimension = Dimension::Fixed(CONTEXT);
const KV: Dimension =
    Dimension::Product(&[Dimension::Size(Size::NUM_KEY_VALUE_HEADS), Dimension::Size(Size::HEAD_DIM)]);
const CACHED: Dimension = Dimension::Fixed(CONTEXT - 1);
const HEAD_DIM: Dimension = Dimension::Size(Size::HEAD_DIM);
const KEYS: &[Dimension] = &[ONE, CACHED, ONE, KV];
const VALUES: &[Dimension] = &[ONE, KV, ONE, CACHED];
const LOGITS: &[Dimension] = &[ONE, ONE, Dimension::Size(Size::VOCAB_SIZE)];

const fn half(name: &'static str, shape: &'static [Dimension], meaning: &'static str) -> TensorContract {
    stateful::tensor(name, ElementType::Float16, shape, meaning)
}

const fn of_layers(prefix: &'static str, shape: &'static [Dimension], meaning: &'static str) -> TensorContract {
    let name = TensorName::Numbered { prefix, first: 0, count: Size::CHUNK_LAYERS };
    TensorContract { name, dtype: ElementType::Float16, shape, when: When::Always, meaning }
}

const fn x(shape: &'static [Dimension]) -> TensorContract {
    half(names::X, shape, "activations of the tokens")
}

const fn new_x(shape: &'static [Dimension]) -> TensorContract {
    half(names::NEW_X, shape, "activations for the next chunk, written over `x`")
}

const fn cos(shape: &'static [Dimension]) -> TensorContract {
    half(names::COS, shape, "cosines at the positions of the tokens")
}

const fn sin(shape: &'static [Dimension]) -> TensorContract {
    half(names::SIN, shape, "sines at the positions of the tokens")
}

const fn mask(shape: &'static [Dimension]) -> TensorContract {
    half(
        names::MASK,
        shape,
        "0 where a token attends to one of the context, else -10000 or less: keys first, queries last",
    )
}

const NEW_KEYS: TensorContract =
    of_layers(names::NEW_K_CACHE, KEYS, "rotated keys of the last 511 tokens, the call's own at the end");
const NEW_VALUES: TensorContract =
    of_layers(names::NEW_V_CACHE, VALUES, "values of the last 511 tokens, the call's own at the end");
const LENGTH: TensorContract =
    stateful::tensor(names::FULL_SEQUENCE_LENGTH, ElementType::Int32, &[ONE], "tokens so far");
const X_PROMPT: &[Dimension] = &[ONE, HIDDEN_SIZE, ONE, PROMPT_TOKENS];
const X_ONE: &[Dimension] = &[ONE, HIDDEN_SIZE, ONE, ONE];
const TURN_PROMPT: &[Dimension] = &[HEAD_DIM, PROMPT_TOKENS];
const TURN_ONE: &[Dimension] = &[HEAD_DIM, ONE];
const MASK_PROMPT: &[Dimension] = &[ONE, PROMPT_TOKENS, ONE, PROMPT_TOKENS];
const MASK_ONE: &[Dimension] = &[ONE, PROMPT_TOKENS, ONE, ONE];
const OUTPUT: TensorContract = half(names::WHOLE_LOGITS, LOGITS, "logits after the last token");

const fn function(
    name: &'static str,
    meaning: &'static str,
    inputs: &'static [TensorContract],
    outputs: &'static [TensorContract],
) -> FunctionContract {
    FunctionContract { name, when: When::Always, meaning, inputs, states: &[], outputs }
}

const fn call(phase: Phase, role: Role, function: &'static str, feeds: &'static str) -> Call {
    Call { phase, role, function, when: When::Always, feeds }
}

/// The contract.
pub static CONTRACT: Contract = Contract {
    name: "coreml-llm-cli-sequoia",
    summary: "compiled chunks with a function for the prompt and one for a token, whose caches are written in place",
    source: "smpanaro's coreml-llm-cli, branch sequoia at a12f09e",
    variants: &[],
    cache: Cache::Client,
    files: &[
        FileContract {
            role: EMBEDDINGS,
            meaning: "token ids to activations, rotations and mask; the client runs it on the CPU",
            count: Count::One,
            functions: &[
                function(
                    PROMPT,
                    "looks up a prompt",
                    &[stateful::input_ids(&[ONE, PROMPT_TOKENS], When::Always), LENGTH],
                    &[x(X_PROMPT), cos(TURN_PROMPT), sin(TURN_PROMPT), mask(MASK_PROMPT)],
                ),
                function(
                    GENERATION,
                    "looks up a token",
                    &[stateful::input_ids(&[ONE, ONE], When::Always), LENGTH],
                    &[x(X_ONE), cos(TURN_ONE), sin(TURN_ONE), mask(MASK_ONE)],
                ),
            ],
        },
        FileContract {
            role: CHUNK,
            meaning: "decoder layers, those of all chunks in order",
            count: Count::Many,
            functions: &[
                function(
                    PROMPT,
                    "takes a prompt, and makes the caches",
                    &[x(X_PROMPT), cos(TURN_PROMPT), sin(TURN_PROMPT), mask(MASK_PROMPT)],
                    &[new_x(X_PROMPT), NEW_KEYS, NEW_VALUES],
                ),
                function(
                    GENERATION,
                    "takes a token, and writes the caches in place",
                    &[
                        x(X_ONE),
                        cos(TURN_ONE),
                        sin(TURN_ONE),
                        mask(MASK_ONE),
                        of_layers(names::K_CACHE, KEYS, "rotated keys of the 511 tokens before, the last at the end"),
                        of_layers(names::V_CACHE, VALUES, "values of the 511 tokens before, the last at the end"),
                    ],
                    &[new_x(X_ONE), NEW_KEYS, NEW_VALUES],
                ),
            ],
        },
        FileContract {
            role: LM_HEAD,
            meaning: "activations to logits; normalizes them first",
            count: Count::One,
            functions: &[
                function(PROMPT, "gives the logits after a prompt", &[x(X_PROMPT)], &[OUTPUT]),
                function(GENERATION, "gives the logits after a token", &[x(X_ONE)], &[OUTPUT]),
            ],
        },
        FileContract {
            role: CACHE_PROCESSOR,
            meaning: "shifts the cache of a layer by a token; the client loads it, and calls it on no system with functions",
            count: Count::One,
            functions: &[function(
                names::MAIN,
                "puts a token behind the cache, and drops its first",
                &[
                    half(names::OLD_KEYS, KEYS, "keys before the token"),
                    half(names::NEW_KEYS, &[ONE, ONE, ONE, KV], "keys of the token"),
                    half(names::OLD_VALUES, VALUES, "values before the token"),
                    half(names::NEW_VALUES, &[ONE, KV, ONE, ONE], "values of the token"),
                ],
                &[
                    half(GENERATION_KEYS, KEYS, "keys before the next token"),
                    half(GENERATION_VALUES, VALUES, "values before the next token"),
                ],
            )],
        },
        FileContract {
            role: LOGIT_PROCESSOR,
            meaning: "logits to the best token",
            count: Count::One,
            functions: &[function(
                names::MAIN,
                "picks the best token",
                &[OUTPUT],
                &[stateful::tensor(names::ARGMAX, ElementType::Int32, &[ONE, ONE], "the best token")],
            )],
        },
    ],
    calls: &[
        call(Phase::Prompt, EMBEDDINGS, PROMPT, "up to 512 ids with zeros before them, and how many there are"),
        call(Phase::Prompt, CHUNK, PROMPT, "`x`, `cos`, `sin` and `mask`"),
        call(Phase::Prompt, LM_HEAD, PROMPT, "`x`"),
        call(Phase::Prompt, LOGIT_PROCESSOR, names::MAIN, "the logits"),
        call(Phase::Decode, EMBEDDINGS, GENERATION, "the last id, and how many tokens there are"),
        call(Phase::Decode, CHUNK, GENERATION, "`x`, `cos`, `sin`, `mask` and caches, which it writes in place"),
        call(Phase::Decode, LM_HEAD, GENERATION, "`x`"),
        call(Phase::Decode, LOGIT_PROCESSOR, names::MAIN, "the logits"),
        call(Phase::Decode, CACHE_PROCESSOR, names::MAIN, "nothing: the caches are written in place"),
    ],
    rules: &[
        "A prompt has 512 tokens at most and is given once, its last token in the last column; every later token alone.",
        "Outputs of the prompt become the caches; those of a token are written over the caches that it was given.",
        "Models of the prompt are unloaded before those of a token are loaded.",
        "Row j of the context is position full_sequence_length - 512 + j; a token attends to those from 0 to its own, and no \
         further back than the window of the model where it has one.",
        "What is more than 511 tokens old is forgotten, while positions go on.",
        "Names of the pipeline are as for coreml-llm-cli, and have no dot.",
    ],
    systems: "macOS 15 and later, which brought functions",
    memory: "the weights once, for prompt models and models of a token are loaded one after the other; caches and activations \
             are the client's buffers, written in place",
    swift: include_str!("../swift/coreml_llm_cli_sequoia.swift"),
};
