//! AWQ: groups of inputs with a scale and a zero each, four bits.
//!
//! # Source
//! `WQLinear_GEMM` of AutoAWQ: `qweight` is `[in, out / 8]`, `qzeros` `[groups, out / 8]`, `scales` `[groups, out]`; the eight
//! codes of a word are those of the outputs 0, 2, 4, 6, 1, 3, 5, 7; `w = scale * (code - zero)`.

use super::affine::{Affine, Codes, Grid, Groups, Zero};
use super::numbers::{FLOATS, Kind};
use super::parts::Parts;
use super::{Method, QuantizationConfig, Scheme};
use crate::source::checkpoint::{CheckpointError, Tensor};
use crate::source::config::ConfigError;

/// Bits of a code.
const WIDTH: usize = 4;

/// Codes of a word.
const PER_WORD: usize = 32 / WIDTH;

/// Where in a word the code of each of eight outputs is.
const PLACES: [usize; PER_WORD] = [0, 4, 1, 5, 2, 6, 3, 7];

/// The method.
pub(super) struct Awq;

struct Words;

impl Method for Awq {
    fn scheme(&self, config: &QuantizationConfig) -> Option<Result<Box<dyn Scheme>, ConfigError>> {
        if config.method()? != "awq" {
            return None;
        }
        // An old name for it.
        if config.size("bits").or_else(|| config.size("w_bit")) != Some(WIDTH) {
            return Some(Err(config.unknown("bits", "4")));
        }
        if !config.text("version").is_none_or(|version| version.eq_ignore_ascii_case("gemm")) {
            return Some(Err(config.unknown("version", "`gemm`")));
        }
        Some(Ok(Box::new(Words)))
    }
}

impl Scheme for Words {
    fn found(&self) -> String {
        "weights quantized by AWQ, 4 bits".to_owned()
    }

    fn markers(&self) -> &'static [&'static str] {
        &[".qweight"]
    }

    fn weight(&self, module: &str, parts: &mut Parts<'_>) -> Result<Tensor, CheckpointError> {
        let codes = parts.required(&format!("{module}.qweight"))?;
        let scales = parts.required(&format!("{module}.scales"))?;
        let zeros = parts.required(&format!("{module}.qzeros"))?;
        let ([columns, words], [group_count, rows]) = (codes.matrix()?, scales.matrix()?);
        codes.require_kind(&[Kind::Word], "32-bit words")?;
        zeros.require_kind(&[Kind::Word], "32-bit words")?;
        scales.require_kind(&FLOATS, "floats")?;
        if words.saturating_mul(PER_WORD) != rows || !columns.is_multiple_of(group_count) {
            let expected = format!("words of {rows} codes in {group_count} groups");
            return Err(codes.wrong(&expected, &format!("the shape {:?}", codes.shape)));
        }
        zeros.require_count(group_count * words)?;
        let affine = Affine {
            rows,
            columns,
            group_count,
            codes: Codes::OutputWords { width: WIDTH, order: PLACES },
            zero: Zero::Words {
                part: 2,
                width: WIDTH,
                row_step: 1,
                group_step: words,
                order: Some(PLACES),
                add: 0,
                from: 0.0,
            },
            scale: Grid { part: 1, kind: scales.kind, rows: 1, row_step: 1, group_step: rows },
            bias: None,
            groups: Groups::Width(columns / group_count),
            factor: 1.0,
        };
        Ok(affine.tensor(vec![codes, scales, zeros]))
    }
}
