//! A conversation in the terminal.

use std::io::{self, BufRead as _, IsTerminal as _};

use super::Run;
use super::error::RunError;
use super::texts::Turns;
use crate::error::{Hint as _, render};

/// Forgets the conversation.
const RESET: &str = "/reset";
/// Ends it.
const EXIT: &str = "/exit";

/// Answers lines of stdin until there are no more.
pub(super) fn run(run: &mut Run<'_>, start: &Turns) -> Result<(), RunError> {
    let interactive = io::stdin().is_terminal();
    if interactive {
        run.console.status(&format!("{RESET} forgets the conversation, {EXIT} ends it"));
    }
    let mut turns = start.clone();
    let mut lines = io::stdin().lock().lines();
    loop {
        if interactive {
            run.console.ask("> ");
        }
        let Some(line) = lines.next() else { return Ok(()) };
        let line = line.map_err(RunError::Input)?;
        match line.trim() {
            "" => {}
            EXIT => return Ok(()),
            RESET => {
                run.generator.reset()?;
                turns = start.clone();
                run.console.status("The conversation is forgotten");
            }
            _ => {
                let asked = turns.clone().with_user(&line);
                match run.answer(&asked) {
                    Ok(answer) => turns = asked.with_assistant(&answer.text),
                    // Someone at a terminal can say it another way; a script cannot.
                    Err(error) if interactive => run.console.error(&render(&error), error.hint().as_deref()),
                    Err(error) => return Err(error),
                }
            }
        }
    }
}
