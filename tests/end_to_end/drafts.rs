//! A model that is helped by a draft says what it says alone, in fewer calls.
#![expect(clippy::print_stdout, reason = "figures for those who run it with --nocapture")]

use std::path::{Path, PathBuf};

use anec_mil::evaluate::Numerics;
use anec_runtime::generate::{Calls, Generator, Limits};
use anec_runtime::sampling::{Sampler, SamplingOptions};
use tempfile::TempDir;

use crate::plan_decisions::{converted, session, shipped};
use crate::windows;

const TOKENS: usize = 24;

fn convert(checkpoint: &Path, options: &[&str]) -> (TempDir, PathBuf) {
    let base = ["--context-length", "128", "--batch-size", "16"];
    let directory = converted(checkpoint, &[&base, options].concat());
    let path = directory.path().join("out");
    (directory, path)
}

/// Twenty beginnings of different lengths.
fn prompts(vocab: u32) -> Vec<Vec<u32>> {
    (0..20_u32).map(|prompt| (0..=3 * prompt).map(|index| (prompt * 131 + index * 977 + 7) % vocab).collect()).collect()
}

fn answers(generator: &mut Generator, prompts: &[Vec<u32>], options: SamplingOptions) -> (Vec<Vec<u32>>, Calls) {
    let limits = Limits { max_tokens: Some(TOKENS), ..Limits::default() };
    let mut sampler = Sampler::new(options).expect("valid");
    let mut all = Calls::default();
    let mut answer = |prompt: &Vec<u32>| {
        let mut generation = generator.start(prompt, &mut sampler, &limits).expect("fits");
        while generation.next_token().expect("finite logits").is_some() {}
        let Calls { made, tokens, drafted, kept } = generation.calls();
        all = Calls {
            made: all.made + made,
            tokens: all.tokens + tokens,
            drafted: all.drafted + drafted,
            kept: all.kept + kept,
        };
        generation.tokens().to_vec()
    };
    (prompts.iter().map(&mut answer).collect(), all)
}

#[test]
fn a_draft_saves_calls_and_changes_no_token() {
    let (_alone, alone) = convert(&shipped(), &[]);
    let (_draft, draft) = convert(&shipped(), &["--ffn", "lut3"]);
    let prompts = prompts(2048);
    let (expected, plain) =
        answers(&mut Generator::new(session(&alone, Numerics::F32)), &prompts, SamplingOptions::default());
    assert_eq!(plain.made, plain.tokens);
    for functions in [
        &["--functions", "infer,prefill,verify:5"][..],
        &["--functions", "infer,prefill,verify:5", "--argmax"],
        &["--functions", "single", "--query-length", "6"],
    ] {
        let (_model, model) = convert(&shipped(), functions);
        let mut generator = Generator::new(session(&model, Numerics::F32))
            .with_draft(session(&draft, Numerics::F32), 4)
            .expect("the same vocabulary");
        let (found, calls) = answers(&mut generator, &prompts, SamplingOptions::default());
        println!(
            "{functions:?}: {} calls for {} tokens, {} of {} drafted tokens kept",
            calls.made, calls.tokens, calls.kept, calls.drafted
        );
        assert_eq!(found, expected, "{functions:?}");
        assert!(calls.kept > 0 && calls.kept < calls.drafted, "{calls:?}");
        assert_eq!(calls.made + calls.kept, calls.tokens);
    }
}

#[test]
fn a_ring_is_overwritten_where_drafted_tokens_are_not_kept() {
    let checkpoint = windows::written();
    let (_alone, alone) = convert(checkpoint.path(), &["--single-cache"]);
    let (_draft, draft) = convert(checkpoint.path(), &["--ffn", "lut3"]);
    let (_model, model) = convert(checkpoint.path(), &["--functions", "infer,prefill,verify:5"]);
    let prompts = prompts(128);
    let (expected, _) =
        answers(&mut Generator::new(session(&alone, Numerics::F32)), &prompts, SamplingOptions::default());
    let mut generator = Generator::new(session(&model, Numerics::F32))
        .with_draft(session(&draft, Numerics::F32), 4)
        .expect("the same vocabulary");
    let (found, calls) = answers(&mut generator, &prompts, SamplingOptions::default());
    println!(
        "{} calls for {} tokens, {} of {} drafted tokens kept",
        calls.made, calls.tokens, calls.kept, calls.drafted
    );
    assert_eq!(found, expected);
    assert!(calls.kept < calls.drafted, "{calls:?}");
}

#[test]
fn sampled_answers_with_a_draft_are_as_likely_as_without() {
    // The first two tokens after one prompt, thousands of times: as often with a draft as without.
    const DRAWS: usize = 1500;
    let (_model, model) = convert(&shipped(), &["--functions", "infer,prefill,verify:3"]);
    let (_draft, draft) = convert(&shipped(), &["--ffn", "lut2"]);
    let count = |generator: &mut Generator, seed: u64| {
        let limits = Limits { max_tokens: Some(3), ..Limits::default() };
        let options = SamplingOptions { temperature: 1.0, top_k: 4, seed, ..SamplingOptions::default() };
        let mut sampler = Sampler::new(options).expect("valid");
        let mut counts = std::collections::BTreeMap::<u32, usize>::new();
        for _ in 0..DRAWS {
            let mut generation = generator.start(&[5, 17, 400], &mut sampler, &limits).expect("fits");
            while generation.next_token().expect("finite logits").is_some() {}
            *counts.entry(generation.tokens()[2]).or_default() += 1;
        }
        counts
    };
    let plain = count(&mut Generator::new(session(&model, Numerics::F32)), 1);
    let helped = Generator::new(session(&model, Numerics::F32)).with_draft(session(&draft, Numerics::F32), 2);
    let helped = count(&mut helped.expect("the same vocabulary"), 2);
    for token in plain.keys().chain(helped.keys()) {
        let [a, b] = [&plain, &helped].map(|counts| counts.get(token).copied().unwrap_or(0));
        let [a, b] = [a, b].map(|count| f64::from(u32::try_from(count).expect("few")));
        // Five standard deviations of the difference.
        assert!((a - b).abs() <= 5.0 * (a + b + 1.0).sqrt(), "{token}: {a} and {b} of {DRAWS}");
    }
}
