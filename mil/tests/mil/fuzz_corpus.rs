//! Replays the corpus of the fuzz targets: inputs that the readers were once wrong about, and some that are valid.

#[expect(unreachable_pub, reason = "the file is a module of the fuzz targets, which use it as a library")]
#[path = "../../../fuzz/src/checks.rs"]
mod checks;

use std::fs;
use std::path::Path;

#[test]
fn readers_hold_for_the_corpus() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus");
    for (target, check) in checks::CHECKS {
        let mut inputs = 0;
        for entry in fs::read_dir(corpus.join(target)).expect("a corpus") {
            check(&fs::read(entry.expect("an entry").path()).expect("readable"));
            inputs += 1;
        }
        assert!(inputs > 0, "`{target}` has no corpus");
    }
}

#[test]
fn readers_hold_for_every_corpus_input_with_a_byte_cut_off_or_changed() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus");
    for (target, check) in checks::CHECKS {
        for entry in fs::read_dir(corpus.join(target)).expect("a corpus") {
            let bytes = fs::read(entry.expect("an entry").path()).expect("readable");
            let step = bytes.len().div_ceil(200).max(1);
            for position in (0..bytes.len()).step_by(step) {
                check(&bytes[..position]);
                let mut changed = bytes.clone();
                changed[position] ^= 0x81;
                check(&changed);
            }
        }
    }
}
