//! `anec lint` and `anec rules` as a user meets them.

#![expect(clippy::unwrap_used, reason = "a test that cannot set itself up has failed")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

/// A program that copies keys for its query heads, and cannot load: it has three states.
const BROKEN: &str = r#"program(1.3)
{
    func main<ios18>(tensor<fp16, [1, 4, 8, 32]> q, state<tensor<fp16, [1, 2, 32, 32]>> a, state<tensor<fp16, [1, 2, 32, 32]>> b, state<tensor<fp16, [1, 2, 32, 32]>> c) {
            tensor<fp16, [1, 2, 32, 32]> layers_7_a = read_state(input = a)[name = string("layers_7_a")];
            tensor<fp16, [1, 2, 32, 32]> layers_7_b = read_state(input = b)[name = string("layers_7_b")];
            tensor<fp16, [1, 2, 32, 32]> layers_7_c = read_state(input = c)[name = string("layers_7_c")];
            tensor<fp16, [1, 2, 32, 32]> layers_7_ab = add(x = layers_7_a, y = layers_7_b)[name = string("layers_7_ab")];
            tensor<fp16, [1, 2, 32, 32]> layers_7_abc = add(x = layers_7_ab, y = layers_7_c)[name = string("layers_7_abc")];
            tensor<fp16, [1, 4, 32, 32]> copies = tile(reps = tensor<int32, [4]>([1, 2, 1, 1]), x = layers_7_abc)[name = string("copies")];
            tensor<fp16, [1, 4, 8, 32]> scores = matmul(transpose_x = bool(false), transpose_y = bool(true), x = q, y = copies)[name = string("scores")];
        } -> (scores);
}"#;

fn anec(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_anec")).args(arguments).output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A compiled model with this program.
fn compiled(program: &str) -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a,b c.mlmodelc");
    fs::create_dir(&path).unwrap();
    fs::write(path.join("model.mil"), program).unwrap();
    (directory, path)
}

fn without_states() -> String {
    let parameters = [", state<tensor<fp16, [1, 2, 32, 32]>> b", ", state<tensor<fp16, [1, 2, 32, 32]>> c"];
    let program = parameters.iter().fold(BROKEN.to_owned(), |program, parameter| program.replace(parameter, ""));
    program.replace("(input = b)", "(input = a)").replace("(input = c)", "(input = a)")
}

fn lint(path: &Path, arguments: &[&str]) -> Output {
    anec(&[&["lint", path.to_str().unwrap()], arguments].concat())
}

#[test]
fn findings_name_function_op_layer_and_fix_and_errors_fail() {
    let (_directory, path) = compiled(BROKEN);
    let result = lint(&path, &[]);
    assert_eq!(result.status.code(), Some(1));
    let text = stdout(&result);
    for words in [
        "  error[state-count]\n    main: the function has 3 states, expected at most 2\n    fix: join states",
        "  warning[kv-copy]\n    main / copies = tile (layer 7): an operand of `matmul` is copied",
        "fix: stack the queries of one KV head",
        "1 error, 1 warning, 1 note in 1 program for all chips, iOS and macOS\n",
    ] {
        assert!(text.contains(words), "expected {words:?} in:\n{text}");
    }
    assert!(stderr(&result).contains("error: 1 finding not allowed"), "{}", stderr(&result));
}

#[test]
fn warnings_fail_only_where_they_are_denied_and_not_where_they_are_allowed() {
    let (_directory, path) = compiled(&without_states());
    for (arguments, code) in [
        (&[][..], 0),
        (&["--deny", "warnings"], 1),
        (&["--deny", "warnings", "--allow", "kv-copy"], 0),
        (&["--deny", "notes", "--allow", "kv-copy"], 1),
        (&["--deny", "notes", "--allow", "kv-copy", "--allow", "small-program"], 0),
    ] {
        let result = lint(&path, arguments);
        assert_eq!(result.status.code(), Some(code), "{arguments:?}\n{}", stdout(&result));
    }
}

#[test]
fn json_has_every_field_of_a_finding() {
    let (_directory, path) = compiled(BROKEN);
    let report: Value = serde_json::from_slice(&lint(&path, &["--format", "json", "--chip", "M4 Pro"]).stdout).unwrap();
    assert_eq!((&report["chip"], &report["errors"]), (&Value::from("m4-pro"), &Value::from(1)));
    let finding = &report["programs"][0]["findings"][1];
    for (field, value) in [
        ("rule", Value::from("kv-copy")),
        ("severity", Value::from("warning")),
        ("function", Value::from("main")),
        ("op", Value::from("tile")),
        ("value", Value::from("copies")),
        ("layer", Value::from(7)),
    ] {
        assert_eq!(finding[field], value, "{field}");
    }
    assert!(finding["fix"].as_str().unwrap().starts_with("stack the queries"));
}

