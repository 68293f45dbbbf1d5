//! Weights of every encoding, written and read back by evaluating what a graph makes of them.

use std::collections::BTreeMap;

use anec_mil::blob::BlobReader;
use anec_mil::evaluate::{EvaluableFunction, Numerics, WeightSource};
use anec_mil::{BlobReference, FunctionBuilder, Opset, Program, TensorType};
use std::sync::Arc;

use super::*;
use crate::output::staging::{Identity, Kind, Staging, Unfinished};
use crate::source::checkpoint::testing::{Source, write_config, write_tensors};
use crate::weights::encodings::{Constant, ENCODINGS};
use crate::weights::storage::Storage;
use crate::weights::transform::Transform;

const ROWS: usize = 64;
const COLUMNS: usize = 24;

/// The bytes of a weight file.
struct Bytes(Vec<u8>);

impl WeightSource for Bytes {
    fn blob(&self, reference: &BlobReference, ty: &TensorType) -> Result<Arc<Vec<u8>>, BlobError> {
        let count = ty.element_count().expect("a fixed shape");
        Ok(Arc::new(BlobReader::new(&self.0)?.blob(reference.offset, ty.dtype, count)?.to_vec()))
    }
}

/// Weights with a few bits each, so that all of them are exact in fp16.
fn source() -> Vec<f32> {
    (0..ROWS * COLUMNS).map(|n| f32::from(u16::try_from(n * 37 % 251).expect("small")) / 256.0 - 0.5).collect()
}

/// What a program reads of some rows of the tensor `w` in a storage.
fn stored(rows: &Rows, storage: &Storage) -> (Vec<f32>, Vec<QuantizedWeight>) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    write_config(directory.path(), r#"{"model_type": "llama"}"#);
    write_tensors(&directory.path().join("model.safetensors"), &[Source::f32("w", &[ROWS, COLUMNS], &source())]);
    let checkpoint = Checkpoint::open(directory.path()).expect("a checkpoint");

    let mut file = WeightFile::default();
    let mut ops = FunctionBuilder::new(Opset::Ios18);
    let shape = [rows.count(), rows.columns, 1, 1];
    let weight = file.weight(rows, &shape, storage).expect("rows that fit");
    let Constant { weight, result_scale } = weight.constant(&mut ops, "w").expect("blobs that fit");
    let weight = ops.relu("weight", &weight).expect("an operation");
    let scale = result_scale.map(|scale| {
        let scale = ops.constant("scale_blob", scale);
        ops.relu("scale", &scale).expect("an operation")
    });
    let outputs: Vec<_> = std::iter::once(&weight).chain(&scale).collect();
    let functions = [("main".to_owned(), ops.finish(&outputs))].into_iter().collect();
    let program = Program { functions, ..Program::default() };

    let output = directory.path().join("out");
    let staging = Staging::open(Kind::Converted, &output, false, Unfinished::Discard, &Identity::once());
    let staging = staging.expect("a work directory");
    let (progress, interrupt) = (ProgressBar::hidden(), Interrupt::default());
    let context = Context {
        checkpoint: &checkpoint,
        progress: &progress,
        journal: staging.journal(),
        interrupt: &interrupt,
        calibration: None,
    };
    let path = directory.path().join("weight.bin");
    let outcome =
        write(&context, &[(Destination::Whole(path.clone()), &file)], |_| {}).expect("weights that can be written");
    let Outcome::Complete(quantized) = outcome else { panic!("nobody interrupted") };

    let bytes = Bytes(fs_err::read(path).expect("the file"));
    let function = EvaluableFunction::new(&program, "main", &bytes, Numerics::F32).expect("a valid program");
    let constants: BTreeMap<&str, Vec<f32>> =
        function.constants().map(|(name, tensor)| (name, tensor.to_numbers().expect("numbers"))).collect();
    let of = |wanted: &dyn Fn(&str) -> bool| constants.iter().find(|(name, _)| wanted(name)).map(|(_, found)| found);
    let weight = of(&|name| name != "scale_blob").expect("the weight");
    let columns = to_usize(rows.columns);
    let scales = of(&|name| name == "scale_blob");
    let scaled = weight.iter().enumerate().map(|(n, weight)| weight * scales.map_or(1.0, |scales| scales[n / columns]));
    (scaled.collect(), quantized)
}

#[test]
fn every_encoding_gives_back_the_weights_within_its_error() {
    let storages = ENCODINGS.iter().flat_map(|kind| kind.examples);
    let storages = storages.map(|storage| storage.parse::<Storage>().expect("an example"));
    // What calibration finds is held by the tests of calibrated conversions: it is made before emission.
    for storage in storages.filter(|storage| !storage.is_calibrated()) {
        let rows = Rows::new("w", 8..48, COLUMNS as u64);
        let (found, quantized) = stored(&rows, &storage);
        let expected = &source()[8 * COLUMNS..48 * COLUMNS];
        let errors = found.iter().zip(expected).map(|(found, expected)| f64::from(found - expected));
        let noise: f64 = errors.map(|error| error * error).sum();
        assert_eq!(found.len(), expected.len(), "{storage}");
        match quantized.as_slice() {
            [] => assert_eq!(found, expected, "{storage}"),
            [weight] => {
                assert_eq!(
                    (weight.tensor.as_str(), &weight.rows, Some(weight.bits)),
                    ("w", &(8..48), storage.quantized_bits())
                );
                let measured = weight.stats.noise;
                assert!((noise - measured).abs() <= 1e-2 * measured + 1e-6, "{storage}: {noise} is not {measured}");
                assert!(weight.stats.snr_db() > 5.0, "{storage}: {} dB", weight.stats.snr_db());
            }
            more => panic!("{storage}: {more:?}"),
        }
    }
}

#[test]
fn transforms_are_applied_before_a_weight_is_stored() {
    let transforms = vec![
        Transform::PermuteRows([1, 0].into()),
        Transform::PadRows { from: ROWS as u64, to: ROWS as u64 + 2 },
        Transform::PadColumns { to: COLUMNS as u64 + 1 },
        Transform::add(1.0),
        Transform::scale(0.5),
    ];
    let rows = Rows { transforms, ..Rows::new("w", 62..66, COLUMNS as u64 + 1) };
    let (found, _) = stored(&rows, &Storage::default());
    let source = source();
    let row = |row: usize| source[row * COLUMNS..(row + 1) * COLUMNS].iter().copied().chain([0.0]);
    let expected: Vec<f32> = row(63).chain(row(62)).chain([0.0; 2 * (COLUMNS + 1)]).map(|x| (x + 1.0) * 0.5).collect();
    assert_eq!(found, expected.into_iter().map(|x| f16::from_f32(x).to_f32()).collect::<Vec<_>>());

    let columns = rows.with_columns(&(COLUMNS as u64 - 1..COLUMNS as u64 + 1));
    let (found, _) = stored(&columns, &Storage::default());
    let corner = f16::from_f32((source[64 * COLUMNS - 1] + 1.0) * 0.5).to_f32();
    assert_eq!(found[..2], [corner, 0.5]);
}
