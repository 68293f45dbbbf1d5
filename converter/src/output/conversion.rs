//! Carries out a plan: writes every model, what stands beside them, and reads the models back.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc;

use anec_mil::blob::BlobError;
use anec_mil::compiled::{COMPILED_EXTENSION, LOOSE_EXTENSION, blob_files, unnamed_blob_file};
use anec_schemas::provenance::{PROVENANCE_JSON, ProvenanceError};
use fs_err as fs;

use crate::error::Hint;
use crate::options::Share;
use crate::output::checksums;
use crate::output::companions::{self, CompanionError};
use crate::output::description::program_of;
use crate::output::emit::{self, Context, EmitError, Outcome, QuantizedWeight, Span};
use crate::output::flat;
use crate::output::forms::{FORMS, Form, FormError, ModelFiles, Weights};
use crate::output::layouts::{self, FileModel, Layout, SideFileError};
use crate::output::provenance;
use crate::output::weight_places::{WeightPaths, WeightPlaces};
use crate::plan::{ConversionPlan, FilePlan, PlanError};
use crate::source::checkpoint::Checkpoint;
use crate::weights::recipe_file::{self, RECIPE_JSON};

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
    /// A model.
    #[error(transparent)]
    Form(#[from] FormError),
    /// The companions.
    #[error(transparent)]
    Companions(#[from] CompanionError),
    /// The side files of the layout.
    #[error(transparent)]
    SideFiles(#[from] SideFileError),
    /// A plan for another layout.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// A bug in what the weights are said to have come from.
    #[error("Cannot write where the weights came from")]
    Provenance(#[from] ProvenanceError),
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
                | Self::Form(FormError::Io(_))
                | Self::Emit(EmitError::Io(_) | EmitError::Blob(BlobError::Io(_)))
                | Self::Companions(CompanionError::Io(_))
        )
    }
}

impl Hint for ConversionError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Emit(error) => error.hint(),
            Self::Form(error) => error.hint(),
            Self::Companions(error) => error.hint(),
            Self::Plan(error) => error.hint(),
            Self::Provenance(_) => {
                Some("this is a bug in anec; please report it with the model's config.json".to_owned())
            }
            Self::SideFiles(_) | Self::Interrupted | Self::Io(_) => None,
        }
    }
}

/// Source bytes that a conversion reads.
pub(crate) fn source_bytes(plan: &ConversionPlan) -> u64 {
    plan.files.iter().map(|file| emit::source_bytes(&file.weights)).sum()
}

/// Bytes of weights that a conversion writes: forms share a weight file, but for the one that has each blob in a file of its
/// own.
pub(crate) fn bytes_on_disk(plan: &ConversionPlan) -> u64 {
    let forms = FORMS.iter().filter(|form| plan.options.emit.has(form.name()));
    let kinds: BTreeSet<bool> = forms.map(|form| form.weights() == Weights::ByBlob).collect();
    let copies = kinds.len() as u64;
    plan.total_bytes().saturating_mul(copies)
}

/// The models of one plan, on their way to the disk.
struct StagedPlan<'a> {
    layout: &'static dyn Layout,
    plan: &'a ConversionPlan,
    directory: PathBuf,
    /// In the order of the plan's files.
    models: Vec<StagedModel<'a>>,
}

/// One file of the plan, as one model or several, in every form that is asked for. All share one weight file.
struct StagedModel<'a> {
    file: &'a FilePlan,
    /// The model whose first form holds the weights.
    first: StagedMember,
    others: Vec<StagedMember>,
    /// Where the weights are.
    weights: WeightPlaces,
}

