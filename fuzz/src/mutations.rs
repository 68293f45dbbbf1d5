//! Inputs that are made of a corpus: cut off, changed, and mutated without a fuzzer's guidance.

use std::fs;
use std::panic::catch_unwind;
use std::path::Path;
use std::time::{Duration, Instant};

use super::checks::Check;

/// Checks by the names of their targets.
pub type Checks = [(&'static str, Check)];

/// Replays the corpus: inputs that the readers were once wrong about, and some that are valid.
pub fn replay(checks: &Checks, corpus: &Path) {
    for (target, check) in checks {
        let mut inputs = 0;
        for entry in fs::read_dir(corpus.join(target)).expect("a corpus") {
            check(&fs::read(entry.expect("an entry").path()).expect("readable"));
            inputs += 1;
        }
        assert!(inputs > 0, "`{target}` has no corpus");
    }
}

/// Cuts every input off at some places, and changes a byte there.
pub fn cut_and_change(checks: &Checks, corpus: &Path) {
    for (target, check) in checks {
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

/// Mutations of each target's corpus: a few in every run, and as many as fit in the seconds that `ANEC_FUZZ_SECONDS` says for
/// the target that `ANEC_FUZZ_TARGET` names, or for each. What fails is put into `failures`.
pub fn mutate(checks: &Checks, corpus: &Path, failures: &Path) {
    const FEW: usize = 200;
    let variable = |name: &str| std::env::var(name).ok();
    let seconds = variable("ANEC_FUZZ_SECONDS").and_then(|text| text.parse().ok()).map(Duration::from_secs);
    let only = variable("ANEC_FUZZ_TARGET");
    for (target, check) in checks.iter().filter(|(target, _)| only.as_deref().is_none_or(|it| it == *target)) {
        let mut entries: Vec<_> =
            fs::read_dir(corpus.join(target)).expect("a corpus").map(|entry| entry.expect("an entry").path()).collect();
        entries.sort();
        let inputs: Vec<Vec<u8>> = entries.iter().map(|path| fs::read(path).expect("readable")).collect();
        let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
        let (start, mut made) = (Instant::now(), 0);
        while seconds.map_or(made < FEW, |seconds| start.elapsed() < seconds) {
            let input = mutated(&inputs, &mut dice);
            made += 1;
            if catch_unwind(|| check(&input)).is_err() {
                let path = failures.join(format!("{target}-{made}"));
                fs::write(&path, &input).expect("written");
                panic!("`{target}` does not hold for mutation {made}, which is in {}", path.display());
            }
        }
        if seconds.is_some() {
            eprintln!("{target}: {made} mutations of {} inputs", inputs.len());
        }
    }
}

/// Numbers without order, the same in every run: xorshift64*.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32;
        usize::try_from(number).expect("32 bits") % bound.max(1)
    }

    fn range(&mut self, length: usize) -> std::ops::Range<usize> {
        let start = self.below(length + 1);
        let most = (length - start).min(64);
        start..start + self.below(most + 1)
    }
}

/// An input with a few changes: bytes and numbers replaced, parts left out, doubled, or taken from another input.
fn mutated(inputs: &[Vec<u8>], dice: &mut Dice) -> Vec<u8> {
    const NUMBERS: [&[u8]; 12] = [
        &[0],
        &[0xff],
        &[0x7f],
        &[0x80],
        &[0; 8],
        &[0xff; 8],
        &[0xff, 0xff, 0xff, 0x7f],
        b"9223372036854775807",
        b"-1",
        b"0",
        b"(",
        b"]",
    ];
    let mut input = inputs[dice.below(inputs.len())].clone();
    for _ in 0..=dice.below(4) {
        let at = dice.range(input.len());
        match dice.below(5) {
            0 => {
                let byte = u8::try_from(dice.below(256)).expect("a byte");
                input.splice(at.start..at.start + usize::from(at.start < input.len()), [byte]);
            }
            1 => drop(input.drain(at)),
            2 => {
                let part = input[at.clone()].to_vec();
                input.splice(at.end..at.end, part);
            }
            3 => drop(input.splice(at, NUMBERS[dice.below(NUMBERS.len())].to_vec())),
            _ => {
                let other = &inputs[dice.below(inputs.len())];
                let part = other[dice.range(other.len())].to_vec();
                input.splice(at, part);
            }
        }
    }
    input
}
