//! The Neural Engine's own interface, as an engine: programs as text with their weight files, without Core ML.
//!
//! Apple does not document or support this interface. It changes from system to system, an app that uses it is not for the
//! App Store, and nothing of this has run on a Mac yet. What is written here follows what is reported of it; the feature
//! `private-ane` compiles the part that calls it, and no build has that by default.
//!
//! What calls the system is one small trait, [`Interface`], whose implementation is [`SystemInterface`]; nothing else here is
//! unsafe or bound to a system. The rest any machine can test with an interface of its own: in which order tensors are
//! bound, how they lie in memory, which files are laid out for the compiler, and that a program is compiled once.
//!
//! A program that takes integers, such as token ids, looks something up; the Neural Engine does not, so it is evaluated on
//! the CPU.
//!
//! # Source
//! maderix/ANE (`training/ane_runtime.h`: classes, selectors, surfaces), its h3.c-ane (`docs`: the identifier and the
//! selectors of macOS 26), ANE-LM (last axis of 32, `offset` 0), Orion (alphabetical order, 48 KiB, one size for all surfaces
//! of a direction), rustane (`program(1.3)` with build information, numbers of type int), jundot/omlx pull request 2975
//! (`compiledModelExists`, and that the system keeps what it compiled).

#[cfg(not(all(target_os = "macos", feature = "private-ane")))]
mod absent;
#[cfg(all(target_os = "macos", feature = "private-ane"))]
#[expect(
    unsafe_code,
    reason = "the interface has no bindings: messages go to objects by name, and each says why it is sound"
)]
mod apple;
mod engine;
mod error;
mod interface;
mod program;
mod staging;

#[cfg(not(all(target_os = "macos", feature = "private-ane")))]
pub use absent::AbsentInterface as SystemInterface;
#[cfg(all(target_os = "macos", feature = "private-ane"))]
pub use apple::AppleInterface as SystemInterface;
pub use engine::{PrivateAneBackend, PrivateAneFunction, PrivateAneModel};
pub use error::PrivateAneError;
pub use interface::{Interface, ProgramFiles, SurfaceSizes, WeightFile};

/// The engine of this system.
pub type SystemPrivateAne = PrivateAneBackend<SystemInterface>;

impl SystemPrivateAne {
    /// The interface of this system.
    ///
    /// # Errors
    /// The system has none, or this build does not call it.
    pub fn open_system() -> Result<Self, PrivateAneError> {
        #[cfg(all(target_os = "macos", feature = "private-ane"))]
        {
            Ok(Self::new(SystemInterface::open()?))
        }
        #[cfg(all(target_os = "macos", not(feature = "private-ane")))]
        {
            Err(PrivateAneError::NotBuilt)
        }
        #[cfg(not(target_os = "macos"))]
        {
            Err(PrivateAneError::Absent)
        }
    }
}