/// A model with some functions of a file.
struct StagedMember {
    model: FileModel,
    /// The form that is read back, with the directory of the model.
    first: (&'static dyn Form, PathBuf),
    others: Vec<(&'static dyn Form, PathBuf)>,
}

impl<'a> StagedPlan<'a> {
    fn new(plan: &'a ConversionPlan, directory: PathBuf) -> Result<Self, ConversionError> {
        let layout = layouts::of(&plan.options)?;
        let models = plan.files.iter().map(|file| StagedModel::new(layout, plan, file, &directory)).collect();
        Ok(Self { layout, plan, directory, models })
    }

    /// Writes everything of all models but their weights, and gives what the Neural Engine may refuse.
    fn write_models(&self) -> Result<Vec<String>, ConversionError> {
        let warnings = self.models.iter().map(|model| model.write(self.plan)).collect::<Result<Vec<_>, _>>()?;
        Ok(warnings.into_iter().flatten().collect())
    }

    /// Writes what stands beside the models, but for the checksums.
    fn write_beside(&self, checkpoint: &Checkpoint) -> Result<(), ConversionError> {
        companions::copy(checkpoint, &self.directory)?;
        for side_file in self.layout.side_files(self.plan, checkpoint.companions().map_err(CompanionError::from)?)? {
            fs::write(self.directory.join(side_file.name), side_file.text)?;
        }
        let members = self.models.iter().flat_map(|staged| staged.members().map(|member| (staged.file, &member.model)));
        let models: Vec<_> = members
            .map(|(file, model)| (model.stem.as_str(), program_of(file, &model.functions), &file.weights))
            .collect();
        let models = models.iter().map(|(stem, program, weights)| (*stem, program, *weights));
        let has_texts = self.plan.options.emit.has(LOOSE_EXTENSION);
        fs::write(self.directory.join(PROVENANCE_JSON), provenance::text(models, has_texts)?)?;
        if let Some(ty) = self.plan.options.flat {
            let (decoder, positions) = (&self.plan.decoder, self.plan.options.context_length);
            flat::write(&self.directory.join(flat::name(ty)), (decoder, positions), checkpoint, ty)?;
        }
        if self.plan.options.storage.exceptions().is_some() {
            fs::write(self.directory.join(RECIPE_JSON), recipe_file::text(&self.plan.options.storage))?;
        }
        Ok(())
    }
}

impl StagedMember {
    fn new(plan: &ConversionPlan, model: FileModel, directory: &Path) -> Self {
        let path = |form: &'static dyn Form| (form, directory.join(format!("{}.{}", model.stem, form.name())));
        let mut forms = FORMS.iter().copied().filter(|form| plan.options.emit.has(form.name())).map(path);
        let first = forms.next().expect("plans without a form are refused");
        let others = forms.collect();
        Self { model, first, others }
    }

    fn forms(&self) -> impl Iterator<Item = &(&'static dyn Form, PathBuf)> {
        std::iter::once(&self.first).chain(&self.others)
    }

    /// Where its weights are in every form, the first form first.
    fn weight_places(&self, file: &FilePlan) -> WeightPlaces {
        let mut places = WeightPlaces::default();
        for (form, directory) in self.forms() {
            match form.weights() {
                Weights::Whole(path) => places.whole.push(directory.join(path)),
                Weights::ByBlob => {
                    let named = blob_files(&program_of(file, &self.model.functions));
                    let named: BTreeMap<u64, String> =
                        named.into_iter().map(|(reference, path)| (reference.offset, path)).collect();
                    for (record, _) in file.weights.layout().alone() {
                        let path = named.get(&record).cloned().unwrap_or_else(|| unnamed_blob_file(record));
                        places.blobs.entry(record).or_default().push(directory.join(path));
                    }
                }
            }
        }
        places
    }

    /// Writes everything but the weights. The program is compiled, and so verified, before anything is written.
    fn write(&self, plan: &ConversionPlan, file: &FilePlan) -> Result<Vec<String>, ConversionError> {
        let FileModel { stem, functions } = &self.model;
        let model =
            plan.partial_model(file, functions).map_err(|source| FormError::Model { stem: stem.clone(), source })?;
        let files = ModelFiles::new(stem, model)?;
        for (form, directory) in self.forms() {
            form.write(directory, &files)?;
        }
        let mut warnings: Vec<String> =
            files.compiled.warnings.iter().map(|warning| format!("{stem}: {warning}")).collect();
        if self.forms().any(|(form, _)| form.name() == COMPILED_EXTENSION) {
            let unproven = files.compiled.unproven.iter();
            warnings.extend(unproven.map(|form| format!("{stem}: no compiled model of Core ML was seen with {form}")));
        }
        Ok(warnings)
    }
}

impl<'a> StagedModel<'a> {
    fn new(layout: &dyn Layout, plan: &ConversionPlan, file: &'a FilePlan, directory: &Path) -> Self {
        let models = layout.models(plan, file).into_iter();
        let mut members = models.map(|model| StagedMember::new(plan, model, directory));
        let first = members.next().expect("a file has at least one model");
        let mut staged = Self { file, others: members.collect(), first, weights: WeightPlaces::default() };
        let mut weights = WeightPlaces::default();
        for member in staged.members() {
            weights.extend(member.weight_places(file));
        }
        staged.weights = weights;
        staged
    }

    fn members(&self) -> impl Iterator<Item = &StagedMember> {
        std::iter::once(&self.first).chain(&self.others)
    }

    /// Writes everything but the weights.
    fn write(&self, plan: &ConversionPlan) -> Result<Vec<String>, ConversionError> {
        for directory in self.weights.all().filter_map(|path| path.parent()) {
            fs::create_dir_all(directory)?;
        }
        let warnings =
            self.members().map(|member| member.write(plan, self.file)).collect::<Result<Vec<_>, ConversionError>>()?;
        Ok(warnings.into_iter().flatten().collect())
    }

    /// Gives all models and forms the weights that are written, and reads them back: one form of each model, and the one
    /// that has each blob in a file of its own, which shares none with another.
    fn finish(&self) -> Result<(), ConversionError> {
        self.weights.take_apart().map_err(EmitError::from)?;
        self.spread(&self.weights)
    }

    /// As [`finish`](Self::finish), of a model that shares its weights with one that is finished.
    fn spread(&self, from: &WeightPlaces) -> Result<(), ConversionError> {
        self.weights.spread(from)?;
        for member in self.members() {
            let others = member.others.iter().filter(|(form, _)| form.weights() == Weights::ByBlob);
            for (form, directory) in std::iter::once(&member.first).chain(others) {
                form.read_back(directory)?;
            }
        }
        Ok(())
    }
}

/// The plans of a conversion, each with its directory: the output itself where there is one plan.
fn staged<'a>(plans: &[&'a ConversionPlan], output: &Path) -> Result<Vec<StagedPlan<'a>>, ConversionError> {
    let directory = |plan: &ConversionPlan| match plans {
        [_] => output.to_owned(),
        _ => output.join(plan.directory_name()),
    };
    plans.iter().map(|plan| StagedPlan::new(plan, directory(plan))).collect()
}

