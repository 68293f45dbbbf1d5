//! Plans and layouts, as `anec plan` and `anec layouts` tell them.

#![expect(clippy::unwrap_used, reason = "a test that cannot set itself up has failed")]

use super::cli::{anec, checkpoint, stderr, stdout};

/// A config of a published model.
fn config(name: &str) -> String {
    format!("{}/tests/configs/{name}.json", env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn a_plan_explains_itself_from_the_config_alone() {
    let result = anec(&["plan", &config("llama-3.2-1b"), "--chip", "m4-pro", "--target", "macos15"]);
    assert!(stderr(&result).contains("planned from the config alone"), "{}", stderr(&result));
    let text = stdout(&result);
    for words in [
        "\ntarget     m4-pro: weight files up to 1.90 GB, axes up to 65536, weights are kept off its slow read sizes",
        "\nchunks     2, the fewest of at most 1.90 GB, balanced by bytes",
        "\nsplit      down_proj [2048, 8192] in 3 parts of 2752 + 2720 + 2720 input channels: 2.000 MiB per core",
        "\nmemory     weights 3.00 GB, KV cache 16.8 MB; 4.96 GB with every function loaded\n",
        "\nm4-pro     126.0         50.6 ",
    ] {
        assert!(text.contains(words), "expected {words:?} in:\n{text}");
    }
}

#[test]
fn a_plan_as_data_has_every_context_length_with_decisions_and_bounds() {
    let result = anec(&["plan", &config("qwen3-0.6b"), "--context-length", "512,2048", "--json"]);
    let plan: serde_json::Value = serde_json::from_str(&stdout(&result)).unwrap();
    assert_eq!(plan["context_length"], 2048);
    let other = &plan["other_contexts"][0];
    assert_eq!(other["context_length"], 512);
    assert_eq!(plan["total_bytes"], other["total_bytes"], "the weight files are shared");
    for plan in [&plan, other] {
        let topics: Vec<&str> =
            plan["decisions"].as_array().unwrap().iter().map(|row| row["topic"].as_str().unwrap()).collect();
        assert_eq!(topics, ["target", "context", "functions", "kv_write", "chunks", "lm_head", "weights"]);
        let bounds = plan["bounds"].as_array().unwrap();
        assert!(bounds.len() > 20, "{bounds:?}");
        for row in bounds {
            assert!(row["decode_tokens_per_second"].as_f64().unwrap() > 0.0, "{row}");
            assert!(!row["gigabytes_per_second_source"].as_str().unwrap().is_empty(), "{row}");
        }
    }
    let decode = |plan: &serde_json::Value| plan["bounds"][0]["decode_tokens_per_second"].as_f64().unwrap();
    assert!(decode(other) > decode(&plan), "a shorter cache is read faster");
}

#[test]
fn a_layout_goes_by_its_former_option_too() {
    let config = config("qwen3-0.6b");
    let files = |arguments: &[&str]| {
        let result = anec(&[&["plan", &config, "--json"], arguments].concat());
        let plan: serde_json::Value = serde_json::from_str(&stdout(&result)).unwrap();
        plan["files"].as_array().unwrap().iter().map(|file| file["name"].to_string()).collect::<Vec<_>>()
    };
    assert_eq!(files(&["--runtime", "anemll"]), files(&["--layout", "anemll"]));
    assert_eq!(files(&["--runtime", "default"]), files(&[]));
    assert_ne!(files(&["--layout", "anemll"]), files(&["--layout", "anec"]));
    let unknown = anec(&["plan", &config, "--layout", "swift"]);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(stderr(&unknown).contains("anec, anemll"), "{}", stderr(&unknown));
}

#[test]
fn layouts_say_what_their_clients_rely_on() {
    let table = stdout(&anec(&["layouts"]));
    assert!(table.contains("anemll") && table.contains("stateful"), "{table}");
    let text = stdout(&anec(&["layouts", "anemll"]));
    for words in [
        "causal_mask                   fp16   [1, 1, batch_size, context_length]",
        "model_model_kv_cache_0        fp16   [2 * num_hidden_layers, num_key_value_heads, cache_length, head_dim]",
        "input_ids                     int32  [1, 1 or batch_size] (not single, not verify)",
        "  decode  lm_head          main",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    let json: serde_json::Value = serde_json::from_str(&stdout(&anec(&["layouts", "anec", "--json"]))).unwrap();
    let roles: Vec<&str> =
        json["contract"]["files"].as_array().unwrap().iter().map(|file| file["role"].as_str().unwrap()).collect();
    assert_eq!(roles, ["embeddings", "chunk", "lm_head"]);
    assert_eq!(anec(&["layouts", "swift"]).status.code(), Some(2));
}

#[test]
fn plans_that_cannot_be_are_refused_with_the_option_that_is_wrong() {
    let config = config("qwen3-0.6b");
    for (arguments, words) in [
        (&["--functions", "single", "--layout", "anemll"][..], "ANEMLL's clients call `infer` and `prefill`"),
        (&["--layout", "anemll-monolithic", "--chunks", "2"], "does not cut a model between layers"),
        (
            &["--layout", "anemll-monolithic", "--size-limit", "900MB"],
            "it has 1.50 GB of weights, the limit is 900.0 MB",
        ),
        (&["--layout", "anemll-monolithic", "--size-limit", "900MB"], "`--lut 8 --lut-embeddings 8`"),
        (
            &["--layout", "host-cache", "--functions", "single", "--query-length", "12"],
            "a function of the layout `host-cache` takes 1, 8, 16, 64 tokens",
        ),
        (&["--layout", "host-cache", "--batch-size", "32"], "functions of 1, 8, 16, 64 tokens"),
        (&["--layout", "host-cache", "--kv", "mask"], "no state to write"),
        (&["--functions", "single", "--query-length", "600"], "`--query-length 600`"),
        (&["--context-length", "32,64", "--batch-size", "64"], "`--batch-size 64`"),
        (&["--chunks", "99"], "the model has 28 layers"),
    ] {
        let result = anec(&[&["plan", &config], arguments].concat());
        assert_eq!(result.status.code(), Some(1), "{arguments:?}");
        assert!(stderr(&result).contains(words), "{arguments:?}: {}", stderr(&result));
    }
    for arguments in [["--chip", "m9"], ["--functions", "infer"], ["--kv", "shift"], ["--context-length", "0"]] {
        assert_eq!(anec(&[&["plan", &config], &arguments[..]].concat()).status.code(), Some(2), "{arguments:?}");
    }
}

#[test]
fn a_plan_is_printed_without_reading_or_writing_weights() {
    let model = checkpoint();
    let result = anec(&["plan", model.to_str().unwrap(), "--lut", "4", "--uniform", "--chunks", "2", "--json"]);
    assert!(result.status.success(), "{}", stderr(&result));
    let plan: serde_json::Value = serde_json::from_str(&stdout(&result)).unwrap();
    let files: Vec<&str> =
        plan["files"].as_array().unwrap().iter().map(|file| file["name"].as_str().unwrap()).collect();
    assert_eq!(files, ["embeddings", "combined_lut4_chunk_01of02", "combined_lut4_chunk_02of02", "lm_head_lut4"]);
    assert_eq!(plan["files"][1]["functions"], serde_json::json!(["infer", "prefill"]));
    assert_eq!(plan["lm_head_sizes"].as_array().unwrap().len(), 16);
}

#[test]
fn a_plan_says_what_calibration_takes_also_from_the_config_alone() {
    let planned = |arguments: &[&str]| {
        let result = anec(&[&["plan", "--json"], arguments].concat());
        assert!(result.status.success(), "{}", stderr(&result));
        let plan: serde_json::Value = serde_json::from_str(&stdout(&result)).unwrap();
        plan["calibration"].clone()
    };
    let config = config("llama-3.2-1b");
    let of = |options: &[&str]| planned(&[&[config.as_str()], options].concat());
    let four = of(&["--lut", "4"]);
    assert_eq!(four["source"], "builtin");
    let figure = |name: &str| four[name].as_f64().unwrap_or_else(|| panic!("{name} in {four}"));
    assert!(figure("tokens") >= 4096.0 && figure("seconds") > 10.0 && figure("gigaflops_per_second") > 0.1, "{four}");
    assert!((1e9..6e9).contains(&figure("memory_bytes")) && figure("disk_bytes") > 6e8, "{four}");
    for plain in [&["--lut", "8"][..], &["--ffn", "int8"], &["--lut", "4", "--calibration", "none"], &[]] {
        assert!(of(plain).is_null(), "{plain:?}");
    }
    let text = anec(&["plan", &config, "--lut", "4"]);
    assert!(stdout(&text).contains("\ncalibrate  builtin, up to "), "{}", stdout(&text));
    let words = "but 32 as lut6:8+calibrated; LM head calibrated 6-bit palettes";
    assert!(stdout(&text).contains(words), "{}", stdout(&text));
    let text = anec(&["plan", &config, "--lut", "6"]);
    let words = "but 32 as lut8:8+calibrated; LM head calibrated 8-bit palettes";
    assert!(stdout(&text).contains(words), "{}", stdout(&text));
}
