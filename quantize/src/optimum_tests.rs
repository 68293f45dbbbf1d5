//! `Method::Exact` against dynamic programming over all partitions, in integers.

use half::f16;

use crate::float::{UNIT, key, units};
use crate::paths::Costs;
use crate::sums::PrefixSums;
use crate::{Method, divide, palettize_group};

/// splitmix64.
pub(crate) struct Numbers(pub(crate) u64);

impl Numbers {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }

    #[expect(clippy::cast_precision_loss, reason = "53 bits")]
    fn uniform(&mut self) -> f64 {
        self.below(1 << 53) as f64 / (1_u64 << 53) as f64
    }

    pub(crate) fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.uniform()).sum::<f64>() - 6.0
    }
}

/// Weights of one kind; `kind` counts up from zero.
fn group(kind: u64, numbers: &mut Numbers) -> Option<Vec<f16>> {
    let length = 40 + numbers.below(80);
    let lattice = numbers.below(1000);
    let mut values: Vec<f64> = (0..length)
        .map(|index| {
            let step = f64::from(u32::try_from(index).unwrap_or_default());
            match kind {
                // What weights look like.
                0 => 0.02 * numbers.normal(),
                1 => 0.02 * numbers.normal() / (0.1 + numbers.uniform()),
                2 => numbers.uniform(),
                // Many equally good partitions.
                3 => step,
                4 => 0.5 * (step + f64::from(u32::try_from(lattice).unwrap_or_default())),
                5 => f64::from(u32::try_from(numbers.below(20)).unwrap_or_default()),
                // Sums that cancel.
                6 => 1e-4 * numbers.normal(),
                7 => UNIT * (step - 30.0),
                8 => 1.0 + step / 1024.0,
                9 => 65504.0 - 32.0 * f64::from(u32::try_from(numbers.below(40)).unwrap_or_default()),
                // All magnitudes.
                10 => 2_f64.powf(numbers.uniform() * 40.0 - 24.0) * (numbers.uniform() - 0.5).signum(),
                11 => f64::from(u32::try_from(numbers.below(5)).unwrap_or_default() * 1000) + numbers.uniform(),
                _ => f64::NAN,
            }
        })
        .collect();
    if kind == 6 {
        values[3] = 65504.0;
        values[4] = -65504.0;
    }
    values.first().is_some_and(|value| value.is_finite()).then(|| values.into_iter().map(f16::from_f64).collect())
}

#[expect(clippy::cast_possible_truncation, reason = "values in units are integers below 2^41")]
fn integer(value: f16) -> i128 {
    units(key(value)) as i128
}

/// The least error over all partitions of the sorted weights and all fp16 centers, in squared units.
fn brute_force(weights: &[f16], centers: usize) -> i128 {
    let mut sorted: Vec<i128> = weights.iter().map(|weight| integer(*weight)).collect();
    sorted.sort_unstable();
    let sums = |power: u32| -> Vec<i128> {
        let terms = sorted.iter().map(|value| value.pow(power));
        std::iter::once(0)
            .chain(terms.scan(0, |sum, term| {
                *sum += term;
                Some(*sum)
            }))
            .collect()
    };
    let (first, second) = (sums(1), sums(2));
    let cost = |start: usize, end: usize| {
        let count = i128::try_from(end - start).expect("small");
        let (first, second) = (first[end] - first[start], second[end] - second[start]);
        #[expect(clippy::cast_precision_loss, reason = "the neighbours are tried too")]
        let near = key(f16::from_f64(first as f64 / count as f64 * UNIT));
        let centers = (near - 1..=near + 1).map(units).filter(|center| center * UNIT < 65536.0);
        #[expect(clippy::cast_possible_truncation, reason = "integers below 2^41")]
        let errors =
            centers.map(|center| center as i128).map(|center| second - 2 * center * first + center * center * count);
        errors.min().expect("three centers")
    };
    let mut best: Vec<i128> = (0..=sorted.len()).map(|end| if end == 0 { 0 } else { cost(0, end) }).collect();
    for _ in 1..centers {
        best = (0..=sorted.len())
            .map(|end| (0..end).map(|start| best[start] + cost(start, end)).fold(best[end], i128::min))
            .collect();
    }
    best[sorted.len()]
}

#[test]
#[expect(clippy::cast_precision_loss, reason = "only a ratio is of interest")]
fn exact_is_the_optimum_of_brute_force() {
    let mut numbers = Numbers(1);
    let mut groups = 0;
    for round in 0..17 {
        let mut kind = 0;
        while let Some(weights) = group(kind, &mut numbers) {
            let bits = [1, 2, 3, 4][round % 4];
            let found = palettize_group(&weights, bits, Method::Exact).expect("finite weights");
            let entries = found.palette.entries();
            let error =
                |(weight, index): (&f16, &u8)| (integer(*weight) - integer(entries[usize::from(*index)])).pow(2);
            let noise: i128 = weights.iter().zip(&found.indices).map(error).sum();
            let optimum = brute_force(&weights, 1 << bits);
            assert_eq!(noise, optimum, "kind {kind}, {bits} bits: {} times the optimum", noise as f64 / optimum as f64);
            (kind, groups) = (kind + 1, groups + 1);
        }
    }
    assert!(groups >= 200);
}

#[test]
fn dividing_finds_the_same_optimum_as_penalties() {
    let mut numbers = Numbers(2);
    for kind in 0..12 {
        let weights = group(kind, &mut numbers).expect("a kind of weights");
        let mut keys: Vec<u16> = weights.iter().map(|weight| key(*weight)).collect();
        keys.sort_unstable();
        keys.dedup();
        let sums = PrefixSums::new(&keys, |key| f64::from(1 + key % 3));
        let costs = Costs::new(&sums);
        for centers in [2, 3, 8].into_iter().filter(|centers| *centers < keys.len()) {
            let equal: Vec<usize> = (0..=centers).map(|center| center * keys.len() / centers).collect();
            let error = |bounds: &[usize]| bounds.windows(2).map(|pair| costs.of(pair[0], pair[1])).sum::<f64>();

            let divided = error(&divide::bounds(&costs, centers));
            let penalized = error(&crate::exact::by_penalty(&costs, &equal).expect("proven"));
            assert!((divided - penalized).abs() <= 1e-10 * divided, "kind {kind}: {divided} {penalized}");
        }
    }
}
