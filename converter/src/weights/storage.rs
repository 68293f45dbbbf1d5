//! How a weight is stored, as a value: parsed from the command line, compared, printed.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::encodings::{self, Encoding};

pub use super::encodings::palette::{GroupSize, PaletteMethod};
pub use super::encodings::{Defaults, Lut, StorageError};

/// How a weight is stored: one of the encodings with its parameters.
///
/// # Example
/// ```
/// use anec_converter::weights::storage::Storage;
///
/// let storage: Storage = "lut4+scale".parse()?;
/// assert_eq!(storage.to_string(), "lut4:8+scale");
/// assert_eq!(storage.description(), "4 bits, group size 8, a scale per channel");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Storage {
    encoding: Arc<dyn Encoding>,
    /// Decides the bytes: two storages are the same where this is.
    spec: Arc<str>,
}

impl Storage {
    pub(crate) fn new(encoding: impl Encoding + 'static) -> Self {
        let spec = encoding.spec().into();
        Self { encoding: Arc::new(encoding), spec }
    }

    /// What does the work.
    pub(crate) fn encoding(&self) -> &dyn Encoding {
        &*self.encoding
    }

    /// Reads what the command line takes; `defaults` fill in what it leaves open.
    ///
    /// # Errors
    /// Text of no encoding, or parameters that the encoding does not have.
    pub fn parse(text: &str, defaults: &Defaults) -> Result<Self, StorageError> {
        encodings::parse(text, defaults)
    }

    /// Its parameters in words, as meta.yaml has them.
    pub fn description(&self) -> String {
        self.encoding.description()
    }

    /// Bits of an index or integer, where weights are quantized.
    pub fn quantized_bits(&self) -> Option<u8> {
        self.encoding.quantized_bits()
    }

    /// Bits of an element as the Neural Engine reads it.
    pub fn bits(&self) -> u8 {
        /// Bits of an fp16.
        const FLOAT16_BITS: u8 = 16;
        self.quantized_bits().unwrap_or(FLOAT16_BITS)
    }

    /// Whether weights are 8-bit integers times a scale, and no palette.
    pub(crate) fn is_linear_int8(&self) -> bool {
        self.quantized_bits() == Some(8) && self.lut().is_none()
    }

    /// Whether its indices and palettes are those that calibration found.
    pub fn is_calibrated(&self) -> bool {
        self.encoding.is_calibrated()
    }

    /// What clients are told of palettes, where there are some.
    pub fn lut(&self) -> Option<Lut> {
        self.encoding.lut()
    }
}

impl Default for Storage {
    /// Plain fp16.
    fn default() -> Self {
        Self::new(encodings::fp16::Float16)
    }
}

impl FromStr for Storage {
    type Err = StorageError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text, &Defaults::default())
    }
}

impl fmt::Display for Storage {
    /// Writes it as the command line takes it, with everything that was left open.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.spec)
    }
}

impl fmt::Debug for Storage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.spec)
    }
}

impl PartialEq for Storage {
    fn eq(&self, other: &Self) -> bool {
        self.spec == other.spec
    }
}

impl Eq for Storage {}

impl PartialOrd for Storage {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Storage {
    fn cmp(&self, other: &Self) -> Ordering {
        self.spec.cmp(&other.spec)
    }
}
