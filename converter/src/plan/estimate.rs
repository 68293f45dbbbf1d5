//! How fast a plan can be at best, and how much memory it takes, from what is known about chips.
//!
//! Decoding reads every weight for every token, so the speed at which the Neural Engine reads weights bounds it. The
//! prompt is bounded by arithmetic as well. Both are bounds, not predictions of what a device reaches: dispatch, the CPU's
//! share and heat come on top.

use anec_mil::cost;
use anec_mil::rules::ChipFacts;
use anec_mil::rules::chip::{CHIPS, Figure};

use crate::graph::families::Reads;
use crate::model::decoder_plan::DecoderPlan;
use crate::options::{Functions, Options};
use crate::plan::{ConversionPlan, FilePlan};

/// Bytes of an fp16 number.
const FP16_BYTES: u64 = 2;

/// What a plan asks of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Cost {
    /// Bytes of weights that one decoded token reads: all layers and the head.
    pub weight_bytes_per_token: u64,
    /// Bytes of the KV cache that one decoded token reads.
    pub cache_bytes_per_token: u64,
    /// Bytes of weights that one call of prefill reads: all layers.
    pub weight_bytes_per_prefill: u64,
    /// Tokens of one call of prefill.
    pub prefill_tokens: u64,
    /// Operations of one token of the prompt, a multiplication and an addition being two.
    pub operations_per_prompt_token: u64,
    /// Memory on the device.
    pub memory: Memory,
}

/// Bytes on the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Memory {
    /// Weight files, each once.
    pub weights: u64,
    /// The KV cache.
    pub state: u64,
    /// The KV cache if every layer kept the whole context.
    pub whole_state: u64,
    /// Weights and cache with all functions loaded: each counts once for each function.
    ///
    /// # Source
    /// A second loaded function of one package was measured to take as much device memory again: Anemll-forge (0.69 GB
    /// package, 1.05 to 2.09 GB), VoxCPMANE2.
    pub loaded: u64,
}

/// Bounds of the speed on one chip, in tokens per second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bounds {
    /// The chip.
    pub chip: &'static ChipFacts,
    /// What the speed of reading is taken to be, in GB/s.
    pub bandwidth: Figure,
    /// Decoding.
    pub decode: f64,
    /// The prompt.
    pub prefill: f64,
    /// Whether arithmetic bounds the prompt, and not reading.
    pub prefill_is_compute_bound: bool,
}

impl Cost {
    /// The cost of a plan.
    pub fn of(plan: &ConversionPlan) -> Self {
        let sum = |wanted: Reads| -> u64 {
            plan.files.iter().filter(|file| file.reads == wanted).map(FilePlan::read_bytes).sum()
        };
        let (layers, head) = (sum(Reads::Always), sum(Reads::Decoding));
        // One copy is among the weights.
        let copies: u64 =
            plan.files.iter().map(|file| file.weight_bytes * (file.functions().count() as u64).saturating_sub(1)).sum();
        // The same whoever keeps it.
        let (weights, state) = (plan.total_bytes(), plan.cache_bytes());
        Self {
            weight_bytes_per_token: layers + head,
            cache_bytes_per_token: state,
            weight_bytes_per_prefill: layers,
            prefill_tokens: u64::from(plan.options.batch_size),
            operations_per_prompt_token: operations_per_prompt_token(plan),
            memory: Memory { weights, state, whole_state: plan.whole_cache_bytes(), loaded: weights + state + copies },
        }
    }

    /// The cost of a model in other hands: nothing but its weights and its cache, and no arithmetic.
    pub fn of_weights(layers: u64, head: u64, cache: u64) -> Self {
        Self {
            weight_bytes_per_token: layers + head,
            cache_bytes_per_token: cache,
            weight_bytes_per_prefill: layers,
            prefill_tokens: 1,
            operations_per_prompt_token: 0,
            memory: Memory { weights: layers + head, state: cache, whole_state: cache, loaded: layers + head + cache },
        }
    }

    /// The bounds on a chip, if its memory is known.
    #[expect(clippy::cast_precision_loss, reason = "a bound has three figures at most")]
    pub fn bounds(&self, chip: &'static ChipFacts) -> Option<Bounds> {
        const GIGA: f64 = 1e9;
        const TERA: f64 = 1e12;
        let bandwidth = chip.chip.bandwidth_bound()?;
        let per_second = bandwidth.value * GIGA;
        let decode = per_second / (self.weight_bytes_per_token + self.cache_bytes_per_token).max(1) as f64;
        let calls = per_second / (self.weight_bytes_per_prefill + self.cache_bytes_per_token).max(1) as f64;
        let reading = calls * self.prefill_tokens as f64;
        let computing = chip.tops.map(|tops| tops.value * TERA / self.operations_per_prompt_token.max(1) as f64);
        let prefill = computing.map_or(reading, |computing| computing.min(reading));
        let prefill_is_compute_bound = computing.is_some_and(|computing| computing < reading);
        Some(Bounds { chip, bandwidth, decode, prefill, prefill_is_compute_bound })
    }
}

/// The chips that a plan can run on with known bounds: the one asked for, or those of the target where it is generic.
pub fn chips(options: &Options) -> Vec<&'static ChipFacts> {
    use anec_mil::rules::Chip;
    let fits = |facts: &&ChipFacts| match options.chip {
        Chip::Generic if options.target.is_mobile() => facts.chip != Chip::Generic,
        Chip::Generic => facts.chip != Chip::Generic && !facts.chip.is_mobile(),
        chip => facts.chip == chip,
    };
    CHIPS.iter().filter(fits).collect()
}

/// Multiplications and additions of one token of the prompt: of the function of each chunk that takes the most tokens.
fn operations_per_prompt_token(plan: &ConversionPlan) -> u64 {
    let of_chunk = |file: &FilePlan| {
        let functions = file.program().functions.values();
        functions.map(|function| cost::multiplications(function).expect("chunks have fixed shapes")).max().unwrap_or(0)
    };
    2 * plan.chunks().map(of_chunk).sum::<u64>() / u64::from(plan.options.batch_size)
}

/// Bytes of a KV cache.
pub fn cache_bytes(decoder: &DecoderPlan, context_length: u64) -> u64 {
    2 * FP16_BYTES * decoder.num_hidden_layers as u64 * decoder.kv_size() as u64 * context_length
}

/// What the first load of the packages costs, one line each.
///
/// # Source
/// Reported first loads: 113 s for a 7B model on M1 Max (coreml-llm-cli), 194 s for Qwen3-4B on iPhone 17 Pro (Core AI),
/// 854 s for Gemma4-E2B on M4 Max; 40 to 67 s for each prefill function of a chunk on A16; then 0.7 to 15 s.
pub fn first_load_hints(plan: &ConversionPlan) -> Vec<String> {
    let functions: usize = plan.files.iter().map(|file| file.functions().count()).sum();
    let mut hints = vec![format!(
        "the first load compiles {functions} functions for the chip, which was reported to take from half a minute to some \
         minutes for each large one; later loads take seconds, until the system is updated"
    )];
    if plan.options.functions != Functions::Single && plan.has_state() {
        hints.push(
            "load prefill, take the prompt, unload it, then load infer: with both loaded the weights are in memory twice"
                .to_owned(),
        );
    }
    hints
}
