//! Reads compiled models.

use std::collections::BTreeMap;

use super::{CompiledError, CoreMlData, DATA_PATH, PROGRAM_PATH, flexible, interface, writer};
use crate::blob::BlobFile;
use crate::package::{
    Metadata, Model, ModelError, PackageFiles, check_functions, check_version, in_one_line, open_weights, read_limited,
    weight_path,
};
use crate::program::Program;
use crate::proto::FieldError;
use crate::text;

/// Largest program text that is read, in bytes; that of a large decoder has a few million.
const MAX_PROGRAM_BYTES: u64 = 1 << 30;

/// Largest `coremldata.bin` that is read, in bytes; real ones have a few thousand.
const MAX_DATA_BYTES: u64 = 1 << 26;

/// An open compiled model.
#[derive(Debug)]
pub struct CompiledModel<F> {
    files: F,
    data: CoreMlData,
    unknown: Vec<FieldError>,
}

impl<F: PackageFiles> CompiledModel<F> {
    /// Reads the description.
    ///
    /// # Errors
    /// The description is missing or malformed, or of another kind of model.
    pub fn open(files: F) -> Result<Self, CompiledError> {
        let bytes = read_limited(&files, DATA_PATH, MAX_DATA_BYTES)?;
        let (data, unknown) = CoreMlData::from_bytes_with_notes(&bytes).map_err(CompiledError::Data)?;
        Ok(Self { files, data, unknown })
    }

    /// Versions and description.
    pub fn data(&self) -> &CoreMlData {
        &self.data
    }

    /// The files.
    pub fn files(&self) -> &F {
        &self.files
    }

    /// The text of the program.
    ///
    /// # Errors
    /// It is missing or not UTF-8.
    pub fn program_text(&self) -> Result<String, CompiledError> {
        program_text(&self.files)
    }

    /// The model as the package had it: what the compiler added is taken away, and inputs are in the order of the
    /// description.
    ///
    /// # Errors
    /// The text is missing or no program, contradicts the description, or the description has what is not known.
    pub fn model(&self) -> Result<Model, CompiledError> {
        let (model, mut problems) = self.decompile()?;
        match problems.drain(..).next() {
            None => Ok(model),
            Some(problem) => Err(problem),
        }
    }

    /// The model, and what [`Self::model`] would refuse it for.
    ///
    /// # Errors
    /// The text is missing or no program, or has other functions than the description.
    pub fn model_with_notes(&self) -> Result<(Model, Vec<String>), CompiledError> {
        let (model, problems) = self.decompile()?;
        Ok((model, problems.iter().map(|problem| in_one_line(problem)).collect()))
    }

    fn decompile(&self) -> Result<(Model, Vec<CompiledError>), CompiledError> {
        let parsed = text::parse(&self.program_text()?).map_err(CompiledError::Parse)?;
        let (model, contradictions) = decompile(&self.data, parsed.program)?;
        let unknown = self.unknown.iter().map(|error| ModelError::Fields(error.clone()).into());
        let version = check_version(model.specification_version).err().map(CompiledError::from);
        Ok((model, version.into_iter().chain(unknown).chain(contradictions).collect()))
    }

    /// Path within the compiled model of the weight file that a program calls `name`.
    ///
    /// # Errors
    /// The name leads out of the model.
    pub fn weight_path(&self, name: &str) -> Result<String, CompiledError> {
        Ok(weight_path(PROGRAM_PATH, name)?)
    }

    /// The weight file that a program calls `name`.
    ///
    /// # Errors
    /// The name leads out of the model, or the file is missing or not a weight file.
    pub fn weights(&self, name: &str) -> Result<BlobFile<F::File>, CompiledError> {
        Ok(open_weights(&self.files, PROGRAM_PATH, name)?)
    }
}

/// The text of the program among these files.
pub(super) fn program_text(files: &impl PackageFiles) -> Result<String, CompiledError> {
    let bytes = read_limited(files, PROGRAM_PATH, MAX_PROGRAM_BYTES)?;
    let text = String::from_utf8(bytes);
    text.map_err(|error| CompiledError::Utf8 { position: error.utf8_error().valid_up_to() })
}

/// The model of a description and a program's text, and where they contradict each other.
fn decompile(data: &CoreMlData, program: Program) -> Result<(Model, Vec<CompiledError>), CompiledError> {
    check_functions(&data.description, &program)?;
    let mut model =
        Model { specification_version: data.specification_version, description: data.description.clone(), program };
    let mut contradictions = interface::differences(&model);
    for (name, function) in &mut model.program.functions {
        let Some(description) = model.description.function(name) else { continue };
        if !flexible::is_attribute(description, function.attributes.get(flexible::FLEXIBLE_SHAPES)) {
            contradictions.push(CompiledError::FlexibleShapes { function: name.clone() });
        }
        function.attributes.remove(flexible::FLEXIBLE_SHAPES);
    }
    Ok((normalized(model), contradictions))
}

/// The model as it is read back from its compiled form, where parameters and the build information are sorted by name:
/// the parameters in the order of the description, states last, and the build information without what compilers add.
pub fn normalized(mut model: Model) -> Model {
    writer::normalize_build_info(&mut model.program);
    for (name, function) in &mut model.program.functions {
        let Some(description) = model.description.function(name) else { continue };
        let features = description.inputs.iter().chain(&description.states);
        let order: BTreeMap<&str, usize> =
            features.enumerate().map(|(position, feature)| (feature.name.as_str(), position)).collect();
        function.inputs.sort_by_key(|input| order.get(input.name.as_str()).copied());
    }
    // Compiled models always have metadata; what says nothing is as good as none.
    model.description.metadata = model.description.metadata.filter(|metadata| *metadata != Metadata::default());
    model
}
