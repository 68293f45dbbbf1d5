//! GPTQ: groups of inputs with a scale and a zero each, in any order of the inputs.
//!
//! # Source
//! `QuantLinear.pack` of AutoGPTQ and GPTQModel: `qweight` is `[in * bits / 32, out]`, `qzeros` `[groups, out * bits / 32]`,
//! `scales` `[groups, out]`, `g_idx` the group of each input; `w = scale * (code - zero)`. What is stored of a zero is one
//! less, but in the format `gptq_v2`.

use super::affine::{Affine, Codes, Grid, Groups, Zero};
use super::numbers::{FLOATS, Kind};
use super::parts::Parts;
use super::{Method, QuantizationConfig, Scheme};
use crate::source::checkpoint::{CheckpointError, Tensor};
use crate::source::config::ConfigError;

/// The method.
pub(super) struct Gptq;

struct Words {
    width: usize,
    /// What is missing from a stored zero.
    zero_offset: u32,
    act_order: bool,
}

impl Method for Gptq {
    fn scheme(&self, config: &QuantizationConfig) -> Option<Result<Box<dyn Scheme>, ConfigError>> {
        if config.method()? != "gptq" {
            return None;
        }
        let Some(width) = config.size("bits").filter(|bits| [2, 4, 8].contains(bits)) else {
            return Some(Err(config.unknown("bits", "2, 4 or 8")));
        };
        let zero_offset = match config.text("checkpoint_format") {
            None | Some("gptq") => 1,
            Some("gptq_v2") => 0,
            Some(_) => return Some(Err(config.unknown("checkpoint_format", "`gptq` or `gptq_v2`"))),
        };
        Some(Ok(Box::new(Words { width, zero_offset, act_order: config.is_set("desc_act") })))
    }
}

impl Scheme for Words {
    fn found(&self) -> String {
        let order = if self.act_order { ", in the order of activations" } else { "" };
        format!("weights quantized by GPTQ, {} bits{order}", self.width)
    }

    fn markers(&self) -> &'static [&'static str] {
        &[".qweight"]
    }

    fn weight(&self, module: &str, parts: &mut Parts<'_>) -> Result<Tensor, CheckpointError> {
        let codes = parts.required(&format!("{module}.qweight"))?;
        let scales = parts.required(&format!("{module}.scales"))?;
        let zeros = parts.required(&format!("{module}.qzeros"))?;
        let order = parts.optional(&format!("{module}.g_idx"))?;
        let per_word = 32 / self.width;
        let ([word_rows, rows], [group_count, scale_columns]) = (codes.matrix()?, scales.matrix()?);
        let columns = word_rows.saturating_mul(per_word);
        codes.require_kind(&[Kind::Word], "32-bit words")?;
        zeros.require_kind(&[Kind::Word], "32-bit words")?;
        scales.require_kind(&FLOATS, "floats")?;
        if scale_columns != rows || !rows.is_multiple_of(per_word) {
            return Err(scales.wrong(&format!("{rows} columns"), &format!("{scale_columns}")));
        }
        zeros.require_count(group_count * (rows / per_word))?;
        let groups = match &order {
            Some(order) => {
                order.require_kind(&[Kind::Word], "32-bit integers")?;
                order.require_count(columns)?;
                Groups::Listed { part: 3, kind: order.kind }
            }
            None => Groups::Width(columns.div_ceil(group_count)),
        };
        let affine = Affine {
            rows,
            columns,
            group_count,
            codes: Codes::InputWords { width: self.width },
            zero: Zero::Words {
                part: 2,
                width: self.width,
                row_step: 1,
                group_step: rows / per_word,
                order: None,
                add: self.zero_offset,
                from: 0.0,
            },
            scale: Grid { part: 1, kind: scales.kind, rows: 1, row_step: 1, group_step: rows },
            bias: None,
            groups,
            factor: 1.0,
        };
        Ok(affine.tensor([codes, scales, zeros].into_iter().chain(order).collect()))
    }
}
