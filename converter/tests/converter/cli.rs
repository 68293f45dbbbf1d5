//! The command line as a user meets it: what `anec` writes, prints and refuses.

#![expect(clippy::unwrap_used, reason = "a test that cannot set itself up has failed")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

pub(crate) fn checkpoint() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/tiny-qwen3")
}

pub(crate) fn anec(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_anec")).args(arguments).output().unwrap()
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A copy of the checkpoint that a test may break.
fn copy() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    for name in
        ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "generation_config.json"]
    {
        fs::copy(checkpoint().join(name), directory.path().join(name)).unwrap();
    }
    directory
}

fn set_config(directory: &Path, key: &str, value: serde_json::Value) {
    let path = directory.join("config.json");
    let mut config: serde_json::Map<String, serde_json::Value> =
        serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    config.insert(key.to_owned(), value);
    fs::write(path, serde_json::to_vec(&config).unwrap()).unwrap();
}

/// Every file below a directory with its bytes, sorted.
pub(crate) fn tree(directory: &Path) -> Vec<(String, Vec<u8>)> {
    fn walk(root: &Path, directory: &Path, files: &mut Vec<(String, Vec<u8>)>) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(root, &path, files);
            } else {
                let name = path.strip_prefix(root).unwrap().to_string_lossy().into_owned();
                files.push((name, fs::read(&path).unwrap()));
            }
        }
    }
    let mut files = Vec::new();
    walk(directory, directory, &mut files);
    files.sort();
    files
}

pub(crate) fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// Converts and expects failure: exit code 1, all of `words` in the message, and nothing left behind.
fn refuses(model: &Path, arguments: &[&str], words: &[&str]) {
    let parent = tempfile::tempdir().unwrap();
    let output = parent.path().join("out");
    let mut all = vec!["convert", model.to_str().unwrap(), "-o", output.to_str().unwrap()];
    all.extend(arguments);
    let result = anec(&all);
    let message = stderr(&result);
    assert_eq!(result.status.code(), Some(1), "{message}");
    for word in words {
        assert!(message.contains(word), "expected `{word}` in:\n{message}");
    }
    assert_eq!(names(parent.path()), Vec::<String>::new(), "left behind");
}

#[test]
fn a_conversion_writes_both_forms_metadata_tokenizer_and_checksums() {
    let parent = tempfile::tempdir().unwrap();
    let output = parent.path().join("out");
    let model = checkpoint();
    let options = ["--lut", "6", "--chunks", "2", "--calibration", "none"];
    let result = anec(&[&["convert", model.to_str().unwrap(), "-o", output.to_str().unwrap()], &options[..]].concat());
    assert!(result.status.success(), "{}", stderr(&result));
    assert_eq!(stdout(&result), "", "data goes to stdout, and there is none");
    let expected = [
        "SHA256SUMS",
        "combined_lut6_chunk_01of02.mlmodelc",
        "combined_lut6_chunk_01of02.mlpackage",
        "combined_lut6_chunk_02of02.mlmodelc",
        "combined_lut6_chunk_02of02.mlpackage",
        "config.json",
        "embeddings.mlmodelc",
        "embeddings.mlpackage",
        "generation_config.json",
        "lm_head_lut6.mlmodelc",
        "lm_head_lut6.mlpackage",
        "meta.json",
        "meta.yaml",
        "provenance.json",
        "special_tokens_map.json",
        "tokenizer.json",
        "tokenizer_config.json",
    ];
    assert_eq!(names(&output), expected);
    assert_eq!(names(parent.path()), ["out"]);
    let listed = fs::read_to_string(output.join("SHA256SUMS")).unwrap().lines().count();
    assert_eq!(listed, tree(&output).len() - 1, "every file but SHA256SUMS itself");
}

#[test]
fn the_number_of_threads_does_not_change_a_byte() {
    for options in [
        &["--lut", "4"][..],
        &["--lut", "6", "--group-size", "tensor", "--channel-scale", "--int8-embeddings", "--lm-head", "int8"],
    ] {
        let parent = tempfile::tempdir().unwrap();
        let convert = |name: &str, threads: &str| {
            let output = parent.path().join(name);
            let (model, path) = (checkpoint(), output.to_str().unwrap().to_owned());
            let arguments = ["convert", model.to_str().unwrap(), "-o", &path, "--threads", threads, "--quiet"];
            let result = anec(&[&arguments, options, &["--calibration", "none"]].concat());
            assert!(result.status.success(), "{}", stderr(&result));
            assert_eq!(stderr(&result), "", "quiet");
            tree(&output)
        };
        let one = convert("one", "1");
        assert!(one == convert("two", "2"), "1 and 2 threads differ");
        assert!(one == convert("again", "2"), "two runs differ");
    }
}

