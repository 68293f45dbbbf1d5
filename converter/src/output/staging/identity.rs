//! Which conversion an unfinished output belongs to: the program, the checkpoint and the plan that it was begun with.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::io;
use std::path::Path;
use std::time::UNIX_EPOCH;

use fs_err as fs;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::output::checksums::for_each_piece;
use crate::plan::ConversionPlan;
use crate::source::checkpoint::{Checkpoint, CheckpointError};
use crate::weights::weight_file::Job;

/// Digests of everything that decides the bytes of an output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    /// The build of anec: two builds of one version may encode differently.
    pub(crate) program: String,
    /// The checkpoint: config, tensors, and size and time of its files.
    pub(crate) checkpoint: String,
    /// The plan: packages and the encoding of every weight.
    pub(crate) plan: String,
}

impl Identity {
    /// The identity of a conversion by this program.
    ///
    /// `calibration` says what weights are calibrated with.
    pub(crate) fn new(checkpoint: &Checkpoint, plans: &[&ConversionPlan], calibration: &str) -> io::Result<Self> {
        let plan = plan_digest(plans, calibration);
        Ok(Self { program: program(), checkpoint: checkpoint_digest(checkpoint)?, plan })
    }

    /// The identity of a conversion that several machines share: the same wherever the checkpoint is and whenever it was
    /// copied there. Weights are known by the first row of every tensor.
    ///
    /// # Errors
    /// A tensor cannot be read.
    pub(crate) fn portable(
        checkpoint: &Checkpoint,
        plans: &[&ConversionPlan],
        calibration: &str,
    ) -> Result<Self, CheckpointError> {
        let plan = plan_digest(plans, calibration);
        Ok(Self { program: program(), checkpoint: content_digest(checkpoint)?, plan })
    }

    /// The same conversion, of which only a part is made.
    pub(crate) fn of_part(&self, part: &impl std::fmt::Display) -> Self {
        Self { plan: format!("{} part {part}", self.plan), ..self.clone() }
    }

    /// All of it in one word.
    pub(crate) fn digest(&self) -> String {
        let Self { program, checkpoint, plan } = self;
        base16ct::lower::encode_string(&Sha256::digest(format!("{program}\n{checkpoint}\n{plan}")))
    }

    /// The identity of an output that is never resumed.
    pub(crate) fn once() -> Self {
        Self { program: program(), checkpoint: String::new(), plan: String::new() }
    }

    /// What of another identity differs.
    pub(super) fn difference(&self, other: &Self) -> Option<&'static str> {
        let parts = [
            (self.program == other.program, "another build of anec"),
            (self.checkpoint == other.checkpoint, "another checkpoint, or one that has changed since"),
            (self.plan == other.plan, "other options"),
        ];
        parts.into_iter().find_map(|(same, what)| (!same).then_some(what))
    }
}

/// Version, length and checksum of the running program; of a program that cannot be read the version must do.
///
/// It tells builds apart, which nobody forges, and is made by every conversion, so it has to be quick: a CRC.
fn program() -> String {
    let content = std::env::current_exe().and_then(|path| length_and_crc(&path)).unwrap_or_default();
    format!("{} {content}", env!("CARGO_PKG_VERSION"))
}

fn length_and_crc(path: &Path) -> io::Result<String> {
    let (mut length, mut hasher) = (0, crc32fast::Hasher::new());
    for_each_piece(path, |bytes| {
        length += bytes.len();
        hasher.update(bytes);
    })?;
    Ok(format!("{length} {:08x}", hasher.finalize()))
}

/// Weights are known by the size and times of their files, as build tools do: reading them takes as long as converting.
fn checkpoint_digest(checkpoint: &Checkpoint) -> io::Result<String> {
    let mut hasher = Sha256::new();
    add(&mut hasher, checkpoint.config_json());
    let mut files = BTreeSet::new();
    for name in checkpoint.tensor_names() {
        let tensor = checkpoint.tensor(name);
        add(&mut hasher, &(name, tensor));
        files.extend(tensor.map(|tensor| tensor.file.to_owned()));
    }
    for file in files {
        let metadata = fs::metadata(&file)?;
        let modified = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        add(&mut hasher, &(metadata.len(), modified, changed(&metadata)));
    }
    Ok(base16ct::lower::encode_string(&hasher.finalize()))
}

/// Config, shapes, and the first row of every tensor that can be read.
fn content_digest(checkpoint: &Checkpoint) -> Result<String, CheckpointError> {
    let mut hasher = Sha256::new();
    add(&mut hasher, checkpoint.config_json());
    let mut row = Vec::new();
    for name in checkpoint.tensor_names() {
        add(&mut hasher, &(name, checkpoint.tensor(name).map(|tensor| tensor.shape)));
        // What cannot be converted is not.
        if checkpoint.check_usable(name).is_ok() {
            checkpoint.rows_f32(name, 0..1, &mut row)?;
            for value in &row {
                hasher.update(value.to_le_bytes());
            }
        }
    }
    Ok(base16ct::lower::encode_string(&hasher.finalize()))
}

/// When a file was last changed, which an edit in place moves also where it sets the time of modification back; 0 where systems
/// do not say.
#[cfg(unix)]
fn changed(metadata: &std::fs::Metadata) -> (i64, i64) {
    use std::os::unix::fs::MetadataExt as _;
    (metadata.ctime(), metadata.ctime_nsec())
}

#[cfg(not(unix))]
fn changed(_metadata: &std::fs::Metadata) -> (i64, i64) {
    (0, 0)
}

fn plan_digest(plans: &[&ConversionPlan], calibration: &str) -> String {
    let mut hasher = Sha256::new();
    add(&mut hasher, &calibration);
    for plan in plans {
        add(&mut hasher, &(plan.directory_name(), &plan.options.emit));
    }
    // The others have the weights of the first.
    for file in plans.first().iter().flat_map(|plan| &plan.files) {
        add(&mut hasher, &(&file.stem, file.weights.layout()));
        for job in file.weights.jobs() {
            match job {
                // Tables are large, and longer still as text.
                Job::Generated { bytes, at } => {
                    add(&mut hasher, at);
                    hasher.update(bytes);
                }
                Job::Weight(weight) => add(&mut hasher, weight),
            }
        }
    }
    base16ct::lower::encode_string(&hasher.finalize())
}

/// Adds what the debug form says; digests are compared only between runs of one build.
fn add(hasher: &mut Sha256, value: &impl Debug) {
    hasher.update(format!("{value:?}\n"));
}
