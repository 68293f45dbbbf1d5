//! What holds for every encoding.

use std::ops::Range;

use anec_mil::Opset;
use anec_mil::blob::BlobLayout;
use half::f16;

use super::blocks::{BLOCK_ELEMENTS, Block, Coder, Place, Scratch};
use super::*;
use crate::weights::CalibratedRows;

fn examples() -> impl Iterator<Item = Storage> {
    ENCODINGS.iter().flat_map(|kind| kind.examples).map(|text| text.parse().expect("an example"))
}

/// Shapes with few and many rows, odd columns, and more than a block holds.
const SHAPES: [(Range<u64>, u64); 5] =
    [(16..16 + 896, 4864), (0..24, 5), (0..2048, 2048), (8..2056, 4099), (0..8, 1_000_001)];

/// Where blobs of these types have their data.
fn offsets(types: &[TensorType]) -> Vec<(u64, u64)> {
    let mut layout = BlobLayout::default();
    let place = |ty: &TensorType| {
        let count = ty.element_count().expect("fixed shapes");
        let start = BlobLayout::data_offset(layout.push(ty.dtype, count).expect("a numeric type"));
        (start, start + (count * u64::from(ty.dtype.bits())).div_ceil(8))
    };
    types.iter().map(place).collect()
}

fn blocks(run: &Run) -> Vec<Range<u64>> {
    let starts = (0..).map(|block| run.rows.start + block * run.rows_per_block);
    starts
        .take_while(|start| *start < run.rows.end)
        .map(|start| start..(start + run.rows_per_block).min(run.rows.end))
        .collect()
}

#[test]
fn the_text_of_a_storage_means_the_same_storage() {
    for storage in examples() {
        let text = storage.to_string();
        let again: Storage = text.parse().expect("its own text");
        assert_eq!((again.to_string(), again.description()), (text, storage.description()));
    }
}

#[test]
fn every_text_belongs_to_one_encoding() {
    for text in ENCODINGS.iter().flat_map(|kind| kind.examples) {
        let takers = ENCODINGS.iter().filter(|kind| (kind.parse)(text, &Defaults::default()).is_some()).count();
        assert_eq!(takers, 1, "{text}");
    }
}

#[test]
fn blocks_fill_every_byte_of_the_blobs_once() {
    for storage in examples() {
        for (rows, columns) in SHAPES {
            let rows = Rows::new("w", rows, columns);
            let types = storage.encoding().blobs(&rows, &[rows.count(), columns, 1, 1]).expect("a multiple of 8 rows");
            let blobs = offsets(&types);
            let starts: Vec<u64> = blobs.iter().map(|(start, _)| *start).collect();
            let runs = storage.encoding().runs(&rows, &starts);
            let mut places: Vec<Place> = Vec::new();
            for run in &runs {
                places.extend(blocks(run).iter().flat_map(|block| run.coder.places(block)));
                if let Coder::Shared(coder) = &run.coder {
                    places.push(coder.palette_place());
                }
                let unit = run.rows_per_block * columns;
                assert!(unit <= BLOCK_ELEMENTS.max(8 * columns), "{storage} {rows:?}: blocks of {unit} elements");
            }
            places.sort_by_key(|place| place.start);
            let mut merged: Vec<(u64, u64)> = Vec::new();
            for Place { start, end } in places {
                match merged.last_mut() {
                    Some((_, last)) if *last == start => *last = end,
                    _ => merged.push((start, end)),
                }
            }
            assert_eq!(merged, blobs, "{storage} {rows:?}");
        }
    }
}

