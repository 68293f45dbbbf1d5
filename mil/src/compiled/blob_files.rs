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
use crate::value::{BlobReference, Value, ValueData};

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
    for function in program.functions.values() {
        collect(&function.block, &mut files, &mut taken);
    }
    files
}

fn collect(block: &Block, files: &mut BTreeMap<BlobReference, String>, taken: &mut BTreeSet<String>) {
    for operation in &block.operations {
        for (argument, value) in operation.values() {
            let Some(reference) = value.as_blob().filter(|reference| !files.contains_key(reference)) else { continue };
            let plain = plain_name(operation, argument);
            let numbered = (2..).map(|number| format!("{plain}_{number}"));
            // Some file systems take upper and lower case for the same.
            let mut names = std::iter::once(plain.clone()).chain(numbered);
            let name = names.find(|name| taken.insert(name.to_ascii_lowercase())).expect("numbers do not end");
            files.insert(reference.clone(), format!("{DIRECTORY}/{name}.{EXTENSION}"));
        }
        for inner in &operation.blocks {
            collect(inner, files, taken);
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
pub fn with_blob_files(mut program: Program, files: &BTreeMap<BlobReference, String>) -> Program {
    for function in program.functions.values_mut() {
        rename(&mut function.block, files);
    }
    program
}

fn rename(block: &mut Block, files: &BTreeMap<BlobReference, String>) {
    for operation in &mut block.operations {
        let bound = operation.inputs.values_mut().flat_map(|argument| &mut argument.0);
        let bound = bound.filter_map(|binding| match binding {
            Binding::Value(value) => Some(value),
            Binding::Name(_) => None,
        });
        for value in bound.chain(operation.attributes.values_mut()) {
            rename_value(value, files);
        }
        for inner in &mut operation.blocks {
            rename(inner, files);
        }
    }
}

fn rename_value(value: &mut Value, files: &BTreeMap<BlobReference, String>) {
    if let ValueData::Blob(reference) = &mut value.data
        && let Some(path) = files.get(reference)
    {
        *reference = BlobReference { file_name: blob_file_name(path), offset: ONLY_RECORD };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DataType, FunctionBuilder, Opset, TensorType, WEIGHT_FILE};

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
