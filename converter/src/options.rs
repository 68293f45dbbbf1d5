//! What a conversion is asked to do: the plain data behind the command line.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use anec_mil::rules::{Chip, limits};

use crate::weights::recipe::Recipe;

/// A number that is given, or left to the planner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    /// The planner decides.
    Auto,
    /// This many.
    Exactly(NonZeroU32),
}

impl FromStr for Count {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "auto" {
            return Ok(Self::Auto);
        }
        text.parse().map(Self::Exactly).map_err(|_| "expected `auto` or a positive number".to_owned())
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Exactly(count) => write!(f, "{count}"),
        }
    }
}

/// A size in bytes, written like `950MB`, `1.9GB` or `900MiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

impl FromStr for ByteSize {
    type Err = String;

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the product is checked to be a positive number below 2^53"
    )]
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const UNITS: [(&str, f64); 8] = [
            ("KiB", 1024.0),
            ("MiB", 1_048_576.0),
            ("GiB", 1_073_741_824.0),
            ("KB", 1e3),
            ("MB", 1e6),
            ("GB", 1e9),
            ("B", 1.0),
            ("", 1.0),
        ];
        let message = || "expected a size such as 950MB, 1.9GB or 900MiB".to_owned();
        let (number, factor) =
            UNITS.iter().find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, *factor))).ok_or_else(message)?;
        let bytes = number.trim().parse::<f64>().map_err(|_| message())? * factor;
        if bytes.is_finite() && (1.0..9e15).contains(&bytes) { Ok(Self(bytes.round() as u64)) } else { Err(message()) }
    }
}

impl fmt::Display for ByteSize {
    /// Writes at most one decimal of the largest decimal unit that gives a number of at least 1.
    #[expect(clippy::cast_precision_loss, reason = "for people; one decimal is shown")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.0 as f64;
        match self.0 {
            0..1_000 => write!(f, "{} B", self.0),
            1_000..1_000_000 => write!(f, "{:.1} kB", bytes / 1e3),
            1_000_000..1_000_000_000 => write!(f, "{:.1} MB", bytes / 1e6),
            _ => write!(f, "{:.2} GB", bytes / 1e9),
        }
    }
}

/// The system that the packages are for; it sets how large one weight file may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Target {
    /// iPhone and iPad: weight files beyond 1 GB fail to load.
    Ios18,
    /// Mac: about 2 GB.
    Macos15,
    /// Mac, on its GPU: nothing is split or limited for the Neural Engine's sake.
    Macos15Gpu,
}

impl Target {
    /// The largest weight file: a twentieth less than the rule says, for what the system adds.
    pub fn size_limit(self) -> ByteSize {
        let most = match self {
            Self::Ios18 => limits::IOS_FILE_BYTES,
            Self::Macos15 | Self::Macos15Gpu => limits::MACOS_FILE_BYTES,
        };
        ByteSize(most / 20 * 19)
    }

    /// Whether the packages are to run on the Neural Engine.
    pub fn is_neural_engine(self) -> bool {
        self != Self::Macos15Gpu
    }
}

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

/// Whether convolutions are split along their input channels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum ConvSplits {
    /// Where the chip reads the whole weight slowly, or refuses its size.
    #[default]
    Auto,
    /// Never.
    None,
}

/// Whose client is to open the result: decides file names and metadata, never the graphs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Runtime {
    /// anec's own names.
    Default,
    /// The names, keys and metadata that ANEMLL's clients look for.
    Anemll,
}

/// Which forms of each model are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Emit {
    /// Packages, which Core ML's tools and Python open.
    Mlpackage,
    /// Compiled models, which apps load.
    Mlmodelc,
    /// Both, with one weight file between them.
    Both,
}

impl Emit {
    /// Whether packages are written.
    pub fn packages(self) -> bool {
        self != Self::Mlmodelc
    }

    /// Whether compiled models are written.
    pub fn compiled(self) -> bool {
        self != Self::Mlpackage
    }
}

/// Everything that shapes a conversion.
#[derive(Clone, Debug)]
pub struct Options {
    /// Storage of the weights.
    pub storage: Recipe,
    /// Packages that the decoder layers are split into.
    pub chunks: Count,
    /// Parts that the LM head is split into.
    pub lm_head_splits: Count,
    /// Tokens that the KV cache holds.
    pub context_length: u32,
    /// Tokens that one prefill call takes, or every call of a single function.
    pub batch_size: u32,
    /// Which functions the chunks have.
    pub functions: Functions,
    /// How the cache is written.
    pub kv_write: KvWrite,
    /// Whether convolutions are split.
    pub conv_splits: ConvSplits,
    /// The chip that the packages are for.
    pub chip: Chip,
    /// Whether the head returns the best token of each part instead of logits.
    pub argmax: bool,
    /// Target system.
    pub target: Target,
    /// Largest weight file, where it differs from the target's.
    pub size_limit: Option<ByteSize>,
    /// Whose client.
    pub runtime: Runtime,
    /// Which forms.
    pub emit: Emit,
}

impl Default for Options {
    /// What `anec plan` takes where nothing is asked for.
    fn default() -> Self {
        Self {
            storage: Recipe::default(),
            chunks: Count::Auto,
            lm_head_splits: Count::Auto,
            context_length: 512,
            batch_size: 64,
            functions: Functions::InferPrefill,
            kv_write: KvWrite::Slice,
            conv_splits: ConvSplits::Auto,
            chip: Chip::Generic,
            argmax: false,
            target: Target::Ios18,
            size_limit: None,
            runtime: Runtime::Default,
            emit: Emit::Both,
        }
    }
}

impl Options {
    /// Tokens that a call takes of which each is a step of decoding.
    pub fn decode_tokens(&self) -> u32 {
        match self.functions {
            Functions::InferPrefill => 1,
            Functions::Single => self.batch_size,
        }
    }

    /// The largest weight file that is allowed.
    pub fn size_limit(&self) -> ByteSize {
        self.size_limit.unwrap_or_else(|| self.target.size_limit())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_decimal_and_binary_units() {
        assert_eq!("950MB".parse(), Ok(ByteSize(950_000_000)));
        assert_eq!("1.9GB".parse(), Ok(ByteSize(1_900_000_000)));
        assert_eq!("2MiB".parse(), Ok(ByteSize(2_097_152)));
        assert_eq!("123".parse(), Ok(ByteSize(123)));
        for wrong in ["", "MB", "-1MB", "1TB", "nanMB", "0"] {
            assert!(wrong.parse::<ByteSize>().is_err(), "{wrong}");
        }
    }
}
