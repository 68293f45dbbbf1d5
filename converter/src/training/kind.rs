//! The programs of a layer.

use std::fmt;

use super::TrainingShape;

/// A program of a training step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Norm and attention, forward.
    FwdAttn,
    /// Norm and MLP, forward.
    FwdFfn,
    /// The MLP, backward.
    FfnBwd,
    /// Attention, backward: its output projection, values and probabilities.
    SdpaBwd1,
    /// Attention, backward: queries and keys.
    SdpaBwd2,
    /// The projections of queries, keys and values, backward.
    QkvBwd,
}

impl Kind {
    /// All of them, in the order of a step.
    pub const ALL: [Self; 6] =
        [Self::FwdAttn, Self::FwdFfn, Self::FfnBwd, Self::SdpaBwd1, Self::SdpaBwd2, Self::QkvBwd];

    /// Its name, which is that of its files.
    pub fn name(self) -> &'static str {
        match self {
            Self::FwdAttn => "fwdAttn",
            Self::FwdFfn => "fwdFFN",
            Self::FfnBwd => "ffnBwd",
            Self::SdpaBwd1 => "sdpaBwd1",
            Self::SdpaBwd2 => "sdpaBwd2",
            Self::QkvBwd => "qkvBwd",
        }
    }

    /// What its output holds, in the order of channels, with the channels of each.
    pub fn outputs(self, shape: &TrainingShape) -> Vec<(&'static str, usize)> {
        let TrainingShape { dim, hidden, heads, sequence, .. } = *shape;
        let scores = heads * sequence;
        match self {
            Self::FwdAttn => {
                ["o_out", "q", "k", "v", "attn_out", "xnorm"].into_iter().map(|name| (name, dim)).collect()
            }
            Self::FwdFfn => vec![("y", dim), ("h1", hidden), ("h3", hidden), ("gated", hidden), ("xnorm", dim)],
            Self::FfnBwd => vec![("dx", dim), ("dh1", hidden), ("dh3", hidden)],
            Self::SdpaBwd1 => vec![("dv", dim), ("probs", scores), ("dp", scores)],
            Self::SdpaBwd2 => vec![("dq", dim), ("dk", dim)],
            Self::QkvBwd => vec![("dx", dim)],
        }
    }

    /// Channels of its output.
    pub fn output_channels(self, shape: &TrainingShape) -> usize {
        self.outputs(shape).into_iter().map(|(_, channels)| channels).sum()
    }

    /// Multiplications and additions of its matrix products, each being one operation.
    pub fn operations(self, shape: &TrainingShape) -> u64 {
        let [dim, hidden, sequence] = [shape.dim, shape.hidden, shape.sequence].map(|size| size as u64);
        let (projection, attention) = (dim * dim * sequence, dim * sequence * sequence);
        2 * match self {
            Self::FwdAttn => 4 * projection + 2 * attention,
            Self::FwdFfn | Self::FfnBwd => 3 * dim * hidden * sequence,
            Self::SdpaBwd1 => projection + 3 * attention,
            Self::SdpaBwd2 => 2 * attention,
            Self::QkvBwd => 3 * projection,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
