//! Directories whose layers keep their window only, driven by sessions: prompts that begin and end anywhere, and going back.

use std::path::Path;

use anec_mil::evaluate::Numerics;
use anec_runtime::generate::{Generator, Limits};
use anec_runtime::sampling::{Sampler, SamplingOptions};
use anec_runtime::session::{Rewinds, SessionError};
use tempfile::TempDir;

use crate::checkpoint;
use crate::plan_decisions::{converted, difference, logits, session, tokens};

const VOCAB: u32 = 128;
const LIMIT: f32 = 1e-4;
/// A window of 32; the first layer keeps the whole context.
const CONFIG: &str = r#"{
    "model_type": "qwen2", "hidden_act": "silu", "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 3,
    "num_attention_heads": 2, "num_key_value_heads": 1, "vocab_size": 128, "max_position_embeddings": 256,
    "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": true,
    "use_sliding_window": true, "sliding_window": 32, "max_window_layers": 1
}"#;

/// A checkpoint of it.
pub(crate) fn written() -> TempDir {
    let mut tensors =
        vec![("model.embed_tokens.weight".to_owned(), vec![128, 64]), ("model.norm.weight".to_owned(), vec![64])];
    for layer in 0..3 {
        for (module, shape) in [
            ("input_layernorm.weight", vec![64]),
            ("post_attention_layernorm.weight", vec![64]),
            ("self_attn.q_proj.weight", vec![64, 64]),
            ("self_attn.q_proj.bias", vec![64]),
            ("self_attn.k_proj.weight", vec![32, 64]),
            ("self_attn.k_proj.bias", vec![32]),
            ("self_attn.v_proj.weight", vec![32, 64]),
            ("self_attn.v_proj.bias", vec![32]),
            ("self_attn.o_proj.weight", vec![64, 64]),
            ("mlp.gate_proj.weight", vec![96, 64]),
            ("mlp.up_proj.weight", vec![96, 64]),
            ("mlp.down_proj.weight", vec![64, 96]),
        ] {
            tensors.push((format!("model.layers.{layer}.{module}"), shape));
        }
    }
    let directory = tempfile::tempdir().expect("a temporary directory");
    checkpoint::write(directory.path(), CONFIG, &tensors);
    directory
}

fn convert(checkpoint: &Path, options: &[&str]) -> TempDir {
    converted(checkpoint, &[&["--context-length", "128"], options].concat())
}

#[test]
fn batches_from_any_position_on_leave_what_single_tokens_leave() {
    let checkpoint = written();
    let whole = convert(checkpoint.path(), &["--batch-size", "16", "--single-cache"]);
    let tokens = tokens(110, VOCAB);
    let expected = logits(&whole.path().join("out"), &tokens, Numerics::F32);
    let split = ["--layout", "anemll", "--split-rotate"];
    for form in [&[][..], &["--layout", "anemll"], &split, &["--layout", "anemll-monolithic"], &["--kv", "mask"]] {
        for batch_size in ["16", "12", "40"] {
            let directory = convert(checkpoint.path(), &[form, &["--batch-size", batch_size]].concat());
            // Batches begin at 0, inside the first window, at its edge, and behind it.
            for first in [0, 5, 32, 45] {
                let mut session = session(&directory.path().join("out"), Numerics::F32);
                if first > 0 {
                    session.feed(&tokens[..first], 0).expect("inside of the context");
                }
                for (position, end) in [(first, 100), (100, 101), (101, 110)] {
                    let output = session.feed(&tokens[position..end], position).expect("inside of the context");
                    let found = output.expect("tokens").into_logits().expect("logits");
                    let (difference, largest) = difference(&expected[end - 1..end], &[found]);
                    assert!(difference <= LIMIT * largest, "{form:?} {batch_size} {first} {end}: {difference}");
                }
            }
        }
    }
}

#[test]
fn a_session_says_how_far_it_goes_back_and_refuses_more() {
    let checkpoint = written();
    let tokens = tokens(60, VOCAB);
    let single = ["--functions", "single", "--query-length", "8"];
    for (options, expected) in [
        (&["--batch-size", "16"][..], Rewinds::Ring { length: 32, spare: 0 }),
        (&["--batch-size", "16", "--layout", "anemll"], Rewinds::Ring { length: 32, spare: 0 }),
        (&["--batch-size", "16", "--single-cache"], Rewinds::Anywhere),
        (&single, Rewinds::Ring { length: 64, spare: 32 }),
    ] {
        let directory = convert(checkpoint.path(), options);
        let mut session = session(&directory.path().join("out"), Numerics::F32);
        assert_eq!(session.capabilities().rewinds, expected, "{options:?}");
        session.feed(&tokens[..20], 0).expect("inside of the context");
        session.infer(tokens[10], 10).expect("no window is full");
        session.feed(&tokens[10..60], 10).expect("inside of the context");
        let gone_back = session.infer(tokens[50], 50);
        let is_as_told = match expected {
            Rewinds::Ring { spare: 0, .. } => matches!(gone_back, Err(SessionError::Rewind { from: 60, to: 50 })),
            _ => gone_back.is_ok(),
        };
        assert!(is_as_told, "{options:?}: {gone_back:?}");
    }
}

#[test]
fn going_back_within_the_spare_positions_of_a_ring_gives_the_same_logits() {
    let checkpoint = written();
    let directory = convert(checkpoint.path(), &["--functions", "single", "--query-length", "8"]);
    let tokens = tokens(110, VOCAB);
    let expected = logits(&directory.path().join("out"), &tokens, Numerics::F32);
    let mut session = session(&directory.path().join("out"), Numerics::F32);
    session.feed(&tokens[..90], 0).expect("inside of the context");
    session.feed(&[1; 16], 90).expect("inside of the context");
    for (position, expected) in expected.iter().enumerate().skip(90) {
        let found = session.infer(tokens[position], position).expect("within the spare").into_logits().expect("logits");
        let (difference, largest) = difference(std::slice::from_ref(expected), &[found]);
        assert!(difference <= LIMIT * largest, "{position}: {difference}");
    }
}

#[test]
fn a_generator_starts_over_where_a_ring_cannot_go_back() {
    let checkpoint = written();
    let directory = convert(checkpoint.path(), &["--batch-size", "16"]);
    let mut generator = Generator::new(session(&directory.path().join("out"), Numerics::F32));
    let (mut sampler, tokens) = (Sampler::new(SamplingOptions::default()).expect("valid"), tokens(60, VOCAB));
    let limits = Limits { max_tokens: Some(4), ..Limits::default() };
    let mut answer = |prompt: &[u32]| {
        let mut generation = generator.start(prompt, &mut sampler, &limits).expect("fits");
        while generation.next_token().expect("finite logits").is_some() {}
        (generation.reused_tokens(), generation.tokens().to_vec())
    };
    let (_, first) = answer(&tokens[..50]);
    let (reused, again) = answer(&tokens[..50]);
    assert_eq!((reused, again), (0, first), "the window of the first answer is gone");
    let (reused, _) = answer(&tokens[..20]);
    assert_eq!(reused, 0);
    let (reused, _) = answer(&tokens[..21]);
    assert_eq!(reused, 20, "no window was full");
}
