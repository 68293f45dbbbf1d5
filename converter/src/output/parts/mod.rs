//! Parts of a conversion that several machines share.
//!
//! A part is a directory with
//!
//! - `part.json`: which conversion it belongs to, and which bytes of its weight files it has;
//! - `weights.bin`: these bytes, one after the other;
//! - `frame`: of the first part, everything of the output but weights and checksums.
//!
//! The calibration of a conversion is a directory with `calibration.json` and the results, by layer, in `calibration`.

mod assemble;
mod error;

use std::path::Path;

use fs_err as fs;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

pub(crate) use self::assemble::assemble;
pub(crate) use self::error::PartError;
use super::emit::Span;
use super::weight_places::WeightPaths;

pub(crate) const PART_JSON: &str = "part.json";
pub(crate) const WEIGHTS_BIN: &str = "weights.bin";
pub(crate) const FRAME: &str = "frame";
pub(crate) const CALIBRATION_JSON: &str = "calibration.json";
pub(crate) const CALIBRATION: &str = "calibration";

/// The version of the format. From the second on, blobs have files of their own in texts.
const FORMAT: u32 = 2;

/// Longest description of a part: a line for each of some hundred thousand spans.
const MAX_JSON_BYTES: u64 = 1 << 28;

/// What `part.json` says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PartFile {
    /// The version of the format.
    format: u32,
    /// The program with its version.
    pub(crate) program: String,
    /// A digest of program, checkpoint and plan.
    pub(crate) identity: String,
    /// Which part, from 1 on.
    pub(crate) part: u32,
    /// How many there are.
    pub(crate) of: u32,
    /// The weight files of the conversion.
    pub(crate) files: Vec<WeightPaths>,
    /// Which bytes of them are here: file, first byte, and the byte after the last.
    pub(crate) spans: Vec<(usize, u64, u64)>,
    /// The SHA-256 of `weights.bin`.
    pub(crate) sha256: String,
    /// The directories of the output that have checksums, where the frame is here.
    pub(crate) directories: Vec<String>,
}

impl PartFile {
    /// The description of a part.
    pub(crate) fn new(
        identity: String,
        (part, of): (u32, u32),
        files: Vec<WeightPaths>,
        spans: &[Span],
        sha256: String,
        directories: Vec<String>,
    ) -> Self {
        let program = format!("anec {}", env!("CARGO_PKG_VERSION"));
        let spans = spans.iter().map(|span| (span.file, span.start, span.end)).collect();
        Self { format: FORMAT, program, identity, part, of, files, spans, sha256, directories }
    }

    /// Reads that of a directory.
    ///
    /// # Errors
    /// There is none, or it is malformed or of another version.
    pub(crate) fn open(directory: &Path) -> Result<Self, PartError> {
        let path = directory.join(PART_JSON);
        let part: Self = read(&path)?;
        if part.format != FORMAT {
            return Err(PartError::Format { path, found: part.format, expected: FORMAT });
        }
        Ok(part)
    }

    /// Bytes of `weights.bin`; none where the spans make no sense.
    fn bytes(&self) -> Option<u64> {
        self.spans.iter().try_fold(0_u64, |sum, (_, start, end)| sum.checked_add(end.checked_sub(*start)?))
    }
}

/// What `calibration.json` says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CalibrationFile {
    /// The program with its version.
    pub(crate) program: String,
    /// A digest of program, checkpoint and plan.
    pub(crate) identity: String,
}

impl CalibrationFile {
    /// That of a conversion.
    pub(crate) fn new(identity: String) -> Self {
        Self { program: format!("anec {}", env!("CARGO_PKG_VERSION")), identity }
    }

    /// Requires that a directory has the calibration of a conversion.
    ///
    /// # Errors
    /// It has none, or that of another conversion.
    pub(crate) fn check(directory: &Path, identity: &str) -> Result<(), PartError> {
        let found: Self = read(&directory.join(CALIBRATION_JSON))?;
        if found.identity == identity {
            return Ok(());
        }
        Err(PartError::Different { path: directory.to_owned(), program: found.program })
    }
}

/// Writes a description into a directory.
pub(crate) fn write_json(path: &Path, value: &impl Serialize) -> std::io::Result<()> {
    fs::write(path, serde_json::to_string(value)? + "\n")
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<T, PartError> {
    use std::io::Read as _;
    let failed = |source| PartError::Read { path: path.to_owned(), source };
    let mut text = Vec::new();
    fs::File::open(path).map_err(failed)?.take(MAX_JSON_BYTES).read_to_end(&mut text).map_err(failed)?;
    serde_json::from_slice(&text).map_err(|source| PartError::Json { path: path.to_owned(), source })
}
