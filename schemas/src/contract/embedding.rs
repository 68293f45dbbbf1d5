//! The contract for texts as vectors: the whole text in one call, and no cache.
//!
//! # Source
//! Cards of embedding models that are decoders (Qwen3-Embedding, E5-Mistral): the state of the last token behind the last norm,
//! divided by its length. Names are anec's own.

use super::host_cache::one;
use super::stateful::{CONTEXT_LENGTH, HIDDEN_SIZE, ONE};
use super::{Cache, Call, Contract, Count, ElementType, FileContract, FunctionContract, Phase, Role, When};

/// The whole model.
pub const ENCODER: Role = Role("encoder");

/// Names of functions and tensors.
pub mod names {
    pub use crate::contract::stateful::names::{INPUT_IDS, MAIN};

    /// What each token counts for in the state of the text.
    pub const POOLING: &str = "pooling";
    /// The state of the text.
    pub const HIDDEN_STATE: &str = "hidden_state";
    /// The same, of length 1.
    pub const EMBEDDING: &str = "embedding";
}

/// The contract.
pub static CONTRACT: Contract = Contract {
    name: "embedding",
    summary: "one file from the token ids of a text to its embedding, without a cache and without a head",
    source: "embedding models that are decoders, by their cards; names are anec's own",
    variants: &[],
    cache: Cache::Nobody,
    files: &[FileContract {
        role: ENCODER,
        meaning: "token ids to the embedding of a text",
        count: Count::One,
        functions: &[FunctionContract {
            name: names::MAIN,
            when: When::Always,
            meaning: "takes a text",
            inputs: &[
                one(names::INPUT_IDS, ElementType::Int32, &[ONE, CONTEXT_LENGTH], "token ids of the text, then any"),
                one(
                    names::POOLING,
                    ElementType::Float16,
                    &[ONE, ONE, CONTEXT_LENGTH],
                    "1 at the last token of the text, else 0",
                ),
            ],
            states: &[],
            outputs: &[
                one(
                    names::HIDDEN_STATE,
                    ElementType::Float16,
                    &[ONE, ONE, HIDDEN_SIZE],
                    "the sum of what is behind the last norm, times `pooling`",
                ),
                one(names::EMBEDDING, ElementType::Float16, &[ONE, ONE, HIDDEN_SIZE], "the same, of length 1"),
            ],
        }],
    }],
    calls: &[Call {
        phase: Phase::Prompt,
        role: ENCODER,
        function: names::MAIN,
        when: When::Always,
        feeds: "the token ids of a text, and which is the last",
    }],
    rules: &[
        "A text goes in one call, with what its model's tokenizer puts behind it (`<|endoftext|>` of Qwen3-Embedding), and is \
         cut at `context_length`.",
        "Tokens attend to those before them only, so ids behind the text change nothing.",
        "`pooling` is 1 at the last token for models that take its state, and one over their number at each token of the text \
         for models that take the mean.",
        "The cosine of two texts is the product of their embeddings.",
        "Queries get the instruction that the model's card asks for, before they are tokenized.",
    ],
    systems: "iOS 18 and macOS 15; iOS 17 and macOS 14 with `--target macos14`",
    memory: "the weights once",
    swift: include_str!("swift/embedding.swift"),
};
