//! `anec convert --part`.

use std::path::Path;
use std::process::ExitCode;

use fs_err as fs;
use serde::Serialize;

use super::calibration::Calibrating;
use super::convert::{Arguments, stopped};
use super::model_arguments::Prepared;
use crate::calibrate::{CalibrateError, CalibrationStore};
use crate::console::{Console, Failure};
use crate::interrupt::Interrupt;
use crate::options::{ByteSize, Part, Share};
use crate::output::checksums;
use crate::output::conversion::{self, ConversionError};
use crate::output::emit::{Context, Span};
use crate::output::parts::{
    CALIBRATION, CALIBRATION_JSON, CalibrationFile, FRAME, PART_JSON, PartFile, WEIGHTS_BIN, write_json,
};
use crate::output::staging::{Identity, Kind, Staging, StagingError, Unfinished};
use crate::output::weight_places::WeightPaths;
use crate::plan::ConversionPlan;
use crate::source::checkpoint::CheckpointError;

/// What `--json` prints.
#[derive(Serialize)]
struct Report<'a> {
    output: &'a Path,
    part: String,
    weight_bytes: u64,
}

/// What came of a part.
enum Made {
    /// So many bytes of weights.
    Whole(u64),
    /// `--resume` continues it.
    Stopped(Box<dyn std::error::Error>, bool),
}

/// Makes a part of a conversion.
pub(super) fn run(
    arguments: &Arguments,
    prepared: &Prepared,
    part: Part,
    console: Console,
) -> Result<ExitCode, Failure> {
    let plans: Vec<_> = prepared.plans.iter().collect();
    let calibration = Calibrating::new(&arguments.model.storage, prepared, console)?;
    let identity = Identity::portable(&prepared.checkpoint, &plans, &calibration.identity()?)
        .map_err(|error: CheckpointError| Failure::from(error))?;
    if part == Part::Calibration && !calibration.is_planned() {
        return Err(Failure {
            message: "Nothing is to be calibrated with these options".to_owned(),
            hint: Some("without calibration, the parts are `--part 1/N` to `--part N/N`".to_owned()),
        });
    }
    if let Some(directory) = &arguments.calibrated {
        if part == Part::Calibration || !calibration.is_planned() {
            let reason = if calibration.is_planned() { "it is what this part makes" } else { "nothing is calibrated" };
            console.warning(&format!("`--calibrated` has no effect: {reason}"));
        } else {
            CalibrationFile::check(directory, &identity.digest())?;
        }
    } else if calibration.is_planned() && part != Part::Calibration {
        console
            .status("note: every part calibrates the whole model; `--part calibration` does it once for all of them");
    }
    let unfinished = if arguments.resume { Unfinished::Resume } else { Unfinished::Discard };
    let own = identity.of_part(&part);
    let staging = Staging::open(Kind::Part, &arguments.output, arguments.force, unfinished, &own)?;
    let interrupt = Interrupt::on_signal().unwrap_or_else(|error| {
        console.warning(&format!("an interrupt will be taken for a kill: {error}"));
        Interrupt::default()
    });
    console.status(&format!("Converting part {part}"));
    let work =
        Work { arguments, prepared, plans, calibration, identity, staging: &staging, interrupt: &interrupt, console };
    let made = match part {
        Part::Calibration => work.calibrate()?,
        Part::Share(share) => work.share(share)?,
    };
    let bytes = match made {
        Made::Whole(bytes) => bytes,
        Made::Stopped(error, is_interrupt) => return Ok(stopped(staging, &*error, is_interrupt, console)),
    };
    staging.publish()?;
    let size = ByteSize(bytes);
    console.status(&format!("Wrote `{}`: part {part}, {size} of weights", arguments.output.display()));
    if arguments.json {
        let report = Report { output: &arguments.output, part: part.to_string(), weight_bytes: bytes };
        let failed = |message: String| Failure { message, hint: None };
        let json = serde_json::to_string_pretty(&report).map_err(|error| failed(error.to_string()))?;
        console.data(&(json + "\n")).map_err(|error| failed(error.to_string()))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// What a part is made with.
struct Work<'a> {
    arguments: &'a Arguments,
    prepared: &'a Prepared,
    plans: Vec<&'a ConversionPlan>,
    calibration: Calibrating<'a>,
    identity: Identity,
    staging: &'a Staging,
    interrupt: &'a Interrupt,
    console: Console,
}

impl Work<'_> {
    /// Makes the calibration that shares need.
    fn calibrate(&self) -> Result<Made, Failure> {
        match self.calibrated(&self.staging.calibration()) {
            Ok(_) => {}
            Err(error) => return stop(error),
        }
        let io = |error: std::io::Error| Failure::from(StagingError::from(error));
        let output = self.staging.path();
        fs::rename(self.staging.calibration(), output.join(CALIBRATION)).map_err(io)?;
        let description = CalibrationFile::new(self.identity.digest());
        write_json(&output.join(CALIBRATION_JSON), &description).map_err(io)?;
        Ok(Made::Whole(0))
    }

    /// What calibration found, or finds now.
    fn calibrated(&self, directory: &Path) -> Result<Option<CalibrationStore>, CalibrateError> {
        self.calibration.run(directory, &self.identity, self.interrupt, self.console)
    }

    /// Makes a share of the weights, and with the first everything else.
    fn share(&self, share: Share) -> Result<Made, Failure> {
        let directory = match &self.arguments.calibrated {
            Some(directory) => directory.join(CALIBRATION),
            None => self.staging.calibration(),
        };
        let calibrated = match self.calibrated(&directory) {
            Ok(calibrated) => calibrated,
            Err(error) => return stop(error),
        };
        match self.write(share, calibrated.as_ref()) {
            Ok(bytes) => Ok(Made::Whole(bytes)),
            Err(error) if error.may_pass() => {
                let is_interrupt = matches!(error, ConversionError::Interrupted);
                Ok(Made::Stopped(Box::new(error), is_interrupt))
            }
            Err(error) => Err(error.into()),
        }
    }

    fn write(&self, share: Share, calibration: Option<&CalibrationStore>) -> Result<u64, ConversionError> {
        let output = self.staging.path();
        let mut directories = Vec::new();
        if share.is_first() {
            let (warnings, written) =
                conversion::write_frame(&self.plans, &self.prepared.checkpoint, &output.join(FRAME))?;
            for warning in &warnings {
                self.console.warning(warning);
            }
            directories = written;
        }
        let progress = self.console.byte_progress(0);
        let context = Context {
            checkpoint: &self.prepared.checkpoint,
            progress: &progress,
            journal: self.staging.journal(),
            interrupt: self.interrupt,
            calibration,
        };
        let weights = output.join(WEIGHTS_BIN);
        let spans = conversion::write_share(&self.prepared.plans.longest, &context, share, &weights)?;
        progress.finish_and_clear();
        let files: Vec<WeightPaths> = conversion::weight_paths(&self.plans)?;
        let sha256 = checksums::checksum(&weights)?;
        let number = (share.number(), share.count());
        let part = PartFile::new(self.identity.digest(), number, files, &spans, sha256, directories);
        write_json(&output.join(PART_JSON), &part)?;
        Ok(spans.iter().map(Span::bytes).sum())
    }
}

/// A calibration that failed, for now or for good.
fn stop(error: CalibrateError) -> Result<Made, Failure> {
    if !error.may_pass() {
        return Err(error.into());
    }
    let is_interrupt = matches!(error, CalibrateError::Interrupted);
    Ok(Made::Stopped(Box::new(error), is_interrupt))
}
