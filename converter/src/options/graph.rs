//! What the graphs are like where there is a choice.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

/// Most rows of a function that checks drafts.
const MOST_VERIFIED: u32 = 256;

/// Which functions a chunk of decoder layers has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Functions {
    /// `infer` for one token and `prefill` for a batch of the prompt, as ANEMLL's clients call them.
    InferPrefill,
    /// These two, and `verify` for so many rows, a token and those drafted after it, in chunks and head.
    InferPrefillVerify(NonZeroU32),
    /// One function, `main`, over a fixed number of rows: for the prompt, for decoding, and for verifying drafts.
    Single,
}

impl FromStr for Functions {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "infer,prefill" => Ok(Self::InferPrefill),
            "single" => Ok(Self::Single),
            _ => {
                let rows = text.strip_prefix("infer,prefill,verify:").and_then(|rows| rows.parse().ok());
                let rows = rows.filter(|rows: &NonZeroU32| (2..=MOST_VERIFIED).contains(&rows.get()));
                let expected = || {
                    format!(
                        "expected `infer,prefill`, `infer,prefill,verify:K` with K from 2 to {MOST_VERIFIED}, or `single`"
                    )
                };
                rows.map(Self::InferPrefillVerify).ok_or_else(expected)
            }
        }
    }
}

impl fmt::Display for Functions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InferPrefill => f.write_str("infer,prefill"),
            Self::InferPrefillVerify(rows) => write!(f, "infer,prefill,verify:{rows}"),
            Self::Single => f.write_str("single"),
        }
    }
}

impl Functions {
    /// Rows of the function that checks drafts.
    pub fn verify_rows(self) -> Option<u32> {
        match self {
            Self::InferPrefillVerify(rows) => Some(rows.get()),
            Self::InferPrefill | Self::Single => None,
        }
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
