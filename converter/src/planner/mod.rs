//! Decides what files a conversion writes, and builds their programs: everything but the weights themselves.
//!
//! Programs are built while planning because they are cheap, and because only then the sizes are exact. Planning reads no
//! weight: a [`DecoderPlan`] is enough. The layout says which family builds the programs and what files are called; the rest
//! is the same for all.

mod checks;
#[cfg(test)]
mod tests;
mod warnings;

use anec_schemas::contract::Cache;

use crate::graph::conv_split::ConvSplitter;
use crate::graph::families::{Family, Label, Oversize, Piece};
use crate::graph::layers::kv_cache::CacheStates;
use crate::graph::{ModelSettings, Tables};
use crate::model::arch;
use crate::model::decoder_plan::DecoderPlan;
use crate::model::rope::RopePlan;
use crate::options::{ByteSize, Options};
use crate::output::layouts::{self, Layout};
use crate::plan::{ConversionPlan, FilePlan, PlanError, chunks, decision, head_split};
use crate::weights::recipe::Recipe;
use crate::weights::storage::Storage;
use crate::weights::weight_file::WeightFile;

impl ConversionPlan {
    /// Plans the conversion of a model.
    ///
    /// # Errors
    /// Options that do not fit the model or the layout, or a weight file over the limit.
    ///
    /// # Example
    /// ```
    /// use anec_converter::model::arch::{self, ArchChoice};
    /// use anec_converter::options::Options;
    /// use anec_converter::plan::ConversionPlan;
    ///
    /// let config = serde_json::json!({
    ///     "model_type": "llama", "vocab_size": 128, "hidden_size": 64, "intermediate_size": 96,
    ///     "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    /// });
    /// let decoder = arch::plan(ArchChoice::Auto, config.as_object().unwrap(), &[])?;
    /// let plan = ConversionPlan::new(decoder, Options::default())?;
    /// assert_eq!(plan.files.len(), 3);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn new(decoder: DecoderPlan, options: Options) -> Result<Self, PlanError> {
        let longest = options.context_length;
        plan(layouts::of(&options)?, decoder, options, longest, None)
    }

    /// Plans one directory of files for each context length, the longest first. All have the same weight files.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn for_context_lengths(
        decoder: &DecoderPlan,
        options: &Options,
        context_lengths: &[u32],
    ) -> Result<Vec<Self>, PlanError> {
        let layout = layouts::of(options)?;
        let mut lengths = context_lengths.to_vec();
        lengths.sort_unstable_by(|a, b| b.cmp(a));
        lengths.dedup();
        let mut plans: Vec<Self> = Vec::with_capacity(lengths.len());
        for context_length in &lengths {
            let longest = plans.first().map_or(*context_length, |plan| plan.options.context_length);
            let options = Options { context_length: *context_length, ..options.clone() };
            plans.push(plan(layout, decoder.clone(), options, longest, plans.first())?);
        }
        Ok(plans)
    }
}

