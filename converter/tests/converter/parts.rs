//! A conversion that several machines share gives what one machine gives.

#![expect(clippy::unwrap_used, reason = "a test that cannot set itself up has failed")]

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::cli::{anec, checkpoint, names, stderr, tree};

/// A directory with a conversion in one piece, and the options that made it.
struct Plain<'a> {
    directory: TempDir,
    options: &'a [&'a str],
}

impl<'a> Plain<'a> {
    fn new(options: &'a [&'a str]) -> Self {
        let plain = Self { directory: tempfile::tempdir().unwrap(), options };
        plain.succeeds(&checkpoint(), "plain", &["--no-check"]);
        plain
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn convert(&self, model: &Path, name: &str, more: &[&str]) -> std::process::Output {
        let output = self.path(name);
        let start = ["convert", model.to_str().unwrap(), "-o", output.to_str().unwrap(), "--quiet"];
        anec(&[&start[..], self.options, more].concat())
    }

    fn succeeds(&self, model: &Path, name: &str, more: &[&str]) {
        let result = self.convert(model, name, more);
        assert!(result.status.success(), "{}", stderr(&result));
    }

    /// Converts in parts, and gives their directories.
    fn parts(&self, count: usize, more: &[&str]) -> Vec<String> {
        let part = |number: usize| {
            let name = format!("part-{number}-of-{count}");
            self.succeeds(&checkpoint(), &name, &[&["--part", &format!("{number}/{count}")], more].concat());
            self.path(&name).to_str().unwrap().to_owned()
        };
        (1..=count).map(part).collect()
    }

    fn assemble(&self, parts: &[String], name: &str) -> std::process::Output {
        let output = self.path(name);
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        anec(&[&["assemble"], &parts[..], &["-o", output.to_str().unwrap(), "--quiet"]].concat())
    }

    fn assert_assembled(&self, parts: &[String], name: &str) {
        let result = self.assemble(parts, name);
        assert!(result.status.success(), "{}", stderr(&result));
        assert!(tree(&self.path(name)) == tree(&self.path("plain")), "{name}: {:?}", self.options);
    }
}

#[test]
fn parts_put_together_are_the_bytes_of_one_machine() {
    for options in [
        &["--lut", "4", "--calibration", "none", "--chunks", "2"][..],
        // Blocks that share a palette, scales, and several contexts with one weight file between them.
        &["--lut", "8", "--group-size", "tensor", "--calibration", "none", "--context-length", "64,128"],
        &["--lut", "6", "--channel-scale", "--int8-embeddings", "--lm-head", "int8", "--calibration", "none"],
        &["--emit", "mlmodelc"],
        // Each blob in a file of its own.
        &["--layout", "kernels", "--ffn", "lut4", "--calibration", "none", "--context-length", "64,128"],
    ] {
        let plain = Plain::new(options);
        for count in [1, 2, 5] {
            let mut parts = plain.parts(count, &[]);
            // In any order, and one of them twice.
            parts.rotate_left(1);
            parts.push(parts[0].clone());
            plain.assert_assembled(&parts, &format!("assembled-{count}"));
        }
    }
}

#[test]
fn shares_are_about_as_large_as_each_other() {
    let plain = Plain::new(&["--calibration", "none"]);
    let sizes = plain.parts(4, &[]).into_iter().map(|part| fs::metadata(Path::new(&part).join("weights.bin")));
    let sizes: Vec<u64> = sizes.map(|metadata| metadata.unwrap().len()).collect();
    let (least, most) = (sizes.iter().min().unwrap(), sizes.iter().max().unwrap());
    // A block of this small model is a good part of a share.
    assert!(most < &(2 * least), "{sizes:?}");
}

