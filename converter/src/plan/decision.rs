//! What a plan decided and why, one line each.

use std::fmt::Write as _;

use anec_mil::rules::chip::DmaNotch;
use anec_mil::rules::limits::STATE_MULTIPLE;
use anec_mil::rules::notch;
use anec_schemas::contract::kernels;

use super::ConversionPlan;
use crate::graph::conv_split::{Cause, ConvSplitter};
use crate::graph::layers::kv_cache::{KeptWhole, WindowState};
use crate::options::{ByteSize, ConvSplits, Count, Functions, KvWrite, Options, WindowForm};
use crate::plan::head_split::{self, Reason};
use crate::weights::requests::Matrix;

/// What a decision is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Topic {
    /// The chip and system that limits come from.
    Target,
    /// Positions of the cache.
    Context,
    /// Functions of the chunks.
    Functions,
    /// What layers with a window keep.
    Windows,
    /// How the cache is written.
    KvWrite,
    /// Which layers are in which package.
    Chunks,
    /// Parts of the LM head.
    LmHead,
    /// A convolution that is split along its input channels.
    Split,
    /// How weights are stored.
    Weights,
}

impl Topic {
    /// Its name in a table.
    pub fn name(self) -> &'static str {
        match self {
            Self::Target => "target",
            Self::Context => "context",
            Self::Functions => "functions",
            Self::Windows => "windows",
            Self::KvWrite => "kv cache",
            Self::Chunks => "chunks",
            Self::LmHead => "lm head",
            Self::Split => "split",
            Self::Weights => "weights",
        }
    }
}

/// A decision of the planner.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Decision {
    /// What it is about.
    pub topic: Topic,
    /// What was decided, and why.
    pub text: String,
}

/// All decisions of a plan whose tables have `longest` positions.
pub(crate) fn decisions(plan: &ConversionPlan, longest: u32) -> Vec<Decision> {
    let options = &plan.options;
    let mut decisions = vec![
        Decision { topic: Topic::Target, text: target(options) },
        Decision { topic: Topic::Context, text: context(plan, longest) },
        Decision { topic: Topic::Functions, text: functions(plan) },
        Decision { topic: Topic::Windows, text: windows(plan).unwrap_or_default() },
        Decision { topic: Topic::KvWrite, text: kv_write(plan) },
        Decision { topic: Topic::Chunks, text: chunks(plan) },
        Decision { topic: Topic::Weights, text: weights(options) },
    ];
    if plan.has_head() {
        decisions.insert(decisions.len() - 1, Decision { topic: Topic::LmHead, text: lm_head(plan) });
    }
    decisions.retain(|decision| !decision.text.is_empty());
    decisions.extend(splits(plan).into_iter().map(|text| Decision { topic: Topic::Split, text }));
    decisions
}

fn target(options: &Options) -> String {
    let limit = options.size_limit();
    if !options.target.is_neural_engine() {
        return format!("the GPU of a Mac: weight files up to {limit}, nothing is split for the Neural Engine");
    }
    let facts = options.chip.facts();
    let notch = match facts.dma_notch {
        DmaNotch::Measured => "weights are kept off its slow read sizes, which were measured",
        DmaNotch::Assumed => "weights are kept off the slow read sizes that were measured on M3 and M4",
        DmaNotch::ReportedAbsent => "its weight reads are reported to have no slow sizes",
    };
    format!("{}: weight files up to {limit}, axes up to {}, {notch}", facts.name, facts.max_head_rows)
}

fn context(plan: &ConversionPlan, longest: u32) -> String {
    let length = plan.options.context_length;
    let bytes = ByteSize(plan.cache_bytes());
    let cache = if plan.has_state() {
        format!("{} of {bytes}", if plan.caches.is_split() { "two states" } else { "a state" })
    } else {
        format!("a cache of {bytes} that the client keeps")
    };
    let over = if plan.caches.window.is_some() { "all that it holds" } else { "all of them" };
    let mut text =
        format!("{length} positions, {cache}; every token attends over {over}, so a shorter context is faster");
    if longest > length {
        let _ = write!(text, "; shares the weight files of context {longest}");
    }
    text
}