/// The weight files of a conversion, in the order of its work.
pub(crate) fn weight_paths(plans: &[&ConversionPlan]) -> Result<Vec<WeightPaths>, ConversionError> {
    let staged = staged(plans, Path::new(""))?;
    let Some(first) = staged.first() else { return Ok(Vec::new()) };
    let paths = |(index, model): (usize, &StagedModel<'_>)| {
        let mut places = WeightPlaces::default();
        for model in staged.iter().filter_map(|plan| plan.models.get(index)) {
            places.extend(model.weights.clone());
        }
        places.paths(model.file.weights.size())
    };
    Ok(first.models.iter().enumerate().map(paths).collect())
}

/// Writes everything of a conversion but weights and checksums, and gives what the Neural Engine may refuse and the
/// directories, by their names in the output, that are to have checksums.
pub(crate) fn write_frame(
    plans: &[&ConversionPlan],
    checkpoint: &Checkpoint,
    output: &Path,
) -> Result<(Vec<String>, Vec<String>), ConversionError> {
    let staged = staged(plans, output)?;
    let warnings = staged.iter().map(StagedPlan::write_models).collect::<Result<Vec<_>, _>>()?;
    for staged in &staged {
        staged.write_beside(checkpoint)?;
    }
    let name = |staged: &StagedPlan<'_>| {
        let below = staged.directory.strip_prefix(output).unwrap_or(&staged.directory);
        below.to_string_lossy().into_owned()
    };
    Ok((warnings.into_iter().flatten().collect(), staged.iter().map(name).collect()))
}

