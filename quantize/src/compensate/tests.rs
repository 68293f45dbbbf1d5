#![expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "counts in tests are small")]
use half::f16;

use super::*;

/// Numbers that look random, the same every time.
struct Numbers(u64);

impl Numbers {
    #[expect(clippy::cast_precision_loss, reason = "24 bits")]
    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 40) as f32 / 8_388_608.0) - 1.0
    }

    fn many(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| self.next()).collect()
    }
}

/// The Gram matrix of inputs that are correlated and of very different size.
fn gram(numbers: &mut Numbers, channels: usize, tokens: usize) -> Vec<f32> {
    let mixing = numbers.many(channels * channels);
    let mut gram = vec![0.0_f64; channels * channels];
    for _ in 0..tokens {
        let sources = numbers.many(channels);
        let x: Vec<f64> = (0..channels)
            .map(|i| {
                let row = &mixing[i * channels..(i + 1) * channels];
                let mixed: f32 = row.iter().zip(&sources).map(|(a, b)| a * b).sum();
                f64::from(mixed) * if i % 7 == 3 { 30.0 } else { 1.0 }
            })
            .collect();
        for i in 0..channels {
            for j in 0..channels {
                gram[i * channels + j] += x[i] * x[j] / tokens as f64;
            }
        }
    }
    gram.into_iter().map(|value| value as f32).collect()
}

/// The error in the result, mean over tokens, of one row.
fn error(weights: &[f32], stored: &[f32], gram: &[f64]) -> f64 {
    let channels = weights.len();
    let difference: Vec<f64> = weights.iter().zip(stored).map(|(a, b)| f64::from(*a) - f64::from(*b)).collect();
    let product = |i: usize| (0..channels).map(|j| gram[i * channels + j] * difference[j]).sum::<f64>();
    (0..channels).map(|i| difference[i] * product(i)).sum()
}

fn damped(gram: &[f32], channels: usize, damping: f64) -> Vec<f64> {
    let mean = (0..channels).map(|i| f64::from(gram[i * channels + i])).sum::<f64>() / channels as f64;
    let mut matrix: Vec<f64> = gram.iter().map(|value| f64::from(*value)).collect();
    for i in 0..channels {
        matrix[i * channels + i] += damping * mean;
    }
    matrix
}

fn inverse(matrix: &[f64], size: usize) -> Vec<f64> {
    let mut a = matrix.to_vec();
    let mut inverse = vec![0.0; size * size];
    (0..size).for_each(|i| inverse[i * size + i] = 1.0);
    for column in 0..size {
        let pivot = (column..size).max_by(|i, j| a[i * size + column].abs().total_cmp(&a[j * size + column].abs()));
        let pivot = pivot.expect("not empty");
        for k in 0..size {
            a.swap(column * size + k, pivot * size + k);
            inverse.swap(column * size + k, pivot * size + k);
        }
        let scale = a[column * size + column];
        for k in 0..size {
            a[column * size + k] /= scale;
            inverse[column * size + k] /= scale;
        }
        for row in (0..size).filter(|row| *row != column) {
            let factor = a[row * size + column];
            for k in 0..size {
                a[row * size + k] -= factor * a[column * size + k];
                inverse[row * size + k] -= factor * inverse[column * size + k];
            }
        }
    }
    inverse
}

/// GPTQ as its paper states it: the inverse is updated column by column, in f64.
fn naive(weights: &[f32], palette: &[f32], gram: &[f64], order: &[usize]) -> Vec<u8> {
    let size = order.len();
    let mut w: Vec<f64> = weights.iter().map(|w| f64::from(*w)).collect();
    let mut indices = vec![0; size];
    let mut left: Vec<usize> = order.to_vec();
    while let Some(column) = left.first().copied() {
        let part: Vec<f64> = left.iter().flat_map(|i| left.iter().map(move |j| gram[i * size + j])).collect();
        let inverse = inverse(&part, left.len());
        let best = (0..palette.len()).min_by(|a, b| {
            let distance = |index: &usize| (f64::from(palette[*index]) - w[column]).abs();
            distance(a).total_cmp(&distance(b))
        });
        let best = best.expect("not empty");
        indices[column] = best as u8;
        let error = (w[column] - f64::from(palette[best])) / inverse[0];
        for (place, other) in left.iter().enumerate() {
            w[*other] -= error * inverse[place];
        }
        left.remove(0);
    }
    indices
}

