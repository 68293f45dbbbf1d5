//! The loops that ops share, and the few that have to be fast.

pub(super) mod blocks;
pub(super) mod broadcast;
pub(super) mod dot;
pub(super) mod half;
pub(super) mod lookup;
pub(super) mod product;
pub(super) mod softmax;
pub(super) mod strided;

/// Fewer floats than this are not worth handing to another core.
pub const PARALLEL_FLOATS: usize = 1 << 13;
