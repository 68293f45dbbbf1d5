//! Calibration as a step of `anec convert`, and what `anec plan` says of it.

use std::path::Path;
use std::time::Duration;

use fs_err as fs;
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::model_arguments::Prepared;
use super::storage_arguments::StorageArguments;
use crate::calibrate::{
    CalibrateError, Calibration, CalibrationCost, CalibrationSource, CalibrationStore, Machine, Palettes, Strength,
    Work, check_source, palettes,
};
use crate::console::{Console, Failure};
use crate::interrupt::Interrupt;
use crate::options::ByteSize;
use crate::output::staging::Identity;
use crate::plan::ConversionPlan;
use crate::source::checkpoint::Checkpoint;

/// Files of a checkpoint that decide what becomes of a text.
const TOKENIZER_FILES: [&str; 4] =
    ["tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "generation_config.json"];

/// What is to be calibrated, and with what.
pub(super) struct PlannedCalibration {
    source: CalibrationSource,
    palettes: Palettes,
}

/// What a calibration takes, as data.
#[derive(Serialize)]
pub(super) struct CalibrationReport {
    source: String,
    tokens: usize,
    seconds: f64,
    operations: Work,
    gigaflops_per_second: f64,
    threads: usize,
    memory_bytes: u64,
    disk_bytes: u64,
}

impl PlannedCalibration {
    /// What a conversion calibrates; none where nothing is to be calibrated.
    ///
    /// # Errors
    /// Options contradict each other, or the architecture has layers that calibration does not know.
    pub(super) fn new(storage: &StorageArguments, plan: &ConversionPlan) -> Result<Option<Self>, Failure> {
        let recipe = &plan.options.storage;
        let Some(source) = storage.calibration(recipe)? else { return Ok(None) };
        Ok(Some(Self { source, palettes: palettes(&plan.decoder, recipe, &plan.head.parts())? }))
    }

    /// Requires that the checkpoint can be calibrated, before work starts, and warns of what is doubtful.
    pub(super) fn check(
        &self,
        checkpoint: &Checkpoint,
        plan: &ConversionPlan,
        console: Console,
    ) -> Result<(), CalibrateError> {
        for doubt in check_source(&self.source, checkpoint, &plan.decoder)? {
            console.warning(&doubt);
        }
        Ok(())
    }

    /// What it takes on this machine.
    pub(super) fn report(&self, plan: &ConversionPlan) -> CalibrationReport {
        let cost = CalibrationCost::of(&plan.decoder, &self.palettes, Strength::default(), &self.source);
        let machine = Machine::measured();
        CalibrationReport {
            source: self.source.to_string(),
            tokens: cost.tokens,
            seconds: cost.time(&machine).as_secs_f64(),
            operations: cost.work,
            gigaflops_per_second: machine.rate / 1e9,
            threads: machine.threads,
            memory_bytes: cost.memory_bytes,
            disk_bytes: cost.disk_bytes,
        }
    }
}

impl CalibrationReport {
    /// For people.
    pub(super) fn text(&self) -> String {
        format!(
            "{}, up to {} tokens: {} at {:.0} GFLOP/s, the rate of matrix products here on {} threads; {} of memory, {} \
             beside the output",
            self.source,
            self.tokens,
            about(Duration::try_from_secs_f64(self.seconds).unwrap_or(Duration::MAX)),
            self.gigaflops_per_second,
            self.threads,
            ByteSize(self.memory_bytes),
            ByteSize(self.disk_bytes)
        )
    }
}

/// A time that was estimated, in words.
fn about(time: Duration) -> String {
    const MINUTE: u64 = 60;
    const HOUR: u64 = 60 * MINUTE;
    match time.as_secs() {
        seconds if seconds < 10 => "a few seconds".to_owned(),
        seconds if seconds < 2 * MINUTE => format!("about {} s", seconds / 10 * 10),
        seconds if seconds < 2 * HOUR => format!("about {} min", (seconds + MINUTE / 2) / MINUTE),
        #[expect(clippy::cast_precision_loss, reason = "for people")]
        seconds => format!("about {:.1} h", seconds as f64 / HOUR as f64),
    }
}

/// A calibration that is carried out, if anything is.
pub(super) struct Calibrating<'a> {
    prepared: &'a Prepared,
    planned: Option<PlannedCalibration>,
}

impl<'a> Calibrating<'a> {
    /// Looks at everything that may speak against it, and says how long it takes.
    pub(super) fn new(storage: &StorageArguments, prepared: &'a Prepared, console: Console) -> Result<Self, Failure> {
        let plan = &prepared.plans.longest;
        let planned = PlannedCalibration::new(storage, plan)?;
        if let Some(planned) = &planned {
            planned.check(&prepared.checkpoint, plan, console)?;
            if !console.quiet {
                console.status(&format!("Calibrating with {}", planned.report(plan).text()));
            }
        }
        Ok(Self { prepared, planned })
    }

    /// Whether anything is to be calibrated.
    pub(super) fn is_planned(&self) -> bool {
        self.planned.is_some()
    }

    /// What decides which tokens there are; files count by their content.
    pub(super) fn identity(&self) -> Result<String, CalibrateError> {
        let Some(PlannedCalibration { source, .. }) = &self.planned else { return Ok(String::new()) };
        let mut digest = Sha256::new();
        for name in TOKENIZER_FILES {
            if let Some(path) = self.prepared.checkpoint.companion(name)? {
                digest.update(Sha256::digest(fs::read(path).map_err(CalibrateError::File)?));
            }
        }
        if let CalibrationSource::File(path) = source {
            digest.update(fs::read(path).map_err(CalibrateError::File)?);
        }
        Ok(format!("{source} {}", base16ct::lower::encode_string(&digest.finalize())))
    }

    /// Calibrates, where something is to be calibrated, and keeps results in a directory.
    pub(super) fn run(
        &self,
        directory: &Path,
        identity: &Identity,
        interrupt: &Interrupt,
        console: Console,
    ) -> Result<Option<CalibrationStore>, CalibrateError> {
        let Some(PlannedCalibration { source, palettes }) = &self.planned else { return Ok(None) };
        let progress = console.count_progress();
        progress.set_message("Calibrating");
        let calibration = Calibration {
            checkpoint: &self.prepared.checkpoint,
            plan: &self.prepared.plans.longest.decoder,
            palettes,
            strength: Strength::default(),
            source,
            directory,
            identity: &format!("{} {} {}", identity.program, identity.checkpoint, identity.plan),
            interrupted: &|| interrupt.is_set(),
        };
        let (store, tokens) = calibration.run(&mut |at| {
            progress.set_length(at.total as u64);
            progress.set_position(at.done as u64);
        })?;
        progress.finish_and_clear();
        console.status(&format!("calibrated with {} tokens: {}", tokens.tokens.tokens.len(), tokens.description));
        Ok(Some(store))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_no_more_exactly_than_they_are_known() {
        let told = [3, 59, 119, 150, 7199, 9000].map(|seconds| about(Duration::from_secs(seconds)));
        assert_eq!(told, ["a few seconds", "about 50 s", "about 110 s", "about 3 min", "about 120 min", "about 2.5 h"]);
    }
}
