//! Core ML, as an engine.
//!
//! What calls Core ML is one small trait, [`Framework`], whose implementation for this system is
//! [`SystemFramework`]; nothing else
//! here is unsafe or bound to a system. The rest is plain code that any machine can test with a framework of its own: which
//! files are compiled and kept ([`CompileCache`]), when a compiled model is stale, what a failure means ([`Cause`]), one
//! serial queue for all calls, cancellation, and where operations run ([`ComputePlan`]).
//!
//! Nothing of this has run on a Mac yet; docs/device.md tells what a first run must show.

#[cfg(not(target_os = "macos"))]
mod absent;
#[cfg(target_os = "macos")]
#[expect(unsafe_code, reason = "Core ML is called through bindings that are unsafe; each use says why it is sound")]
mod apple;
mod cache;
mod compute_plan;
mod engine;
mod error;
mod failure;
mod framework;
mod queue;
mod strides;

#[cfg(not(target_os = "macos"))]
pub use absent::AbsentFramework as SystemFramework;
#[cfg(target_os = "macos")]
pub use apple::AppleFramework as SystemFramework;
#[cfg(all(target_os = "macos", feature = "private-ane"))]
pub(super) use apple::{file_url, ns_error};
pub use cache::{CacheError, CompileCache, Kept, content_hash};
pub use compute_plan::{ComputePlan, Device, DeviceShare, PlannedOperation, Shares};
pub use engine::{CoreMlBackend, CoreMlFunction, CoreMlModel, CoreMlOptions, CoreMlState};
pub use error::CoreMlError;
pub use failure::{Cause, FrameworkError};
pub use framework::{Framework, LoadRequest, Units};
pub use queue::{Cancellation, QueueError};
pub use strides::{Layout, LayoutError, NumberFormat, read_strided, write_strided};

/// The engine of this system.
pub type SystemBackend = CoreMlBackend<SystemFramework>;

impl SystemBackend {
    /// The Core ML of this system.
    ///
    /// # Errors
    /// The system has none.
    pub fn open_system(options: CoreMlOptions) -> Result<Self, CoreMlError> {
        #[cfg(target_os = "macos")]
        {
            if !SystemFramework::has_states() {
                return Err(CoreMlError::Absent);
            }
            Ok(Self::new(options, SystemFramework::default))
        }
        #[cfg(not(target_os = "macos"))]
        {
            drop(options);
            Err(CoreMlError::Absent)
        }
    }
}
