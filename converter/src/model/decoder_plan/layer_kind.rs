//! What one layer is, where layers differ.

use crate::model::rope::RopePlan;

/// What the queries of a layer attend to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum AttentionKind {
    /// All positions up to their own.
    #[default]
    Full,
    /// The last positions up to their own.
    Sliding {
        /// How many, their own included.
        window: usize,
    },
}

/// What layers may differ in.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerKind {
    /// What its queries attend to.
    pub attention: AttentionKind,
    /// How its queries and keys are rotated; none where positions are not told.
    pub rope: Option<RopePlan>,
}
