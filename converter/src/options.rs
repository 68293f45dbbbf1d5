//! What a conversion is asked to do: the plain data behind the command line.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use anec_mil::compiled::COMPILED_EXTENSION;
use anec_mil::package::PACKAGE_EXTENSION;
use anec_mil::rules::{Chip, limits};

/// Palette index widths that Core ML can store.
///
/// # Source
/// `constexpr_lut_to_dense` takes uint1, uint2, uint3, uint4, uint6 and uint8 indices.
pub const PALETTE_BITS: [u8; 6] = [1, 2, 3, 4, 6, 8];

/// Bits of a palette's indices, or none for plain fp16.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LutBits(pub Option<u8>);

impl FromStr for LutBits {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "none" {
            return Ok(Self(None));
        }
        match text.parse::<u8>() {
            Ok(bits) if PALETTE_BITS.contains(&bits) => Ok(Self(Some(bits))),
            _ => Err("expected none, 1, 2, 3, 4, 6 or 8".to_owned()),
        }
    }
}

impl fmt::Display for LutBits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(bits) => write!(f, "{bits}"),
            None => f.write_str("none"),
        }
    }
}

/// How many output channels share a palette.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum GroupSize {
    /// All of them.
    Tensor,
    /// This many; it must divide the channels.
    Channels(NonZeroU32),
}

impl FromStr for GroupSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "tensor" {
            return Ok(Self::Tensor);
        }
        text.parse().map(Self::Channels).map_err(|_| "expected `tensor` or a positive number of channels".to_owned())
    }
}

impl fmt::Display for GroupSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tensor => f.write_str("tensor"),
            Self::Channels(channels) => write!(f, "{channels}"),
        }
    }
}

/// How the entries of palettes are found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum PaletteMethod {
    /// A local optimum near the best palette.
    #[default]
    Fast,
    /// The best palette, at a multiple of the time.
    Exact,
}

/// A palette: its index width, who shares it, and how it is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Palette {
    /// Bits per index.
    pub bits: u8,
    /// Who shares it.
    pub group_size: GroupSize,
    /// How its entries are found.
    pub method: PaletteMethod,
    /// Whether each output channel also has a scale of its own.
    pub channel_scale: bool,
}

/// How a weight is stored, where it is not plain fp16.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Compression {
    /// Indices into palettes.
    Palette(Palette),
    /// Integers of eight bits with a scale for each row.
    Int8,
}

impl Compression {
    /// Bits of an index or integer.
    pub fn bits(self) -> u8 {
        match self {
            Self::Palette(palette) => palette.bits,
            Self::Int8 => 8,
        }
    }

    /// The palette, where there is one.
    pub fn palette(self) -> Option<Palette> {
        match self {
            Self::Palette(palette) => Some(palette),
            Self::Int8 => None,
        }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Palette(palette) => {
                write!(f, "{} bits, group size {}", palette.bits, palette.group_size)?;
                f.write_str(if palette.channel_scale { ", a scale per channel" } else { "" })
            }
            Self::Int8 => f.write_str("int8, a scale per channel"),
        }
    }
}

/// How the LM head is stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum HeadStorage {
    /// As `--lut` and `--lut-lm-head` say.
    #[default]
    Lut,
    /// Integers of eight bits with a scale for each token.
    Int8,
}

impl Palette {
    /// The palette for `bits`; `group_size` defaults to 8 channels below 8 bits, where palettes are small beside the
    /// indices, and to the tensor at 8 bits, where they are not.
    pub fn new(bits: LutBits, group_size: Option<GroupSize>) -> Option<Self> {
        const EIGHT: NonZeroU32 = NonZeroU32::new(8).expect("8 is not zero");
        let bits = bits.0?;
        let default = if bits < 8 { GroupSize::Channels(EIGHT) } else { GroupSize::Tensor };
        let group_size = group_size.unwrap_or(default);
        Some(Self { bits, group_size, method: PaletteMethod::Fast, channel_scale: false })
    }
}

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

/// Which forms of each model are written, by their names; the first of the table of forms holds the weights that the
/// others share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Emit(pub Vec<&'static str>);

impl Emit {
    /// Whether the form of this name is written.
    pub fn has(&self, form: &str) -> bool {
        self.0.contains(&form)
    }
}

/// Everything that shapes a conversion.
#[derive(Clone, Debug)]
pub struct Options {
    /// Storage of the decoder layers; none is fp16.
    pub ffn: Option<Compression>,
    /// Storage of the LM head; none is fp16.
    pub lm_head: Option<Compression>,
    /// Storage of the token embeddings; none is fp16.
    pub embeddings: Option<Compression>,
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
    /// Whose client is to open the result, by the name of a layout: decides file names and metadata, and which family makes
    /// the graphs.
    pub layout: &'static str,
    /// Which forms.
    pub emit: Emit,
}

impl Default for Options {
    /// What `anec plan` takes where nothing is asked for.
    fn default() -> Self {
        Self {
            ffn: None,
            lm_head: None,
            embeddings: None,
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
            layout: "anec",
            emit: Emit(vec![PACKAGE_EXTENSION, COMPILED_EXTENSION]),
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

    #[test]
    fn five_bit_palettes_are_refused() {
        assert!("5".parse::<LutBits>().is_err());
        assert_eq!("none".parse(), Ok(LutBits(None)));
    }
}
