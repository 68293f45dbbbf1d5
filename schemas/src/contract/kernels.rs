//! The contract of one program for each projection: everything between them is the client's.
//!
//! # Source
//! Runtimes that give the Neural Engine one compiled program for each matrix: maderix/ANE's Qwen2.5 inference, ANE-LM, Orion. They
//! agree on fp16 in `[1, channels, 1, columns]` with a last axis of 16 or 32, and differ in names; these are anec's own.

use super::host_cache::{names as lookup, one, rotation};
use super::stateful::{self, HIDDEN_SIZE, ONE, QUERY_LENGTH};
use super::{Cache, Call, Contract, Count, Dimension, ElementType, FileContract, FunctionContract, Phase, Role, Size};
use super::{TensorContract, TensorName, Variant, When};

/// Token ids to hidden states, positions to rotations.
pub const EMBEDDINGS: Role = stateful::EMBEDDINGS;
/// The weights of all norms, which the client applies.
pub const NORMS: Role = Role("norms");
/// Queries.
pub const Q_PROJ: Role = Role("q_proj");
/// Keys.
pub const K_PROJ: Role = Role("k_proj");
/// Values.
pub const V_PROJ: Role = Role("v_proj");
/// Queries, keys and values in one program.
pub const QKV_PROJ: Role = Role("qkv_proj");
/// What attention adds to the residual.
pub const O_PROJ: Role = Role("o_proj");
/// The gate of the MLP.
pub const GATE_PROJ: Role = Role("gate_proj");
/// What the gate multiplies.
pub const UP_PROJ: Role = Role("up_proj");
/// Both in one program.
pub const GATE_UP_PROJ: Role = Role("gate_up_proj");
/// What the MLP adds to the residual.
pub const DOWN_PROJ: Role = Role("down_proj");
/// Logits of a part of the vocabulary.
pub const LM_HEAD: Role = stateful::LM_HEAD;

/// Columns that a call may have: the Neural Engine wants the last axis in whole runs of 64 bytes, and 16 was reported as
/// the least that runs.
pub const QUERY_LENGTHS: [u64; 3] = [16, 32, 64];

/// Columns of a call where none are asked for: one run of 64 bytes.
pub const QUERY_LENGTH_DEFAULT: u64 = 32;

/// Projections that share an input are one program.
pub const FUSED: Variant =
    Variant { name: "fused", meaning: "queries, keys and values are one program, and so are gate and up: `--fuse`" };
/// Queries and keys are normalized head by head.
pub const HEAD_NORMS: Variant = Variant {
    name: "head norms",
    meaning: "queries and keys are normalized head by head, as in Qwen 3: `head_norms` of `glue` in the meta file",
};

/// Names of tensors and of the only function.
pub mod names {
    pub use super::lookup::{COS, HIDDEN_STATES, INPUT_IDS, MAIN, POSITION_IDS, SIN};

    /// Activations that a projection takes.
    pub const X: &str = "x";
    /// What a projection gives.
    pub const Y: &str = "y";
    /// Keys, of the fused program.
    pub const K: &str = "k";
    /// Queries, of the fused program.
    pub const Q: &str = "q";
    /// Values, of the fused program.
    pub const V: &str = "v";
    /// The gate, of the fused program.
    pub const GATE: &str = "gate";
    /// What it multiplies, of the fused program.
    pub const UP: &str = "up";
    /// Number of a norm.
    pub const INDEX: &str = "index";
    /// Weight of a norm over the channels between layers.
    pub const NORM: &str = "norm";
    /// Weight of a norm over the channels of a head.
    pub const HEAD_NORM: &str = "head_norm";
}

const QUERY_SIZE: Dimension =
    Dimension::Product(&[Dimension::Size(Size::NUM_ATTENTION_HEADS), Dimension::Size(Size::HEAD_DIM)]);
const KEY_SIZE: Dimension =
    Dimension::Product(&[Dimension::Size(Size::NUM_KEY_VALUE_HEADS), Dimension::Size(Size::HEAD_DIM)]);
const INTERMEDIATE_SIZE: Dimension = Dimension::Size(Size::INTERMEDIATE_SIZE);
const PART: Dimension = Dimension::Size(Size::LM_HEAD_CHUNK_SIZES);
const ROTARY_DIM: Dimension = Dimension::Size(Size::ROTARY_DIMS);

const APART: When = When::Without(FUSED);
const TOGETHER: When = When::With(FUSED);

/// A tensor with a column for each token.
macro_rules! columns {
    ($name:expr, $channels:expr, $meaning:expr) => {
        one($name, ElementType::Float16, &[ONE, $channels, ONE, QUERY_LENGTH], $meaning)
    };
}