fn entries(palettes: &GroupPalettes, row: usize) -> Vec<f32> {
    palettes.of_row(row).iter().map(|entry| entry.to_f32()).collect()
}

fn stored(palettes: &GroupPalettes, indices: &[u8], channels: usize) -> Vec<f32> {
    let rows = indices.chunks_exact(channels).enumerate();
    rows.flat_map(|(row, indices)| {
        let entries = entries(palettes, row);
        indices.iter().map(move |index| entries[usize::from(*index)]).collect::<Vec<_>>()
    })
    .collect()
}

#[test]
fn assignment_is_that_of_the_published_algorithm() {
    let mut numbers = Numbers(1);
    let (channels, rows) = (37, 24);
    let gram = gram(&mut numbers, channels, 100);
    let weights = numbers.many(rows * channels);
    let factor = Factor::new(&gram, channels, 0.01).expect("a Gram matrix");
    let palettes = palettize_groups(&weights, Importance::of_columns(factor.importance()), 3, 8).expect("whole groups");
    let found = compensate(&weights, &palettes, &factor).expect("fits");
    let matrix = damped(&gram, channels, 0.01);
    for row in 0..rows {
        let range = row * channels..(row + 1) * channels;
        let expected = naive(&weights[range.clone()], &entries(&palettes, row), &matrix, factor.order());
        assert_eq!(found.indices[range], expected, "row {row}");
    }
}

#[test]
fn the_error_is_near_the_least_of_all_assignments() {
    let mut numbers = Numbers(2);
    let (channels, rows) = (7, 20);
    let gram = gram(&mut numbers, channels, 40);
    let matrix = damped(&gram, channels, 0.0);
    let weights = numbers.many(rows * channels);
    let factor = Factor::new(&gram, channels, 1e-6).expect("a Gram matrix");
    let palettes = palettize_groups(&weights, Importance::of_columns(factor.importance()), 2, 4).expect("whole groups");
    let found = compensate(&weights, &palettes, &factor).expect("fits");
    let (mut compensated, mut least) = (0.0, 0.0);
    let after = stored(&palettes, &found.indices, channels);
    for row in 0..rows {
        let weights = &weights[row * channels..(row + 1) * channels];
        let palette = entries(&palettes, row);
        let with =
            |index: usize| -> Vec<f32> { (0..channels).map(|channel| palette[index >> (2 * channel) & 3]).collect() };
        compensated += error(weights, &after[row * channels..(row + 1) * channels], &matrix);
        let all = (0..1 << (2 * channels)).map(|index| error(weights, &with(index), &matrix));
        least += all.fold(f64::INFINITY, f64::min);
    }
    assert!(compensated >= least * (1.0 - 1e-9));
    assert!(compensated < 2.5 * least, "{compensated}, least {least}");
}

#[test]
fn the_error_in_the_result_is_a_fraction_of_that_of_the_nearest_entries() {
    let mut numbers = Numbers(7);
    let (channels, rows) = (64, 32);
    // Fewer sources than inputs: most of an error can be made up for.
    let gram = gram(&mut numbers, channels, 24);
    let matrix = damped(&gram, channels, 0.0);
    let weights = numbers.many(rows * channels);
    let factor = Factor::new(&gram, channels, 0.01).expect("a Gram matrix");
    let palettes = palettize_groups(&weights, Importance::of_columns(factor.importance()), 4, 8).expect("whole groups");
    let found = compensate(&weights, &palettes, &factor).expect("fits");
    let compensated = stored(&palettes, &found.indices, channels);
    let nearest: Vec<f32> = weights
        .iter()
        .enumerate()
        .filter_map(|(at, weight)| {
            let entries = entries(&palettes, at / channels);
            entries.into_iter().min_by(|a, b| (weight - a).abs().total_cmp(&(weight - b).abs()))
        })
        .collect();
    let total = |stored: &[f32]| -> f64 {
        let rows = weights.chunks_exact(channels).zip(stored.chunks_exact(channels));
        rows.map(|(weights, stored)| error(weights, stored, &matrix)).sum()
    };
    assert!(total(&compensated) < 0.3 * total(&nearest), "{} {}", total(&compensated), total(&nearest));
}

