//! bitsandbytes: NF4 and FP4 with scales for runs of elements, which may be quantized themselves, and int8 with scales for rows.
//!
//! # Source
//! `QuantState.as_dict` and `dequantize_4bit` of bitsandbytes' `functional.py`, and `Linear8bitLt`: two codes in a byte, the
//! upper one first, over the whole weight row by row; `w = quant_map[code] * absmax[element / blocksize]`; of nested scales
//! `absmax = nested_quant_map[code] * nested_absmax[block / nested_blocksize] + nested_offset`. `w = code * SCB / 127` of int8.

use std::ops::Range;

use serde::Deserialize;

use super::affine::{Affine, Codes, Grid, Groups, Zero};
use super::numbers::{FLOATS, Kind};
use super::parts::Parts;
use super::{Method, QuantizationConfig, Scheme};
use crate::source::checkpoint::{CheckpointError, Decode, DecodeError, Tensor};
use crate::source::config::ConfigError;

/// The method.
pub(super) struct BitsAndBytes;

/// Eight bits.
struct Int8;

/// Four bits.
struct FourBits {
    kind: String,
}

impl Method for BitsAndBytes {
    fn scheme(&self, config: &QuantizationConfig) -> Option<Result<Box<dyn Scheme>, ConfigError>> {
        if config.method()? != "bitsandbytes" {
            return None;
        }
        if config.is_set("load_in_8bit") {
            return Some(Ok(Box::new(Int8)));
        }
        let kind = config.text("bnb_4bit_quant_type").unwrap_or("nf4").to_owned();
        if !config.is_set("load_in_4bit") || !["nf4", "fp4"].contains(&kind.as_str()) {
            return Some(Err(config.unknown("load_in_4bit", "true, with NF4 or FP4, or `load_in_8bit`")));
        }
        Some(Ok(Box::new(FourBits { kind })))
    }
}

impl Scheme for Int8 {
    fn found(&self) -> String {
        "weights quantized by bitsandbytes, 8 bits".to_owned()
    }

    fn markers(&self) -> &'static [&'static str] {
        &[".SCB"]
    }

    fn weight(&self, module: &str, parts: &mut Parts<'_>) -> Result<Tensor, CheckpointError> {
        let weight = parts.required(&format!("{module}.weight"))?;
        let scales = parts.required(&format!("{module}.SCB"))?;
        weight.require_kind(&[Kind::I8], "8-bit integers")?;
        scales.require_kind(&FLOATS, "floats")?;
        let [rows, columns] = weight.matrix()?;
        scales.require_count(rows)?;
        let affine = Affine {
            rows,
            columns,
            group_count: 1,
            codes: Codes::Numbers(Kind::I8),
            zero: Zero::Constant(0.0),
            scale: Grid { part: 1, kind: scales.kind, rows: 1, row_step: 1, group_step: 1 },
            bias: None,
            groups: Groups::Width(columns),
            factor: 1.0 / 127.0,
        };
        Ok(affine.tensor(vec![weight, scales]))
    }

    fn ignored(&self) -> &'static [&'static str] {
        &[".weight_format"]
    }
}

/// What `quant_state` says in JSON.
#[derive(Deserialize)]
struct State {
    blocksize: usize,
    shape: [usize; 2],
    nested_blocksize: Option<usize>,
    nested_offset: Option<f32>,
}

/// Scales of scales.
#[derive(Clone, Copy, Debug)]
struct Nested {
    blocksize: usize,
    offset: f32,
}

/// Decodes rows of one weight. Its parts: codes, scales, the values of codes, and of nested scales their scales and values.
#[derive(Clone, Copy, Debug)]
struct Runs {
    columns: usize,
    blocksize: usize,
    scale: Kind,
    nested: Option<Nested>,
}

/// Values of four-bit codes, and of the eight-bit codes of nested scales.
const VALUES: usize = 16;
const NESTED_VALUES: usize = 256;

impl Scheme for FourBits {
    fn found(&self) -> String {
        format!("weights quantized by bitsandbytes, {}", self.kind.to_uppercase())
    }

