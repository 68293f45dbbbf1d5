//! The system that the packages are for.

use anec_mil::Opset;
use anec_mil::rules::limits;

use super::ByteSize;

/// The system that the packages are for; it sets how large one weight file may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Target {
    /// iPhone and iPad: weight files beyond 1 GB fail to load.
    Ios18,
    /// iPhone and iPad with iOS 17: programs without states, and one function in each.
    Ios17,
    /// Mac: about 2 GB.
    Macos15,
    /// Mac with macOS 14: programs without states, and one function in each.
    Macos14,
    /// Mac, on its GPU: nothing is split or limited for the Neural Engine's sake.
    Macos15Gpu,
}

impl Target {
    /// The largest weight file: a twentieth less than the rule says, for what the system adds.
    pub fn size_limit(self) -> ByteSize {
        let most = match self {
            Self::Ios18 | Self::Ios17 => limits::IOS_FILE_BYTES,
            Self::Macos15 | Self::Macos14 | Self::Macos15Gpu => limits::MACOS_FILE_BYTES,
        };
        ByteSize(most / 20 * 19)
    }

    /// The operation set of every program. The older systems know a newer one, which has nothing that these programs need.
    pub fn opset(self) -> Opset {
        match self {
            Self::Ios17 | Self::Macos14 => Opset::Ios16,
            Self::Ios18 | Self::Macos15 | Self::Macos15Gpu => Opset::Ios18,
        }
    }

    /// Whether the packages are for iPhone and iPad.
    pub fn is_mobile(self) -> bool {
        matches!(self, Self::Ios17 | Self::Ios18)
    }

    /// Whether the packages are to run on the Neural Engine.
    pub fn is_neural_engine(self) -> bool {
        self != Self::Macos15Gpu
    }
}
