//! The picture of a training in the terminal, and the keys that stop it.
//!
//! The terminal is given back when the dashboard is dropped, by a panic (ratatui's hook), and before a second wish to stop ends the
//! process.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::progress::Progress;
use crate::interrupt::Interrupt;

/// How often keys are looked for.
const BETWEEN_KEYS: Duration = Duration::from_millis(100);

/// The least time between two pictures.
const BETWEEN_PICTURES: Duration = Duration::from_millis(100);

/// Whether the terminal is taken.
static IS_OPEN: AtomicBool = AtomicBool::new(false);

/// Gives the terminal back, where it is taken.
pub(super) fn give_back() {
    if IS_OPEN.swap(false, Ordering::Relaxed) {
        ratatui::restore();
    }
}

/// A picture that is drawn again and again.
pub(super) struct Dashboard {
    terminal: DefaultTerminal,
    drawn: Option<Instant>,
    interrupt: Interrupt,
    keys: Option<JoinHandle<()>>,
    is_closed: Arc<AtomicBool>,
}

impl Dashboard {
    /// Takes the terminal.
    ///
    /// # Errors
    /// There is none that can be taken.
    pub(super) fn open(interrupt: &Interrupt) -> io::Result<Self> {
        IS_OPEN.store(true, Ordering::Relaxed);
        let terminal = ratatui::try_init().inspect_err(|_| give_back())?;
        let is_closed = Arc::new(AtomicBool::new(false));
        let (wish, closed) = (interrupt.clone(), Arc::clone(&is_closed));
        let keys = std::thread::Builder::new().name("keys".to_owned()).spawn(move || listen(&wish, &closed));
        let mut dashboard = Self { terminal, drawn: None, interrupt: interrupt.clone(), keys: None, is_closed };
        dashboard.keys = Some(keys?);
        Ok(dashboard)
    }

    /// Draws the state, unless it was drawn just now. That it cannot be drawn is nobody's failure.
    pub(super) fn draw(&mut self, progress: &mut Progress) {
        if self.drawn.is_some_and(|drawn| drawn.elapsed() < BETWEEN_PICTURES) {
            return;
        }
        progress.is_stopping = self.interrupt.is_set();
        let _ = self.terminal.draw(|frame| progress.draw(frame));
        self.drawn = Some(Instant::now());
    }
}

impl Drop for Dashboard {
    fn drop(&mut self) {
        self.is_closed.store(true, Ordering::Relaxed);
        if let Some(keys) = self.keys.take() {
            // A thread that panicked has nothing left to do.
            let _ = keys.join();
        }
        give_back();
    }
}

/// Whether a key wishes that the training stops.
fn stops(key: KeyEvent) -> bool {
    let is_interrupt = key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
    key.kind != KeyEventKind::Release && (is_interrupt || key.code == KeyCode::Char('q'))
}

/// Sets the wish when its key is pressed, and ends the process when it is pressed again: the terminal does not send a signal while
/// it is drawn on.
fn listen(interrupt: &Interrupt, is_closed: &AtomicBool) {
    while !is_closed.load(Ordering::Relaxed) {
        let event = match event::poll(BETWEEN_KEYS) {
            Ok(true) => event::read(),
            Ok(false) => continue,
            // Without keys, signals are left.
            Err(_) => return,
        };
        if let Ok(Event::Key(key)) = event
            && stops(key)
        {
            interrupt.wish(give_back);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    use super::*;

    /// Set for the process that panics.
    const PANICS: &str = "ANEC_TEST_DASHBOARD_PANICS";
    /// The name of the test, for that process.
    const NAME: &str = "commands::train::dashboard::tests::a_panic_gives_the_terminal_back_before_it_is_told";
    /// What a terminal is told when the picture goes.
    const LEAVE: &str = "\u{1b}[?1049l";

    /// The process that panics need not have a terminal: what a panic does is settled before one is taken.
    #[test]
    fn a_panic_gives_the_terminal_back_before_it_is_told() {
        if std::env::var_os(PANICS).is_some() {
            // Not given back by a drop.
            std::mem::forget(Dashboard::open(&Interrupt::default()));
            io::stdout().write_all(b"taken").expect("a pipe");
            panic!("planned");
        }
        let itself = std::env::current_exe().expect("a path");
        let mut command = Command::new(itself);
        command.args([NAME, "--exact", "--nocapture"]).env(PANICS, "1").stdin(Stdio::null());
        let output = command.output().expect("started");
        let [stdout, stderr] = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        let (_, behind) = stdout.split_once("taken").unwrap_or_else(|| panic!("{stdout} {stderr}"));
        assert!(behind.contains(LEAVE), "{stdout:?}");
        assert!(stderr.contains("planned"), "{stderr}");
    }

    #[test]
    fn only_the_keys_that_are_told_stop_a_training() {
        let key = |character, modifiers| KeyEvent::new(KeyCode::Char(character), modifiers);
        assert!(stops(key('c', KeyModifiers::CONTROL)) && stops(key('q', KeyModifiers::NONE)));
        assert!(!stops(key('c', KeyModifiers::NONE)) && !stops(key('x', KeyModifiers::CONTROL)));
        let released = KeyEvent { kind: KeyEventKind::Release, ..key('q', KeyModifiers::NONE) };
        assert!(!stops(released));
    }
}
