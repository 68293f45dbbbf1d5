//! A program for each projection, for runtimes that drive the Neural Engine below Core ML.

use std::path::Path;

use anec_mil::Opset;
use anec_mil::compiled::{COMPILED_EXTENSION, LOOSE_EXTENSION};
use anec_mil::package::{Metadata, PACKAGE_EXTENSION};
use anec_mil::rules::notch;
use anec_schemas::Glue;
use anec_schemas::contract::kernels::{EMBEDDINGS, LM_HEAD, NORMS, QUERY_LENGTH_DEFAULT, QUERY_LENGTHS};
use anec_schemas::kernels::KERNELS_JSON;

use super::{Layout, Refusal, SideFile, SideFileError, kernels_manifest, meta_files, metadata};
use crate::graph::families::{Family, Label, kernels};
use crate::model::arch;
use crate::model::decoder_plan::{AttentionKind, DecoderPlan, QkNorm};
use crate::options::{Functions, KvWrite, Options};
use crate::output::flat;
use crate::plan::{ConversionPlan, FilePlan, head_split};

/// The most parts of the head that are tried.
const MOST_HEAD_PARTS: u64 = 256;

/// Bits of a weight without a palette.
const PLAIN_BITS: u64 = 16;

/// The layout.
pub(super) struct Kernels;

impl Layout for Kernels {
    fn name(&self) -> &'static str {
        "kernels"
    }

    fn summary(&self) -> &'static str {
        "runtimes that give the Neural Engine a program for each projection and compute the rest themselves"
    }

    fn family(&self) -> &'static dyn Family {
        &kernels::Kernels
    }

    fn forms(&self) -> &'static [&'static str] {
        &[PACKAGE_EXTENSION, COMPILED_EXTENSION, LOOSE_EXTENSION]
    }

    fn default_forms(&self) -> &'static [&'static str] {
        &[LOOSE_EXTENSION]
    }

    fn columns(&self) -> Option<u32> {
        u32::try_from(QUERY_LENGTH_DEFAULT).ok()
    }

    fn rounds_activations(&self) -> bool {
        true
    }

    fn refusal(&self, options: &Options) -> Option<Refusal> {
        let refusal = |option, value: String, expected: &str| {
            Some(Refusal { option, value, expected: format!("the layout `kernels` {expected}") })
        };
        if let Functions::InferPrefillVerify(_) = options.functions {
            return refusal(
                "--functions",
                options.functions.to_string(),
                "has one function of `--query-length` columns",
            );
        }
        if !QUERY_LENGTHS.contains(&u64::from(options.batch_size)) {
            let lengths = QUERY_LENGTHS.map(|length| length.to_string()).join(", ");
            return refusal(
                "--query-length",
                options.batch_size.to_string(),
                &format!("has calls of {lengths} columns"),
            );
        }
        if options.kv_write == KvWrite::Mask {
            return refusal("--kv", "mask".to_owned(), "has no state to write: the client keeps the cache");
        }
        if options.argmax {
            return refusal("--argmax", String::new(), "gives logits");
        }
        if options.emit.has(LOOSE_EXTENSION) && options.target.opset() < Opset::Ios18 {
            let expected =
                "writes texts of `program(1.3)`, which needs iOS 18 or macOS 15; `--emit mlpackage` does not";
            return refusal("--target", options.target.name(), expected);
        }
        None
    }

    fn misfit(&self, decoder: &DecoderPlan, options: &Options) -> Option<String> {
        let most = head_split::max_rows(options);
        if arch::layer_hook(decoder).is_some() {
            return Some(format!("layers of `{}` are more than projections, norms and attention", decoder.model_type));
        }
        if decoder.qk_norm == QkNorm::Whole {
            return Some(
                "its client norms queries and keys head by head, and this model all heads together".to_owned(),
            );
        }
        if let Some(reason) = options.flat.and_then(|_| flat::misfit(decoder)) {
            return Some(reason);
        }
        let widest = [decoder.intermediate_size, decoder.q_size(), decoder.hidden_size].map(|size| size as u64);
        let widest = widest.into_iter().max().filter(|widest| *widest > most)?;
        Some(format!(
            "a projection of {widest} channels is one program, and {} takes {most} channels; name a chip that takes more \
             (`--chip m4`), or another layout, which splits them",
            options.chip
        ))
    }

    /// The fewest equal parts that the chip takes and reads at full speed, of whole groups of rows.
    fn head_parts(&self, decoder: &DecoderPlan, options: &Options) -> Option<u64> {
        let (rows, columns) = (decoder.vocab_size as u64, decoder.hidden_size as u64);
        let bits = options.storage.lm_head.quantized_bits().map_or(PLAIN_BITS, u64::from);
        let is_clear = |parts: &u64| {
            let payload = notch::payload_bytes(rows / parts, columns, 1, bits);
            rows.is_multiple_of(*parts) && notch::is_clear(payload, options.chip)
        };
        let fewest = rows.div_ceil(head_split::max_rows(options)).max(1);
        (fewest..=MOST_HEAD_PARTS).find(is_clear).or(Some(fewest))
    }

    fn stem(&self, decoder: &DecoderPlan, options: &Options, label: &Label, _index: usize) -> String {
        let suffix = metadata::suffix(options, label.role);
        let width = decoder.num_hidden_layers.saturating_sub(1).to_string().len().max(2);
        match label.role {
            EMBEDDINGS => format!("{EMBEDDINGS}{suffix}"),
            NORMS => NORMS.to_string(),
            LM_HEAD => format!("lm_head{suffix}_{:02}of{:02}", label.number, label.count),
            role => format!("layer_{:0width$}_{role}{suffix}", label.layers.start),
        }
    }

    fn metadata(&self, plan: &ConversionPlan, file: &FilePlan) -> Metadata {
        let (model_type, label) = (&plan.decoder.model_type, &file.label);
        let what = match label.role {
            EMBEDDINGS => "token embeddings and rotations".to_owned(),
            NORMS => "weights of the norms".to_owned(),
            LM_HEAD => format!("LM head, part {} of {}", label.number, label.count),
            role => format!("{role} of layer {}", label.layers.start),
        };
        metadata::metadata(plan, file, format!("{model_type} {what}"), "com.anec")
    }

    fn side_files(&self, plan: &ConversionPlan, checkpoint: &Path) -> Result<Vec<SideFile>, SideFileError> {
        let mut files = meta_files::own(plan, checkpoint)?;
        files.push(SideFile { name: KERNELS_JSON, text: kernels_manifest::text(plan)? });
        Ok(files)
    }
}