/// What layers with a window keep; nothing where no window is shorter than the context.
fn windows(plan: &ConversionPlan) -> Option<String> {
    let caches = &plan.caches;
    match caches.kept_whole {
        Some(KeptWhole::Asked) => return Some("kept whole in one state of the whole context, as asked for".to_owned()),
        Some(KeptWhole::Chip) => {
            return Some(format!(
                "kept whole in one state of the whole context, because {} takes states of one shape only",
                plan.options.chip
            ));
        }
        None => {}
    }
    let window = caches.window.as_ref()?;
    let WindowState { shape, form, window: longest } = window;
    let kept = match form {
        WindowForm::Rotate => "in order, which functions of their own shift",
        WindowForm::Ring | WindowForm::Whole => "in a ring",
    };
    let mut text = format!(
        "{} of {} layers keep their window of {longest} in {} positions {kept}",
        shape.layers.len(),
        plan.decoder.num_hidden_layers,
        shape.positions
    );
    let saved = ByteSize(plan.whole_cache_bytes());
    let _ = write!(text, ": {} instead of {saved}", ByteSize(plan.cache_bytes()));
    if caches.is_endless() {
        let _ = write!(text, "; positions go on up to {}", plan.positions);
    }
    if window.spare() == 0 {
        text.push_str("; a conversation that has filled a window cannot go back");
    } else {
        let _ = write!(text, "; a conversation that has filled a window can go back by {} tokens", window.spare());
    }
    Some(text)
}

fn functions(plan: &ConversionPlan) -> String {
    let options = &plan.options;
    if !plan.has_state() {
        let functions = plan.chunks().map(|file| file.functions().count()).max().unwrap_or(0);
        return format!(
            "{functions} for up to {} tokens, with one copy of the weights on disk; the device keeps one for each function \
             that is loaded",
            options.batch_size
        );
    }
    match options.functions {
        Functions::InferPrefill => format!(
            "infer for 1 token and prefill for {}, with one copy of the weights on disk; the device keeps one for each \
             function that is loaded",
            options.batch_size
        ),
        Functions::InferPrefillVerify(rows) => format!(
            "infer for 1 token, prefill for {}, and verify for {rows} with logits for each, which checks {} drafted tokens in one \
             call; one copy of the weights on disk, on the device one for each function that is loaded",
            options.batch_size,
            rows.get() - 1
        ),
        Functions::Single => format!(
            "one of {} rows for the prompt, decoding and verification, so that the device keeps one copy of the weights",
            options.batch_size
        ),
    }
}

fn kv_write(plan: &ConversionPlan) -> String {
    if !plan.has_state() {
        return "the client's: a call reads it and gives its own columns, which the client writes".to_owned();
    }
    let mut text = match plan.options.kv_write {
        KvWrite::Slice => "slice_update at the current position: moves only the new rows".to_owned(),
        KvWrite::Mask => "masks: no slice depends on the position, but each layer writes its whole rows".to_owned(),
    };
    let (head_dim, kept) = (plan.decoder.head_dim as u64, plan.caches.head_channels());
    if kept > head_dim {
        let _ = write!(
            text,
            "; heads of {head_dim} channels are kept as {kept}, with zeros behind, because the Neural Engine takes states of \
             multiples of {STATE_MULTIPLE}"
        );
    }
    text
}

fn chunks(plan: &ConversionPlan) -> String {
    if plan.contract.name == kernels::CONTRACT.name {
        let (count, heads) = (plan.chunk_count(), plan.head.sizes.len());
        let each = if plan.options.fuse { "for projections that share an input" } else { "for each projection" };
        return format!(
            "{count} kernels of layers, one {each}, and {heads} of the LM head; embeddings and norms beside"
        );
    }
    let sizes = |pick: fn(u64, u64) -> u64| plan.chunks().map(|file| file.weight_bytes).reduce(pick).unwrap_or(0);
    let (largest, smallest) = (sizes(u64::max), sizes(u64::min));
    let count = plan.chunk_count();
    let why = match plan.options.chunks {
        Count::Exactly(_) => "as asked for".to_owned(),
        Count::Auto => format!("the fewest of at most {}", plan.options.size_limit()),
    };
    if count == 1 {
        return format!("1, {why}: {}", ByteSize(largest));
    }
    format!("{count}, {why}, balanced by bytes: {} to {}", ByteSize(smallest), ByteSize(largest))
}