/// The files of a projection.
macro_rules! projection {
    ($role:expr, $when:expr, $meaning:expr, $from:expr, [$($output:expr),+]) => {
        FileContract {
            role: $role,
            meaning: $meaning,
            count: Count::Many,
            functions: &[FunctionContract {
                name: names::MAIN,
                when: $when,
                meaning: "multiplies, and adds the bias where there is one",
                inputs: &[columns!(names::X, $from, "a column for each token; those behind the tokens are zeros")],
                states: &[],
                outputs: &[$($output),+],
            }],
        }
    };
}

const fn call(phase: Phase, role: Role, when: When, feeds: &'static str) -> Call {
    Call { phase, role, function: names::MAIN, when, feeds }
}

/// The calls of a phase.
macro_rules! calls {
    ($phase:expr) => {
        [
            call($phase, EMBEDDINGS, When::Always, "token ids and positions"),
            call($phase, Q_PROJ, APART, NORMALIZED),
            call($phase, K_PROJ, APART, NORMALIZED),
            call($phase, V_PROJ, APART, NORMALIZED),
            call($phase, QKV_PROJ, TOGETHER, NORMALIZED),
            call($phase, O_PROJ, When::Always, "what attention mixed, heads in order"),
            call($phase, GATE_PROJ, APART, NORMALIZED_AGAIN),
            call($phase, UP_PROJ, APART, NORMALIZED_AGAIN),
            call($phase, GATE_UP_PROJ, TOGETHER, NORMALIZED_AGAIN),
            call($phase, DOWN_PROJ, When::Always, "the activated gate times what it multiplies"),
        ]
    };
}

const NORMALIZED: &str = "the residual, normalized before attention";
const NORMALIZED_AGAIN: &str = "the residual, normalized before the MLP";
const PROMPT: [Call; 10] = calls!(Phase::Prompt);
const DECODE: [Call; 10] = calls!(Phase::Decode);

const CALLS: &[Call] = &{
    let [a, b, c, d, e, f, g, h, i, j] = PROMPT;
    let [k, l, m, n, o, p, q, r, s, t] = DECODE;
    let norms = call(Phase::Prompt, NORMS, When::Always, "once for each norm, when the models are opened");
    let head = call(Phase::Decode, LM_HEAD, When::Always, "the residual, normalized after the last layer");
    [norms, a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t, head]
};

