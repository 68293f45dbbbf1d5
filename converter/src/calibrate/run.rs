//! A whole calibration: tokens, layers, head; kept on disk after each, so that a stopped one goes on.

use std::path::Path;

use sha2::{Digest as _, Sha256};

use super::engine::{Calibrator, Progress};
use super::error::CalibrateError;
use super::settings::{Palettes, Strength};
use super::store::CalibrationStore;
use super::tokens::{CalibrationSource, CalibrationTokens, calibration_tokens};
use crate::model::decoder_plan::DecoderPlan;
use crate::source::checkpoint::Checkpoint;

/// What to calibrate.
pub struct Calibration<'a> {
    /// The weights.
    pub checkpoint: &'a Checkpoint,
    /// What they are.
    pub plan: &'a DecoderPlan,
    /// Which tensors get which palettes.
    pub palettes: &'a Palettes,
    /// How.
    pub strength: Strength,
    /// With which tokens; not none.
    pub source: &'a CalibrationSource,
    /// Where results are kept.
    pub directory: &'a Path,
    /// What tells this checkpoint and build from others.
    pub identity: &'a str,
    /// Whether to stop.
    pub interrupted: &'a (dyn Fn() -> bool + Sync),
}

impl Calibration<'_> {
    /// Calibrates, or goes on with what is in the directory, and tells how far it is after each layer.
    ///
    /// # Errors
    /// Input cannot be used, the disk is full, or the calibration was interrupted; all finished layers are kept.
    pub fn run(
        &self,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(CalibrationStore, CalibrationTokens), CalibrateError> {
        let proceed = || if (self.interrupted)() { Err(CalibrateError::Interrupted) } else { Ok(()) };
        let tokens = self.tokens(&proceed)?;
        let mut store = CalibrationStore::new(self.directory, self.identity(&tokens))?;
        let layers = self.plan.num_hidden_layers;
        let mut tell = |done| progress(Progress { done, total: layers + 1 });
        tell(0);
        let mut calibrator = Calibrator::new(self.checkpoint, self.plan, self.palettes, self.strength, &tokens.tokens)?;
        if let Some((done, residual)) = store.residual()
            && done <= layers
            && (0..done).all(|layer| store.find(&file_name(layer)))
        {
            calibrator.go_on(done, residual);
        }
        while let Some(tensors) = calibrator.next_layer(&proceed)? {
            let done = calibrator.layers_done();
            store.put(&file_name(done - 1), &tensors)?;
            store.put_residual(done, calibrator.residual())?;
            tell(done);
        }
        if !store.find(HEAD) {
            let head = calibrator.head(&proceed)?;
            if !head.is_empty() {
                store.put(HEAD, &head)?;
            }
        }
        tell(layers + 1);
        Ok((store, tokens))
    }

    fn tokens(
        &self,
        proceed: &(dyn Fn() -> Result<(), CalibrateError> + Sync),
    ) -> Result<CalibrationTokens, CalibrateError> {
        let source = format!("{} {}", self.identity, self.source);
        let store = CalibrationStore::new(self.directory, Sha256::digest(source.as_bytes()).into())?;
        // A file may have changed since.
        if let Some(tokens) = store.tokens().filter(|_| *self.source == CalibrationSource::Builtin) {
            return Ok(tokens);
        }
        let tokens = calibration_tokens(self.source, self.checkpoint, self.plan, proceed)?;
        store.put_tokens(&tokens)?;
        Ok(tokens)
    }

    fn identity(&self, tokens: &CalibrationTokens) -> [u8; 32] {
        let settings = format!("{} {:?} {:?} {}", self.identity, self.palettes, self.strength, tokens.tokens.length);
        let mut digest = Sha256::new().chain_update(settings.as_bytes());
        for token in &tokens.tokens.tokens {
            digest.update(token.to_le_bytes());
        }
        digest.finalize().into()
    }
}

const HEAD: &str = "head";

fn file_name(layer: usize) -> String {
    format!("layer_{layer:04}")
}
