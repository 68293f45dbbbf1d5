//! The loops that ops share, and the few that have to be fast.

pub(super) mod blocks;
pub(super) mod broadcast;
pub(super) mod dot;
pub(super) mod half;
pub(super) mod product;
pub(super) mod strided;
