//! Compiled models: what `convert`, `compile` and `diff` make of them.

#![expect(clippy::unwrap_used, reason = "a test that cannot set itself up has failed")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

const CHUNK: &str = "combined_lut4_chunk_01of01";
const FILES: [&str; 5] =
    ["model.mil", "coremldata.bin", "analytics/coremldata.bin", "metadata.json", "weights/weight.bin"];

#[cfg(unix)]
const PACKAGED_WEIGHTS: &str = "Data/com.apple.CoreML/weights/weight.bin";

/// The number of a file, which is the same for all of its names.
#[cfg(unix)]
fn inode(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    fs::metadata(path).unwrap().ino()
}

fn anec(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_anec")).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn utf8(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// The shipped checkpoint, converted with these options.
struct Converted {
    parent: TempDir,
}

impl Converted {
    fn new(options: &[&str]) -> Self {
        let converted = Self { parent: tempfile::tempdir().unwrap() };
        let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/tiny-qwen3");
        let output = converted.path("");
        let mut arguments = vec!["convert", utf8(&model), "-o", utf8(&output), "--lut", "4", "--chunks", "1", "-q"];
        arguments.extend(["--calibration", "none"]);
        arguments.extend(options);
        let result = anec(&arguments);
        assert!(result.status.success(), "{}", text(&result.stderr));
        converted
    }

    fn path(&self, name: &str) -> PathBuf {
        self.parent.path().join("out").join(name)
    }

    fn other(&self, name: &str) -> PathBuf {
        self.parent.path().join(name)
    }
}

#[test]
fn both_forms_hold_one_model_and_share_its_weights() {
    let converted = Converted::new(&[]);
    for stem in ["embeddings", CHUNK, "lm_head_lut4"] {
        let package = converted.path(&format!("{stem}.mlpackage"));
        let compiled = converted.path(&format!("{stem}.mlmodelc"));
        for file in FILES {
            assert!(compiled.join(file).is_file(), "{file}");
        }
        let same = anec(&["diff", utf8(&package), utf8(&compiled)]);
        assert!(same.status.success(), "{}", text(&same.stdout));
        let inspected = anec(&["inspect", utf8(&compiled)]);
        assert!(inspected.status.success(), "{}", text(&inspected.stderr));
        #[cfg(unix)]
        assert_eq!(inode(&package.join(PACKAGED_WEIGHTS)), inode(&compiled.join("weights/weight.bin")), "{stem}");
    }
    let sums = fs::read_to_string(converted.path("SHA256SUMS")).unwrap();
    assert!(sums.contains("  embeddings.mlmodelc/weights/weight.bin\n"), "{sums}");
}

#[test]
#[cfg(unix)]
fn models_of_several_context_lengths_share_their_weights_in_both_forms() {
    for (emit, extensions) in [("both", &["mlpackage", "mlmodelc"][..]), ("mlmodelc", &["mlmodelc"])] {
        let converted = Converted::new(&["--context-length", "64,128", "--emit", emit]);
        let mut inodes = std::collections::BTreeSet::new();
        for directory in ["context_64", "context_128"] {
            for extension in extensions {
                let model = converted.path(&format!("{directory}/{CHUNK}.{extension}"));
                let weights = if *extension == "mlpackage" { PACKAGED_WEIGHTS } else { "weights/weight.bin" };
                inodes.insert(inode(&model.join(weights)));
            }
        }
        assert_eq!(inodes.len(), 1, "{emit}");
    }
}

#[test]
fn compiling_a_package_gives_what_the_conversion_gave() {
    let converted = Converted::new(&[]);
    let (package, output) = (converted.path(&format!("{CHUNK}.mlpackage")), converted.other("again.mlmodelc"));
    // The file name of the package is the name of the class in metadata.json.
    let result = anec(&["compile", utf8(&package), "-o", utf8(&output)]);
    assert!(result.status.success(), "{}", text(&result.stderr));
    for file in FILES {
        let expected = fs::read(converted.path(&format!("{CHUNK}.mlmodelc/{file}"))).unwrap();
        assert!(fs::read(output.join(file)).unwrap() == expected, "{file}");
    }
    let again = anec(&["compile", utf8(&package), "-o", utf8(&output)]);
    assert_eq!(again.status.code(), Some(1));
    assert!(text(&again.stderr).contains("--force"), "{}", text(&again.stderr));
    let forced = anec(&["compile", utf8(&package), "-o", utf8(&output), "--force"]);
    assert!(forced.status.success(), "{}", text(&forced.stderr));
}

#[test]
fn each_form_can_be_had_alone() {
    for (emit, extension, other) in [("mlpackage", "mlpackage", "mlmodelc"), ("mlmodelc", "mlmodelc", "mlpackage")] {
        let converted = Converted::new(&["--emit", emit]);
        assert!(converted.path(&format!("{CHUNK}.{extension}")).is_dir());
        assert!(!converted.path(&format!("{CHUNK}.{other}")).exists());
        let meta = fs::read_to_string(converted.path("meta.yaml")).unwrap();
        assert!(meta.contains(&format!("ffn: {CHUNK}.{extension}\n")), "{meta}");
        let inspected = anec(&["inspect", utf8(&converted.path(""))]);
        assert!(inspected.status.success(), "{}", text(&inspected.stderr));
        assert!(text(&inspected.stdout).contains(&format!("{CHUNK}.{extension}: ")));
    }
}

#[test]
fn token_ids_come_in_known_shapes_or_in_a_range_of_them() {
    for (batch_size, expected) in [("64", "\"EnumeratedShapes\""), ("32", "[[1, 1], [1, 32]]")] {
        let converted = Converted::new(&["--batch-size", batch_size, "--emit", "mlmodelc"]);
        let program = fs::read_to_string(converted.path("embeddings.mlmodelc/model.mil")).unwrap();
        assert!(program.contains(expected), "{batch_size}");
    }
}

#[test]
fn a_changed_weight_is_a_difference_and_exit_code_1() {
    let converted = Converted::new(&["--emit", "mlmodelc"]);
    let changed = converted.other("changed.mlmodelc");
    fs::create_dir_all(changed.join("weights")).unwrap();
    for file in ["model.mil", "coremldata.bin", "weights/weight.bin"] {
        fs::copy(converted.path(&format!("{CHUNK}.mlmodelc/{file}")), changed.join(file)).unwrap();
    }
    let weights = changed.join("weights/weight.bin");
    let mut bytes = fs::read(&weights).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&weights, bytes).unwrap();
    let result = anec(&["diff", utf8(&converted.path(&format!("{CHUNK}.mlmodelc"))), utf8(&changed)]);
    assert_eq!(result.status.code(), Some(1));
    assert!(text(&result.stdout).contains("weight.bin`, other values"), "{}", text(&result.stdout));
    assert!(text(&result.stderr).contains("The models differ"), "{}", text(&result.stderr));
}

#[test]
fn what_is_no_program_is_not_compiled() {
    let converted = Converted::new(&["--emit", "both"]);
    let output = converted.other("out.mlmodelc");
    let compile = |path: &Path| {
        let result = anec(&["compile", utf8(path), "-o", utf8(&output)]);
        assert_eq!(result.status.code(), Some(1));
        assert!(!output.exists());
        text(&result.stderr)
    };
    assert!(compile(&converted.path(&format!("{CHUNK}.mlmodelc"))).contains("compiled already"));
    let neural_network = converted.other("network.mlmodel");
    // Specification version 4, an empty description, and an empty neural network, which is field 500.
    fs::write(&neural_network, [0x08, 4, 0x12, 0, 0xa2, 0x1f, 0]).unwrap();
    assert!(compile(&neural_network).contains("neuralNetwork"));
    assert!(compile(&converted.path("config.json")).contains("Cannot read"));
    let package = converted.path("embeddings.mlpackage");
    fs::remove_file(package.join("Data/com.apple.CoreML/weights/weight.bin")).unwrap();
    assert!(compile(&package).contains("weight.bin"));
}
