//! The only door to the terminal: data on stdout, everything else on stderr.

use std::borrow::Cow;
use std::io::{self, IsTerminal as _, Write as _};
use std::time::Duration;

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
        let template = "{msg:20!} [{wide_bar}] {pos}/{len}, {eta} left";
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = ProgressBar::with_draw_target(Some(1), ProgressDrawTarget::stderr()).with_style(style);
        bar.enable_steady_tick(Duration::from_millis(200));
        bar
    }
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
    fn text_of_strangers_cannot_drive_the_terminal() {
        assert_eq!(printable("a\u{1b}[2Jb\u{7}\u{9b}\r\n\tc"), "a\\u{1b}[2Jb\\u{7}\\u{9b}\\u{d}\n\tc");
        assert!(matches!(printable("plain é\n"), Cow::Borrowed(_)));
    }
}
