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