#[test]
fn threads_blocks_and_neighbours_change_no_bit() {
    let mut numbers = Numbers(3);
    let (channels, rows) = (450, 200);
    let gram = gram(&mut numbers, channels, 60);
    let weights = numbers.many(rows * channels);
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
        pool.install(|| {
            let factor = Factor::new(&gram, channels, 0.01).expect("a Gram matrix");
            let palettes =
                palettize_groups(&weights, Importance::of_columns(factor.importance()), 4, 8).expect("whole groups");
            let found = compensate(&weights, &palettes, &factor).expect("fits");
            let mut solved = weights.clone();
            factor.solve_rows(&mut solved).expect("whole rows");
            (palettes, found, solved)
        })
    };
    let one = run(1);
    assert!(one == run(2) && one == run(5));
    // The last rows alone, which are neighbours of others then.
    let factor = Factor::new(&gram, channels, 0.01).expect("a Gram matrix");
    let last = GroupPalettes { entries: one.0.entries[(rows / 8 - 2) * 16..].to_vec(), ..one.0 };
    let tail = (rows - 16) * channels;
    let alone = compensate(&weights[tail..], &last, &factor).expect("fits");
    assert_eq!(alone.indices, one.1.indices[tail..]);
}

#[test]
fn dead_inputs_get_the_nearest_entry_and_singular_matrices_more_damping() {
    let mut numbers = Numbers(4);
    let (channels, rows) = (16, 8);
    let mut matrix = vec![0.0_f32; channels * channels];
    // One token: rank one. The last three inputs are always zero.
    let x = numbers.many(channels - 3);
    for i in 0..channels - 3 {
        for j in 0..channels - 3 {
            matrix[i * channels + j] = 1e4 * x[i] * x[j];
        }
    }
    let weights = numbers.many(rows * channels);
    let factor = Factor::new(&matrix, channels, 0.0).expect("more damping helps");
    assert!(factor.damping() > 0.0 && factor.damping() <= MOST_DAMPING);
    let palettes = palettize_groups(&weights, Importance::of_columns(factor.importance()), 2, 8).expect("whole groups");
    let found = compensate(&weights, &palettes, &factor).expect("fits");
    for row in 0..rows {
        for channel in channels - 3..channels {
            let at = row * channels + channel;
            assert_eq!(found.targets[at], weights[at]);
            let entries = entries(&palettes, row);
            let error = |index: usize| (entries[index] - weights[at]).abs();
            assert!((0..4).all(|other| error(other) >= error(usize::from(found.indices[at]))));
        }
    }
}

#[test]
fn matrices_that_are_no_gram_matrix_are_refused() {
    assert!(matches!(Factor::new(&[1.0; 3], 2, 0.01), Err(CompensateError::Shape { channels: 2, found: 3 })));
    let refused = Factor::new(&[1.0, 0.0, 0.0, f32::NAN], 2, 0.01);
    assert!(matches!(refused, Err(CompensateError::NotFinite { channel: 1, .. })));
    let refused = Factor::new(&[1.0, 5.0, 5.0, 1.0], 2, 0.01);
    assert!(matches!(refused, Err(CompensateError::Indefinite { .. })));
}

