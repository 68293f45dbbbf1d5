//! MLX: groups of columns with a scale and a bias each, 2 to 8 bits.
//!
//! # Source
//! `mlx.core.quantize` and `mlx.nn.QuantizedLinear`: `weight` packs codes into 32-bit words along the inputs, the lowest bits
//! first; `scales` and `biases` are `[out, in / group_size]`; `w = scale * code + bias`.

use super::affine::{Affine, Codes, Grid, Groups, Zero};
use super::numbers::{FLOATS, Kind};
use super::parts::Parts;
use super::{Method, QuantizationConfig, Scheme};
use crate::source::checkpoint::{CheckpointError, Tensor};
use crate::source::config::ConfigError;

/// The method.
pub(super) struct Mlx;

struct Affines {
    group_size: usize,
    bits: usize,
}

impl Method for Mlx {
    fn scheme(&self, config: &QuantizationConfig) -> Option<Result<Box<dyn Scheme>, ConfigError>> {
        let (group_size, bits) = (config.size("group_size")?, config.size("bits")?);
        if config.method().is_some() {
            return None;
        }
        Some(match config.text("mode") {
            None | Some("affine") => Ok(Box::new(Affines { group_size, bits })),
            Some(_) => Err(config.unknown("mode", "`affine`")),
        })
    }
}

impl Scheme for Affines {
    fn found(&self) -> String {
        format!("weights quantized by MLX, {} bits in groups of {}", self.bits, self.group_size)
    }

    fn markers(&self) -> &'static [&'static str] {
        &[".scales"]
    }

    fn weight(&self, module: &str, parts: &mut Parts<'_>) -> Result<Tensor, CheckpointError> {
        let weight = parts.required(&format!("{module}.weight"))?;
        let scales = parts.required(&format!("{module}.scales"))?;
        let biases = parts.required(&format!("{module}.biases"))?;
        weight.require_kind(&[Kind::Word], "32-bit words")?;
        let ([rows, words], [scale_rows, group_count]) = (weight.matrix()?, scales.matrix()?);
        if scale_rows != rows {
            return Err(scales.wrong(&format!("{rows} rows"), &format!("{scale_rows}")));
        }
        for numbers in [&scales, &biases] {
            numbers.require_kind(&FLOATS, "floats")?;
            numbers.require_count(rows * group_count)?;
        }
        // Layers may have widths of their own, which their shapes tell.
        let bits = words.saturating_mul(32);
        let per_width = |group_size: usize| {
            let columns = group_count.checked_mul(group_size)?;
            let width = bits.checked_div(columns).filter(|width| columns.checked_mul(*width) == Some(bits))?;
            [2, 3, 4, 5, 6, 8].contains(&width).then_some((columns, width))
        };
        let fitting = [self.group_size, 32, 64, 128].into_iter().find_map(|size| Some((size, per_width(size)?)));
        let Some((group_size, (columns, width))) = fitting else {
            let expected = format!("codes of 2 to 8 bits in {group_count} groups of {}", self.group_size);
            return Err(weight.wrong(&expected, &format!("rows of {words} words")));
        };
        let grid = |part, kind| Grid { part, kind, rows: 1, row_step: group_count, group_step: 1 };
        let affine = Affine {
            rows,
            columns,
            group_count,
            codes: Codes::Rows { width, row: words * 4 },
            zero: Zero::Constant(0.0),
            scale: grid(1, scales.kind),
            bias: Some(grid(2, biases.kind)),
            groups: Groups::Width(group_size),
            factor: 1.0,
        };
        Ok(affine.tensor(vec![weight, scales, biases]))
    }
}
