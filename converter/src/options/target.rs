//! The system that the packages are for.

use anec_mil::rules::limits;

use super::ByteSize;

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
