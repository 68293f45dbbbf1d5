//! The options of a conversion as they were given, for whoever asks later how a model was made.

use std::ffi::OsStr;
use std::path::Path;

use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Args, Command, FromArgMatches};

use super::model_arguments::ModelArguments;
use crate::options::shell_word;

/// Options that were given, in the order of the help, each by its long name. It takes no part of the command line.
///
/// What does not shape the result (threads, output, parts) is left out, so that the same conversion has the same text; so are
/// the directories of files, which are no one's business.
///
/// It must be parsed before the options themselves, which are taken out of the matches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GivenOptions(String);

impl GivenOptions {
    /// Options and values as a shell takes them, a space between two; empty where none were given.
    pub(crate) fn text(&self) -> &str {
        &self.0
    }

    fn of(matches: &ArgMatches) -> Self {
        let known = ModelArguments::augment_args(Command::new("convert"));
        let mut words: Vec<String> = Vec::new();
        for argument in known.get_arguments() {
            let id = argument.get_id().as_str();
            let Some(name) = argument.get_long() else { continue };
            if matches.value_source(id) != Some(ValueSource::CommandLine) {
                continue;
            }
            if !argument.get_action().takes_values() {
                words.push(format!("--{name}"));
                continue;
            }
            let mut values = values(argument, matches);
            if let Some(delimiter) = argument.get_value_delimiter() {
                values = vec![values.join(&delimiter.to_string())];
            }
            for value in values {
                words.extend([format!("--{name}"), shell_word(&value)]);
            }
        }
        Self(words.join(" "))
    }
}

/// The values of an option; of a file only its name.
fn values(argument: &Arg, matches: &ArgMatches) -> Vec<String> {
    let raw = matches.try_get_raw(argument.get_id().as_str()).ok().flatten();
    let show = |value: &OsStr| {
        let path = Path::new(value);
        let is_path = path.parent().is_some_and(|parent| !parent.as_os_str().is_empty());
        let shown = path.file_name().filter(|_| is_path).unwrap_or(value);
        shown.to_string_lossy().into_owned()
    };
    raw.into_iter().flatten().map(show).collect()
}

impl FromArgMatches for GivenOptions {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        Ok(Self::of(matches))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::of(matches);
        Ok(())
    }
}

impl Args for GivenOptions {
    fn augment_args(command: Command) -> Command {
        command
    }

    fn augment_args_for_update(command: Command) -> Command {
        command
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        model: ModelArguments,
        #[arg(long)]
        threads: Option<u8>,
    }

    fn given(arguments: &[&str]) -> String {
        let line = Line::try_parse_from([&["anec"], arguments].concat()).expect("a command line");
        assert!(line.threads.is_none_or(|threads| threads == 3));
        line.model.given.text().to_owned()
    }

    #[test]
    fn options_stand_in_the_order_of_the_help_whatever_the_order_that_they_were_given_in() {
        assert_eq!(given(&[]), "");
        let text = "--lut 4 --chunks 2 --argmax --context-length 512,2048";
        let one = ["Qwen", "--context-length", "512,2048", "--argmax", "--chunks=2", "--lut", "4", "--threads", "3"];
        assert_eq!(given(&one), text);
        let other = ["--lut=4", "--argmax", "--context-length", "512", "--context-length", "2048", "--chunks", "2"];
        assert_eq!(given(&other), text);
    }

    #[test]
    fn a_default_that_is_spelled_out_is_given_and_a_file_is_its_name() {
        let text = given(&["/home/me/model", "--target", "ios18", "--calibration", "/home/me/my text.txt"]);
        assert_eq!(text, "--calibration 'my text.txt' --target ios18");
        let text = given(&["--ignore-config-key", "a", "--ignore-config-key", "b c", "--recipe", "out/recipe.json"]);
        assert_eq!(text, "--recipe recipe.json --ignore-config-key a --ignore-config-key 'b c'");
    }
}
