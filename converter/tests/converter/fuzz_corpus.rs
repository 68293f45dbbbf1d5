//! Replays the corpus of the fuzz targets that read checkpoints and the hub's answers.

/// What `mutations` knows of the checks of other readers.
mod checks {
    /// A reader's check.
    pub(crate) type Check = fn(&[u8]);
}
#[expect(unreachable_pub, clippy::print_stderr, reason = "modules of the fuzz targets, which use them as a library")]
#[path = "../../../fuzz/src/mutations.rs"]
mod mutations;
#[expect(unreachable_pub, reason = "as above")]
#[path = "../../../fuzz/src/source_checks.rs"]
mod source_checks;

use std::path::{Path, PathBuf};

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus")
}

#[test]
fn sources_hold_for_the_corpus() {
    mutations::replay(&source_checks::CHECKS, &corpus());
}

#[test]
fn sources_hold_for_every_corpus_input_with_a_byte_cut_off_or_changed() {
    mutations::cut_and_change(&source_checks::CHECKS, &corpus());
}

#[test]
fn sources_hold_for_mutations_of_the_corpus() {
    mutations::mutate(&source_checks::CHECKS, &corpus(), env!("CARGO_TARGET_TMPDIR").as_ref());
}
