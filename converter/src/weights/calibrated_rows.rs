//! Rows whose palettes and indices are known before they are encoded.

use half::f16;

/// Rows that were calibrated.
#[derive(Clone, Debug, PartialEq)]
pub struct CalibratedRows<'a> {
    /// Bits of an index.
    pub bits: u8,
    /// Elements of a row.
    pub columns: usize,
    /// `[groups, 2^bits]`.
    pub palettes: &'a [f16],
    /// `[rows, columns]`.
    pub indices: Vec<u8>,
}