fn lm_head(plan: &ConversionPlan) -> String {
    let options = &plan.options;
    let parts = plan.head.sizes.len();
    let rows = plan.head.sizes.iter().max().copied().unwrap_or(0);
    let limit = match head_split::max_rows(options) {
        u64::MAX => "no limit on rows".to_owned(),
        limit => format!("at most {limit} rows on {}", options.chip),
    };
    let why = match plan.head.reason {
        Reason::Asked => "as asked for",
        Reason::Expected => "nearest to what clients expect",
        Reason::Fewest => "the fewest",
    };
    let even = if plan.head.is_even() { "equal parts" } else { "parts of about equal size" };
    match parts {
        1 => format!("1 part of {rows} rows: {limit}"),
        _ => format!("{parts} {even} of {rows} rows: {limit}, {why}"),
    }
}

fn weights(options: &Options) -> String {
    let [ffn, lm_head, embeddings] = [&options.storage.ffn, &options.storage.lm_head, &options.storage.embeddings]
        .map(|storage| storage.encoding().decision());
    let exceptions = options.storage.exceptions();
    let exceptions = exceptions.map(|exceptions| format!(" but {exceptions}")).unwrap_or_default();
    let activations = match &options.activations {
        Some(scales) => format!("; what int8 weights multiply is rounded to int8 by {} scales", scales.len()),
        None => String::new(),
    };
    format!("layers {ffn}{exceptions}; LM head {lm_head}; embeddings {embeddings}{activations}")
}

/// One line for every shape of convolution that is split.
fn splits(plan: &ConversionPlan) -> Vec<String> {
    let options = &plan.options;
    if options.conv_splits == ConvSplits::None {
        return vec!["convolutions stay whole, as asked for".to_owned()];
    }
    let splitter = ConvSplitter::new(options);
    let mut lines: Vec<(Vec<&str>, String)> = Vec::new();
    for matrix in plan.files.iter().flat_map(|file| file.weights.requests.matrices()) {
        let Matrix { label, rows, columns, bits, parts } = matrix;
        let Some(cause) = splitter.cause(*rows, *columns, *bits) else { continue };
        let text = format!("[{rows}, {columns}] {}", split_text(cause, parts));
        match lines.iter_mut().find(|(_, known)| *known == text) {
            Some((labels, _)) if labels.contains(&label.as_str()) => {}
            Some((labels, _)) => labels.push(label),
            None => lines.push((vec![label], text)),
        }
    }
    let mut texts: Vec<String> =
        lines.into_iter().map(|(names, text)| format!("{} {text}", names.join(", "))).collect();
    let mlp_parts = splitter.mlp_parts(plan.decoder.intermediate_size as u64);
    if mlp_parts.len() > 1 {
        let sizes: Vec<String> = mlp_parts.iter().map(|part| (part.end - part.start).to_string()).collect();
        let limit = options.chip.facts().max_head_rows;
        texts.insert(0, format!("mlp in {} parts of {} channels: at most {limit}", sizes.len(), sizes.join(" + ")));
    }
    texts
}

#[expect(clippy::cast_precision_loss, reason = "for people; three decimals are shown")]
fn split_text(cause: Cause, parts: &[u64]) -> String {
    let parts: Vec<String> = parts.iter().map(u64::to_string).collect();
    let why = match cause {
        Cause::Notch { payload_bytes } => {
            format!("{:.3} MiB per core is a size that reads slowly", payload_bytes as f64 / notch::PERIOD as f64)
        }
        Cause::Size { bytes } => format!("{} is more than one convolution may have", ByteSize(bytes)),
    };
    match parts.len() {
        1 => format!("stays whole though {why}: no number of parts is better"),
        count => format!("in {count} parts of {} input channels: {why}", parts.join(" + ")),
    }
}
