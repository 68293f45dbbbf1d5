//! Carries out a plan: writes every package, what stands beside them, and reads the packages back.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc;

use anec_mil::blob::BlobError;
use anec_mil::package::{MANIFEST_PATH, MODEL_PATH, ModelError, WEIGHTS_PATH, encode_model};
use anec_runtime::{InspectError, PackageReport};
use anec_schemas::Manifest;
use anec_schemas::manifest::Weights;
use fs_err as fs;

use crate::emit::{self, Context, EmitError, Outcome, QuantizedWeight};
use crate::error::Hint;
use crate::metadata;
use crate::package_model;
use crate::planner::{ConversionPlan, FilePlan};
use crate::publish::{self, PublishError};

/// What was written.
pub struct Written {
    /// Quantized weights, in file order.
    pub quantized: Vec<QuantizedWeight>,
}

impl Written {
    /// The weight that changed most.
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
    /// The user or the system asked to stop.
    #[error("Interrupted")]
    Interrupted,
    /// The disk.
    #[error("Cannot write the packages")]
    Io(#[from] io::Error),
}

impl ConversionError {
    /// Whether another attempt may end otherwise, so that what is finished is worth keeping.
    pub(crate) fn may_pass(&self) -> bool {
        matches!(
            self,
            Self::Interrupted
                | Self::Io(_)
                | Self::Emit(EmitError::Io(_) | EmitError::Blob(BlobError::Io(_)))
                | Self::Publish(PublishError::Io(_))
        )
    }
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
            Self::Interrupted | Self::Io(_) => None,
        }
    }
}

/// Source bytes that a conversion reads.
pub(crate) fn source_bytes(plan: &ConversionPlan) -> u64 {
    plan.files.iter().map(|file| emit::source_bytes(&file.weights)).sum()
}

/// Writes everything below `output`.
pub(crate) fn write(plan: &ConversionPlan, context: &Context<'_>, output: &Path) -> Result<Written, ConversionError> {
    let packages: Vec<PathBuf> =
        plan.files.iter().map(|file| output.join(format!("{}.mlpackage", file.stem))).collect();
    let mut weights = Vec::with_capacity(packages.len());
    for (file, package) in plan.files.iter().zip(&packages) {
        write_model(plan, file, package)?;
        weights.push((package.join(WEIGHTS_PATH), &file.weights));
    }
    let (complete, completed) = mpsc::channel();
    let (outcome, checksums) = std::thread::scope(|scope| {
        // Waiting for the disk and reading back go on beside the encoding of the next file.
        let finisher = scope.spawn(|| {
            completed
                .into_iter()
                .filter_map(|file: usize| packages.get(file))
                .map(|path| finish_package(path))
                .collect()
        });
        let outcome = emit::write(context, &weights, |file| {
            // The other side is gone only where it failed, which shows when it is joined.
            let _ = complete.send(file);
        });
        drop(complete);
        let checksums: Result<BTreeMap<PathBuf, String>, ConversionError> =
            finisher.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        (outcome, checksums)
    });
    let Outcome::Complete(quantized) = outcome? else { return Err(ConversionError::Interrupted) };
    context.progress.set_message("checksums");
    publish::copy_companions(context.checkpoint.directory(), output)?;
    metadata::write(plan, context.checkpoint.directory(), output)?;
    publish::write_checksums(output, &checksums?)?;
    if context.interrupt.is_set() { Err(ConversionError::Interrupted) } else { Ok(Written { quantized }) }
}

/// Writes everything of a package but its weights.
fn write_model(plan: &ConversionPlan, file: &FilePlan, package: &Path) -> Result<(), ConversionError> {
    if let Some(directory) = package.join(WEIGHTS_PATH).parent() {
        fs::create_dir_all(directory)?;
    }
    let failed = |source| ConversionError::Model { stem: file.stem.clone(), source };
    let model = package_model::model(plan, file).map_err(failed)?;
    fs::write(package.join(MODEL_PATH), encode_model(&model).map_err(failed)?)?;
    fs::write(package.join(MANIFEST_PATH), Manifest::for_package(Weights::Present).to_json())?;
    Ok(())
}

/// Brings the weights of a package to the disk, opens it as any reader would, and gives the checksum of its weights.
///
/// Every blob that the program names must be there with its type and size, and the program must be valid.
fn finish_package(package: &Path) -> Result<(PathBuf, String), ConversionError> {
    let weights = package.join(WEIGHTS_PATH);
    fs::File::open(&weights)?.sync_all()?;
    let report = PackageReport::open(package)?;
    if !report.problems.is_empty() {
        return Err(ConversionError::Invalid { path: package.to_owned(), problems: report.problems });
    }
    let checksum = publish::checksum(&weights)?;
    Ok((weights, checksum))
}
