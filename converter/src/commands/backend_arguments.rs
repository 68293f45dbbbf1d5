//! The options of commands that can run a model on a device.

use std::path::PathBuf;

use anec_runtime::backend::coreml::{Cancellation, CoreMlError, CoreMlOptions, SystemBackend, Units};
use anec_runtime::backend::private_ane::{PrivateAneError, SystemPrivateAne};
use anec_runtime::backend::{BackendError, Engine};
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
    /// The Neural Engine's own interface, which Apple does not support and we have not tried: texts of the layout `kernels`, on
    /// a Mac, in builds with the feature `private-ane`.
    PrivateAne,
}

/// What runs a model on a Mac.
pub(super) enum Device {
    CoreMl(SystemBackend),
    PrivateAne(SystemPrivateAne),
}

/// What an option is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum For {
    /// Any device.
    Devices,
    /// Core ML alone.
    CoreMl,
}

/// An option that says something about a device: its name, what it is for, and whether it was given.
pub(super) type DeviceOption = (&'static str, For, bool);

impl Device {
    /// As any engine.
    pub(super) fn engine(&self) -> &dyn Engine {
        match self {
            Self::CoreMl(backend) => backend,
            Self::PrivateAne(backend) => backend,
        }
    }

    /// Version and build of the system.
    pub(super) fn system(&self) -> Result<String, BackendError> {
        match self {
            Self::CoreMl(backend) => backend.system(),
            Self::PrivateAne(backend) => Ok(backend.system()),
        }
    }
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
    /// The device that is asked for; `None` for the reference engine. Options that would do nothing must not be given: those
    /// here, and `others` of the command.
    pub(super) fn device(&self, others: &[DeviceOption]) -> Result<Option<Device>, BackendArgumentsError> {
        let own = [("--units", For::CoreMl, self.units.is_some()), ("--cache", For::CoreMl, self.cache.is_some())];
        let is_idle = |(_, what, given): &&DeviceOption| {
            *given
                && match self.backend {
                    BackendName::Reference => true,
                    BackendName::CoreMl => false,
                    BackendName::PrivateAne => *what == For::CoreMl,
                }
        };
        if let Some((option, ..)) = own.iter().chain(others).find(is_idle) {
            return Err(match self.backend {
                BackendName::PrivateAne => BackendArgumentsError::NeedsCoreMl { option },
                _ => BackendArgumentsError::NeedsDevice { option },
            });
        }
        Ok(match self.backend {
            BackendName::Reference => None,
            BackendName::CoreMl => {
                let cache = self.cache.clone().unwrap_or_else(default_cache);
                let options = CoreMlOptions { units: self.units(), cache, cancellation: Cancellation::default() };
                Some(Device::CoreMl(SystemBackend::open_system(options)?))
            }
            BackendName::PrivateAne => Some(Device::PrivateAne(SystemPrivateAne::open_system()?)),
        })
    }

    /// As [`Self::device`], of a command whose programs have weights as inputs.
    pub(super) fn device_for_training(&self) -> Result<Option<Device>, BackendArgumentsError> {
        match self.backend {
            BackendName::PrivateAne => Err(BackendArgumentsError::NoTraining),
            _ => self.device(&[]),
        }
    }

    /// What runs the model, for reports.
    pub(super) fn name(&self) -> String {
        match self.backend {
            BackendName::Reference => "reference".to_owned(),
            BackendName::CoreMl => format!("coreml {}", self.units()),
            BackendName::PrivateAne => "private-ane".to_owned(),
        }
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
    /// An option that would do nothing with the Neural Engine's own interface.
    #[error("`{option}` needs `--backend coreml`, and not `private-ane`")]
    NeedsCoreMl {
        /// The option.
        option: &'static str,
    },
    /// Training programs are none for the Neural Engine's own interface.
    #[error(
        "`--backend private-ane` cannot train: weights are inputs of these programs, and their last axes are no multiples of \
         16, which it needs"
    )]
    NoTraining,
    /// Core ML is not there.
    #[error(transparent)]
    CoreMl(#[from] CoreMlError),
    /// The Neural Engine's own interface is not there.
    #[error(transparent)]
    PrivateAne(#[from] PrivateAneError),
}

impl Hint for BackendArgumentsError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::NeedsDevice { .. } => Some("the reference engine, the default, runs on no device".to_owned()),
            Self::NeedsCoreMl { .. } => {
                Some("it runs on the Neural Engine and nothing else, and the system keeps what it compiles".to_owned())
            }
            Self::NoTraining => Some("`--backend coreml` trains on a Mac".to_owned()),
            Self::CoreMl(error) => Hint::hint(error),
            Self::PrivateAne(error) => error.hint().map(str::to_owned),
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
