//! What the graphs are like where there is a choice.

use std::fmt;
use std::str::FromStr;

/// Which functions a chunk of decoder layers has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Functions {
    /// `infer` for one token and `prefill` for a batch of the prompt, as ANEMLL's clients call them.
    InferPrefill,
    /// One function, `main`, over a fixed number of rows: for the prompt, for decoding, and for verifying drafts.
    Single,
}

impl FromStr for Functions {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "infer,prefill" => Ok(Self::InferPrefill),
            "single" => Ok(Self::Single),
            _ => Err("expected `infer,prefill` or `single`".to_owned()),
        }
    }
}

impl fmt::Display for Functions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::InferPrefill => "infer,prefill",
            Self::Single => "single",
        })
    }
}

/// How new keys and values get into the cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum KvWrite {
    /// `slice_update` at the current position: moves only what is new.
    #[default]
    Slice,
    /// Arithmetic, `cache * keep + new`: no slice depends on the position, at the price of writing whole rows.
    Mask,
}

/// What layers that look back over a window keep of keys and values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WindowForm {
    /// All of the context: the window is a mask.
    #[default]
    Whole,
    /// The window, in a ring: a token takes the place of the one that is a window older. Any client can drive it.
    Ring,
    /// The window, in order: functions of their own shift it once it is full, and the client has to call these.
    Rotate,
}

/// Whether convolutions are split along their input channels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum ConvSplits {
    /// Where the chip reads the whole weight slowly, or refuses its size.
    #[default]
    Auto,
    /// Never.
    None,
}
