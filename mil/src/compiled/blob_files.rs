//! Blobs in files of their own: what a program calls each, and the program that calls them so.
//!
//! # Source
//! M1 was reported to refuse a program that has several records in one weight file. ANE-LM, maderix/ANE and jundot/omlx give
//! each matrix a file, whose record is the first.

use std::collections::{BTreeMap, BTreeSet};

use crate::blob::ALIGNMENT;
use crate::ops::special;
use crate::package::MODEL_DIRECTORY_PREFIX;
use crate::program::{Binding, Block, Operation, Program};
use crate::value::{BlobReference, ValueData};

/// Offset of the only record of a file.
pub const ONLY_RECORD: u64 = ALIGNMENT;

/// The directory of the files, below that of the text.
const DIRECTORY: &str = "weights";

/// What names of the files end in.
const EXTENSION: &str = "bin";

/// Longest name of a file, without what it ends in; file systems take 255 bytes.
const MOST_CHARACTERS: usize = 200;

/// What a program calls the file at a path below the directory of the text.
pub fn blob_file_name(path: &str) -> String {
    format!("{MODEL_DIRECTORY_PREFIX}{path}")
}

/// The path, below the directory of the text, of a blob that no program names.
pub fn unnamed_blob_file(record: u64) -> String {
    format!("{DIRECTORY}/unused-{record}.{EXTENSION}")
}

/// The path, below the directory of the text, of the file of each blob: after the constant that the blob is, or after the
/// result and the argument of the operation that it is given to. A blob that is used twice has one file.
pub fn blob_files(program: &Program) -> BTreeMap<BlobReference, String> {
    let mut files = BTreeMap::new();
    let mut taken = BTreeSet::new();
    for (operation, argument, reference) in uses(program) {
        if files.contains_key(reference) {
            continue;
        }
        let plain = plain_name(operation, argument);
        let numbered = (2..).map(|number| format!("{plain}_{number}"));
        // Some file systems take upper and lower case for the same.
        let mut names = std::iter::once(plain.clone()).chain(numbered);
        let name = names.find(|name| taken.insert(name.to_ascii_lowercase())).expect("numbers do not end");
        files.insert(reference.clone(), format!("{DIRECTORY}/{name}.{EXTENSION}"));
    }
    files
}

/// The blobs of a program, each once, in the order in which operations come to them.
pub fn blobs_in_order(program: &Program) -> Vec<BlobReference> {
    let mut seen = BTreeSet::new();
    let references = uses(program).into_iter().map(|(_, _, reference)| reference);
    references.filter(|reference| seen.insert(*reference)).cloned().collect()
}

/// Every use of a blob: the operation, the argument, and which blob.
fn uses(program: &Program) -> Vec<(&Operation, &str, &BlobReference)> {
    let mut found = Vec::new();
    for function in program.functions.values() {
        collect(&function.block, &mut found);
    }
    found
}

fn collect<'a>(block: &'a Block, found: &mut Vec<(&'a Operation, &'a str, &'a BlobReference)>) {
    for operation in &block.operations {
        let values = operation.values();
        found.extend(values.filter_map(|(argument, value)| Some((operation, argument, value.as_blob()?))));
        for inner in &operation.blocks {
            collect(inner, found);
        }
    }
}

fn plain_name(operation: &Operation, argument: &str) -> String {
    let result = operation.outputs.first().map_or(operation.op.as_str(), |result| result.name.as_str());
    let name = if operation.op == special::CONST { result.to_owned() } else { format!("{result}_{argument}") };
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    name.chars().take(MOST_CHARACTERS).map(plain).collect()
}

/// A program whose blobs are in files of their own, at these paths.
pub fn with_blob_files(program: Program, files: &BTreeMap<BlobReference, String>) -> Program {
    let alone = |path: &String| BlobReference { file_name: blob_file_name(path), offset: ONLY_RECORD };
    with_blobs(program, &files.iter().map(|(reference, path)| (reference.clone(), alone(path))).collect())
}

/// A program that has blobs elsewhere.
pub fn with_blobs(mut program: Program, places: &BTreeMap<BlobReference, BlobReference>) -> Program {
    for function in program.functions.values_mut() {
        replace(&mut function.block, places);
    }
    program
}

fn replace(block: &mut Block, places: &BTreeMap<BlobReference, BlobReference>) {
    for operation in &mut block.operations {
        let bound = operation.inputs.values_mut().flat_map(|argument| &mut argument.0);
        let bound = bound.filter_map(|binding| match binding {
            Binding::Value(value) => Some(value),
            Binding::Name(_) => None,
        });
        for value in bound.chain(operation.attributes.values_mut()) {
            if let ValueData::Blob(reference) = &mut value.data
                && let Some(place) = places.get(reference)
            {
                *reference = place.clone();
            }
        }
        for inner in &mut operation.blocks {
            replace(inner, places);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DataType, FunctionBuilder, Opset, TensorType, Value, WEIGHT_FILE};

    fn blob(shape: &[u64], offset: u64) -> Value {
        let reference = BlobReference { file_name: WEIGHT_FILE.to_owned(), offset };
        Value::blob(TensorType::fixed(DataType::Float16, shape), reference)
    }

    #[test]
    fn every_blob_has_a_file_after_its_constant_whose_record_is_the_first() {
        let mut ops = FunctionBuilder::new(Opset::Ios18);
        let x = ops.input("x", TensorType::fixed(DataType::Float16, &[1, 4, 1, 32]));
        let bias = ops.constant("bias", blob(&[1, 4, 1, 1], 64));
        let again = ops.constant("again", blob(&[1, 4, 1, 1], 64));
        let upper = ops.constant("Bias", blob(&[1, 4, 1, 1], 256));
        let a = ops.add("a", &x, &bias).expect("broadcast");
        let b = ops.add("b", &a, &again).expect("broadcast");
        let y = ops.add("y", &b, &upper).expect("broadcast");
        let mut program = Program::default();
        program.functions.insert("main".to_owned(), ops.finish(&[&y]));
        let files = blob_files(&program);
        let paths: Vec<(u64, &str)> = files.iter().map(|(reference, path)| (reference.offset, path.as_str())).collect();
        assert_eq!(paths, [(64, "weights/bias.bin"), (256, "weights/Bias_2.bin")]);
        let in_order: Vec<u64> = blobs_in_order(&program).iter().map(|reference| reference.offset).collect();
        assert_eq!(in_order, [64, 256]);
        let renamed = with_blob_files(program, &files);
        let operations = &renamed.functions["main"].block.operations;
        let found: Vec<(&str, u64)> = operations
            .iter()
            .flat_map(Operation::values)
            .filter_map(|(_, value)| value.as_blob())
            .map(|reference| (reference.file_name.as_str(), reference.offset))
            .collect();
        let (first, second) = ("@model_path/weights/bias.bin", "@model_path/weights/Bias_2.bin");
        assert_eq!(found, [(first, 64), (first, 64), (second, 64)]);
    }
}
