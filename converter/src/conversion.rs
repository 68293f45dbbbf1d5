//! Carries out a plan: writes every package, what stands beside them, and reads the packages back.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc;

use anec_mil::blob::BlobError;
use anec_mil::compiled::{self, CompileOptions};
use anec_mil::package::{MANIFEST_PATH, MODEL_PATH, ModelError, WEIGHTS_PATH, encode_model};
use anec_runtime::{OpenError, PackageReport};
use anec_schemas::Manifest;
use anec_schemas::manifest::Weights;
use fs_err as fs;

use crate::compiled_model::{self, CompileError};
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
    /// What the Neural Engine may refuse, by model.
    pub warnings: Vec<String>,
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
                | Self::Compile(CompileError::Io(_))
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
            Self::Compile(error) => error.hint(),
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

/// The models of one context length.
struct Set<'a> {
    plan: &'a ConversionPlan,
    directory: PathBuf,
}

impl Set<'_> {
    fn package(&self, file: &FilePlan) -> PathBuf {
        self.directory.join(format!("{}.mlpackage", file.stem))
    }

    fn compiled(&self, file: &FilePlan) -> PathBuf {
        self.directory.join(format!("{}.mlmodelc", file.stem))
    }

    /// The form of a model whose weight file is written; another form has a link to it.
    fn primary(&self, file: &FilePlan) -> PathBuf {
        if self.plan.options.emit.packages() { self.package(file) } else { self.compiled(file) }
    }

    /// The weight file of the primary form.
    fn weights(&self, file: &FilePlan) -> PathBuf {
        let path = if self.plan.options.emit.packages() { WEIGHTS_PATH } else { compiled::WEIGHTS_PATH };
        self.primary(file).join(path)
    }

    /// Writes everything but the weights of all models, in every form that is asked for, and gives what the Neural Engine
    /// may refuse. A program is compiled, and so verified, before anything of it is written.
    fn write_models(&self) -> Result<Vec<String>, ConversionError> {
        let mut warnings = Vec::new();
        for file in &self.plan.files {
            let failed = |source| ConversionError::Model { stem: file.stem.clone(), source };
            let model = package_model::model(self.plan, file).map_err(failed)?;
            let message = encode_model(&model).map_err(failed)?;
            let options = CompileOptions::package(&file.stem, &message);
            let files = compiled::compile(&model, &options)
                .map_err(|source| CompileError::Compile { name: file.stem.clone(), source })?;
            warnings.extend(files.warnings.iter().map(|warning| format!("{}: {warning}", file.stem)));
            if let Some(directory) = self.weights(file).parent() {
                fs::create_dir_all(directory)?;
            }
            if self.plan.options.emit.packages() {
                let package = self.package(file);
                fs::write(package.join(MODEL_PATH), message)?;
                fs::write(package.join(MANIFEST_PATH), Manifest::for_package(Weights::Present).to_json())?;
            }
            if self.plan.options.emit.compiled() {
                compiled_model::write(&self.compiled(file), &files, &model)?;
            }
        }
        Ok(warnings)
    }

    /// Gives the weight files of the primary forms to the others. These need not be read back: they are the same model.
    fn link_forms(&self) -> Result<(), ConversionError> {
        if self.plan.options.emit.packages() && self.plan.options.emit.compiled() {
            for file in &self.plan.files {
                compiled_model::link_or_copy(&self.weights(file), &self.compiled(file).join(compiled::WEIGHTS_PATH))?;
            }
        }
        Ok(())
    }

    /// Writes what stands beside the models.
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

/// Writes the models of every context length: into `output` itself where there is one, else each into a directory of its
/// own, the weight files of all but the first being hard links to those of the first.
pub(crate) fn write(
    plans: &[&ConversionPlan],
    context: &Context<'_>,
    output: &Path,
) -> Result<Written, ConversionError> {
    let directory = |plan: &ConversionPlan| match plans {
        [_] => output.to_owned(),
        _ => output.join(plan.set_name()),
    };
    let sets: Vec<Set<'_>> = plans.iter().map(|plan| Set { plan, directory: directory(plan) }).collect();
    let mut written = Written { quantized: Vec::new(), warnings: Vec::new() };
    for set in &sets {
        written.warnings.extend(set.write_models()?);
    }
    let Some((first, others)) = sets.split_first() else { return Ok(written) };
    let (quantized, mut checksums) = write_weights(first, context)?;
    written.quantized = quantized;
    for other in others {
        for (from, to) in first.plan.files.iter().zip(&other.plan.files) {
            let weights = other.weights(to);
            compiled_model::link_or_copy(&first.weights(from), &weights)?;
            read_back(&other.primary(to))?;
            if let Some(checksum) = checksums.get(&first.weights(from)).cloned() {
                checksums.insert(weights, checksum);
            }
        }
    }
    context.progress.set_message("checksums");
    for set in &sets {
        set.link_forms()?;
        set.write_companions(context.checkpoint.directory(), &checksums)?;
    }
    if context.interrupt.is_set() { Err(ConversionError::Interrupted) } else { Ok(written) }
}

/// Fills the weight files of a set, reads its models back, and gives the checksums of the weight files.
fn write_weights(
    set: &Set<'_>,
    context: &Context<'_>,
) -> Result<(Vec<QuantizedWeight>, BTreeMap<PathBuf, String>), ConversionError> {
    let weights: Vec<_> = set.plan.files.iter().map(|file| (set.weights(file), &file.weights)).collect();
    let (complete, completed) = mpsc::channel();
    let (outcome, checksums) = std::thread::scope(|scope| {
        // Waiting for the disk and reading back go on beside the encoding of the next file.
        let finisher = scope.spawn(|| {
            let files = completed.into_iter().filter_map(|file: usize| set.plan.files.get(file));
            files.map(|file| finish(set, file)).collect()
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

/// Brings the weights of a model to the disk, reads the model back, and gives the checksum of its weights.
fn finish(set: &Set<'_>, file: &FilePlan) -> Result<(PathBuf, String), ConversionError> {
    let weights = set.weights(file);
    fs::File::open(&weights)?.sync_all()?;
    read_back(&set.primary(file))?;
    let checksum = publish::checksum(&weights)?;
    Ok((weights, checksum))
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
