//! A program as text with its weight files and nothing else, as runtimes below Core ML are given it.
//!
//! | file | what it holds |
//! | --- | --- |
//! | `model.mil` | the program as [text](crate::text), with the build information that its readers want |
//! | weight files | where the text says, below `@model_path`: one for each blob, whose record is the first |
//!
//! There is no description beside the program: one is made of what its functions take and give.
//!
//! # Source
//! maderix/ANE, ANE-LM, Orion and rustane hand such text and such files to the Neural Engine's own interface. rustane reports
//! that `program(1.0)` and a program without build information are refused there; the values are not looked at.

use std::collections::BTreeMap;

use super::{CompiledError, PROGRAM_PATH, reader, writer};
use crate::blob::BlobFile;
use crate::package::{
    FlexibleInputs, FunctionDescription, MAIN_FUNCTION, Model, ModelDescription, PackageFiles, open_weights,
    weight_path,
};
use crate::program::{Function, Program};
use crate::text::{self, TextVersion};
use crate::verify;

/// What names of such directories end in, behind a dot.
pub const LOOSE_EXTENSION: &str = "mil";

/// The build information that compilers and coremltools leave, as published programs have it.
pub const LOOSE_BUILD_INFO: [(&str, &str); 4] = [
    ("coremlc-component-MIL", "3510.2.1"),
    ("coremlc-version", "3505.4.1"),
    ("coremltools-component-milinternal", ""),
    ("coremltools-version", "9.0"),
];

/// The specification version that stands for a version of the text.
const SPECIFICATION_VERSIONS: [(TextVersion, i32); 2] = [(TextVersion::V1_0, 7), (TextVersion::V1_3, 9)];

/// An open program.
#[derive(Debug)]
pub struct LooseModel<F> {
    files: F,
}

/// The text of a program, with build information.
///
/// # Errors
/// The program is not valid, or has no text form.
pub fn loose_text(program: &Program, version: TextVersion) -> Result<String, CompiledError> {
    verify::report(program).into_result()?;
    let mut program = program.clone();
    let entries = LOOSE_BUILD_INFO.map(|(key, value)| (key.to_owned(), value.to_owned()));
    writer::set_build_info(&mut program, BTreeMap::from(entries));
    Ok(text::print(&program, version)?)
}

impl<F: PackageFiles> LooseModel<F> {
    /// The program among these files.
    pub fn new(files: F) -> Self {
        Self { files }
    }

    /// The program with a description of what its functions take and give, without build information.
    ///
    /// # Errors
    /// The text is missing or no program, or a function takes or gives what cannot be described.
    pub fn model(&self) -> Result<Model, CompiledError> {
        let parsed = text::parse(&self.text()?).map_err(CompiledError::Parse)?;
        let mut program = parsed.program;
        writer::set_build_info(&mut program, BTreeMap::new());
        let flexible = FlexibleInputs::new();
        let describe = |(name, function): (&String, &Function)| FunctionDescription::of(name, function, &flexible);
        let mut functions: Vec<FunctionDescription> =
            program.functions.iter().map(describe).collect::<Result<_, _>>()?;
        let first = functions.first().map(|function| function.name.clone()).unwrap_or_default();
        let description = if functions.len() == 1 && first == MAIN_FUNCTION {
            ModelDescription::single(functions.remove(0))
        } else {
            ModelDescription::multiple(functions, &first)
        };
        let version = SPECIFICATION_VERSIONS.iter().find(|(version, _)| *version == parsed.version);
        let specification_version = version.map_or(0, |(_, specification)| *specification);
        Ok(Model { specification_version, description, program })
    }

    /// The text as it is, which is what runtimes below Core ML are given.
    ///
    /// # Errors
    /// It is missing, too long, or not UTF-8.
    pub fn text(&self) -> Result<String, CompiledError> {
        reader::program_text(&self.files)
    }

    /// Path of the weight file that a program calls `name`.
    ///
    /// # Errors
    /// The name leads out of the directory.
    pub fn weight_path(&self, name: &str) -> Result<String, CompiledError> {
        Ok(weight_path(PROGRAM_PATH, name)?)
    }

    /// The weight file that a program calls `name`.
    ///
    /// # Errors
    /// The name leads out of the directory, or the file is missing or not a weight file.
    pub fn weights(&self, name: &str) -> Result<BlobFile<F::File>, CompiledError> {
        Ok(open_weights(&self.files, PROGRAM_PATH, name)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::package::FilesInMemory;
    use crate::{DataType, FunctionBuilder, Opset, TensorType};

    fn program() -> Program {
        let mut ops = FunctionBuilder::new(Opset::Ios18);
        let x = ops.input("x", TensorType::fixed(DataType::Float16, &[1, 4, 1, 32]));
        let y = ops.add("y", &x, &x).expect("equal shapes");
        let mut program = Program::default();
        program.functions.insert("main".to_owned(), ops.finish(&[&y]));
        program
    }

    #[test]
    fn a_program_is_read_as_it_was_written_with_a_description_of_its_own() {
        let text = loose_text(&program(), TextVersion::V1_3).expect("valid");
        assert!(
            text.starts_with("program(1.3)\n[buildInfo = dict<string, string>({{\"coremlc-component-MIL\", "),
            "{text}"
        );
        let files: FilesInMemory = [(PROGRAM_PATH.to_owned(), text.into_bytes())].into_iter().collect();
        let model = LooseModel::new(files).model().expect("a program");
        assert_eq!((model.specification_version, &model.program), (9, &program()));
        let described = model.description.function("main").expect("described");
        assert_eq!((described.inputs[0].name.as_str(), described.outputs[0].name.as_str()), ("x", "y"));
    }
}
