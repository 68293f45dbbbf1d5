//! Sizes that rules check and planners keep to. The rules that check them name their sources.

/// The most bytes of a package's weight file on iPhone and iPad; rule `ios-file-size`.
pub const IOS_FILE_BYTES: u64 = 1_000_000_000;

/// The most bytes of a package's weight file on a Mac; rule `macos-file-size`.
pub const MACOS_FILE_BYTES: u64 = 2_000_000_000;

/// The most bytes of the weight of one convolution, as stored; rule `weight-size`.
pub const WEIGHT_BYTES: u64 = 128 << 20;

/// What the last two axes of a state are multiples of; rule `state-axes`.
pub const STATE_MULTIPLE: u64 = 32;
