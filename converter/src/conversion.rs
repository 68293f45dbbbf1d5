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

/// Writes everything below `output`.
pub(crate) fn write(
    plan: &ConversionPlan,
    checkpoint: &Checkpoint,
    output: &Path,
    progress: &ProgressBar,
) -> Result<Written, ConversionError> {
    let emitter = Emitter::new(checkpoint, progress);
    let mut written = Written { quantized: Vec::new(), warnings: Vec::new() };
    for file in &plan.files {
        progress.set_message(file.stem.clone());
        write_model(plan, file, &emitter, output, &mut written)?;
    }
    progress.set_message("checksums");
    publish::copy_companions(checkpoint.directory(), output)?;
    metadata::write(plan, checkpoint.directory(), output)?;
    publish::write_checksums(output)?;
    Ok(written)
}

/// Writes one model in every form that is asked for. Programs are compiled, and so verified, before anything is written.
fn write_model(
    plan: &ConversionPlan,
    file: &FilePlan,
    emitter: &Emitter<'_>,
    output: &Path,
    written: &mut Written,
) -> Result<(), ConversionError> {
    let failed = |source| ConversionError::Model { stem: file.stem.clone(), source };
    let model = package_model::model(plan, file).map_err(failed)?;
    let message = encode_model(&model).map_err(failed)?;
    let options = CompileOptions::package(&file.stem, &message);
    let compiled = compiled::compile(&model, &options)
        .map_err(|source| CompileError::Compile { name: file.stem.clone(), source })?;
    written.warnings.extend(compiled.warnings.iter().map(|warning| format!("{}: {warning}", file.stem)));
    let mut weights: Option<PathBuf> = None;
    if plan.options.emit.packages() {
        let package = output.join(format!("{}.mlpackage", file.stem));
        let path = package.join(WEIGHTS_PATH);
        written.quantized.extend(write_weights(file, emitter, &path)?);
        fs::write(package.join(MODEL_PATH), message)?;
        fs::write(package.join(MANIFEST_PATH), Manifest::for_package(Weights::Present).to_json())?;
        read_back(&package)?;
        weights = Some(path);
    }
    if plan.options.emit.compiled() {
        let directory = output.join(format!("{}.mlmodelc", file.stem));
        let path = directory.join(compiled::WEIGHTS_PATH);
        match &weights {
            Some(shared) => compiled_model::link_or_copy(shared, &path)?,
            None => written.quantized.extend(write_weights(file, emitter, &path)?),
        }
        compiled_model::write(&directory, &compiled, &model)?;
        // It reads back as the model; weights that it shares with the package were read back with that.
        if weights.is_none() {
            read_back(&directory)?;
        }
    }
    Ok(())
}

fn write_weights(file: &FilePlan, emitter: &Emitter<'_>, path: &Path) -> Result<Vec<QuantizedWeight>, ConversionError> {
    const BUFFER_BYTES: usize = 1 << 20;
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    let output = BufWriter::with_capacity(BUFFER_BYTES, fs::File::create(path)?);
    Ok(emitter.write(&file.weights, output)?)
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
