//! Carries out a plan: writes every package, what stands beside them, and reads the packages back.

use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};

use anec_mil::compiled::{self, CompileOptions};
use anec_mil::package::{MANIFEST_PATH, MODEL_PATH, ModelError, WEIGHTS_PATH, encode_model};
use anec_runtime::{OpenError, PackageReport};
use anec_schemas::Manifest;
use anec_schemas::manifest::Weights;
use fs_err as fs;
use indicatif::ProgressBar;

use crate::checkpoint::Checkpoint;
use crate::compiled_model::{self, CompileError};
use crate::emit::{self, EmitError, Emitter, QuantizedWeight};
use crate::error::Hint;
use crate::metadata;
use crate::package_model;
use crate::planner::{ConversionPlan, FilePlan};
use crate::publish::{self, PublishError};

/// What was written.
pub struct Written {
    /// Palettized weights, in file order.
    pub quantized: Vec<QuantizedWeight>,
    /// What the Neural Engine may refuse, by model.
    pub warnings: Vec<String>,
}

impl Written {
    /// The weight that palettization changed most.
    pub fn worst_quantized(&self) -> Option<&QuantizedWeight> {
        self.quantized.iter().min_by(|a, b| a.stats.snr_db().total_cmp(&b.stats.snr_db()))
    }
}

/// A conversion that failed while writing.
#[derive(Debug, thiserror::Error)]
pub enum ConversionError {
    /// The weights.
    #[error(transparent)]
    Emit(#[from] EmitError),
    /// The companions.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// A bug in the description of a package.
    #[error("Cannot describe `{stem}`")]
    Model {
        /// The package.
        stem: String,
        /// Why.
        #[source]
        source: ModelError,
    },
    /// A compiled model.
    #[error(transparent)]
    Compile(#[from] CompileError),
    /// A package that cannot be read back.
    #[error("Cannot read back what was written")]
    ReadBack(#[from] OpenError),
    /// A package that reads back wrong.
    #[error("Cannot verify `{}`: {}", .path.display(), .problems.join("; "))]
    Invalid {
        /// The package.
        path: PathBuf,
        /// What is wrong with it.
        problems: Vec<String>,
    },
    /// The disk.
    #[error("Cannot write the packages")]
    Io(#[from] io::Error),
}

impl Hint for ConversionError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Emit(error) => error.hint(),
            Self::Publish(error) => error.hint(),
            Self::Compile(error) => error.hint(),
            Self::Model { .. } => {
                Some("this is a bug in anec; please report it with the model's config.json".to_owned())
            }
            Self::ReadBack(_) | Self::Invalid { .. } => {
                Some("the disk may be failing; if it happens again, please report it".to_owned())
            }
            Self::Io(_) => None,
        }
    }
}

/// Source bytes that a conversion reads.
pub(crate) fn source_bytes(plan: &ConversionPlan) -> u64 {
    plan.files.iter().map(|file| emit::source_bytes(&file.weights)).sum()
}

/// Writes the models of every context length: into `output` itself where there is one, else each into a directory of its
/// own, the weight files of all but the first being hard links to those of the first.
pub(crate) fn write_all(
    plans: &[&ConversionPlan],
    checkpoint: &Checkpoint,
    output: &Path,
    progress: &ProgressBar,
) -> Result<Written, ConversionError> {
    let emitter = Emitter::new(checkpoint, progress);
    let mut written = Written { quantized: Vec::new(), warnings: Vec::new() };
    if let [plan] = plans {
        let writer = Writer { plan, emitter: &emitter, output, shared: None };
        writer.write(checkpoint, progress, &mut written)?;
        return Ok(written);
    }
    let mut first: Option<PathBuf> = None;
    for plan in plans {
        let directory = output.join(plan.set_name());
        fs::create_dir(&directory)?;
        let writer = Writer { plan, emitter: &emitter, output: &directory, shared: first.as_deref() };
        writer.write(checkpoint, progress, &mut written)?;
        first.get_or_insert(directory);
    }
    Ok(written)
}

/// Writes everything of one plan.
struct Writer<'a> {
    plan: &'a ConversionPlan,
    emitter: &'a Emitter<'a>,
    /// Where to.
    output: &'a Path,
    /// A directory whose weight files are the same, where there is one.
    shared: Option<&'a Path>,
}

