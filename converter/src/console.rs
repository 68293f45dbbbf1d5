//! The only door to the terminal: data on stdout, everything else on stderr. The dashboard of `anec train` takes the whole terminal
//! and gives it back.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::{self, IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::error::{Hint, render};

/// What a command may write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Console {
    /// Only errors.
    pub quiet: bool,
}

impl Console {
    /// Writes data for the user or a pipe. A reader who has seen enough, such as `head`, is no failure.
    ///
    /// # Errors
    /// The disk is full.
    pub fn data(self, text: &str) -> io::Result<()> {
        match self.stream(text) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            result => result,
        }
    }

    /// Writes a part of data of which more may follow.
    ///
    /// # Errors
    /// The pipe is closed, so that more is not worth making, or the disk is full.
    pub fn stream(self, text: &str) -> io::Result<()> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(text.as_bytes())?;
        stdout.flush()
    }

    /// Writes a line about what is going on. That the line may not arrive is nobody's failure.
    pub fn status(self, text: &str) {
        if !self.quiet {
            let _ = writeln!(io::stderr().lock(), "{}", printable(text));
        }
    }

    /// Writes what a person is to answer, and stays on the line.
    pub fn ask(self, text: &str) {
        let mut stderr = io::stderr().lock();
        let _ = stderr.write_all(text.as_bytes());
        let _ = stderr.flush();
    }

    /// Writes a warning.
    pub fn warning(self, text: &str) {
        self.status(&format!("warning: {text}"));
    }

    /// Writes an error with its causes and its hint.
    pub fn error(self, message: &str, hint: Option<&str>) {
        let mut text = format!("error: {message}");
        if let Some(hint) = hint {
            text.push_str("\n\nhint: ");
            text.push_str(hint);
        }
        let _ = writeln!(io::stderr().lock(), "{}", printable(&text));
    }

    /// A progress bar over bytes; hidden when quiet or where stderr is no terminal.
    pub fn byte_progress(self, total: u64) -> ProgressBar {
        if self.quiet || !io::stderr().is_terminal() {
            return ProgressBar::hidden();
        }
        let template = "[{wide_bar}] {decimal_bytes}/{decimal_total_bytes}, {decimal_bytes_per_sec}, {eta} left {msg}";
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr()).with_style(style);
        bar.enable_steady_tick(Duration::from_millis(200));
        bar
    }

    /// A progress bar over things that are counted; hidden when quiet or where stderr is no terminal.
    pub fn count_progress(self) -> ProgressBar {
        if self.quiet || !io::stderr().is_terminal() {
            return ProgressBar::hidden();
        }
        let template = "{msg:24!} [{wide_bar}] {pos}/{len}, {per_sec}, {eta} left";
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = ProgressBar::with_draw_target(Some(1), ProgressDrawTarget::stderr()).with_style(style);
        bar.enable_steady_tick(Duration::from_millis(200));
        bar
    }
}

/// How often a stage tells how far it is where it is told in lines.
const BETWEEN_LINES: Duration = Duration::from_secs(10);

/// What a long command is doing: a bar in a terminal, else a line now and then, so that a log says it too.
pub struct Stages {
    console: Console,
    bar: ProgressBar,
    is_terminal: bool,
    current: &'static str,
    /// When each stage began, and when it was last told of. A stage may go on after another.
    begun: BTreeMap<&'static str, (Instant, Instant)>,
}

impl Stages {
    /// None has begun.
    pub fn new(console: Console) -> Self {
        let is_terminal = io::stderr().is_terminal();
        Self { console, bar: console.count_progress(), is_terminal, current: "", begun: BTreeMap::new() }
    }

    /// A stage that does so many things begins, or goes on.
    pub fn begin(&mut self, stage: &'static str, all: usize, noun: &str) {
        self.current = stage;
        self.bar.set_message(stage);
        self.bar.set_length(all as u64);
        self.bar.set_position(0);
        self.bar.reset_eta();
        let now = Instant::now();
        let is_new = !self.begun.contains_key(stage);
        self.begun.entry(stage).or_insert((now, now));
        if is_new && !self.is_terminal {
            self.console.status(&format!("{stage}: {}", counted(all, noun)));
        }
    }

    /// A stage has done so many of all things.
    pub fn at(&mut self, stage: &'static str, done: usize, all: usize, noun: &str) {
        if self.current != stage {
            self.begin(stage, all, noun);
        }
        self.bar.set_length(all as u64);
        self.bar.set_position(done as u64);
        if let Some((begun, told)) = self.begun.get_mut(stage)
            && !self.is_terminal
            && told.elapsed() >= BETWEEN_LINES
        {
            *told = Instant::now();
            self.console.status(&format!("{stage}: {}", pace(done, all, begun.elapsed(), noun)));
        }
    }

    /// Nothing more is done.
    pub fn finish(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// How far a stage is, how fast, and how long it takes yet.
fn pace(done: usize, all: usize, elapsed: Duration, noun: &str) -> String {
    #[expect(clippy::cast_precision_loss, reason = "for people")]
    let rate = done as f64 / elapsed.as_secs_f64().max(f64::MIN_POSITIVE);
    #[expect(clippy::cast_precision_loss, reason = "for people")]
    let left = all.saturating_sub(done) as f64 / rate.max(f64::MIN_POSITIVE);
    format!("{done} of {}, {rate:.1} {noun}s/s, {left:.0} s left", counted(all, noun))
}

/// Text that moves no cursor and sets no title: control characters other than line ends and tabs become escapes such as
/// `\u{1b}`. Checkpoints, templates and models bring text of strangers.
pub fn printable(text: &str) -> Cow<'_, str> {
    let acts = |character: char| character.is_control() && !matches!(character, '\n' | '\t');
    if !text.contains(acts) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if acts(character) {
            shown.extend(character.escape_unicode());
        } else {
            shown.push(character);
        }
    }
    Cow::Owned(shown)
}

/// How many there are of what `noun` names, such as `1 problem`.
pub(crate) fn counted(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// An error of a command: its message with causes, and its hint.
#[derive(Debug)]
pub struct Failure {
    /// Message and causes.
    pub message: String,
    /// Advice.
    pub hint: Option<String>,
}

impl<E: std::error::Error + Hint> From<E> for Failure {
    fn from(error: E) -> Self {
        Self { message: render(&error), hint: error.hint() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_tells_how_fast_it_is_and_how_long_it_takes_yet() {
        assert_eq!(pace(30, 120, Duration::from_secs(10), "token"), "30 of 120 tokens, 3.0 tokens/s, 30 s left");
    }

    #[test]
    fn text_of_strangers_cannot_drive_the_terminal() {
        assert_eq!(printable("a\u{1b}[2Jb\u{7}\u{9b}\r\n\tc"), "a\\u{1b}[2Jb\\u{7}\\u{9b}\\u{d}\n\tc");
        assert!(matches!(printable("plain é\n"), Cow::Borrowed(_)));
    }
}
