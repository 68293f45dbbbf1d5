//! Compiles models.

use std::collections::BTreeMap;

use super::{
    ANALYTICS_PATH, Analytics, CompiledError, CoreMlData, DATA_PATH, METADATA_PATH, PROGRAM_PATH, Unproven, constant,
    flexible, interface, metadata, unproven,
};
use crate::dtype::DataType;
use crate::package::{FilesInMemory, Model};
use crate::program::Program;
use crate::text::{self, TextVersion};
use crate::types::{TensorType, ValueType};
use crate::value::{Value, ValueData};
use crate::verify::{self, Finding};

/// The program attribute that says what made a program.
const BUILD_INFO: &str = "buildInfo";

/// What anec writes into the build information of a program.
const COMPILER_KEY: &str = "anec-version";

/// Entries of the build information that compilers add, Core ML's own and this one.
pub const COMPILER_KEYS: [&str; 3] = [COMPILER_KEY, "coremlc-component-MIL", "coremlc-version"];

/// What compiling needs to know beside the model.
#[derive(Clone, Debug)]
pub struct CompileOptions<'a> {
    /// The bytes of the model message, whose hash a compiled model keeps.
    pub message: &'a [u8],
    /// The message's file name without extension; `model` in every package.
    pub message_name: &'a str,
    /// Name of the package without extension, from which tools derive the name of a class.
    pub name: &'a str,
    /// What the build information says about the compiler.
    pub compiler: BTreeMap<String, String>,
    /// What becomes of a model with a form that no one has shown.
    pub unproven: Unproven,
}

impl<'a> CompileOptions<'a> {
    /// For a package of this name.
    pub fn package(name: &'a str, message: &'a [u8]) -> Self {
        let compiler = BTreeMap::from([(COMPILER_KEY.to_owned(), env!("CARGO_PKG_VERSION").to_owned())]);
        Self { message, message_name: "model", name, compiler, unproven: Unproven::Refused }
    }
}

/// The files of a compiled model, but for its weights.
#[derive(Clone, Debug)]
pub struct CompiledFiles {
    /// `model.mil`.
    pub program: String,
    /// `coremldata.bin`.
    pub data: Vec<u8>,
    /// `analytics/coremldata.bin`.
    pub analytics: Vec<u8>,
    /// `metadata.json`.
    pub metadata: String,
    /// What Core ML may not like.
    pub warnings: Vec<Finding>,
    /// What is written as all else is, which no one has shown for it.
    pub unproven: Vec<String>,
}

impl CompiledFiles {
    /// Path within the compiled model and bytes of every file.
    pub fn files(&self) -> [(&'static str, &[u8]); 4] {
        [
            (PROGRAM_PATH, self.program.as_bytes()),
            (DATA_PATH, &self.data),
            (ANALYTICS_PATH, &self.analytics),
            (METADATA_PATH, self.metadata.as_bytes()),
        ]
    }

    /// A copy of [`Self::files`] that can be opened as a model. The weight files are not there.
    pub fn in_memory(&self) -> FilesInMemory {
        self.files().into_iter().map(|(path, bytes)| (path.to_owned(), bytes.to_vec())).collect()
    }
}

/// Compiles a model. Weight files are the package's own.
///
/// # Errors
/// The program is not valid, contradicts its description, or has something without a known compiled form.
pub fn compile(model: &Model, options: &CompileOptions<'_>) -> Result<CompiledFiles, CompiledError> {
    let report = verify::report(&model.program);
    let warnings = report.warnings.clone();
    report.into_result()?;
    interface::check(model)?;
    constant::check(&model.program)?;
    let unproven = unproven::forms(model);
    if options.unproven == Unproven::Refused && !unproven.is_empty() {
        return Err(CompiledError::Unproven { forms: unproven });
    }
    let data =
        CoreMlData { specification_version: model.specification_version, description: model.description.clone() };
    let data = data.to_bytes()?;
    let version = TextVersion::for_specification_version(model.specification_version);
    Ok(CompiledFiles {
        program: text::print(&compiled_program(model, &options.compiler)?, version)?,
        data,
        analytics: Analytics::of(options.message, options.message_name).to_bytes(),
        metadata: metadata::to_json(model, options.name),
        warnings,
        unproven,
    })
}

/// The program with what only a compiled one says.
pub(super) fn compiled_program(model: &Model, compiler: &BTreeMap<String, String>) -> Result<Program, CompiledError> {
    let mut program = model.program.clone();
    add_build_info(&mut program, compiler);
    for (name, function) in &mut program.functions {
        let description = model.description.function(name);
        if let Some(shapes) = description.map(flexible::attribute).transpose()?.flatten() {
            function.attributes.insert(flexible::FLEXIBLE_SHAPES.to_owned(), shapes);
        }
    }
    Ok(program)
}

/// Adds entries to the build information; all entries are sorted.
fn add_build_info(program: &mut Program, compiler: &BTreeMap<String, String>) {
    let mut entries = build_info(program);
    entries.extend(compiler.clone());
    set_build_info(program, entries);
}

/// Sets the build information to these entries, sorted; takes it away where there are none.
pub(super) fn set_build_info(program: &mut Program, entries: BTreeMap<String, String>) {
    let string = || ValueType::Tensor(TensorType::scalar(DataType::String));
    if entries.is_empty() {
        program.attributes.remove(BUILD_INFO);
        return;
    }
    let entries = entries.into_iter().map(|(key, value)| (Value::string(key), Value::string(value))).collect();
    let ty = ValueType::Dictionary(Box::new(string()), Box::new(string()));
    program.attributes.insert(BUILD_INFO.to_owned(), Value { ty, data: ValueData::Dictionary(entries) });
}

/// Takes away what compilers add to the build information, and the build information if nothing else is in it. What is
/// left is sorted.
pub(super) fn normalize_build_info(program: &mut Program) {
    let mut entries = build_info(program);
    entries.retain(|key, _| !COMPILER_KEYS.contains(&key.as_str()));
    set_build_info(program, entries);
}

/// The entries of the build information that are text.
fn build_info(program: &Program) -> BTreeMap<String, String> {
    let Some(Value { data: ValueData::Dictionary(entries), .. }) = program.attributes.get(BUILD_INFO) else {
        return BTreeMap::new();
    };
    let text = |(key, value): &(Value, Value)| Some((key.as_str()?.to_owned(), value.as_str()?.to_owned()));
    entries.iter().filter_map(text).collect()
}
