//! Bytes that decoding would read with a loss are errors.

use anec_mil::proto::{FieldProblem, check_fields};
use anec_schemas::proto::{Message, specification as pb};
use anec_schemas::wire;

/// Field 1 of `Model`, a number: `specificationVersion: 9`.
const VERSION: [u8; 2] = [0x08, 9];

fn problem(bytes: &[u8]) -> FieldProblem {
    check_fields(bytes, &wire::MODEL).expect_err("lossy").problem
}

#[test]
fn known_fields_pass() {
    let feature = pb::FeatureDescription { name: "x".to_owned(), ..pb::FeatureDescription::default() };
    let metadata = pb::Metadata {
        user_defined: [("a".to_owned(), "b".to_owned()), (String::new(), "c".to_owned())].into(),
        ..pb::Metadata::default()
    };
    let description = pb::ModelDescription {
        input: vec![feature.clone(), feature],
        metadata: Some(metadata),
        ..pb::ModelDescription::default()
    };
    let model = pb::Model { specification_version: 9, description: Some(description), ..pb::Model::default() };
    check_fields(&model.encode_to_vec(), &wire::MODEL).expect("own bytes");
    check_fields(&[], &wire::MODEL).expect("an empty message");
}

#[test]
fn unknown_fields_are_found_at_any_depth() {
    // Field 99 of the second `input` of `description`.
    let inner = [0x0a, 0, 0x0a, 3, 0x98, 0x06, 1];
    let bytes = [&[0x12, 7][..], &inner].concat();
    let error = check_fields(&bytes, &wire::MODEL).expect_err("unknown");
    assert_eq!(error.to_string(), "`Model.description.input[1]` has the unknown field 99");
}

#[test]
fn fields_that_overwrite_each_other_are_found() {
    let twice = [VERSION, VERSION].concat();
    assert_eq!(problem(&twice), FieldProblem::Repeated { field: "specificationVersion" });
    // Both choices of `Dimension`.
    let both = [0x0a, 0, 0x12, 0];
    let error = check_fields(&both, &wire::MILSPEC_DIMENSION).expect_err("two choices");
    assert_eq!(error.problem, FieldProblem::Repeated { field: "unknown" });
    // Two entries `a` of `userDefined`, the second with its value before its key.
    let entries = [0xa2, 0x06, 3, 0x0a, 1, b'a', 0xa2, 0x06, 6, 0x12, 1, b'v', 0x0a, 1, b'a'];
    let error = check_fields(&entries, &wire::METADATA).expect_err("two entries");
    assert_eq!(error.problem, FieldProblem::RepeatedKey { field: "userDefined", key: "a".to_owned() });
}

#[test]
fn wrong_wire_types_and_cut_off_bytes_are_found() {
    assert_eq!(problem(&[0x0d, 0, 0, 0, 0]), FieldProblem::WireType { field: "specificationVersion", wire_type: 5 });
    assert!(matches!(problem(&[0x12, 5, 0]), FieldProblem::Malformed { .. }));
    assert!(matches!(problem(&[0x08]), FieldProblem::Malformed { .. }));
    assert!(matches!(problem(&[0xff; 16]), FieldProblem::Malformed { .. }));
    let huge_length = [0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f];
    assert!(matches!(problem(&huge_length), FieldProblem::Malformed { .. }));
}

#[test]
fn deep_nesting_is_found_before_it_overflows_the_stack() {
    // A tuple type in a tuple type, and so on: `ValueType.tupleType.types`.
    let mut bytes = Vec::new();
    for _ in 0..20_000 {
        for tag in [0x0a, 0x1a] {
            let mut outer = vec![tag];
            prost::encoding::encode_varint(bytes.len() as u64, &mut outer);
            outer.extend_from_slice(&bytes);
            bytes = outer;
        }
    }
    let error = check_fields(&bytes, &wire::MILSPEC_VALUETYPE).expect_err("deep");
    assert_eq!(error.problem, FieldProblem::TooDeep);
}
