//! A prompt that the models of `--layout prefill` take, and a decoder elsewhere that goes on from their keys and values.

use crate::plan_decisions::{converted, shipped};

#[expect(dead_code, reason = "its `main` reads a command line")]
#[path = "../../examples/prefill_and_decode.rs"]
mod example;

#[test]
fn candle_decodes_on_from_a_prompts_cache_as_the_checkpoint_does() {
    let directory = converted(&shipped(), &["--layout", "prefill", "--context-length", "128"]);
    let output = directory.path().join("out");
    // A part of a block, a whole one, and one and a part.
    for length in [5, 64, 70] {
        let prompt: Vec<u32> = (0..length).map(|index| (index * 977 + 7) % 2048).collect();
        let tokens = example::decode_on(&output, &shipped(), &prompt).expect("decoded");
        assert!(tokens.len() > prompt.len());
        example::compare(&shipped(), &tokens, prompt.len()).expect("the checkpoint's tokens");
    }
}
