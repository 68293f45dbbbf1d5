//! Lines that a person types, with editing and history, or that a pipe brings.

use std::io::{self, BufRead as _, BufReader, IsTerminal as _, Read as _, Stdin};

use rustyline::DefaultEditor;
use rustyline::error::ReadlineError;

use super::error::RunError;
use crate::console::Console;

/// What stands before a line that is typed.
const PROMPT: &str = "> ";

/// Longest line that is read, in bytes; no context holds so many tokens.
pub(super) const MAX_LINE_BYTES: u64 = 1 << 20;

/// What came.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    Text(String),
    /// It was over [`MAX_LINE_BYTES`], and is passed over.
    TooLong,
    /// Ctrl-C, while a line was typed.
    Interrupted,
    End,
}

/// Where lines come from.
pub(super) enum Lines {
    Terminal(Box<DefaultEditor>),
    /// A terminal whose other side is no terminal gets a prompt and no editing.
    Stream {
        stdin: BufReader<Stdin>,
        is_terminal: bool,
    },
}

impl Lines {
    pub(super) fn of_stdin() -> Result<Self, RunError> {
        let is_terminal = io::stdin().is_terminal();
        if is_terminal && io::stdout().is_terminal() {
            let editor = DefaultEditor::new().map_err(|error| RunError::Input(io::Error::other(error)))?;
            return Ok(Self::Terminal(Box::new(editor)));
        }
        Ok(Self::Stream { stdin: BufReader::new(io::stdin()), is_terminal })
    }

    /// Whether a person types.
    pub(super) fn is_terminal(&self) -> bool {
        matches!(self, Self::Terminal(_) | Self::Stream { is_terminal: true, .. })
    }

    /// The next line, without its end.
    pub(super) fn next(&mut self, console: Console) -> Result<Line, RunError> {
        match self {
            Self::Terminal(editor) => match editor.readline(PROMPT) {
                Ok(line) if line.len() as u64 > MAX_LINE_BYTES => Ok(Line::TooLong),
                Ok(line) => {
                    // A history that does not take a line is no reason not to answer it.
                    let _ = editor.add_history_entry(&line);
                    Ok(Line::Text(line))
                }
                Err(ReadlineError::Interrupted) => Ok(Line::Interrupted),
                Err(ReadlineError::Eof) => Ok(Line::End),
                Err(error) => Err(RunError::Input(io::Error::other(error))),
            },
            Self::Stream { stdin, is_terminal } => {
                if *is_terminal {
                    console.ask(PROMPT);
                }
                read_line(stdin).map_err(RunError::Input)
            }
        }
    }
}

/// A line of bounded length; of a longer one, no more is kept in memory. What is no UTF-8 becomes `U+FFFD`.
fn read_line(reader: &mut impl io::BufRead) -> io::Result<Line> {
    let mut bytes = Vec::new();
    let read = reader.by_ref().take(MAX_LINE_BYTES + 1).read_until(b'\n', &mut bytes)?;
    if read == 0 {
        return Ok(Line::End);
    }
    if bytes.last() != Some(&b'\n') && read as u64 > MAX_LINE_BYTES {
        reader.skip_until(b'\n')?;
        return Ok(Line::TooLong);
    }
    let text = String::from_utf8_lossy(&bytes);
    Ok(Line::Text(text.trim_end_matches(['\n', '\r']).to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_line_is_passed_over_and_the_next_one_read() {
        let long = "x".repeat(3 << 20);
        let text = format!("first\r\n{long}\nsecond \nthird");
        let mut reader = text.as_bytes();
        let mut next = || read_line(&mut reader).expect("memory can be read");
        assert_eq!(next(), Line::Text("first".to_owned()));
        assert_eq!(next(), Line::TooLong);
        assert_eq!(next(), Line::Text("second ".to_owned()));
        assert_eq!(next(), Line::Text("third".to_owned()));
        assert_eq!(next(), Line::End);
    }
}
