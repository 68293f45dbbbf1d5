//! The wish of the user or the system that a command stops.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What a shell reports for a process that an interrupt ended.
pub(crate) const EXIT_CODE: u8 = 130;

/// Whether to stop; clones speak of the same wish.
#[derive(Clone, Debug, Default)]
pub(crate) struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// An interrupt that Ctrl-C and termination signals set. A second signal ends the process at once.
    ///
    /// # Errors
    /// The handler cannot be installed, or there is one already.
    pub(crate) fn on_signal() -> Result<Self, ctrlc::Error> {
        Self::on_signal_after(|| {})
    }

    /// As [`on_signal`](Self::on_signal); what is given is done before a second signal ends the process.
    ///
    /// # Errors
    /// As [`on_signal`](Self::on_signal).
    pub(crate) fn on_signal_after(last: impl Fn() + Send + 'static) -> Result<Self, ctrlc::Error> {
        let interrupt = Self::default();
        let wish = interrupt.clone();
        ctrlc::set_handler(move || wish.wish(&last))?;
        Ok(interrupt)
    }

    /// Wishes that the command stops; where that was wished before, ends the process after what is given.
    pub(crate) fn wish(&self, last: impl Fn()) {
        if self.0.swap(true, Ordering::Relaxed) {
            last();
            std::process::exit(EXIT_CODE.into());
        }
    }

    /// Whether to stop; the wish is granted, and a later signal is a new one.
    pub(crate) fn take(&self) -> bool {
        self.0.swap(false, Ordering::Relaxed)
    }

    /// Whether to stop.
    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
