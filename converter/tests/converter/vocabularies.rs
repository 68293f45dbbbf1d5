//! Vocabularies that are not made of whole groups, and heads that states do not take: planned from configs alone.

#![expect(clippy::unwrap_used, reason = "a test that cannot set itself up has failed")]

use std::fs;

use super::cli::{anec, stderr, stdout};

/// Models were published with the first; the others are primes.
const VOCABULARIES: [u64; 10] = [32_001, 32_002, 32_003, 64_001, 128_257, 128_258, 151_669, 49_157, 8191, 2];

fn plan(config: &serde_json::Value, options: &[&str]) -> String {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("config.json");
    fs::write(&path, config.to_string()).unwrap();
    let planned = anec(&[&["plan", path.to_str().unwrap()], options].concat());
    assert!(planned.status.success(), "{options:?} {config}: {}", stderr(&planned));
    stdout(&planned)
}

fn config(key: &str, value: u64) -> serde_json::Value {
    let mut config = serde_json::json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 256, "intermediate_size": 512,
        "num_hidden_layers": 1, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 2048,
        "max_position_embeddings": 512, "rms_norm_eps": 1e-5, "tie_word_embeddings": false,
    });
    config[key] = value.into();
    config
}

#[test]
fn every_vocabulary_takes_every_storage_and_every_group_size() {
    for vocab_size in VOCABULARIES {
        let config = config("vocab_size", vocab_size);
        for options in [
            &["--lut", "4"][..],
            &["--lut", "6", "--group-size", "32", "--calibration", "none"],
            &["--lut", "8", "--group-size", "24", "--lut-embeddings", "8"],
            &["--lut", "4", "--layout", "anemll"],
            &["--lut", "4", "--layout", "anemll-monolithic"],
            &["--lm-head", "int8", "--int8-embeddings"],
            &["--lut", "3", "--lm-head-splits", "2", "--argmax"],
        ] {
            plan(&config, options);
        }
    }
}

#[test]
fn heads_that_states_do_not_take_are_kept_with_zeros_behind() {
    for (head_dim, kept) in [(48, Some(64)), (80, Some(96)), (96, None), (100, Some(128)), (128, None)] {
        let config = config("head_dim", head_dim);
        let text = plan(&config, &[]);
        let said = kept.map(|kept| format!("heads of {head_dim} channels are kept as {kept}"));
        match said {
            Some(said) => assert!(text.contains(&said), "`{said}` not in:\n{text}"),
            None => assert!(!text.contains("zeros behind"), "{text}"),
        }
        // Where the client keeps the cache, nothing refuses them; a GPU does not either.
        for options in [["--layout", "host-cache"], ["--target", "macos15-gpu"]] {
            assert!(!plan(&config, &options).contains("zeros behind"), "{options:?}");
        }
    }
}
