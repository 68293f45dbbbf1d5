//! Models that others made: reading and writing them again loses nothing.
//!
//! Runs over every `.mlpackage` and `.mlmodel` below the directory that `ANEC_SAMPLES` names; without it there is
//! nothing to do.

use std::fs;
use std::path::Path;

use anec_mil::package::{Model, Package, decode_model, decode_pipeline, encode_pipeline};
use anec_mil::{Argument, Binding, BlobReference, Block, Value, ValueData};
use anec_schemas::proto::Message;
use anec_schemas::proto::specification as pb;

use crate::directory::{Directory, samples};

#[test]
fn models_of_others_survive_decoding_and_encoding() {
    let is = |path: &Path, expected: &str| path.extension().is_some_and(|extension| extension == expected);
    for path in samples(|path| is(path, "mlpackage") || is(path, "mlmodel")) {
        if is_pipeline(&path) {
            continue;
        }
        if is(&path, "mlpackage") {
            check_package(&path);
        } else {
            check_model(&fs::read(&path).expect("readable"), &path);
        }
    }
}

/// Whether a package is a pipeline, which survives too.
fn is_pipeline(path: &Path) -> bool {
    let Ok(bytes) = Package::open(Directory(path.to_owned())).and_then(|package| package.model_bytes()) else {
        return false;
    };
    let Some(pipeline) = decode_pipeline(&bytes).expect("valid") else { return false };
    let again = decode_pipeline(&encode_pipeline(&pipeline).expect("was read")).expect("was written");
    assert_eq!(again.as_ref(), Some(&pipeline), "{}", path.display());
    true
}

fn check_model(bytes: &[u8], path: &Path) -> Model {
    let model = decode_model(bytes).unwrap_or_else(|error| panic!("{}: {error:?}", path.display()));
    let message = pb::Model::decode(bytes).expect("decoded before");
    assert_eq!(model.to_proto().expect("was read"), message, "{}", path.display());
    model
}

fn check_package(path: &Path) {
    let package = Package::open(Directory(path.to_owned())).expect("a package");
    let model = check_model(&package.model_bytes().expect("readable"), path);
    let mut blobs = Vec::new();
    for function in model.program.functions.values() {
        collect_blobs(&function.block, &mut blobs);
    }
    for (reference, value) in blobs {
        let mut weights = package.weights(&reference.file_name).expect("a weight file");
        let count = weights.blobs().expect("valid").len();
        assert!(count > 0);
        let blob = weights.record(reference.offset).expect("valid");
        let ty = value.tensor_type().expect("blobs are tensors");
        assert_eq!(blob.dtype, ty.dtype, "{} {}", path.display(), reference.offset);
        assert_eq!(Some(blob.element_count()), ty.element_count(), "{} {}", path.display(), reference.offset);
        assert_eq!(weights.data(&blob).expect("readable").len() as u64, blob.bytes);
    }
}

fn collect_blobs(block: &Block, found: &mut Vec<(BlobReference, Value)>) {
    for operation in &block.operations {
        let bound = operation.inputs.values().flat_map(|Argument(bindings)| bindings);
        let constants = bound.filter_map(|binding| match binding {
            Binding::Value(value) => Some(value),
            Binding::Name(_) => None,
        });
        for value in operation.attributes.values().chain(constants) {
            if let ValueData::Blob(reference) = &value.data {
                found.push((reference.clone(), value.clone()));
            }
        }
        operation.blocks.iter().for_each(|inner| collect_blobs(inner, found));
    }
}
