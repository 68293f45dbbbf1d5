//! Carries out a plan: writes every package, what stands beside them, and reads the packages back.

use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};

use anec_mil::package::{MANIFEST_PATH, MODEL_PATH, ModelError, WEIGHTS_PATH, encode_model};
use anec_runtime::{InspectError, PackageReport};
use anec_schemas::Manifest;
use anec_schemas::manifest::Weights;
use fs_err as fs;
use indicatif::ProgressBar;

use crate::checkpoint::Checkpoint;
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
    /// A package that cannot be read back.
    #[error("Cannot read back what was written")]
    ReadBack(#[from] InspectError),
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

/// Writes the packages of every context length: into `output` itself where there is one, else each into a directory of
/// its own, the weight files of all but the first being hard links to those of the first.
pub(crate) fn write_all(
    plans: &[&ConversionPlan],
    checkpoint: &Checkpoint,
    output: &Path,
    progress: &ProgressBar,
) -> Result<Written, ConversionError> {
    if let [plan] = plans {
        return write(plan, checkpoint, output, None, progress);
    }
    let mut quantized = Vec::new();
    let mut first: Option<PathBuf> = None;
    for plan in plans {
        let directory = output.join(plan.set_name());
        fs::create_dir(&directory)?;
        quantized.extend(write(plan, checkpoint, &directory, first.as_deref(), progress)?.quantized);
        first.get_or_insert(directory);
    }
    Ok(Written { quantized })
}

/// Writes everything of one plan below `output`, with the weight files of `shared` where it is given.
fn write(
    plan: &ConversionPlan,
    checkpoint: &Checkpoint,
    output: &Path,
    shared: Option<&Path>,
    progress: &ProgressBar,
) -> Result<Written, ConversionError> {
    let emitter = Emitter::new(checkpoint, progress);
    let mut quantized = Vec::new();
    for file in &plan.files {
        progress.set_message(file.stem.clone());
        let name = format!("{}.mlpackage", file.stem);
        let package = output.join(&name);
        let weights = write_model(plan, file, &package)?;
        match shared {
            None => quantized.extend(write_weights(file, &emitter, &weights)?),
            Some(shared) => link(&shared.join(&name).join(WEIGHTS_PATH), &weights)?,
        }
        read_back(&package)?;
    }
    progress.set_message("checksums");
    publish::copy_companions(checkpoint.directory(), output)?;
    metadata::write(plan, checkpoint.directory(), output)?;
    publish::write_checksums(output)?;
    Ok(Written { quantized })
}

/// Writes all of a package but its weights, and gives the place for those.
fn write_model(plan: &ConversionPlan, file: &FilePlan, package: &Path) -> Result<PathBuf, ConversionError> {
    let weights = package.join(WEIGHTS_PATH);
    if let Some(directory) = weights.parent() {
        fs::create_dir_all(directory)?;
    }
    let failed = |source| ConversionError::Model { stem: file.stem.clone(), source };
    let model = package_model::model(plan, file).map_err(failed)?;
    fs::write(package.join(MODEL_PATH), encode_model(&model).map_err(failed)?)?;
    fs::write(package.join(MANIFEST_PATH), Manifest::for_package(Weights::Present).to_json())?;
    Ok(weights)
}

fn write_weights(file: &FilePlan, emitter: &Emitter<'_>, path: &Path) -> Result<Vec<QuantizedWeight>, ConversionError> {
    const BUFFER_BYTES: usize = 1 << 20;
    let output = BufWriter::with_capacity(BUFFER_BYTES, fs::File::create(path)?);
    Ok(emitter.write(&file.weights, output)?)
}

/// Gives a file a second name, or a copy where the file system has no hard links.
fn link(from: &Path, to: &Path) -> Result<(), ConversionError> {
    if fs::hard_link(from, to).is_err() {
        fs::copy(from, to)?;
    }
    Ok(())
}

/// Opens a package as any reader would: every blob that the program names must be there with its type and size, and the
/// program must be valid.
fn read_back(package: &Path) -> Result<(), ConversionError> {
    let report = PackageReport::open(package)?;
    if report.problems.is_empty() {
        return Ok(());
    }
    Err(ConversionError::Invalid { path: package.to_owned(), problems: report.problems })
}
