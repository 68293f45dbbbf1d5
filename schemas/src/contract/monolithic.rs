//! The contract of ANEMLL's clients for models in one file: token ids to logits over one Core ML state.
//!
//! # Source
//! ANEMLL's Python and Swift clients, 0.3.5, where the meta file says `model_type: monolithic`.

use super::stateful::{
    ARGMAX, BATCH_SIZE, CONTEXT_LENGTH, ONE, PART, ROTATE, SPLIT_CACHE, SPLIT_LM_HEAD, STATES, argmax_index,
    argmax_value, causal_mask, current_pos, input_ids, logits, names, position_ids,
};
use super::{Cache, Call, Contract, Count, FileContract, FunctionContract, Phase, Role, TensorContract, When};

/// The whole model.
pub const MODEL: Role = Role("model");

/// What both functions give.
const OUTPUTS: &[TensorContract] = &[
    logits(&[ONE, ONE, PART], When::Without(ARGMAX)),
    argmax_index(&[SPLIT_LM_HEAD], When::With(ARGMAX)),
    argmax_value(&[SPLIT_LM_HEAD], When::With(ARGMAX)),
];

const INFER: FunctionContract = FunctionContract {
    name: names::INFER,
    when: When::Always,
    meaning: "takes one token",
    inputs: &[
        input_ids(&[ONE, ONE], When::Always),
        position_ids(&[ONE]),
        causal_mask(&[ONE, ONE, ONE, CONTEXT_LENGTH]),
        current_pos(),
    ],
    states: STATES,
    outputs: OUTPUTS,
};

const PREFILL: FunctionContract = FunctionContract {
    name: names::PREFILL,
    when: When::Always,
    meaning: "takes a full batch of the prompt and gives what the model says after its last token, which clients do not read",
    inputs: &[
        input_ids(&[ONE, BATCH_SIZE], When::Always),
        position_ids(&[BATCH_SIZE]),
        causal_mask(&[ONE, ONE, BATCH_SIZE, CONTEXT_LENGTH]),
        current_pos(),
    ],
    states: STATES,
    outputs: OUTPUTS,
};

/// The contract.
pub static CONTRACT: Contract = Contract {
    name: "monolithic",
    summary: "one file from token ids to logits, over one KV cache that Core ML keeps as a state",
    source: "ANEMLL's Python and Swift clients, 0.3.5, for `model_type: monolithic`",
    variants: &[ARGMAX, SPLIT_CACHE, ROTATE],
    cache: Cache::State,
    files: &[FileContract {
        role: MODEL,
        meaning: "embeddings, all decoder layers and the head",
        count: Count::One,
        functions: &[
            INFER,
            PREFILL,
            FunctionContract {
                name: names::INFER_ROTATE,
                when: When::With(ROTATE),
                meaning: "takes one token at a position from `sliding_window` on, and shifts the windows by one",
                ..INFER
            },
            FunctionContract {
                name: names::PREFILL_ROTATE,
                when: When::With(ROTATE),
                meaning: "takes a full batch of the prompt from a position from `sliding_window` on, and shifts the windows",
                ..PREFILL
            },
        ],
    }],
    calls: &[
        Call {
            phase: Phase::Prompt,
            role: MODEL,
            function: names::PREFILL,
            when: When::Always,
            feeds: "a full batch of token ids, positions, mask, and the state",
        },
        Call {
            phase: Phase::Prompt,
            role: MODEL,
            function: names::PREFILL_ROTATE,
            when: When::With(ROTATE),
            feeds: "the same, in place of `prefill`, from position `sliding_window` on",
        },
        Call {
            phase: Phase::Decode,
            role: MODEL,
            function: names::INFER,
            when: When::Always,
            feeds: "one token id, its position, mask, and the state",
        },
        Call {
            phase: Phase::Decode,
            role: MODEL,
            function: names::INFER_ROTATE,
            when: When::With(ROTATE),
            feeds: "the same, in place of `infer`, from position `sliding_window` on",
        },
    ],
    rules: &[
        "One state serves both functions: make it once and give it to every call.",
        "A call writes the cache from `current_pos` on: `current_pos` plus its tokens must not exceed `context_length`.",
        "With `sliding_window` in the meta file, each token from that position on shifts the windows: give it once, in order, \
         and do not go back.",
        "A prompt goes through `prefill` in full batches; what remains, and always the last token, through `infer`.",
        "Logits of the parts are joined in order; an index of a part counts from the part's first token.",
    ],
    systems: "iOS 18 and macOS 15, which brought states and functions; see docs/ane-rules.md for systems that refuse states",
    memory: "the weights once for each function that is loaded, and one state, which Core ML keeps",
    swift: include_str!("swift/monolithic.swift"),
};