/// Plans for a layout, with tables for `longest` positions, over the weight files of another plan if there is one.
pub(crate) fn plan(
    layout: &dyn Layout,
    decoder: DecoderPlan,
    options: Options,
    longest: u32,
    shared: Option<&ConversionPlan>,
) -> Result<ConversionPlan, PlanError> {
    checks::options(layout, &decoder, &options)?;
    let family = layout.family();
    let mut caches = CacheStates::new(&decoder, &options, layout.window_form());
    if family.contract().cache != Cache::State {
        caches = caches.kept_by_client(&decoder);
    }
    checks::split_rotate(&options, &caches)?;
    let tables = Tables::new(&decoder, family.positions(&decoder, positions(&decoder, &caches, longest)));
    checks::shared_tables(&decoder, &options, &tables, longest)?;
    let head = head_split::split(&decoder, &options, layout.head_parts(&decoder, &options))?;
    let settings = ModelSettings {
        plan: &decoder,
        opset: options.target.opset(),
        context_length: u64::from(options.context_length),
        batch_size: u64::from(options.batch_size),
        functions: options.functions,
        kv_write: options.kv_write,
        caches: &caches,
        splitter: ConvSplitter::new(&options),
        recipe: &options.storage,
        activations: options.activations.as_ref(),
        head_parts: &head.parts(),
        argmax: options.argmax,
        fused: options.fuse,
        tables: &tables,
        layer_hook: arch::layer_hook(&decoder),
    };
    let ranges = match shared {
        Some(shared) if family.cuts_layers() => shared.chunks().map(|file| file.label.layers.clone()).collect(),
        _ => chunks::ranges(family, &settings, &options)?,
    };
    let mut files = Vec::new();
    for (index, label) in family.labels(&settings.cut(&ranges)).into_iter().enumerate() {
        let weights = match shared {
            None => WeightFile::of(settings.opset),
            Some(shared) => {
                let file = shared.files.get(index).expect("the same layers make the same files");
                file.weights.clone()
            }
        };
        let stem = layout.stem(&decoder, &options, &label, index);
        files.push(file(family, &settings, &options, label, stem, weights)?);
    }
    if let Some(shared) = shared
        && files.iter().zip(&shared.files).any(|(file, longest)| file.weight_bytes != longest.weight_bytes)
    {
        return Err(PlanError::Option {
            option: "--context-length",
            value: format!("{},{longest}", options.context_length),
            expected:
                "the windows of this model ask for other tables at this length, so convert for one length at a time"
                    .to_owned(),
        });
    }
    let warnings = warnings::warnings(family, &decoder, &options, &files, &head, &caches);
    layout.check(&files)?;
    let contract = family.contract();
    let mut plan = ConversionPlan {
        decoder,
        options,
        files,
        head,
        decisions: Vec::new(),
        warnings,
        caches,
        positions: tables.positions,
        contract,
    };
    plan.decisions = decision::decisions(&plan, longest);
    Ok(plan)
}

/// Positions of a rotary table that 16 bits tell apart; a ring's own table is longer by what one call asks about.
const LONGEST_ROTARY_TABLE: u32 = 1 << 15;

/// Positions of the rotary tables: those of the longest context, or where no layer keeps a whole context, all that the model
/// was trained for and 16 bits tell apart.
fn positions(decoder: &DecoderPlan, caches: &CacheStates, longest: u32) -> u32 {
    let depends_on_length = |rope: &&RopePlan| rope.depends_on_length();
    if !caches.is_endless() || decoder.ropes().iter().any(depends_on_length) {
        return longest;
    }
    let trained = u32::try_from(decoder.max_position_embeddings).unwrap_or(u32::MAX);
    longest.max(trained.min(LONGEST_ROTARY_TABLE))
}

/// Builds one file and checks its size.
fn file(
    family: &dyn Family,
    settings: &ModelSettings<'_>,
    options: &Options,
    label: Label,
    stem: String,
    weights: WeightFile,
) -> Result<FilePlan, PlanError> {
    let (reads, instance) = (family.reads(&label), family.instance(settings, &label));
    let oversize = family.oversize(&label);
    let piece = Piece::build(family, settings, label, weights)?;
    let (size, limit) = (piece.weights.size(), options.size_limit());
    match oversize {
        Oversize::Refuse(advice) if size > limit.0 => {
            let fitting = fitting(family, settings, &piece.label, limit).filter(|_| !family.cuts_layers());
            let hint = fitting.map_or_else(|| advice.to_owned(), |fitting| format!("{advice}; {fitting} would fit"));
            Err(PlanError::TooLarge { stem, found: ByteSize(size), limit, hint })
        }
        _ => FilePlan::new(stem, piece, reads, instance),
    }
}

/// The widest palettes with which a piece is under the limit, as options, and its size then.
fn fitting(family: &dyn Family, settings: &ModelSettings<'_>, label: &Label, limit: ByteSize) -> Option<String> {
    const BITS: [u8; 4] = [8, 6, 4, 3];
    BITS.into_iter().find_map(|bits| {
        let storage: Storage = format!("lut{bits}").parse().ok()?;
        let recipe = Recipe::new(storage.clone(), storage.clone(), storage);
        let settings = ModelSettings { recipe: &recipe, ..*settings };
        let size = ByteSize(Piece::weights_of(family, &settings, label).ok()?.size());
        (size <= limit).then(|| format!("`--lut {bits} --lut-embeddings {bits}`, {size},"))
    })
}
