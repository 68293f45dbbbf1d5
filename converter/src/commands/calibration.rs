//! Calibration as a step of `anec convert`.

use std::path::Path;

use fs_err as fs;
use sha2::{Digest as _, Sha256};

use super::model_arguments::Prepared;
use super::storage_arguments::StorageArguments;
use crate::calibrate::{
    CalibrateError, Calibration, CalibrationSource, CalibrationStore, Palettes, Strength, palettes,
};
use crate::console::{Console, Failure};
use crate::interrupt::Interrupt;
use crate::output::staging::Identity;

/// What is to be calibrated, if anything is.
pub(super) struct Calibrating<'a> {
    prepared: &'a Prepared,
    source: Option<CalibrationSource>,
    palettes: Palettes,
}

impl<'a> Calibrating<'a> {
    pub(super) fn new(storage: &StorageArguments, prepared: &'a Prepared) -> Result<Self, Failure> {
        let plan = &prepared.plans.longest;
        let source = storage.calibration(&plan.options.storage);
        let palettes = match &source {
            Some(_) => palettes(&plan.decoder, &plan.options.storage)?,
            None => Palettes::new(),
        };
        Ok(Self { prepared, source, palettes })
    }

    /// What decides which tokens there are; files count by their content.
    pub(super) fn identity(&self) -> String {
        match &self.source {
            None => String::new(),
            Some(CalibrationSource::File(path)) => {
                format!(
                    "{} {}",
                    path.display(),
                    fs::read(path)
                        .map(|text| base16ct::lower::encode_string(&Sha256::digest(text)))
                        .unwrap_or_default()
                )
            }
            Some(source) => source.to_string(),
        }
    }

    /// Calibrates, where something is to be calibrated, and keeps results in a directory.
    pub(super) fn run(
        &self,
        directory: &Path,
        identity: &Identity,
        interrupt: &Interrupt,
        console: Console,
    ) -> Result<Option<CalibrationStore>, CalibrateError> {
        let Some(source) = &self.source else { return Ok(None) };
        let progress = console.count_progress();
        progress.set_message("Calibrating");
        let calibration = Calibration {
            checkpoint: &self.prepared.checkpoint,
            plan: &self.prepared.plans.longest.decoder,
            palettes: &self.palettes,
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
