//! Carries out a plan: writes every package, what stands beside them, and reads the packages back.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc;

use anec_mil::blob::BlobError;
use anec_mil::compiled::{self, CompileOptions, Unproven};
use anec_mil::package::{MANIFEST_PATH, MODEL_PATH, ModelError, PACKAGE_EXTENSION, WEIGHTS_PATH, encode_model};
use anec_runtime::{OpenError, PackageReport};
use anec_schemas::Manifest;
use anec_schemas::manifest::Weights;
use fs_err as fs;

use crate::error::Hint;
use crate::output::emit::{self, Context, EmitError, Outcome, QuantizedWeight};
use crate::output::forms::compiled_model::{self, CompileError};
use crate::output::layouts::metadata;
use crate::output::layouts::package_model;
use crate::output::publish::{self, PublishError};
use crate::plan::{ConversionPlan, FilePlan};

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
    /// In the order of the plan's files.
    models: Vec<StagedModel<'a>>,
}

/// One model, in every form that is asked for. The forms share one weight file.
struct StagedModel<'a> {
    file: &'a FilePlan,
    package: Option<PathBuf>,
    compiled: Option<PathBuf>,
    /// Where the weights are written.
    weights: PathBuf,
}

impl<'a> Set<'a> {
    fn new(plan: &'a ConversionPlan, directory: PathBuf) -> Self {
        let models = plan.files.iter().map(|file| StagedModel::new(plan, file, &directory)).collect();
        Self { plan, directory, models }
    }

    /// Writes everything of all models but their weights, and gives what the Neural Engine may refuse.
    fn write_models(&self) -> Result<Vec<String>, ConversionError> {
        let warnings = self.models.iter().map(|model| model.write(self.plan)).collect::<Result<Vec<_>, _>>()?;
        Ok(warnings.into_iter().flatten().collect())
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

impl<'a> StagedModel<'a> {
    fn new(plan: &ConversionPlan, file: &'a FilePlan, directory: &Path) -> Self {
        let path =
            |is_wanted: bool, extension: &str| is_wanted.then(|| directory.join(format!("{}.{extension}", file.stem)));
        let emit = plan.options.emit;
        let (package, compiled) =
            (path(emit.packages(), PACKAGE_EXTENSION), path(emit.compiled(), compiled::COMPILED_EXTENSION));
        let in_package = package.as_ref().map(|package| package.join(WEIGHTS_PATH));
        let in_compiled = compiled.as_ref().map(|compiled| compiled.join(compiled::WEIGHTS_PATH));
        let weights = in_package.or(in_compiled).unwrap_or_default();
        Self { file, package, compiled, weights }
    }

    /// Writes everything but the weights. The program is compiled, and so verified, before anything is written.
    fn write(&self, plan: &ConversionPlan) -> Result<Vec<String>, ConversionError> {
        let stem = &self.file.stem;
        let failed = |source| ConversionError::Model { stem: stem.clone(), source };
        let model = package_model::model(plan, self.file).map_err(failed)?;
        let message = encode_model(&model).map_err(failed)?;
        // What no compiled model was seen with is written, and named in a warning.
        let options = CompileOptions { unproven: Unproven::Allowed, ..CompileOptions::package(stem, &message) };
        let compiled = compiled::compile(&model, &options)
            .map_err(|source| CompileError::Compile { name: stem.clone(), source })?;
        if let Some(directory) = self.weights.parent() {
            fs::create_dir_all(directory)?;
        }
        if let Some(package) = &self.package {
            fs::write(package.join(MODEL_PATH), message)?;
            fs::write(package.join(MANIFEST_PATH), Manifest::for_package(Weights::Present).to_json())?;
        }
        if let Some(directory) = &self.compiled {
            compiled_model::write(directory, &compiled, &model)?;
        }
        let mut warnings: Vec<String> = compiled.warnings.iter().map(|warning| format!("{stem}: {warning}")).collect();
        if self.compiled.is_some() {
            let unproven = compiled.unproven.iter();
            warnings.extend(unproven.map(|form| format!("{stem}: no compiled model of Core ML was seen with {form}")));
        }
        Ok(warnings)
    }

    /// Gives all forms the weights that are written, and reads one of them back: what they share need not be read twice.
    fn finish(&self) -> Result<(), ConversionError> {
        match (&self.package, &self.compiled) {
            (Some(package), compiled) => {
                if let Some(compiled) = compiled {
                    compiled_model::link_or_copy(&self.weights, &compiled.join(compiled::WEIGHTS_PATH))?;
                }
                read_back(package)
            }
            (None, Some(compiled)) => read_back(compiled),
            (None, None) => Ok(()),
        }
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
    let sets: Vec<Set<'_>> = plans.iter().map(|plan| Set::new(plan, directory(plan))).collect();
    let warnings = sets.iter().map(Set::write_models).collect::<Result<Vec<_>, _>>()?;
    let warnings = warnings.into_iter().flatten().collect();
    let Some((first, others)) = sets.split_first() else { return Ok(Written { quantized: Vec::new(), warnings }) };
    let (quantized, checksums) = write_weights(first, context)?;
    for other in others {
        for (from, to) in first.models.iter().zip(&other.models) {
            compiled_model::link_or_copy(&from.weights, &to.weights)?;
            to.finish()?;
        }
    }
    context.progress.set_message("checksums");
    for set in &sets {
        let known = first.models.iter().zip(&set.models);
        let known = known.filter_map(|(from, to)| Some((to.weights.clone(), checksums.get(&from.weights)?.clone())));
        set.write_companions(context.checkpoint.directory(), &known.collect())?;
    }
    if context.interrupt.is_set() {
        return Err(ConversionError::Interrupted);
    }
    Ok(Written { quantized, warnings })
}

/// Fills the weight files of a set, finishes its models, and gives the checksums of the weight files.
fn write_weights(
    set: &Set<'_>,
    context: &Context<'_>,
) -> Result<(Vec<QuantizedWeight>, BTreeMap<PathBuf, String>), ConversionError> {
    let weights: Vec<_> = set.models.iter().map(|model| (model.weights.clone(), &model.file.weights)).collect();
    let (complete, completed) = mpsc::channel();
    let (outcome, checksums) = std::thread::scope(|scope| {
        // Waiting for the disk and reading back go on beside the encoding of the next file.
        let finisher = scope.spawn(|| {
            let models = completed.into_iter().filter_map(|file: usize| set.models.get(file));
            models.map(finish_model).collect()
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

/// Brings the weights of a model to the disk, finishes it, and gives the checksum of its weights.
fn finish_model(model: &StagedModel<'_>) -> Result<(PathBuf, String), ConversionError> {
    fs::File::open(&model.weights)?.sync_all()?;
    model.finish()?;
    let checksum = publish::checksum(&model.weights)?;
    Ok((model.weights.clone(), checksum))
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
