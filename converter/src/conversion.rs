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

/// The packages of one context length.
struct Set<'a> {
    plan: &'a ConversionPlan,
    directory: PathBuf,
    /// In the order of the plan's files.
    packages: Vec<PathBuf>,
}

impl<'a> Set<'a> {
    fn new(plan: &'a ConversionPlan, directory: PathBuf) -> Self {
        let package = |file: &FilePlan| directory.join(format!("{}.mlpackage", file.stem));
        Self { plan, packages: plan.files.iter().map(package).collect(), directory }
    }

    /// Writes everything of all packages but their weights.
    fn write_models(&self) -> Result<(), ConversionError> {
        self.plan.files.iter().zip(&self.packages).try_for_each(|(file, package)| write_model(self.plan, file, package))
    }

    /// Writes what stands beside the packages.
    fn write_companions(
        &self,
        checkpoint: &Path,
        checksums: &BTreeMap<PathBuf, String>,
    ) -> Result<(), ConversionError> {
        publish::copy_companions(checkpoint, &self.directory)?;
        metadata::write(self.plan, checkpoint, &self.directory)?;
        Ok(publish::write_checksums(&self.directory, checksums)?)
    }
}

/// Writes the packages of every context length: into `output` itself where there is one, else each into a directory of
/// its own, the weight files of all but the first being hard links to those of the first.
pub(crate) fn write(
    plans: &[&ConversionPlan],
    context: &Context<'_>,
    output: &Path,
) -> Result<Written, ConversionError> {
    let directory = |plan: &ConversionPlan| match plans {
        [_] => output.to_owned(),
        _ => output.join(plan.set_name()),
    };
    let sets: Vec<Set<'_>> = plans.iter().map(|plan| Set::new(plan, directory(plan))).collect();
    for set in &sets {
        set.write_models()?;
    }
    let Some((first, others)) = sets.split_first() else { return Ok(Written { quantized: Vec::new() }) };
    let (quantized, mut checksums) = write_weights(first, context)?;
    for other in others {
        for (from, to) in first.packages.iter().zip(&other.packages) {
            let weights = to.join(WEIGHTS_PATH);
            link(&from.join(WEIGHTS_PATH), &weights)?;
            read_back(to)?;
            if let Some(checksum) = checksums.get(&from.join(WEIGHTS_PATH)).cloned() {
                checksums.insert(weights, checksum);
            }
        }
    }
    context.progress.set_message("checksums");
    for set in &sets {
        set.write_companions(context.checkpoint.directory(), &checksums)?;
    }
    if context.interrupt.is_set() { Err(ConversionError::Interrupted) } else { Ok(Written { quantized }) }
}

/// Fills the weight files of a set, reads its packages back, and gives the checksums of the weight files.
fn write_weights(
    set: &Set<'_>,
    context: &Context<'_>,
) -> Result<(Vec<QuantizedWeight>, BTreeMap<PathBuf, String>), ConversionError> {
    let paths = set.packages.iter().map(|package| package.join(WEIGHTS_PATH));
    let weights: Vec<_> = paths.zip(set.plan.files.iter().map(|file| &file.weights)).collect();
    let (complete, completed) = mpsc::channel();
    let (outcome, checksums) = std::thread::scope(|scope| {
        // Waiting for the disk and reading back go on beside the encoding of the next file.
        let finisher = scope.spawn(|| {
            let packages = completed.into_iter().filter_map(|file: usize| set.packages.get(file));
            packages.map(|path| finish_package(path)).collect()
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
    match outcome? {
        Outcome::Complete(quantized) => Ok((quantized, checksums?)),
        Outcome::Interrupted => Err(ConversionError::Interrupted),
    }
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

/// Brings the weights of a package to the disk, reads the package back, and gives the checksum of its weights.
fn finish_package(package: &Path) -> Result<(PathBuf, String), ConversionError> {
    let weights = package.join(WEIGHTS_PATH);
    fs::File::open(&weights)?.sync_all()?;
    read_back(package)?;
    let checksum = publish::checksum(&weights)?;
    Ok((weights, checksum))
}

/// Opens a package as any reader would: every blob that the program names must be there with its type and size, and the
/// program must be valid.
fn read_back(package: &Path) -> Result<(), ConversionError> {
    let report = PackageReport::open(package)?;
    if !report.problems.is_empty() {
        return Err(ConversionError::Invalid { path: package.to_owned(), problems: report.problems });
    }
    Ok(())
}

/// Gives a file a second name, or a copy where the file system has no hard links.
fn link(from: &Path, to: &Path) -> Result<(), ConversionError> {
    // An earlier attempt may have linked it: a copy onto itself would be empty.
    if fs::symlink_metadata(to).is_ok() {
        fs::remove_file(to)?;
    }
    if fs::hard_link(from, to).is_err() {
        fs::copy(from, to)?;
    }
    Ok(())
}