impl Writer<'_> {
    fn write(
        &self,
        checkpoint: &Checkpoint,
        progress: &ProgressBar,
        written: &mut Written,
    ) -> Result<(), ConversionError> {
        for file in &self.plan.files {
            progress.set_message(file.stem.clone());
            self.write_model(file, written)?;
        }
        progress.set_message("checksums");
        publish::copy_companions(checkpoint.directory(), self.output)?;
        metadata::write(self.plan, checkpoint.directory(), self.output)?;
        publish::write_checksums(self.output)?;
        Ok(())
    }

    /// Writes one model in every form that is asked for. Its program is compiled, and so verified, before anything is
    /// written.
    fn write_model(&self, file: &FilePlan, written: &mut Written) -> Result<(), ConversionError> {
        let failed = |source| ConversionError::Model { stem: file.stem.clone(), source };
        let model = package_model::model(self.plan, file).map_err(failed)?;
        let message = encode_model(&model).map_err(failed)?;
        let options = CompileOptions::package(&file.stem, &message);
        let compiled = compiled::compile(&model, &options)
            .map_err(|source| CompileError::Compile { name: file.stem.clone(), source })?;
        written.warnings.extend(compiled.warnings.iter().map(|warning| format!("{}: {warning}", file.stem)));
        let mut weights: Option<PathBuf> = None;
        if self.plan.options.emit.packages() {
            let name = format!("{}.mlpackage", file.stem);
            let package = self.output.join(&name);
            weights = Some(self.write_weights(file, &Path::new(&name).join(WEIGHTS_PATH), written)?);
            fs::write(package.join(MODEL_PATH), message)?;
            fs::write(package.join(MANIFEST_PATH), Manifest::for_package(Weights::Present).to_json())?;
            read_back(&package)?;
        }
        if self.plan.options.emit.compiled() {
            let name = format!("{}.mlmodelc", file.stem);
            let directory = self.output.join(&name);
            let path = Path::new(&name).join(compiled::WEIGHTS_PATH);
            match &weights {
                Some(packaged) => compiled_model::link_or_copy(packaged, &self.output.join(path))?,
                None => drop(self.write_weights(file, &path, written)?),
            }
            compiled_model::write(&directory, &compiled, &model)?;
            // It reads back as the model; weights that it shares with the package were read back with that.
            if weights.is_none() {
                read_back(&directory)?;
            }
        }
        Ok(())
    }

    /// Writes the weight file at a path below the output, or takes that of the other directory, and gives its place.
    fn write_weights(&self, file: &FilePlan, path: &Path, written: &mut Written) -> Result<PathBuf, ConversionError> {
        const BUFFER_BYTES: usize = 1 << 20;
        let to = self.output.join(path);
        if let Some(shared) = self.shared {
            compiled_model::link_or_copy(&shared.join(path), &to)?;
            return Ok(to);
        }
        if let Some(directory) = to.parent() {
            fs::create_dir_all(directory)?;
        }
        let output = BufWriter::with_capacity(BUFFER_BYTES, fs::File::create(&to)?);
        written.quantized.extend(self.emitter.write(&file.weights, output)?);
        Ok(to)
    }
}

/// Opens a model as any reader would: every blob that the program names must be there with its type and size, and the
/// program must be valid.
fn read_back(path: &Path) -> Result<(), ConversionError> {
    let report = PackageReport::open(path)?;
    if report.problems.is_empty() {
        return Ok(());
    }
    Err(ConversionError::Invalid { path: path.to_owned(), problems: report.problems })
}