/// Writes a share of all weights into one file, and gives which bytes they are, in their order there.
pub(crate) fn write_share(
    plan: &ConversionPlan,
    context: &Context<'_>,
    share: Share,
    path: &Path,
) -> Result<Vec<Span>, ConversionError> {
    let files: Vec<_> = plan.files.iter().map(|file| &file.weights).collect();
    match emit::write_share(context, share, path, &files)? {
        (Outcome::Complete(_), spans) => Ok(spans),
        (Outcome::Interrupted, _) => Err(ConversionError::Interrupted),
    }
}

/// Writes the models of every context length: into `output` itself where there is one, else each into a directory of its
/// own, the weight files of all but the first being hard links to those of the first.
pub(crate) fn write(
    plans: &[&ConversionPlan],
    context: &Context<'_>,
    output: &Path,
) -> Result<Written, ConversionError> {
    let staged = staged(plans, output)?;
    let warnings = staged.iter().map(StagedPlan::write_models).collect::<Result<Vec<_>, _>>()?;
    let warnings = warnings.into_iter().flatten().collect();
    let Some((first, others)) = staged.split_first() else { return Ok(Written { quantized: Vec::new(), warnings }) };
    let (quantized, checksums) = write_weights(first, context)?;
    for other in others {
        for (from, to) in first.models.iter().zip(&other.models) {
            to.spread(&from.weights)?;
        }
    }
    context.progress.set_message("checksums");
    for staged in &staged {
        let known = first.models.iter().zip(&staged.models).flat_map(|(from, to)| {
            let from = from.weights.written();
            to.weights.written().into_iter().filter_map(move |(what, path)| Some((path.to_owned(), *from.get(&what)?)))
        });
        let known = known.filter_map(|(path, from)| Some((path, checksums.get(from)?.clone())));
        staged.write_beside(context.checkpoint)?;
        if staged.directory != first.directory {
            companions::share(&first.directory, &staged.directory)?;
        }
        checksums::write(&staged.directory, &known.collect())?;
    }
    if context.interrupt.is_set() {
        return Err(ConversionError::Interrupted);
    }
    Ok(Written { quantized, warnings })
}

/// Fills the weight files of a plan, finishes its models, and gives the checksums of the weight files.
fn write_weights(
    staged: &StagedPlan<'_>,
    context: &Context<'_>,
) -> Result<(Vec<QuantizedWeight>, BTreeMap<PathBuf, String>), ConversionError> {
    let weights: Vec<_> =
        staged.models.iter().map(|model| (model.weights.destination(), &model.file.weights)).collect();
    let (complete, completed) = mpsc::channel();
    let (outcome, checksums) = std::thread::scope(|scope| {
        // Waiting for the disk and reading back go on beside the encoding of the next file.
        let finisher = scope.spawn(|| {
            let models = completed.into_iter().filter_map(|file: usize| staged.models.get(file));
            models.map(finish_model).try_fold(BTreeMap::new(), |mut all, checksums| {
                all.extend(checksums?);
                Ok::<_, ConversionError>(all)
            })
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

/// Brings the weights of a model to the disk, finishes it, and gives the checksums of what was written.
fn finish_model(model: &StagedModel<'_>) -> Result<BTreeMap<PathBuf, String>, ConversionError> {
    let written: Vec<&Path> = model.weights.written().into_values().collect();
    for path in &written {
        fs::File::open(path)?.sync_all()?;
    }
    model.finish()?;
    let checksum = |path: &Path| Ok((path.to_owned(), checksums::checksum(path)?));
    written.into_iter().map(checksum).collect()
}
