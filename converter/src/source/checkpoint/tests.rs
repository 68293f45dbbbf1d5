use std::path::Path;

use fs_err as fs;
use tempfile::TempDir;

use super::safetensors_directory::{INDEX_FILE, SINGLE_FILE};
use super::testing::{Source, write_config, write_raw, write_tensors};
use super::*;
use crate::error::{Hint as _, render};
use crate::source::config::ConfigError;

fn directory() -> TempDir {
    let directory = tempfile::tempdir().expect("a temporary directory");
    write_config(directory.path(), r#"{"model_type": "llama"}"#);
    directory
}

fn single(tensors: &[Source]) -> TempDir {
    let directory = directory();
    write_tensors(&directory.path().join(SINGLE_FILE), tensors);
    directory
}

fn single_raw(header: &str, data: &[u8]) -> TempDir {
    let directory = directory();
    write_raw(&directory.path().join(SINGLE_FILE), header, data);
    directory
}

fn sharded(weight_map: &[(&str, &str)], shards: &[(&str, &[&str])]) -> TempDir {
    let directory = directory();
    for (file, tensors) in shards {
        let sources: Vec<Source> = tensors.iter().map(|name| Source::zeros(name, &[2])).collect();
        write_tensors(&directory.path().join(file), &sources);
    }
    let map: BTreeMap<_, _> = weight_map.iter().copied().collect();
    write_index(directory.path(), &serde_json::json!({"metadata": {"total_size": 1}, "weight_map": map}).to_string());
    directory
}

fn write_index(directory: &Path, text: &str) {
    fs::write(directory.join(INDEX_FILE), text).expect("a writable temporary directory");
}

fn error(directory: &TempDir) -> CheckpointError {
    Checkpoint::open(directory.path()).expect_err("a checkpoint that is refused")
}

/// The message with its causes, without the temporary directory's name.
fn message(directory: &TempDir) -> String {
    render(&error(directory)).replace(&format!("{}", directory.path().display()), "DIR")
}

fn touch(directory: &Path, name: &str) {
    fs::write(directory.join(name), "").expect("a writable temporary directory");
}

#[test]
fn tensors_are_listed_sorted_with_shape_dtype_and_file() {
    let directory = single(&[Source::zeros("b", &[2, 3]), Source::zeros("a", &[1])]);
    let checkpoint = Checkpoint::open(directory.path()).expect("a sound checkpoint");
    assert_eq!(checkpoint.tensor_names().collect::<Vec<_>>(), ["a", "b"]);
    let info = checkpoint.tensor("b").expect("it is there");
    assert_eq!(info.shape, [2, 3]);
    assert!(info.file.ends_with(SINGLE_FILE));
    assert_eq!(checkpoint.tensor("c"), None);
    assert_eq!(checkpoint.config_json().get("model_type").and_then(Value::as_str), Some("llama"));
}

#[test]
fn rows_are_read_as_fp16_and_again_after_their_release() {
    let values: Vec<f32> = (0..6_u8).map(f32::from).collect();
    let directory = single(&[
        Source::f32("a", &[3, 2], &values),
        Source::f32("scalar", &[], &[7.0]),
        Source { name: "x".to_owned(), dtype: "BF16", shape: vec![2], bytes: vec![0x80, 0x3f, 0x00, 0xc0] },
        Source { name: "y".to_owned(), dtype: "F16", shape: vec![2, 1, 1], bytes: vec![0x00, 0x3c, 0x00, 0xc0] },
    ]);
    let checkpoint = Checkpoint::open(directory.path()).expect("a sound checkpoint");
    let read = |name: &str, rows| {
        let mut out = vec![f16::NAN; 9];
        checkpoint.rows_f16(name, rows, &mut out).expect("rows");
        out.into_iter().map(f16::to_f32).collect::<Vec<_>>()
    };
    for _ in 0..2 {
        assert_eq!(read("a", 1..3), [2.0, 3.0, 4.0, 5.0]);
        assert_eq!(read("a", 3..3), [0.0; 0]);
        assert_eq!(read("scalar", 0..1), [7.0]);
        assert_eq!(read("x", 0..2), [1.0, -2.0]);
        assert_eq!(read("y", 1..2), [-2.0]);
        checkpoint.release("a");
        checkpoint.release("x");
        checkpoint.release("unknown");
        checkpoint.release_rows("a", 1..2);
        checkpoint.release_rows("a", 2..usize::MAX);
    }
    let mut out = Vec::new();
    assert!(matches!(checkpoint.rows_f16("a", 2..4, &mut out), Err(CheckpointError::Rows { found: 3, .. })));
    assert!(matches!(checkpoint.rows_f16("b", 0..1, &mut out), Err(CheckpointError::Rows { found: 0, .. })));
}

#[test]
fn values_without_an_fp16_are_named_with_tensor_and_position() {
    let mut values = vec![1.0; 12];
    values[7] = f32::NAN;
    values[10] = 7e4;
    let directory = single(&[Source::f32("w", &[2, 3, 2], &values)]);
    let checkpoint = Checkpoint::open(directory.path()).expect("a sound checkpoint");
    let mut out = Vec::new();
    let error = checkpoint.rows_f16("w", 0..2, &mut out).expect_err("NaN");
    assert_eq!(error.to_string(), "Cannot convert `w`: element [1, 0, 1] is NaN");
    values[7] = 0.0;
    let directory = single(&[Source::f32("w", &[2, 3, 2], &values)]);
    let checkpoint = Checkpoint::open(directory.path()).expect("a sound checkpoint");
    assert!(checkpoint.rows_f16("w", 0..1, &mut out).is_ok());
    let error = checkpoint.rows_f16("w", 1..2, &mut out).expect_err("overflow");
    let expected = "Cannot convert `w` to fp16: element [1, 2, 0] is 70000, the largest fp16 value is 65504";
    assert_eq!(error.to_string(), expected);
}

#[test]
fn shards_are_joined_by_their_index() {
    let directory = sharded(
        &[("a", "1.safetensors"), ("b", "2.safetensors")],
        &[("1.safetensors", &["a"]), ("2.safetensors", &["b"])],
    );
    let checkpoint = Checkpoint::open(directory.path()).expect("a sound checkpoint");
    assert_eq!(checkpoint.tensor_names().collect::<Vec<_>>(), ["a", "b"]);
    assert!(checkpoint.tensor("b").is_some_and(|info| info.file.ends_with("2.safetensors")));
}

#[test]
fn every_difference_between_index_and_shards_is_listed() {
    let weight_map = [("a", "1.safetensors"), ("b", "1.safetensors"), ("c", "2.safetensors"), ("d", "3.safetensors")];
    let directory = sharded(&weight_map, &[("1.safetensors", &["a"]), ("2.safetensors", &["c", "a", "e"])]);
    assert_eq!(
        message(&directory),
        format!(
            "Cannot open the shards of `DIR/{INDEX_FILE}`: they are not what it says\n  \
             `3.safetensors` is missing\n  `a` is in `2.safetensors`, the index has it in `1.safetensors`\n  \
             `b` is not in `1.safetensors`\n  `e` is in `2.safetensors`, the index does not have it"
        )
    );
}

#[test]
fn names_that_lead_out_of_the_directory_are_refused() {
    let outside = single(&[Source::zeros("a", &[2])]);
    let target = outside.path().join(SINGLE_FILE);
    let sideways = format!("../{}/{SINGLE_FILE}", outside.path().file_name().expect("a name").to_string_lossy());
    for name in [sideways.as_str(), &target.to_string_lossy(), "..", ".", ""] {
        let directory = sharded(&[("a", name)], &[]);
        assert!(matches!(error(&directory), CheckpointError::Outside { .. }), "{name}");
    }
}

#[cfg(unix)]
#[test]
fn links_out_of_the_directory_are_refused_but_for_the_hugging_face_cache() {
    use std::os::unix::fs::symlink;

    let outside = single(&[Source::zeros("a", &[2])]);
    let directory = directory();
    symlink(outside.path().join(SINGLE_FILE), directory.path().join(SINGLE_FILE)).expect("a link");
    let refused = error(&directory);
    let target = fs::canonicalize(outside.path()).expect("it is there");
    assert!(refused.to_string().contains(&format!("a link to `{}/", target.display())), "{refused}");
    let hint = refused.hint().expect("a way on");
    assert!(hint.contains(&format!("`--follow-links {}`", target.display())), "{hint}");
    let elsewhere = tempfile::tempdir().expect("a temporary directory");
    assert!(Checkpoint::open_with_links(directory.path(), &[elsewhere.path().to_owned()]).is_err());
    Checkpoint::open_with_links(directory.path(), &[outside.path().to_owned()]).expect("links into it are followed");

    let cache = tempfile::tempdir().expect("a temporary directory");
    let repository = cache.path().join("models--owner--name");
    let (blobs, snapshot) = (repository.join("blobs"), repository.join("snapshots").join("0123"));
    fs::create_dir_all(&blobs).expect("a directory");
    fs::create_dir_all(&snapshot).expect("a directory");
    write_tensors(&blobs.join("aa"), &[Source::zeros("a", &[2])]);
    fs::write(blobs.join("bb"), "{}").expect("a file");
    symlink("../../blobs/aa", snapshot.join(SINGLE_FILE)).expect("a link");
    symlink("../../blobs/bb", snapshot.join(CONFIG_FILE)).expect("a link");
    assert!(Checkpoint::open(&snapshot).is_ok());
}

#[test]
fn a_file_cut_short_says_how_many_bytes_it_lacks() {
    let directory = single(&[Source::zeros("a", &[100])]);
    let path = directory.path().join(SINGLE_FILE);
    let whole = fs::read(&path).expect("a file");
    for length in [whole.len() - 1, whole.len() - 400, 20, 8, 3, 0] {
        fs::write(&path, whole.get(..length).expect("a prefix")).expect("a file");
        let error = error(&directory);
        let CheckpointError::Length { expected, found, .. } = error else { panic!("{length}: {error}") };
        assert!(expected > found && found == length as u64, "{length}: {expected} {found}");
    }
    fs::write(&path, [whole.as_slice(), b"more"].concat()).expect("a file");
    assert!(matches!(error(&directory), CheckpointError::Length { expected, found, .. } if expected + 4 == found));
}

#[test]
fn lying_headers_are_refused() {
    let tensor = |name: &str, shape: &str, start: u64, end: u64| {
        format!(r#""{name}":{{"dtype":"F32","shape":{shape},"data_offsets":[{start},{end}]}}"#)
    };
    let huge = u64::MAX.to_string();
    let headers = [
        ("no JSON", "not json".to_owned()),
        ("no object", "[]".to_owned()),
        ("gap", format!("{{{},{}}}", tensor("a", "[1]", 0, 4), tensor("b", "[1]", 8, 12))),
        ("overlap", format!("{{{},{}}}", tensor("a", "[2]", 0, 8), tensor("b", "[2]", 4, 12))),
        ("backwards", format!("{{{}}}", tensor("a", "[1]", 4, 0))),
        ("size", format!("{{{}}}", tensor("a", "[4]", 0, 12))),
        ("product", format!("{{{}}}", tensor("a", &format!("[{huge},{huge}]"), 0, 12))),
        ("unknown dtype", r#"{"a":{"dtype":"F31","shape":[1],"data_offsets":[0,4]}}"#.to_owned()),
    ];
    for (what, header) in headers {
        let directory = single_raw(&header, &[0; 12]);
        assert!(matches!(error(&directory), CheckpointError::Header { .. }), "{what}: {}", error(&directory));
        assert!(message(&directory).starts_with("Cannot read `DIR/model.safetensors`"), "{what}");
    }
    let beyond = single_raw(&format!("{{{}}}", tensor("a", "[4]", 0, 16)), &[0; 12]);
    assert!(matches!(error(&beyond), CheckpointError::Length { .. }));
    let directory = directory();
    fs::write(directory.path().join(SINGLE_FILE), [&u64::MAX.to_le_bytes()[..], b"{}"].concat()).expect("a file");
    assert!(matches!(error(&directory), CheckpointError::Header { .. } | CheckpointError::Length { .. }));
}

#[test]
fn tensors_of_no_elements_or_of_another_dtype_are_refused_where_they_are_used() {
    let unusable = |source: Source| {
        let directory = single(&[source, Source::zeros("b", &[1])]);
        let checkpoint = Checkpoint::open(directory.path()).expect("nobody uses `a`");
        assert!(checkpoint.check_usable("b").is_ok());
        let error = checkpoint.check_usable("a").expect_err("not usable");
        let read = checkpoint.rows_f16("a", 0..1, &mut Vec::new()).expect_err("not usable");
        assert!(matches!(read, CheckpointError::Rows { .. }) || read.to_string() == error.to_string());
        (render(&error).replace(&format!("{}", directory.path().display()), "DIR"), error)
    };
    assert!(matches!(unusable(Source::zeros("a", &[2, 0])).1, CheckpointError::ZeroSize { .. }));
    assert!(matches!(unusable(Source::zeros("a", &[0])).1, CheckpointError::ZeroSize { .. }));
    for (dtype, size) in [("F64", 8), ("I32", 4), ("F8_E4M3", 1), ("U8", 1), ("BOOL", 1)] {
        let (message, error) = unusable(Source { name: "a".to_owned(), dtype, shape: vec![1], bytes: vec![0; size] });
        let expected =
            format!("Cannot use `a` in `DIR/model.safetensors`: its dtype is {dtype}, expected BF16, F16 or F32");
        assert_eq!(message, expected);
        assert!(error.hint().is_some());
    }
}

#[test]
fn an_index_that_is_no_index_is_refused() {
    for text in ["", "[]", "{}", r#"{"weight_map": {"a": 1}}"#, r#"{"weight_map": []}"#] {
        let directory = directory();
        write_index(directory.path(), text);
        assert!(matches!(error(&directory), CheckpointError::Json { .. }), "{text}");
    }
}

#[test]
fn a_directory_or_a_pipe_in_place_of_a_file_is_refused() {
    let directory = directory();
    fs::create_dir(directory.path().join(SINGLE_FILE)).expect("a directory");
    assert!(matches!(error(&directory), CheckpointError::NotAFile { .. }));
}

#[test]
fn what_is_no_checkpoint_is_told_apart() {
    let empty = || tempfile::tempdir().expect("a temporary directory");
    let with = |files: &[&str], config: bool| {
        let directory = if config { directory() } else { empty() };
        for name in files {
            touch(directory.path(), name);
        }
        let error = error(&directory);
        assert!(error.hint().is_some(), "{error}");
        error
    };
    assert!(matches!(with(&[], false), CheckpointError::MissingConfig { .. }));
    assert!(matches!(with(&[], true), CheckpointError::MissingWeights { found, .. } if found.is_empty()));
    assert!(
        matches!(with(&["model-00001-of-00002.safetensors"], true), CheckpointError::MissingWeights { found, .. } if found.len() == 1)
    );
    assert!(matches!(with(&["pytorch_model.bin"], true), CheckpointError::Pickled { .. }));
    assert!(matches!(with(&["pytorch_model-00001-of-00002.bin"], true), CheckpointError::Pickled { .. }));
    assert!(matches!(with(&["consolidated.00.pth", "params.json"], false), CheckpointError::Pickled { .. }));
    assert!(matches!(with(&["model-Q4_K_M.gguf"], false), CheckpointError::Gguf { .. }));
    assert!(matches!(with(&["model-Q4_K_M.gguf"], true), CheckpointError::Gguf { .. }));
    assert!(matches!(
        with(&["adapter_config.json", "adapter_model.safetensors"], false),
        CheckpointError::Adapter { .. }
    ));
    assert!(matches!(with(&["adapter_config.json", "model.safetensors"], true), CheckpointError::Adapter { .. }));

    let file = directory();
    touch(file.path(), "model.gguf");
    assert!(matches!(Checkpoint::open(&file.path().join("model.gguf")), Err(CheckpointError::Gguf { .. })));
    let config = Checkpoint::open(&file.path().join(CONFIG_FILE));
    assert!(matches!(config, Err(CheckpointError::NotADirectory { .. })));
    assert!(matches!(Checkpoint::open(&file.path().join("nothing")), Err(CheckpointError::Io { .. })));
}

#[test]
fn a_config_that_is_no_object_is_refused() {
    for (text, found) in
        [("[]", "an array"), ("null", "null"), ("3", "a number"), ("\"x\"", "a string"), ("true", "a boolean")]
    {
        let directory = single(&[]);
        write_config(directory.path(), text);
        let expected = format!("Cannot read `DIR/config.json`: expected a JSON object, found {found}");
        assert_eq!(message(&directory), expected);
    }
    for text in ["", "{", "{\"a\": NaN}", &"[".repeat(100_000)] {
        let directory = single(&[]);
        write_config(directory.path(), text);
        assert!(matches!(error(&directory), CheckpointError::Json { .. }));
    }
}

#[test]
fn a_quantized_checkpoint_is_named_before_its_weights_are_read() {
    let directory = directory();
    touch(directory.path(), SINGLE_FILE);
    write_config(directory.path(), r#"{"model_type": "llama", "quantization_config": {"quant_method": "aqlm"}}"#);
    assert!(matches!(error(&directory), CheckpointError::Config(ConfigError::Quantized { .. })));
    let expected = "Cannot convert a quantized checkpoint: config.json has `quantization_config` of method `aqlm`";
    assert_eq!(message(&directory), expected);
}

#[test]
fn a_prefix_of_all_names_is_left_out_and_told() {
    let names = ["module._orig_mod.model.norm.weight", "module._orig_mod.lm_head.weight"];
    let directory = single(&names.map(|name| Source::zeros(name, &[2])));
    let checkpoint = Checkpoint::open(directory.path()).expect("a checkpoint");
    assert_eq!(checkpoint.tensor_names().collect::<Vec<_>>(), ["lm_head.weight", "model.norm.weight"]);
    assert!(checkpoint.notes().found.as_ref().is_some_and(|found| found.contains("`module._orig_mod.`")));
    assert!(!checkpoint.is_plain());
    // Not all of them: this is a part of a larger model.
    let directory = single(&[Source::zeros("language_model.a", &[2]), Source::zeros("vision_tower.b", &[2])]);
    let checkpoint = Checkpoint::open(directory.path()).expect("a checkpoint");
    assert_eq!(checkpoint.tensor_names().next(), Some("language_model.a"));
    assert!(checkpoint.is_plain());
}

#[test]
fn other_files_in_place_of_weights_are_named() {
    for (content, expected) in [
        ("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n", "a Git LFS pointer"),
        ("PK\u{3}\u{4}something", "a zip archive"),
        ("GGUF\u{3}\0\0\0something", "a GGUF model"),
    ] {
        let directory = directory();
        fs::write(directory.path().join(SINGLE_FILE), content).expect("a file");
        let error = error(&directory);
        assert!(error.to_string().ends_with(expected), "{error}");
        assert!(error.hint().is_some());
    }
}