    fn markers(&self) -> &'static [&'static str] {
        &[".weight.absmax"]
    }

    fn weight(&self, module: &str, parts: &mut Parts<'_>) -> Result<Tensor, CheckpointError> {
        let codes = parts.required(&format!("{module}.weight"))?;
        let scales = parts.required(&format!("{module}.weight.absmax"))?;
        let values = parts.required(&format!("{module}.weight.quant_map"))?;
        let nested_scales = parts.optional(&format!("{module}.weight.nested_absmax"))?;
        let nested_values = parts.optional(&format!("{module}.weight.nested_quant_map"))?;
        let state_name = parts.beginning_with(&format!("{module}.weight.quant_state."));
        let state = parts.required(&state_name.unwrap_or_else(|| format!("{module}.weight.quant_state")))?;
        let shape = codes.wrong("the shape of the weight", "a file that keeps it elsewhere");
        let Some(State { blocksize, shape: [rows, columns], nested_blocksize, nested_offset }) = parts.json(&state)
        else {
            return Err(shape);
        };
        let elements = rows.checked_mul(columns).filter(|elements| *elements > 0 && blocksize > 0).ok_or(shape)?;
        codes.require_kind(&[Kind::U8], "bytes")?;
        codes.require_count(elements.div_ceil(2))?;
        values.require_count(VALUES)?;
        values.require_kind(&[Kind::F32], "fp32")?;
        let blocks = elements.div_ceil(blocksize);
        scales.require_count(blocks)?;
        let nested = if let Some((nested_scales, nested_values)) = nested_scales.as_ref().zip(nested_values.as_ref()) {
            let blocksize = nested_blocksize.filter(|size| *size > 0).unwrap_or(NESTED_VALUES);
            nested_scales.require_kind(&[Kind::F32], "fp32")?;
            nested_scales.require_count(blocks.div_ceil(blocksize))?;
            nested_values.require_kind(&[Kind::F32], "fp32")?;
            nested_values.require_count(NESTED_VALUES)?;
            scales.require_kind(&[Kind::U8], "bytes")?;
            Some(Nested { blocksize, offset: nested_offset.unwrap_or(0.0) })
        } else {
            scales.require_kind(&FLOATS, "floats")?;
            None
        };
        let runs = Runs { columns, blocksize, scale: scales.kind, nested };
        let parts = [codes, scales, values].into_iter().chain(nested_scales).chain(nested_values);
        Ok(Tensor::decoded(vec![rows, columns], parts.map(|stored| stored.part).collect(), Box::new(runs)))
    }
}

impl Runs {
    fn absmax(&self, parts: &[&[u8]], block: usize) -> Option<f32> {
        let scales = parts.get(1)?;
        let Some(nested) = self.nested else { return self.scale.get(scales, block) };
        let code = usize::from(*scales.get(block)?);
        let value = Kind::F32.get(parts.get(4)?, code)?;
        Some(value * Kind::F32.get(parts.get(3)?, block / nested.blocksize)? + nested.offset)
    }
}

impl Decode for Runs {
    fn span(&self, part: usize, rows: &Range<usize>) -> Option<Range<usize>> {
        (part == 0).then(|| rows.start * self.columns / 2..(rows.end * self.columns).div_ceil(2))
    }

    fn rows(&self, parts: &[&[u8]], rows: &Range<usize>, out: &mut Vec<f32>) -> Result<(), DecodeError> {
        out.clear();
        let missing = || DecodeError { expected: "a scale for every run".to_owned(), found: "fewer".to_owned() };
        let codes = parts.first().copied().unwrap_or_default();
        let values = parts.get(2).copied().unwrap_or_default();
        let values: Vec<f32> = (0..VALUES).filter_map(|code| Kind::F32.get(values, code)).collect();
        let (mut at, end) = (rows.start * self.columns, rows.end * self.columns);
        out.reserve_exact(end - at);
        while at < end {
            let block = at / self.blocksize;
            let scale = self.absmax(parts, block).ok_or_else(missing)?;
            let until = ((block + 1) * self.blocksize).min(end);
            for element in at..until {
                let byte = codes.get(element / 2).copied().ok_or_else(missing)?;
                let code = if element % 2 == 0 { byte >> 4 } else { byte & 0xf };
                out.push(values.get(usize::from(code)).copied().ok_or_else(missing)? * scale);
            }
            at = until;
        }
        Ok(())
    }
}