#[test]
fn sarif_refers_to_rules_by_index_and_to_places_by_reference() {
    let (_directory, path) = compiled(BROKEN);
    let log: Value = serde_json::from_slice(&lint(&path, &["--format", "sarif"]).stdout).unwrap();
    assert_eq!(log["version"], "2.1.0");
    let run = &log["runs"][0];
    let rules = run["tool"]["driver"]["rules"].as_array().unwrap();
    let results = run["results"].as_array().unwrap();
    assert_eq!(results.len(), 3);
    for result in results {
        let index = usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap();
        assert_eq!(rules[index]["id"], result["ruleId"]);
        assert!(["error", "warning", "note"].contains(&result["level"].as_str().unwrap()));
        assert!(result["message"]["text"].as_str().unwrap().contains("Fix: "));
        let uri = result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"].as_str().unwrap();
        assert!(uri.ends_with("/a%2Cb%20c.mlmodelc"), "{uri}");
    }
    for rule in rules {
        assert!(rule["shortDescription"]["text"].is_string() && rule["help"]["text"].is_string(), "{rule}");
        assert!(["error", "warning", "note"].contains(&rule["defaultConfiguration"]["level"].as_str().unwrap()));
    }
    let logical = &results[1]["locations"][0]["logicalLocations"][0];
    assert_eq!(logical["fullyQualifiedName"], "main / copies = tile (layer 7)");
}

#[test]
fn github_gets_one_command_a_line() {
    let (_directory, path) = compiled(BROKEN);
    let text = stdout(&lint(&path, &["--format", "github"]));
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 3, "{text}");
    assert!(lines[2].starts_with("::notice"), "{text}");
    assert!(lines[0].starts_with("::error file=") && lines[0].contains(",title=anec state-count::main: "), "{text}");
    assert!(lines[1].starts_with("::warning file=") && lines[1].contains("a%2Cb c.mlmodelc"), "{text}");
    assert!(lines[1].contains("%0Afix: "), "{text}");
}

#[test]
fn what_cannot_be_linted_is_refused_with_a_hint() {
    let directory = tempfile::tempdir().unwrap();
    let empty = lint(directory.path(), &[]);
    assert!(stderr(&empty).contains("There is no program in"), "{}", stderr(&empty));
    let missing = lint(&directory.path().join("nothing"), &[]);
    assert!(stderr(&missing).contains("hint: expected a .mlpackage, a .mlmodelc"), "{}", stderr(&missing));
    let (_compiled, path) = compiled("program(9)");
    let text = lint(&path, &[]);
    assert!(stderr(&text).contains("Cannot parse"), "{}", stderr(&text));
    assert!([empty, missing, text].iter().all(|result| result.status.code() == Some(1)));
}

#[test]
fn options_that_contradict_each_other_or_name_nothing_are_refused() {
    let (_directory, path) = compiled(BROKEN);
    let result = lint(&path, &["--os", "ios18", "--target", "macos"]);
    assert!(stderr(&result).contains("`--os` is iOS 18, but `--target` is macOS"), "{}", stderr(&result));
    for arguments in [["--chip", "m9"], ["--os", "18"], ["--target", "tvos"], ["--allow", "nothing"]] {
        assert_eq!(lint(&path, &arguments).status.code(), Some(2), "{arguments:?}");
    }
}

#[test]
fn rules_are_printed_one_by_one_or_as_data() {
    let one = stdout(&anec(&["rules", "infinite-mask"]));
    assert!(one.starts_with("infinite-mask (warning)\n  Masks are finite"), "{one}");
    assert!(one.contains("\n  conflict ") && one.contains("\n  fix "), "{one}");
    let all: Value = serde_json::from_slice(&anec(&["rules", "--json"]).stdout).unwrap();
    let rows = all.as_array().unwrap();
    assert!(rows.len() > 50 && rows.iter().all(|row| row["source"].is_string() && row["fix"].is_string()));
    assert_eq!(anec(&["rules", "nothing"]).status.code(), Some(2));
}

#[test]
fn what_the_converter_writes_is_safe_on_all_chips_and_both_systems() {
    let parent = tempfile::tempdir().unwrap();
    let checkpoint = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/tiny-qwen3");
    for (name, options) in [
        ("plain", &[][..]),
        ("palettes", &["--lut", "4", "--lut-embeddings", "6", "--chunks", "2"]),
        ("anemll", &["--lut", "6", "--layout", "anemll", "--context-length", "256"]),
        ("macos", &["--target", "macos15"]),
        ("contexts", &["--context-length", "64,128", "--kv", "mask"]),
        ("single", &["--functions", "single"]),
        ("int8", &["--lut", "6", "--int8-embeddings", "--lm-head", "int8"]),
        ("scales", &["--lut", "4", "--channel-scale"]),
    ] {
        let output = parent.path().join(name);
        let path = output.to_str().unwrap();
        let arguments = ["convert", checkpoint.to_str().unwrap(), "-o", path, "--quiet", "--calibration", "none"];
        let converted = anec(&[&arguments, options].concat());
        assert!(converted.status.success(), "{}", stderr(&converted));
        for target in ["ios", "macos"] {
            let result = lint(&output, &["--chip", "generic", "--target", target, "--deny", "warnings"]);
            assert!(result.status.success(), "{name} {options:?} {target}\n{}", stdout(&result));
        }
    }
}

