//! Eight-bit floats with scales for the tensor, for every row, or for blocks.
//!
//! # Source
//! `FP8Linear` of transformers' `integrations/finegrained_fp8.py` for DeepSeek's form (`weight_scale_inv`, blocks of
//! `weight_block_size`) and `FbgemmFp8Linear` (`weight_scale`, a scale for every row). In all of them `w = float(code) * scale`.

use super::affine::{Affine, Codes, Grid, Groups, Zero};
use super::numbers::{FLOATS, Kind};
use super::parts::{Parts, Stored};
use super::{Method, QuantizationConfig, Scheme};
use crate::source::checkpoint::{CheckpointError, Tensor};
use crate::source::config::ConfigError;

/// The method.
pub(super) struct Fp8;

struct Floats {
    block: [usize; 2],
}

/// Blocks of DeepSeek's checkpoints.
const BLOCK: usize = 128;

impl Method for Fp8 {
    fn scheme(&self, config: &QuantizationConfig) -> Option<Result<Box<dyn Scheme>, ConfigError>> {
        if !["fp8", "fbgemm_fp8"].contains(&config.method()?) {
            return None;
        }
        let fmt = config.text("fmt").is_none_or(|fmt| fmt == "e4m3" || fmt == "float8_e4m3fn");
        if !fmt {
            return Some(Err(config.unknown("fmt", "`e4m3`")));
        }
        Some(Ok(Box::new(Floats { block: block(config.map.get("weight_block_size")) })))
    }
}

/// Rows and columns of a block, by a list of both.
pub(super) fn block(list: Option<&serde_json::Value>) -> [usize; 2] {
    let size = |at: usize| {
        let size = list.and_then(|list| list.get(at)).and_then(serde_json::Value::as_u64);
        size.and_then(|size| usize::try_from(size).ok()).filter(|size| *size > 0).unwrap_or(BLOCK)
    };
    [size(0), size(1)]
}

impl Scheme for Floats {
    fn found(&self) -> String {
        "weights in FP8".to_owned()
    }

    fn markers(&self) -> &'static [&'static str] {
        &[".weight_scale_inv", ".weight_scale"]
    }

    fn weight(&self, module: &str, parts: &mut Parts<'_>) -> Result<Tensor, CheckpointError> {
        let weight = parts.required(&format!("{module}.weight"))?;
        let scales = match parts.optional(&format!("{module}.weight_scale_inv"))? {
            Some(scales) => scales,
            None => parts.required(&format!("{module}.weight_scale"))?,
        };
        weight.require_kind(&[Kind::Fp8], "FP8 of the form E4M3")?;
        scaled_numbers(weight, scales, self.block)
    }

    fn ignored(&self) -> &'static [&'static str] {
        &[".input_scale", ".activation_scale", ".input_scale_ub", ".k_scale", ".v_scale"]
    }
}

/// A weight of numbers with scales for the tensor, for every row, for groups of a row, or for blocks.
pub(super) fn scaled_numbers(weight: Stored, scales: Stored, block: [usize; 2]) -> Result<Tensor, CheckpointError> {
    let [rows, columns] = weight.matrix()?;
    scales.require_kind(&FLOATS, "floats")?;
    let (count, shape) = (scales.count(), scales.shape.as_slice());
    let blocks = [rows.div_ceil(block[0]), columns.div_ceil(block[1])];
    // Rows that share a scale, groups of columns, and the columns of a group.
    let (shared, group_count, width) = if count == 1 {
        (rows, 1, columns)
    } else if shape == [rows] || shape == [rows, 1] {
        (1, 1, columns)
    } else if shape == blocks {
        (block[0], blocks[1], block[1])
    } else {
        let expected = format!("one scale, {rows}, or one for each block of {} times {}", block[0], block[1]);
        return Err(scales.wrong(&expected, &format!("the shape {shape:?}")));
    };
    let affine = Affine {
        rows,
        columns,
        group_count,
        codes: Codes::Numbers(weight.kind),
        zero: Zero::Constant(0.0),
        scale: Grid { part: 1, kind: scales.kind, rows: shared, row_step: group_count, group_step: 1 },
        bias: None,
        groups: Groups::Width(width),
        factor: 1.0,
    };
    Ok(affine.tensor(vec![weight, scales]))
}
