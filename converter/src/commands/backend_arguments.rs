//! The options of commands that can run a model on a device.

use std::path::PathBuf;

use anec_runtime::backend::coreml::{Cancellation, CoreMlError, CoreMlOptions, SystemBackend, Units};
use anec_runtime::session::SessionError;
use clap::{Args, ValueEnum};

use crate::error::Hint;

/// What runs the model.
#[derive(Debug, Args)]
pub struct BackendArguments {
    /// What runs the model.
    #[arg(long, value_enum, default_value_t)]
    backend: BackendName,

    /// Where Core ML may run it [default: cpu-and-ne].
    #[arg(long, value_enum)]
    units: Option<UnitsName>,

    /// Where packages that Core ML compiles are kept [default: anec in the system's directory for caches].
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
}

/// What runs a model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum BackendName {
    /// The reference engine, on any machine.
    #[default]
    Reference,
    /// Core ML, on a Mac with macOS 15 or later.
    #[value(name = "coreml")]
    CoreMl,
}

/// Where Core ML may run a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum UnitsName {
    /// The CPU alone.
    CpuOnly,
    /// The CPU and the Neural Engine.
    CpuAndNe,
    /// These and the GPU.
    All,
}

impl BackendArguments {
    /// Core ML, if it is asked for; `None` for the reference engine, with which none of the options for a device may be
    /// given: those here, and `others` of the command.
    pub(super) fn core_ml(
        &self,
        others: &[(&'static str, bool)],
    ) -> Result<Option<SystemBackend>, BackendArgumentsError> {
        if self.backend == BackendName::Reference {
            let own = [("--units", self.units.is_some()), ("--cache", self.cache.is_some())];
            return match own.iter().chain(others).find(|(_, given)| *given) {
                Some((option, _)) => Err(BackendArgumentsError::NeedsDevice { option }),
                None => Ok(None),
            };
        }
        let cache = self.cache.clone().unwrap_or_else(default_cache);
        let options = CoreMlOptions { units: self.units(), cache, cancellation: Cancellation::default() };
        Ok(Some(SystemBackend::open_system(options)?))
    }

    /// Where Core ML may run the model.
    pub(super) fn units(&self) -> Units {
        match self.units {
            Some(UnitsName::CpuOnly) => Units::CpuOnly,
            None | Some(UnitsName::CpuAndNe) => Units::CpuAndNeuralEngine,
            Some(UnitsName::All) => Units::All,
        }
    }
}

/// A backend that cannot be had, or not with these options.
#[derive(Debug, thiserror::Error)]
pub enum BackendArgumentsError {
    /// An option that would do nothing.
    #[error("`{option}` needs `--backend coreml`")]
    NeedsDevice {
        /// The option.
        option: &'static str,
    },
    /// Core ML is not there.
    #[error(transparent)]
    CoreMl(#[from] CoreMlError),
}

impl Hint for BackendArgumentsError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::NeedsDevice { .. } => Some("the reference engine, the default, runs on no device".to_owned()),
            Self::CoreMl(error) => Hint::hint(error),
        }
    }
}

/// Where macOS keeps what can be made again.
fn default_cache() -> PathBuf {
    match std::env::home_dir() {
        Some(home) => home.join("Library/Caches/anec"),
        None => std::env::temp_dir().join("anec"),
    }
}

impl Hint for CoreMlError {
    fn hint(&self) -> Option<String> {
        self.hint().map(str::to_owned)
    }
}

impl Hint for SessionError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Backend(error) => error.hint().map(str::to_owned),
            Self::ArgmaxOnly => {
                Some("convert once more without --argmax to verify; the layers are the same".to_owned())
            }
            _ => None,
        }
    }
}