/// What clients compute between the programs.
pub(super) fn glue(plan: &ConversionPlan) -> Glue {
    let decoder = &plan.decoder;
    let ropes = decoder.ropes();
    let rotation = |layer: &crate::model::decoder_plan::LayerKind| {
        let rope = layer.rope.as_ref();
        let index = rope.and_then(|rope| ropes.iter().position(|other| *other == rope));
        index.map_or(0, |index| index as u64 + 1)
    };
    let window = |kind: AttentionKind| match kind {
        AttentionKind::Full => 0,
        AttentionKind::Sliding { window } => window as u64,
    };
    Glue {
        num_attention_heads: decoder.num_attention_heads as u64,
        intermediate_size: decoder.intermediate_size as u64,
        activation: decoder.activation.config_name().to_owned(),
        rms_norm_eps: decoder.rms_norm_eps,
        stream_norm_eps: decoder.stream_norm_eps,
        query_scale: decoder.query_scale,
        residual_multiplier: decoder.residual_multiplier,
        logit_scale: decoder.logit_scale,
        attention_softcap: decoder.attention_softcap,
        logit_softcap: decoder.logit_softcap,
        head_norms: decoder.qk_norm == QkNorm::Heads,
        norms: kernels::placed(decoder.norm_placement).into_iter().map(|(place, _)| place.to_owned()).collect(),
        layer_windows: decoder.layers.iter().map(|layer| window(layer.attention)).collect(),
        layer_rotations: decoder.layers.iter().map(rotation).collect(),
    }
}
