//! What the user should know before shipping the result.

use anec_mil::rules::Chip;

use crate::graph::families::{Family, Oversize};
use crate::graph::layers::kv_cache::CacheStates;
use crate::model::decoder_plan::DecoderPlan;
use crate::model::rope::RopeScaling;
use crate::options::{ByteSize, Options};
use crate::plan::FilePlan;
use crate::plan::head_split::HeadSplit;

pub(super) fn warnings(
    family: &dyn Family,
    decoder: &DecoderPlan,
    options: &Options,
    files: &[FilePlan],
    head: &HeadSplit,
    caches: &CacheStates,
) -> Vec<String> {
    let mut warnings = Vec::new();
    if options.context_length as usize > decoder.max_position_embeddings {
        warnings.push(format!(
            "the context length of {} exceeds the {} positions that the model was trained for",
            options.context_length, decoder.max_position_embeddings
        ));
    }
    let long = decoder.ropes().iter().find_map(|rope| match &rope.scaling {
        RopeScaling::LongRope(longrope) => Some(longrope.original_max_position_embeddings),
        _ => None,
    });
    if let Some(original) = long.filter(|original| *original < options.context_length as usize) {
        warnings.push(format!(
            "contexts of more than {original} tokens are rotated by the `long_factor` of config.json, short prompts in them \
             too, which transformers rotates by its `short_factor`"
        ));
    }
    if caches.is_split() && options.target.is_neural_engine() && options.chip == Chip::Generic {
        warnings.push(
            "A14 and M1 refuse models with states of two shapes; `--single-cache`, or `--chip` of these, makes one state"
                .to_owned(),
        );
    }
    for file in files {
        match family.oversize(&file.label) {
            Oversize::Warn(advice) if file.weight_bytes > options.size_limit().0 => warnings.push(format!(
                "`{}` has {} of weights, over the limit of {}; {advice}",
                file.stem,
                ByteSize(file.weight_bytes),
                options.size_limit()
            )),
            _ => {}
        }
    }
    if family.contract().has_head() && !head.is_even() {
        warnings.push(format!(
            "the vocabulary of {} does not split into {} equal parts; `lm_head_chunk_sizes` in meta.yaml gives their sizes, \
             and clients that assume equal parts pick wrong tokens",
            decoder.vocab_size,
            head.sizes.len()
        ));
    }
    warnings
}