/// The contract.
pub static CONTRACT: Contract = Contract {
    name: "kernels",
    summary: "a program for each projection of each layer and for each part of the LM head; norms, rotations, attention, \
              activation and residuals are the client's",
    source: "maderix/ANE's Qwen2.5 inference, ANE-LM and Orion, which drive the Neural Engine so; names are anec's own",
    variants: &[FUSED, HEAD_NORMS],
    cache: Cache::Client,
    files: &[
        FileContract {
            role: EMBEDDINGS,
            meaning: "token ids to hidden states, positions to rotations",
            count: Count::One,
            functions: &[FunctionContract {
                name: names::MAIN,
                when: When::Always,
                meaning: "looks up tokens and positions",
                inputs: &[
                    one(names::INPUT_IDS, ElementType::Int32, &[ONE, QUERY_LENGTH], "token ids"),
                    one(names::POSITION_IDS, ElementType::Int32, &[QUERY_LENGTH], "their positions, from 0"),
                ],
                states: &[],
                outputs: &[
                    one(
                        names::HIDDEN_STATES,
                        ElementType::Float16,
                        &[ONE, QUERY_LENGTH, HIDDEN_SIZE],
                        "activations of the tokens",
                    ),
                    rotation(names::COS, &[ONE, ONE, QUERY_LENGTH, ROTARY_DIM]),
                    rotation(names::SIN, &[ONE, ONE, QUERY_LENGTH, ROTARY_DIM]),
                ],
            }],
        },
        FileContract {
            role: NORMS,
            meaning: "the weights of the norms, by number",
            count: Count::One,
            functions: &[FunctionContract {
                name: names::MAIN,
                when: When::Always,
                meaning: "looks up the weight of a norm",
                inputs: &[one(names::INDEX, ElementType::Int32, &[ONE], "the norm's number, from 0")],
                states: &[],
                outputs: &[
                    TensorContract {
                        name: TensorName::One(names::HEAD_NORM),
                        dtype: ElementType::Float16,
                        shape: &[ONE, Dimension::Size(Size::HEAD_DIM)],
                        when: When::With(HEAD_NORMS),
                        meaning: "the norm of queries of layer i at 2i, that of keys at 2i + 1; beyond them the last again",
                    },
                    one(
                        names::NORM,
                        ElementType::Float16,
                        &[ONE, HIDDEN_SIZE],
                        "the norms of each layer in the order of `norms`, then that after the last layer",
                    ),
                ],
            }],
        },
        projection!(Q_PROJ, APART, "queries", HIDDEN_SIZE, [columns!(names::Y, QUERY_SIZE, "queries, heads in order")]),
        projection!(K_PROJ, APART, "keys", HIDDEN_SIZE, [columns!(names::Y, KEY_SIZE, "keys, heads in order")]),
        projection!(V_PROJ, APART, "values", HIDDEN_SIZE, [columns!(names::Y, KEY_SIZE, "values, heads in order")]),
        projection!(
            QKV_PROJ,
            TOGETHER,
            "queries, keys and values",
            HIDDEN_SIZE,
            [
                columns!(names::K, KEY_SIZE, "keys, heads in order"),
                columns!(names::Q, QUERY_SIZE, "queries, heads in order"),
                columns!(names::V, KEY_SIZE, "values, heads in order")
            ]
        ),
        projection!(
            O_PROJ,
            When::Always,
            "what attention adds to the residual",
            QUERY_SIZE,
            [columns!(names::Y, HIDDEN_SIZE, "what is added")]
        ),
        projection!(
            GATE_PROJ,
            APART,
            "the gate of the MLP, before its activation",
            HIDDEN_SIZE,
            [columns!(names::Y, INTERMEDIATE_SIZE, "the gate")]
        ),
        projection!(
            UP_PROJ,
            APART,
            "what the gate multiplies",
            HIDDEN_SIZE,
            [columns!(names::Y, INTERMEDIATE_SIZE, "what it multiplies")]
        ),
        projection!(
            GATE_UP_PROJ,
            TOGETHER,
            "the gate of the MLP and what it multiplies",
            HIDDEN_SIZE,
            [
                columns!(names::GATE, INTERMEDIATE_SIZE, "the gate, before its activation"),
                columns!(names::UP, INTERMEDIATE_SIZE, "what it multiplies")
            ]
        ),
        projection!(
            DOWN_PROJ,
            When::Always,
            "what the MLP adds to the residual",
            INTERMEDIATE_SIZE,
            [columns!(names::Y, HIDDEN_SIZE, "what is added")]
        ),
        projection!(
            LM_HEAD,
            When::Always,
            "normalized hidden states to the logits of a part of the vocabulary",
            HIDDEN_SIZE,
            [columns!(names::Y, PART, "logits, before what `glue` says of them")]
        ),
    ],
    calls: CALLS,
    rules: &[
        "Token t of a call is column t of every tensor; columns behind the tokens are zeros and what they give is dropped. A \
         single token takes column 0.",
        "Layer by layer: normalize, project to queries, keys and values, normalize heads where `head_norms`, rotate queries and \
         keys, keep keys and values at their positions, mix, project, add; normalize, gate and up, activate and multiply, \
         down, add. `glue` in the meta file has the numbers, and which norms there are.",
        "`layer_windows` says how far each layer looks back, 0 for all; `layer_rotations` which rotary embedding it has, from \
         1, 0 for none.",
        "Logits of the parts are joined in order.",
        "Inputs and outputs are bound in alphabetical order of their names where they are bound by number; `kernels.json` has \
         them so, with their bytes, and which weight files there are and where in them each weight has its records.",
        "Texts (`.mil`) have a weight file for each blob: the matrix, its bias, palette, indices or scales, named as in the \
         program, with its record at offset 64. M1 was reported to refuse several records in one file. Packages and compiled \
         models keep all blobs in one `weight.bin`, as Core ML's own tools write it.",
        "The Neural Engine's own interface, which Apple does not support, is told `program(1.3)` with its build information and \
         each weight file by the name that the text has for it. `--backend private-ane` is a client of it, in builds with the \
         feature `private-ane` alone, and was never tried on a Mac (docs/kernels.md). Without it these programs run through Core \
         ML (`--emit mlpackage`) and on the CPU.",
    ],
    systems: "iOS 18 and macOS 15; packages for iOS 17 and macOS 14 with `--target macos14`",
    memory: "the weights once; keys and values are the client's",
    swift: include_str!("swift/kernels.swift"),
};

/// The roles that a conversion has, in the order in which a token passes them.
pub fn layer_roles(fused: bool) -> &'static [Role] {
    if fused {
        &[QKV_PROJ, O_PROJ, GATE_UP_PROJ, DOWN_PROJ]
    } else {
        &[Q_PROJ, K_PROJ, V_PROJ, O_PROJ, GATE_PROJ, UP_PROJ, DOWN_PROJ]
    }
}
