//! Replays the corpus of the fuzz targets: inputs that the readers were once wrong about, and some that are valid.

#[expect(unreachable_pub, reason = "the file is a module of the fuzz targets, which use it as a library")]
#[path = "../../../fuzz/src/checks.rs"]
mod checks;
#[expect(unreachable_pub, clippy::print_stderr, reason = "as above; figures for those who run it for longer")]
#[path = "../../../fuzz/src/mutations.rs"]
mod mutations;

use std::path::{Path, PathBuf};

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus")
}

#[test]
fn readers_hold_for_the_corpus() {
    mutations::replay(&checks::CHECKS, &corpus());
}

#[test]
fn readers_hold_for_every_corpus_input_with_a_byte_cut_off_or_changed() {
    mutations::cut_and_change(&checks::CHECKS, &corpus());
}

#[test]
fn readers_hold_for_mutations_of_the_corpus() {
    mutations::mutate(&checks::CHECKS, &corpus(), env!("CARGO_TARGET_TMPDIR").as_ref());
}