#[test]
fn solved_rows_times_the_matrix_are_the_rows() {
    let mut numbers = Numbers(5);
    let (channels, rows) = (50, 70);
    let gram = gram(&mut numbers, channels, 200);
    let matrix = damped(&gram, channels, 0.05);
    let rows_before = numbers.many(rows * channels);
    let mut solved = rows_before.clone();
    Factor::new(&gram, channels, 0.05).expect("a Gram matrix").solve_rows(&mut solved).expect("whole rows");
    for (before, after) in rows_before.chunks_exact(channels).zip(solved.chunks_exact(channels)) {
        for j in 0..channels {
            let product: f64 = (0..channels).map(|i| f64::from(after[i]) * matrix[i * channels + j]).sum();
            assert!((product - f64::from(before[j])).abs() < 1e-3, "{product} {}", before[j]);
        }
    }
}

#[test]
fn a_refit_lowers_the_error_of_the_targets_and_keeps_entries_sorted() {
    let mut numbers = Numbers(6);
    let (channels, rows) = (60, 16);
    let gram = gram(&mut numbers, channels, 100);
    let weights = numbers.many(rows * channels);
    let factor = Factor::new(&gram, channels, 0.01).expect("a Gram matrix");
    let palettes = palettize_groups(&weights, Importance::of_columns(factor.importance()), 3, 8).expect("whole groups");
    let found = compensate(&weights, &palettes, &factor).expect("fits");
    let importance = factor.remaining_importance();
    let refitted = refit(&palettes, &found.targets, &found.indices, Importance::of_columns(&importance)).expect("fits");
    let error = |palettes: &GroupPalettes| -> f64 {
        let stored = stored(palettes, &found.indices, channels);
        let weights = importance.iter().cycle();
        let squares = stored.iter().zip(&found.targets).map(|(a, b)| f64::from(a - b).powi(2));
        squares.zip(weights).map(|(square, weight)| square * f64::from(*weight)).sum()
    };
    assert!(error(&refitted) < error(&palettes));
    assert!(refitted.entries.chunks_exact(8).all(<[half::f16]>::is_sorted));
    assert!(refitted.entries.iter().all(|entry: &f16| entry.is_finite()));
}

#[test]
fn rows_that_count_more_get_the_palette_of_their_group_and_the_others_follow() {
    let mut numbers = Numbers(7);
    let (channels, rows) = (60, 16);
    let gram = gram(&mut numbers, channels, 100);
    let weights = numbers.many(rows * channels);
    let factor = Factor::new(&gram, channels, 0.01).expect("a Gram matrix");
    let remaining = factor.remaining_importance();
    // Of each group of 8, the third row.
    let of_rows: Vec<f32> = (0..rows).map(|row| if row % 8 == 2 { 50.0 } else { 1.0 }).collect();
    let errors = |rows: Option<&[f32]>| -> Vec<f64> {
        let importance = |columns| Importance { columns, rows };
        let palettes = palettize_groups(&weights, importance(factor.importance()), 2, 8).expect("whole groups");
        let found = compensate(&weights, &palettes, &factor).expect("fits");
        let palettes = refit(&palettes, &found.targets, &found.indices, importance(&remaining)).expect("fits");
        let found = compensate(&weights, &palettes, &factor).expect("fits");
        let stored = stored(&palettes, &found.indices, channels);
        let squares = stored.iter().zip(&found.targets).map(|(a, b)| f64::from(a - b).powi(2));
        let weighed: Vec<f64> = squares.zip(remaining.iter().cycle()).map(|(a, b)| a * f64::from(*b)).collect();
        weighed.chunks_exact(channels).map(|row| row.iter().sum()).collect()
    };
    let (alike, weighed) = (errors(None), errors(Some(&of_rows)));
    assert!(weighed[2] < alike[2] && weighed[10] < alike[10], "{alike:?} {weighed:?}");
    assert!(weighed.iter().sum::<f64>() > alike.iter().sum::<f64>());
    let short = Importance { columns: factor.importance(), rows: Some(&of_rows[1..]) };
    let refused = palettize_groups(&weights, short, 2, 8);
    assert!(matches!(refused, Err(CompensateError::Mismatch { found: 15, expected: 16, .. })));
}