#[test]
fn one_calibration_serves_all_parts() {
    let plain = Plain::new(&["--lut", "4"]);
    plain.succeeds(&checkpoint(), "calibration", &["--part", "calibration"]);
    let calibrated = plain.path("calibration");
    let before = tree(&calibrated);
    let parts = plain.parts(2, &["--calibrated", calibrated.to_str().unwrap()]);
    assert!(tree(&calibrated) == before, "it is only read");
    plain.assert_assembled(&parts, "assembled");

    // One that was made with other options is refused.
    let other = Plain { directory: tempfile::tempdir().unwrap(), options: &["--lut", "6"] };
    let more = ["--part", "1/2", "--calibrated", calibrated.to_str().unwrap()];
    let refused = other.convert(&checkpoint(), "part", &more);
    assert!(stderr(&refused).contains("belongs to another conversion"), "{}", stderr(&refused));
    assert_eq!(names(other.directory.path()), Vec::<String>::new());
}

#[test]
fn without_the_calibration_every_part_makes_it_itself() {
    let plain = Plain::new(&["--lut", "4", "--uniform"]);
    plain.assert_assembled(&plain.parts(2, &[]), "assembled");
}

#[test]
fn parts_that_do_not_belong_together_are_refused() {
    let plain = Plain::new(&["--calibration", "none"]);
    let parts = plain.parts(2, &[]);
    let message = |parts: &[String]| {
        let refused = plain.assemble(parts, "out");
        assert_eq!(refused.status.code(), Some(1), "{}", stderr(&refused));
        assert!(!plain.path("out").exists());
        stderr(&refused)
    };
    assert!(message(&parts[1..]).contains("Parts 1 of 2 are missing"));
    let other = Plain { directory: tempfile::tempdir().unwrap(), options: &["--lut", "6", "--calibration", "none"] };
    let others = other.parts(2, &[]);
    assert!(message(&[parts[0].clone(), others[1].clone()]).contains("belongs to another conversion"));
    // A checkpoint of the same shapes with other values.
    let changed = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(checkpoint()).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            fs::copy(&path, changed.path().join(path.file_name().unwrap())).unwrap();
        }
    }
    let weights = changed.path().join("model.safetensors");
    let mut bytes = fs::read(&weights).unwrap();
    let header = usize::try_from(u64::from_le_bytes(bytes[..8].try_into().unwrap())).unwrap() + 8;
    bytes[header] ^= 1;
    fs::write(&weights, bytes).unwrap();
    plain.succeeds(changed.path(), "changed", &["--part", "2/2"]);
    let changed = plain.path("changed").to_str().unwrap().to_owned();
    assert!(message(&[parts[0].clone(), changed]).contains("belongs to another conversion"));
    // A copy that was cut short, and one with a wrong byte.
    let weights = Path::new(&parts[1]).join("weights.bin");
    let whole = fs::read(&weights).unwrap();
    fs::write(&weights, &whole[..whole.len() - 1]).unwrap();
    assert!(message(&parts).contains("ends too early"));
    let mut wrong = whole.clone();
    wrong[whole.len() / 2] ^= 1;
    fs::write(&weights, wrong).unwrap();
    assert!(message(&parts).contains("SHA-256"));
    fs::write(&weights, whole).unwrap();
    // A path that leads out.
    let description = Path::new(&parts[0]).join("part.json");
    let text = fs::read_to_string(&description).unwrap();
    fs::write(&description, text.replace("embeddings.mlpackage/", "../embeddings.mlpackage/")).unwrap();
    assert!(message(&parts[..1]).contains("leads out of the output"));
    fs::write(&description, text).unwrap();
    plain.assert_assembled(&parts, "out");
}

#[test]
fn a_killed_part_is_gone_on_with() {
    let plain = Plain::new(&["--lut", "4", "--calibration", "none"]);
    let output = plain.path("part-2");
    for moment in [5, 40, 120] {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_anec"));
        command.arg("convert").arg(checkpoint()).arg("-o").arg(&output).args(plain.options);
        let mut process = command.args(["--part", "2/2", "--quiet", "--resume"]).spawn().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(moment));
        process.kill().unwrap();
        process.wait().unwrap();
    }
    plain.succeeds(
        &checkpoint(),
        "part-2",
        if output.exists() { &["--part", "2/2", "--force"] } else { &["--part", "2/2", "--resume"] },
    );
    plain.succeeds(&checkpoint(), "part-1", &["--part", "1/2"]);
    let parts = ["part-1", "part-2"].map(|name| plain.path(name).to_str().unwrap().to_owned());
    plain.assert_assembled(&parts, "assembled");
}