#[test]
fn both_forms_of_a_model_have_the_same_findings() {
    let parent = tempfile::tempdir().unwrap();
    let checkpoint = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/tiny-qwen3");
    let output = parent.path().join("out");
    let arguments = ["convert", checkpoint.to_str().unwrap(), "-o", output.to_str().unwrap(), "--quiet"];
    let options = ["--lut", "4", "--chunks", "2", "--calibration", "none"];
    assert!(anec(&[&arguments[..], &options].concat()).status.success());
    let findings = |path: PathBuf| {
        let report: Value = serde_json::from_slice(&lint(&path, &["--format", "json"]).stdout).unwrap();
        report["programs"][0]["findings"].clone()
    };
    let mut models = 0;
    for entry in fs::read_dir(&output).unwrap() {
        let package = entry.unwrap().path();
        if package.extension().is_some_and(|extension| extension == "mlpackage") {
            models += 1;
            assert_eq!(
                findings(package.with_extension("mlmodelc")),
                findings(package.clone()),
                "{}",
                package.display()
            );
            // The message of a package alone, with its weight file beside it.
            let message = package.join("Data/com.apple.CoreML/model.mlmodel");
            assert_eq!(findings(message), findings(package));
        }
    }
    assert_eq!(models, 4);
}

#[test]
fn masks_in_the_weight_file_are_looked_into() {
    let (_directory, path) = compiled(
        r#"program(1.3)
{
    func main<ios18>(tensor<fp16, [1, 32]> x) {
            tensor<fp16, [1, 32]> band = const()[name = string("band"), val = tensor<fp16, [1, 32]>(BLOBFILE(path = string("@model_path/weights/weight.bin"), offset = uint64(64)))];
            tensor<fp16, [1, 32]> masked = add(x = x, y = band)[name = string("masked")];
            tensor<fp16, [1, 32]> y = softmax(axis = int32(-1), x = masked)[name = string("y")];
        } -> (y);
}"#,
    );
    let finds = |rule: &str| stdout(&lint(&path, &["--format", "json"])).contains(&format!("\"{rule}\""));
    assert!(!finds("infinite-mask"), "without a weight file nothing is known");
    fs::create_dir(path.join("weights")).unwrap();
    let write = |last: half::f16| {
        use anec_mil::blob::{BlobLayout, BlobWriter};
        let mut layout = BlobLayout::default();
        layout.push(anec_mil::DataType::Float16, 32).unwrap();
        let file = fs::File::create(path.join("weights/weight.bin")).unwrap();
        let mut writer = BlobWriter::new(file, &layout).unwrap();
        writer.begin(anec_mil::DataType::Float16, 32).unwrap();
        let mut elements = [half::f16::ZERO; 32];
        elements[31] = last;
        writer.write(&elements.map(half::f16::to_le_bytes).concat()).unwrap();
        writer.finish().unwrap();
    };
    write(half::f16::NEG_INFINITY);
    assert!(finds("infinite-mask"));
    write(half::f16::MIN);
    assert!(finds("deep-mask") && !finds("infinite-mask"));
    write(half::f16::from_f32(-1e4));
    assert!(!finds("deep-mask") && !finds("infinite-mask"));
}

/// `ANEC_ANEMLL_CHUNK` names the compiled chunk of 14 layers of ANEMLL's published Qwen3-1.7B, context 2048, 6-bit
/// palettes; docs/linting.md tells what is found. Without it there is nothing to do.
#[test]
fn a_published_chunk_has_the_findings_that_the_rules_predict() {
    let Some(path) = std::env::var_os("ANEC_ANEMLL_CHUNK") else { return };
    let report: Value = serde_json::from_slice(&lint(Path::new(&path), &["--format", "json"]).stdout).unwrap();
    let findings = report["programs"][0]["findings"].as_array().unwrap();
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for finding in findings {
        *counts.entry(finding["rule"].as_str().unwrap()).or_default() += 1;
    }
    // Keys and values of 14 layers in two functions are copied. The mask is a parameter, so none of its values is known, and
    // no weight is on the notch: the largest has 0.56 MiB per core.
    let mut expected = BTreeMap::from([
        ("function-memory", 1),
        ("integer-work", 2),
        ("kv-copy", 14 * 2 * 2),
        ("palette-groups", 2),
        ("runtime-gather", 2),
        ("silu", 2),
        ("state-index", 2),
        ("subnormal-constant", 2),
        ("width-slice", 2),
    ]);
    if !Path::new(&path).join("weights/weight.bin").is_file() {
        expected.insert("weight-data", 2);
    }
    assert_eq!(counts, expected);
}