#[test]
fn blocks_of_a_short_last_group_fill_its_rows_and_leave_what_is_behind_them() {
    for storage in examples().filter(|storage| storage.lut().is_some()) {
        for (rows, columns) in [(16..16 + 899, 4864), (0..13, 5), (8..2059, 4100), (0..9, 1_000_001)] {
            let rows = Rows::new("w", rows, columns);
            let types = storage.encoding().blobs(&rows, &[rows.count(), columns, 1, 1]).expect("any rows fit");
            let blobs = offsets(&types);
            let starts: Vec<u64> = blobs.iter().map(|(start, _)| *start).collect();
            let mut places: Vec<Place> = Vec::new();
            for run in storage.encoding().runs(&rows, &starts) {
                places.extend(blocks(&run).iter().flat_map(|block| run.coder.places(block)));
                if let Coder::Shared(coder) = &run.coder {
                    places.push(coder.palette_place());
                }
            }
            places.sort_by_key(|place| place.start);
            let bits = u64::from(storage.quantized_bits().expect("palettes have bits"));
            for (number, (start, end)) in blobs.into_iter().enumerate() {
                let filled = if number == 0 { start + (rows.count() * columns * bits).div_ceil(8) } else { end };
                let mut at = start;
                for place in places.iter().filter(|place| (start..end).contains(&place.start)) {
                    assert_eq!(place.start, at, "{storage} {rows:?}: blob {number}");
                    at = place.end;
                }
                assert_eq!(at, filled, "{storage} {rows:?}: blob {number}");
            }
        }
    }
}

#[test]
fn blocks_have_as_many_bytes_as_their_places() {
    let weights: Vec<f16> = (0..48_u16 * 5).map(|n| f16::from_f32(f32::from(n % 31) / 32.0 - 0.5)).collect();
    let rows = Rows::new("w", 0..48, 5);
    for storage in examples() {
        let types = storage.encoding().blobs(&rows, &[48, 5]).expect("a multiple of 8 rows");
        let starts: Vec<u64> = offsets(&types).iter().map(|(start, _)| *start).collect();
        for run in storage.encoding().runs(&rows, &starts) {
            let mut scratch = Scratch::default();
            let found = storage.is_calibrated().then(|| storage.lut().expect("palettes"));
            let palettes = found.map_or_else(Vec::new, |lut| {
                let groups = rows.count() / lut.channels.expect("groups of channels");
                vec![f16::ONE; usize::try_from(groups << lut.bits).expect("a small weight")]
            });
            let calibrated = found.map(|lut| CalibratedRows {
                bits: lut.bits,
                columns: 5,
                palettes: &palettes,
                indices: vec![0; weights.len()],
            });
            let block = Block { source: &rows, weights: &weights, calibrated };
            let Coder::Alone(coder) = &run.coder else { panic!("{storage}: a small weight is one block") };
            let stats = coder.encode(&block, &mut scratch).expect("finite weights");
            let lengths: Vec<u64> = scratch.encoded().iter().map(|bytes| bytes.len() as u64).collect();
            let expected: Vec<u64> = coder.places(&run.rows).iter().map(|place| place.end - place.start).collect();
            assert_eq!(lengths, expected, "{storage}");
            assert_eq!(stats.count > 0, storage.quantized_bits().is_some(), "{storage}: what is quantized is measured");
        }
    }
}

#[test]
fn the_constant_of_a_weight_has_its_shape() {
    let rows = Rows::new("w", 0..16, 32);
    for storage in examples() {
        let shape = [16, 32, 1, 1];
        let types = storage.encoding().blobs(&rows, &shape).expect("a multiple of 8 rows");
        let blob =
            |ty| Value::blob(ty, anec_mil::BlobReference { file_name: anec_mil::WEIGHT_FILE.to_owned(), offset: 64 });
        let mut ops = FunctionBuilder::new(Opset::Ios18);
        let constant = storage.encoding().constant(&mut ops, "w", types.into_iter().map(blob).collect());
        let Constant { weight, result_scale } = constant.expect("blobs fit their op");
        assert_eq!(weight.tensor().expect("a tensor").fixed_shape(), Some(shape.to_vec()), "{storage}");
        let refuses_tables = storage.encoding().check_table().is_err();
        assert_eq!(result_scale.is_some() || storage.is_calibrated(), refuses_tables, "{storage}");
    }
}