#[test]
fn inside_a_checkpoint_no_directory_has_to_be_named() {
    let model = copy();
    let result = Command::new(env!("CARGO_BIN_EXE_anec"))
        .args(["convert", "--arch", "qwen", "--lut", "6", "--chunks", "2", "--quiet"])
        .current_dir(model.path())
        .output()
        .unwrap();
    assert!(result.status.success(), "{}", stderr(&result));
    assert!(model.path().join("converted_model/meta.yaml").is_file());
}

#[test]
fn an_existing_output_needs_force() {
    let parent = tempfile::tempdir().unwrap();
    let output = parent.path().join("out");
    let model = checkpoint();
    let convert = |more: &[&str]| {
        let mut arguments = vec!["convert", model.to_str().unwrap(), "-o", output.to_str().unwrap(), "--quiet"];
        arguments.extend(["--calibration", "none"]);
        arguments.extend(more);
        anec(&arguments)
    };
    assert!(convert(&[]).status.success());
    let before = tree(&output);
    let refused = convert(&["--lut", "4"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(stderr(&refused).contains("--force"), "{}", stderr(&refused));
    assert!(tree(&output) == before, "a refused conversion changes nothing");
    assert!(convert(&["--lut", "4", "--force"]).status.success());
    assert!(output.join("lm_head_lut4.mlpackage").is_dir());
    assert_eq!(names(parent.path()), ["out"]);
}

#[test]
fn anemll_names_are_those_that_its_clients_look_for() {
    let parent = tempfile::tempdir().unwrap();
    let output = parent.path().join("out");
    let model = checkpoint();
    let result = anec(&[
        "convert",
        model.to_str().unwrap(),
        "-o",
        output.to_str().unwrap(),
        "--layout",
        "anemll",
        "--lut",
        "4",
        "--uniform",
        "--chunks",
        "1",
    ]);
    assert!(result.status.success(), "{}", stderr(&result));
    let packages: Vec<String> = names(&output).into_iter().filter(|name| name.ends_with(".mlpackage")).collect();
    assert_eq!(
        packages,
        ["qwen_FFN_PF_lut4_chunk_01of01.mlpackage", "qwen_embeddings.mlpackage", "qwen_lm_head_lut4.mlpackage"]
    );
    let meta = fs::read_to_string(output.join("meta.yaml")).unwrap();
    for line in [
        "    context_length: 512",
        "    batch_size: 64",
        "    lut_embeddings: none",
        "    lut_ffn: 4",
        "    lut_lmhead: 4",
        "    num_chunks: 1",
        "    model_prefix: qwen",
        "    ffn: qwen_FFN_PF_lut4_chunk_01of01.mlmodelc",
        "    split_lm_head: 16",
        "    prefill_dynamic_slice: true",
    ] {
        assert!(meta.lines().any(|found| found == line), "`{line}` not in:\n{meta}");
    }
}

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

#[test]
fn without_a_tokenizer_palettes_are_refused_unless_they_need_none() {
    let model = copy();
    fs::remove_file(model.path().join("tokenizer.json")).unwrap();
    refuses(model.path(), &["--lut", "4"], &["tokenizer.json", "hint:", "`--calibration none`"]);
    let planned = anec(&["plan", model.path().to_str().unwrap(), "--lut", "4"]);
    assert!(planned.status.success() && stderr(&planned).contains("will refuse"), "{}", stderr(&planned));
    let parent = tempfile::tempdir().unwrap();
    let output = parent.path().join("out");
    let arguments = ["convert", model.path().to_str().unwrap(), "-o", output.to_str().unwrap(), "--quiet"];
    for options in
        [&["--lut", "4", "--calibration", "none"][..], &["--lut", "8", "--force"], &["--ffn", "int8", "--force"]]
    {
        let result = anec(&[&arguments, options].concat());
        assert!(result.status.success(), "{options:?}: {}", stderr(&result));
    }
}

#[test]
fn inspect_reads_a_package_and_a_directory() {
    let parent = tempfile::tempdir().unwrap();
    let output = parent.path().join("out");
    let model = checkpoint();
    let options = ["--lut", "4", "--chunks", "1", "-q", "--calibration", "none"];
    let arguments = [&["convert", model.to_str().unwrap(), "-o", output.to_str().unwrap()], &options[..]].concat();
    assert!(anec(&arguments).status.success());
    let directory = anec(&["inspect", output.to_str().unwrap()]);
    assert!(directory.status.success(), "{}", stderr(&directory));
    for word in
        ["combined_lut4_chunk_01of01", "prefill", "infer", "model_model_kv_cache_0", "constexpr_lut_to_dense", "uint4"]
    {
        assert!(stdout(&directory).contains(word), "`{word}` not in:\n{}", stdout(&directory));
    }
    let package = output.join("embeddings.mlpackage");
    let text = anec(&["inspect", package.to_str().unwrap(), "--mil"]);
    assert!(stdout(&text).starts_with("program(1.3)\n["), "{}", stdout(&text));
    let json = anec(&["inspect", package.to_str().unwrap(), "--json"]);
    serde_json::from_str::<serde_json::Value>(&stdout(&json)).unwrap();
}

#[test]
fn a_group_size_that_divides_no_channels_converts_and_verifies() {
    let parent = tempfile::tempdir().unwrap();
    let output = parent.path().join("out");
    let (path, report) = (output.to_str().unwrap(), parent.path().join("report"));
    let model = checkpoint();
    let model = model.to_str().unwrap();
    let options = ["--lut", "8", "--group-size", "7", "--lut-embeddings", "8", "--quiet"];
    let converted = anec(&[&["convert", model, "-o", path], &options[..]].concat());
    assert!(converted.status.success(), "{}", stderr(&converted));
    let linted = anec(&["lint", path]);
    assert!(stdout(&linted).contains("0 errors, 0 warnings"), "{}", stdout(&linted));
    let verified = anec(&["verify", path, "--against", model, "--report", report.to_str().unwrap()]);
    assert!(verified.status.success(), "{}{}", stdout(&verified), stderr(&verified));
}

#[test]
fn tokenizers_that_are_missing_damaged_or_of_another_model_are_told() {
    let said = |damage: &dyn Fn(&Path)| {
        let (directory, parent) = (copy(), tempfile::tempdir().unwrap());
        damage(directory.path());
        let output = parent.path().join("out");
        let converted = anec(&["convert", directory.path().to_str().unwrap(), "-o", output.to_str().unwrap()]);
        assert!(converted.status.success(), "{}", stderr(&converted));
        stderr(&converted)
    };
    let is_quiet = |text: &str| !text.contains("tokenizer");
    assert!(is_quiet(&said(&|_| {})), "{}", said(&|_| {}));
    let remove = |directory: &Path| fs::remove_file(directory.join("tokenizer.json")).unwrap();
    assert!(said(&remove).contains("there is no tokenizer.json"));
    let only = said(&|directory| {
        remove(directory);
        fs::write(directory.join("tekken.json"), "{}").unwrap();
    });
    assert!(only.contains("only tekken.json"), "{only}");
    let damaged = said(&|directory| fs::write(directory.join("tokenizer.json"), r#"{"a":"#).unwrap());
    assert!(damaged.contains("`tokenizer.json` is malformed"), "{damaged}");
    let other = said(&|directory| {
        let path = directory.join("tokenizer.json");
        let mut tokenizer: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        tokenizer["model"]["vocab"]["of another model"] = 100_000.into();
        fs::write(path, tokenizer.to_string()).unwrap();
    });
    assert!(other.contains("it is of another model"), "{other}");
    let ends = said(&|directory| set_config(directory, "eos_token_id", 7.into()));
    // generation_config.json still says what the tokenizer does.
    assert!(is_quiet(&ends), "{ends}");
}

#[test]
fn inspect_says_what_a_checkpoint_is_and_what_would_stop_its_conversion() {
    let directory = copy();
    let path = directory.path().to_str().unwrap();
    let inspected = anec(&["inspect", path]);
    assert!(inspected.status.success(), "{}", stderr(&inspected));
    for word in ["qwen3, 4 layers", "vocabulary 2048 tokens", "BF16"] {
        assert!(stdout(&inspected).contains(word), "`{word}` not in:\n{}", stdout(&inspected));
    }
    let json: serde_json::Value = serde_json::from_str(&stdout(&anec(&["inspect", path, "--json"]))).unwrap();
    assert_eq!(json["tensors"][0]["name"], "model.embed_tokens.weight");
    set_config(directory.path(), "num_hidden_layers", 5.into());
    set_config(directory.path(), "layer_types", serde_json::Value::Null);
    let broken = anec(&["inspect", path]);
    assert!(!broken.status.success());
    assert!(stdout(&broken).contains("`model.layers.4."), "{}", stdout(&broken));
}

#[test]
fn a_prefix_of_all_names_is_told_once_and_left_out_on_request() {
    let directory = copy();
    let path = directory.path().join("model.safetensors");
    let bytes = fs::read(&path).unwrap();
    let (length, rest) = bytes.split_first_chunk::<8>().unwrap();
    let (header, data) = rest.split_at(usize::try_from(u64::from_le_bytes(*length)).unwrap());
    let header = String::from_utf8(header.to_vec()).unwrap().replace("\"model.", "\"student.model.");
    let parts = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), data];
    fs::write(&path, parts.concat()).unwrap();
    let (model, parent) = (directory.path().to_str().unwrap(), tempfile::tempdir().unwrap());
    let output = parent.path().join("out");
    let refused = anec(&["convert", model, "-o", output.to_str().unwrap()]);
    assert!(!refused.status.success());
    assert!(stderr(&refused).contains("`--strip-prefix student.`"), "{}", stderr(&refused));
    assert!(stderr(&refused).lines().count() < 8, "{}", stderr(&refused));
    let prefix = ["--strip-prefix", "student."];
    let converted = anec(&[&["convert", model, "-o", output.to_str().unwrap()], &prefix[..]].concat());
    assert!(converted.status.success(), "{}", stderr(&converted));
    let report = parent.path().join("report");
    let verify = ["verify", output.to_str().unwrap(), "--against", model, "--report", report.to_str().unwrap()];
    let verified = anec(&[&verify[..], &prefix].concat());
    assert!(verified.status.success(), "{}{}", stdout(&verified), stderr(&verified));
}

#[test]
fn force_names_what_was_edited_since_it_was_written() {
    let parent = tempfile::tempdir().unwrap();
    let output = parent.path().join("out");
    let (model, path) = (checkpoint(), output.to_str().unwrap());
    let convert = ["convert", model.to_str().unwrap(), "-o", path, "--emit", "mlpackage", "--force"];
    assert!(anec(&convert).status.success());
    let meta = output.join("meta.yaml");
    fs::write(&meta, fs::read_to_string(&meta).unwrap() + "# mine\n").unwrap();
    let replaced = anec(&convert);
    assert!(replaced.status.success());
    assert!(stderr(&replaced).contains("`meta.yaml`, which was edited"), "{}", stderr(&replaced));
}

#[test]
fn a_package_over_the_size_limit_is_refused_before_any_work() {
    refuses(&checkpoint(), &["--chunks", "1", "--size-limit", "1MB"], &["combined_chunk_01of01", "1.0 MB", "hint:"]);
}

#[test]
fn a_config_with_unknown_maths_is_refused() {
    let model = copy();
    set_config(model.path(), "attn_logit_softcapping", 50.0.into());
    refuses(model.path(), &[], &["attn_logit_softcapping", "hint:"]);
}

#[test]
fn quantized_mixture_and_multimodal_checkpoints_are_refused() {
    for (key, value) in [
        ("quantization_config", serde_json::json!({"quant_method": "gptq", "bits": 4})),
        ("num_experts", 8.into()),
        ("vision_config", serde_json::json!({"hidden_size": 8})),
    ] {
        let model = copy();
        set_config(model.path(), key, value);
        refuses(model.path(), &[], &["error:", "hint:"]);
    }
}

#[test]
fn a_tensor_of_the_wrong_shape_is_refused_by_name() {
    let model = copy();
    set_config(model.path(), "intermediate_size", 768.into());
    refuses(model.path(), &[], &["mlp.gate_proj.weight", "768", "512"]);
}

#[test]
fn a_missing_layer_is_refused_by_name() {
    let model = copy();
    set_config(model.path(), "num_hidden_layers", 5.into());
    set_config(model.path(), "layer_types", serde_json::Value::Null);
    refuses(model.path(), &[], &["model.layers.4."]);
}

#[test]
fn a_truncated_weight_file_is_refused() {
    let model = copy();
    let path = model.path().join("model.safetensors");
    let bytes = fs::read(&path).unwrap();
    for length in [0, 4, 100, bytes.len() / 2, bytes.len() - 1] {
        fs::write(&path, &bytes[..length]).unwrap();
        refuses(model.path(), &[], &["model.safetensors"]);
    }
}

#[test]
fn an_index_that_names_a_file_outside_the_directory_is_refused() {
    let model = copy();
    fs::remove_file(model.path().join("model.safetensors")).unwrap();
    let index = serde_json::json!({"weight_map": {"model.norm.weight": "../elsewhere.safetensors"}});
    fs::write(model.path().join("model.safetensors.index.json"), index.to_string()).unwrap();
    refuses(model.path(), &[], &["../elsewhere.safetensors"]);
}

#[test]
fn a_weight_that_is_not_finite_is_refused_and_leaves_nothing() {
    let model = copy();
    let path = model.path().join("model.safetensors");
    let mut bytes = fs::read(&path).unwrap();
    let length = bytes.len();
    // The last bf16 of the file becomes an infinity.
    bytes[length - 2..].copy_from_slice(&[0x80, 0x7f]);
    fs::write(&path, bytes).unwrap();
    refuses(model.path(), &[], &["inf"]);
}

#[test]
fn usage_errors_have_exit_code_2() {
    assert_eq!(anec(&["convert", "--lut", "5"]).status.code(), Some(2));
    assert_eq!(anec(&["frobnicate"]).status.code(), Some(2));
}

#[test]
fn a_context_that_the_neural_engine_refuses_is_refused_at_once() {
    let parent = tempfile::tempdir().unwrap();
    let output = parent.path().join("out");
    let checkpoint = checkpoint();
    let convert = |options: &[&str]| {
        let arguments = ["convert", checkpoint.to_str().unwrap(), "-o", output.to_str().unwrap(), "--quiet"];
        anec(&[&arguments[..], &["--context-length", "100"], options].concat())
    };
    let refused = convert(&[]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(stderr(&refused).contains("such as 128"), "{}", stderr(&refused));
    assert!(convert(&["--target", "macos15-gpu"]).status.success());
}

#[test]
fn what_nobody_reads_to_the_end_is_no_failure() {
    let output =
        Command::new("sh").args(["-c", "\"$0\" rules --json | :", env!("CARGO_BIN_EXE_anec")]).output().unwrap();
    assert_eq!(stderr(&output), "");
}

#[test]
fn what_needs_a_device_is_refused_without_one() {
    let parent = tempfile::tempdir().unwrap();
    let output = parent.path().join("out");
    let (checkpoint, path) = (checkpoint(), output.to_str().unwrap());
    let checkpoint = checkpoint.to_str().unwrap();
    assert!(anec(&["convert", checkpoint, "-o", path, "--quiet", "--context-length", "64"]).status.success());
    for option in [["--min-ane", "0.5"], ["--min-psnr", "40"], ["--predictions", "5"], ["--units", "all"]] {
        let refused = anec(&[&["verify", path, "--against", checkpoint], &option[..]].concat());
        assert_eq!(refused.status.code(), Some(1), "{option:?}");
        assert!(stderr(&refused).contains("needs `--backend coreml`"), "{}", stderr(&refused));
    }
    let tokens = parent.path().join("tokens.json");
    fs::write(&tokens, "[1, 2, 999999]").unwrap();
    let refused = anec(&["eval", path, "--tokens", tokens.to_str().unwrap()]);
    assert!(stderr(&refused).contains("999999"), "the last token is scored, too: {}", stderr(&refused));
    fs::write(parent.path().join("file"), "").unwrap();
    let kept = parent.path().join("file");
    let refused = anec(&["eval", path, "--save", kept.to_str().unwrap()]);
    assert!(stderr(&refused).contains("it exists"), "before any work: {}", stderr(&refused));
    let report = parent.path().join("file");
    let refused = anec(&["verify", path, "--against", checkpoint, "--report", report.to_str().unwrap()]);
    assert!(stderr(&refused).contains("--report"), "{}", stderr(&refused));
    assert!(!stderr(&refused).contains("Reading"), "before any work: {}", stderr(&refused));
}

#[test]
fn layers_of_int8_hold_before_lint_and_verification() {
    let parent = tempfile::tempdir().unwrap();
    let output = parent.path().join("out");
    let path = output.to_str().unwrap();
    let model = checkpoint();
    let model = model.to_str().unwrap();
    let converted = anec(&["convert", model, "-o", path, "--ffn", "int8", "--chunks", "2", "--quiet"]);
    assert!(converted.status.success(), "{}", stderr(&converted));
    assert!(output.join("combined_int8_chunk_01of02.mlpackage").is_dir(), "{:?}", names(&output));
    assert!(fs::read_to_string(output.join("meta.yaml")).unwrap().contains("# ffn = int8, a scale per channel\n"));
    let linted = anec(&["lint", path]);
    assert!(stdout(&linted).contains("0 errors, 0 warnings"), "{}", stdout(&linted));
    let report = parent.path().join("report.json");
    let verified = anec(&["verify", path, "--against", model, "--report", report.to_str().unwrap()]);
    assert!(verified.status.success(), "{}{}", stdout(&verified), stderr(&verified));
}

#[test]
fn storages_that_contradict_each_other_are_refused_by_name() {
    let checkpoint = checkpoint();
    for (options, named) in [
        (&["--ffn", "int8", "--lut-ffn", "4"][..], ["`--ffn int8`", "`--lut-ffn 4`"]),
        (&["--lm-head", "int8", "--lut-lm-head", "4"], ["`--lm-head int8`", "`--lut-lm-head 4`"]),
        (&["--ffn", "lut4:8", "--group-size", "16"], ["`--ffn lut4:8`", "`--group-size 16`"]),
        (&["--embeddings", "lut4:8+scale"], ["lut4:8+scale", "gathered"]),
        (&["--lut", "4", "--group-size", "tensor"], ["`lut4:tensor`", "`--calibration none`"]),
        (&["--lut-ffn", "6", "--channel-scale"], ["`lut6:8+scale`", "`--calibration none`"]),
        (&["--ffn", "lut4+calibrated", "--calibration", "none"], ["`lut4:8+calibrated`", "`--calibration none`"]),
    ] {
        let refused = anec(&[&["plan", checkpoint.to_str().unwrap()], options].concat());
        assert_eq!(refused.status.code(), Some(1), "{options:?}");
        assert!(named.iter().all(|name| stderr(&refused).contains(name)), "{options:?}: {}", stderr(&refused));
    }
}

#[test]
fn options_that_do_nothing_are_said_to() {
    let checkpoint = checkpoint();
    let plan = |options: &[&str]| {
        let planned = anec(&[&["plan", checkpoint.to_str().unwrap()], options].concat());
        assert!(planned.status.success(), "{}", stderr(&planned));
        stderr(&planned)
    };
    for (options, option) in [
        (&["--group-size", "16"][..], "--group-size"),
        (&["--palette", "exact"], "--palette"),
        (&["--channel-scale"], "--channel-scale"),
        (&["--lut", "4", "--ffn", "int8", "--lm-head", "int8"], "--lut"),
        (&["--lut", "4", "--palette", "exact"], "--palette"),
        (&["--ffn", "int8", "--calibration", "builtin"], "--calibration"),
        (&["--lut", "3", "--uniform"], "--uniform"),
        (&["--lut", "4", "--calibration", "none", "--uniform"], "--uniform"),
        (&["--query-length", "8"], "--query-length"),
        (&["--functions", "single", "--batch-size", "32"], "--batch-size"),
    ] {
        assert!(plan(options).contains(&format!("`{option}` has no effect")), "{options:?}");
    }
    let all = ["--lut", "4", "--group-size", "16", "--palette", "exact", "--channel-scale", "--batch-size", "32"];
    assert!(!plan(&[&all[..], &["--calibration", "none"]].concat()).contains("no effect"));
    assert!(
        !plan(&["--lut", "4", "--group-size", "16", "--uniform", "--calibration", "builtin"]).contains("no effect")
    );
    assert!(!plan(&["--context-length", "32"]).contains("warning"), "the batch is no larger than the context");
}
