//! compressed-tensors, as llm-compressor writes it: integers packed into words, whole integers, or FP8.
//!
//! # Source
//! `compressors/quantized_compressors` of compressed-tensors: `pack_to_int32` packs `[out, in]` along the inputs with
//! `2^(bits - 1)` added; `weight_zero_point` is `[out, groups]`, or packed likewise along the outputs; `w = (code - zero) * scale`.

use serde_json::Value;

use super::affine::{Affine, Codes, Grid, Groups, Zero, index};
use super::fp8::{block, scaled_numbers};
use super::numbers::{FLOATS, Kind};
use super::parts::{Parts, Stored};
use super::{Method, QuantizationConfig, Scheme};
use crate::source::checkpoint::{CheckpointError, Tensor};
use crate::source::config::ConfigError;

/// The method.
pub(super) struct CompressedTensors;

struct Compressed {
    /// Bits of packed codes.
    width: usize,
    block: [usize; 2],
    format: String,
}

/// Forms that can be read.
const FORMATS: [&str; 4] = ["pack-quantized", "int-quantized", "float-quantized", "naive-quantized"];

impl Method for CompressedTensors {
    fn scheme(&self, config: &QuantizationConfig) -> Option<Result<Box<dyn Scheme>, ConfigError>> {
        if !["compressed-tensors", "compressed_tensors"].contains(&config.method()?) {
            return None;
        }
        let Some(format) = config.text("format").filter(|format| FORMATS.contains(format)) else {
            let expected = "`pack-quantized`, `int-quantized`, `float-quantized` or `naive-quantized`";
            return Some(Err(config.unknown("format", expected)));
        };
        let groups = config.map.get("config_groups").and_then(Value::as_object);
        let weights: Vec<&Value> =
            groups.into_iter().flat_map(|groups| groups.values()).filter_map(|group| group.get("weights")).collect();
        let mut widths: Vec<u64> =
            weights.iter().filter_map(|weights| weights.get("num_bits").and_then(Value::as_u64)).collect();
        widths.dedup();
        let width = match widths.as_slice() {
            [width @ (2 | 4 | 8)] => usize::try_from(*width).unwrap_or(8),
            _ => return Some(Err(config.unknown("config_groups", "groups of one number of bits, 2, 4 or 8"))),
        };
        let block = block(weights.first().and_then(|weights| weights.get("block_structure")));
        Some(Ok(Box::new(Compressed { width, block, format: format.to_owned() })))
    }
}

impl Scheme for Compressed {
    fn found(&self) -> String {
        format!("weights of compressed-tensors, {}, {} bits", self.format, self.width)
    }

    fn markers(&self) -> &'static [&'static str] {
        &[".weight_packed", ".weight_scale"]
    }

    fn weight(&self, module: &str, parts: &mut Parts<'_>) -> Result<Tensor, CheckpointError> {
        let scales = parts.required(&format!("{module}.weight_scale"))?;
        let zeros = parts.optional(&format!("{module}.weight_zero_point"))?;
        if let Some(codes) = parts.optional(&format!("{module}.weight_packed"))? {
            return self.packed(module, codes, scales, zeros, parts);
        }
        let weight = parts.required(&format!("{module}.weight"))?;
        weight.require_kind(&[Kind::I8, Kind::Fp8], "8-bit integers or FP8")?;
        if let Some(zeros) = zeros {
            return Err(zeros.wrong("no zeros of whole numbers", "some"));
        }
        scaled_numbers(weight, scales, self.block)
    }

    fn ignored(&self) -> &'static [&'static str] {
        &[
            ".input_scale",
            ".input_zero_point",
            ".input_global_scale",
            ".k_scale",
            ".v_scale",
            ".output_scale",
            ".output_zero_point",
        ]
    }
}

impl Compressed {
    fn packed(
        &self,
        module: &str,
        codes: Stored,
        scales: Stored,
        zeros: Option<Stored>,
        parts: &mut Parts<'_>,
    ) -> Result<Tensor, CheckpointError> {
        let per_word = 32 / self.width;
        let ([rows, words], [scale_rows, group_count]) = (codes.matrix()?, scales.matrix()?);
        codes.require_kind(&[Kind::Word], "32-bit words")?;
        scales.require_kind(&FLOATS, "floats")?;
        let order = parts.optional(&format!("{module}.weight_g_idx"))?;
        let whole = words.saturating_mul(per_word);
        // The shape before packing, which rounds up to whole words.
        let shape = parts.optional(&format!("{module}.weight_shape"))?;
        let shape = shape.and_then(|shape| parts.numbers(&shape, 2));
        let listed = |columns: &f32| index(*columns, whole + 1);
        let columns = shape.as_deref().and_then(|shape| shape.get(1)).map_or(Some(whole), listed).unwrap_or(0);
        if columns == 0
            || columns.div_ceil(per_word) != words
            || scale_rows != rows
            || !columns.is_multiple_of(group_count)
        {
            let expected = format!("{rows} rows, and groups that divide {columns} columns");
            return Err(scales.wrong(&expected, &format!("the shape {:?}", scales.shape)));
        }
        let middle = f32::from(1_u8 << (self.width - 1));
        let zero = match &zeros {
            None => Zero::Constant(middle),
            Some(zeros) if zeros.kind == Kind::Word => {
                zeros.require_count(rows.div_ceil(per_word) * group_count)?;
                // Both are stored with the same number added, which cancels.
                Zero::Words {
                    part: 2,
                    width: self.width,
                    row_step: group_count,
                    group_step: 1,
                    order: None,
                    add: 0,
                    from: 0.0,
                }
            }
            Some(zeros) => return Err(zeros.wrong("zeros in 32-bit words", &format!("{:?}", zeros.kind))),
        };
        let order_part = if zeros.is_some() { 3 } else { 2 };
        let groups = match &order {
            Some(order) => {
                order.require_kind(&[Kind::Word], "32-bit integers")?;
                order.require_count(columns)?;
                Groups::Listed { part: order_part, kind: order.kind }
            }
            None => Groups::Width(columns / group_count),
        };
        let affine = Affine {
            rows,
            columns,
            group_count,
            codes: Codes::Rows { width: self.width, row: words * 4 },
            zero,
            scale: Grid { part: 1, kind: scales.kind, rows: 1, row_step: group_count, group_step: 1 },
            bias: None,
            groups,
            factor: 1.0,
        };
        Ok(affine.tensor([codes, scales].into_iter().chain(zeros).chain(order).collect()))
    }
}
