//! A conversation in the terminal, or with a pipe.

use super::error::RunError;
use super::lines::{Line, Lines};
use super::texts::{Prompt, Turns};
use super::{Run, room};
use crate::console::counted;
use crate::error::{Hint as _, render};
use crate::interrupt::Interrupt;

/// Forgets the conversation.
const RESET: &str = "/reset";
/// Ends it.
const EXIT: &str = "/exit";
/// Tells what can be typed.
const HELP: &str = "/help";

/// What can be typed besides messages.
const COMMANDS: &str = "/reset forgets the conversation, /exit or Ctrl-D ends it, /help shows this.\n\
                        Ctrl-C stops an answer; what was said of it is kept.\n\
                        Where the context is full, the oldest turns are forgotten; the system message stays.";

/// Answers lines of stdin until there are no more. A line that cannot be answered is told and is no part of the
/// conversation; with a pipe, the last such line is the error at the end.
pub(super) fn run(run: &mut Run<'_>, start: &Turns) -> Result<(), RunError> {
    let mut lines = Lines::of_stdin()?;
    if lines.is_terminal() {
        run.console.status("/help shows what can be typed");
        // Without a handler, Ctrl-C ends the program, which stops the answer, too.
        run.interrupt = Interrupt::on_signal().ok();
    }
    let mut turns = start.clone();
    let mut failed = None;
    loop {
        let line = match lines.next(run.console)? {
            Line::End => break,
            Line::Interrupted => {
                run.console.status("/exit or Ctrl-D ends the conversation");
                continue;
            }
            Line::Text(line) => line,
            Line::TooLong => {
                tell(run, RunError::LongLine, &mut failed);
                continue;
            }
        };
        match line.trim() {
            "" => {}
            EXIT => break,
            HELP => run.console.status(COMMANDS),
            RESET => {
                run.generator.reset()?;
                turns = start.clone();
                run.console.status("The conversation is forgotten");
            }
            _ => match answer(run, turns.clone().with_user(&line)) {
                Ok(answered) => turns = answered,
                // Nobody reads the answers any more.
                Err(error @ RunError::Output(_)) => return Err(error),
                Err(error) => tell(run, error, &mut failed),
            },
        }
    }
    match failed {
        Some(error) if !lines.is_terminal() => Err(error),
        _ => Ok(()),
    }
}

fn tell(run: &Run<'_>, error: RunError, last: &mut Option<RunError>) {
    run.console.error(&render(&error), error.hint().as_deref());
    *last = Some(error);
}

/// Answers the last turn, and gives the conversation with the answer. Turns that leave no room for it are dropped, the oldest
/// first.
fn answer(run: &mut Run<'_>, mut asked: Turns) -> Result<Turns, RunError> {
    let context_length = run.generator.session().capabilities().context_length;
    let most = context_length.saturating_sub(room(context_length, run.limits.max_tokens));
    let mut dropped = 0;
    let mut prompt: Prompt = run.texts.encode(&asked, &run.tokenizer)?;
    while prompt.tokens.len() > most && asked.drop_oldest() {
        dropped += 1;
        prompt = run.texts.encode(&asked, &run.tokenizer)?;
    }
    if dropped > 0 {
        run.console.status(&format!(
            "note: the context of {context_length} tokens is full; {} forgotten",
            if dropped == 1 {
                "the oldest turn is".to_owned()
            } else {
                format!("the {} are", counted(dropped, "oldest turn"))
            }
        ));
    }
    // A signal that came between two answers stops neither.
    let _ = run.interrupt.as_ref().map(Interrupt::take);
    let answer = run.answer_prompt(&prompt)?;
    Ok(asked.with_assistant(&answer.text))
}
