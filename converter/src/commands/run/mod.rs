//! `anec run`.

mod answer;
mod chat;
mod error;
mod lines;
mod options;
mod texts;

use std::io;
use std::path::PathBuf;

use anec_runtime::ModelDirectory;
use anec_runtime::backend::{Engine, ReferenceBackend, ReferenceOptions};
use anec_runtime::generate::{Finish, GenerationConfig, Generator, Limits};
use anec_runtime::sampling::Sampler;
use anec_runtime::tokenizer::TextTokenizer;
use clap::{ArgGroup, Args};
use serde_json::Value;

use super::backend_arguments::BackendArguments;
use super::numerics_argument::NumericsArgument;
use crate::console::{Console, Failure, printable};
use crate::interrupt::Interrupt;

use answer::{Answer, Writer};
pub(super) use error::RunError;
use options::SamplingArguments;
use texts::Prompt;
pub(super) use texts::{Texts, Turns};

/// Arguments of `anec run`.
#[derive(Debug, Args)]
#[command(
    group = ArgGroup::new("input").required(true).args(["prompt", "prompt_tokens", "messages", "chat"]),
    after_help = "\
Examples:
  anec run out --prompt \"Why is the sky blue?\" --max-tokens 200
  anec run out --prompt \"Once upon a time\" --raw --temperature 0.8 --seed 7
  anec run out --chat --system \"You answer in one sentence.\"
  anec run out --messages conversation.json --tools tools.json --show-prompt
  echo \"Hello\" | anec run out --chat --json

The text goes to stdout, everything else to stderr. The same seed gives the same text.
In a chat, Ctrl-C stops the answer, /help shows what else can be typed, and the oldest turns are forgotten where the
context is full."
)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub struct Arguments {
    /// A converted directory.
    path: PathBuf,

    /// Answer or continue this text. A model with a chat template gets it as a message of the user.
    #[arg(short, long, value_name = "TEXT")]
    prompt: Option<String>,

    /// Continue the token ids in this JSON file, a list, as they are.
    #[arg(long, value_name = "FILE")]
    prompt_tokens: Option<PathBuf>,

    /// Answer the conversation in this JSON file: a list of messages as transformers takes them.
    #[arg(long, value_name = "FILE")]
    messages: Option<PathBuf>,

    /// Keep a conversation: every line of stdin is a message.
    #[arg(long, conflicts_with_all = ["raw", "show_prompt"])]
    chat: bool,

    /// What the model is told before the conversation.
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["raw", "messages"])]
    system: Option<String>,

    /// Tools that the chat template describes to the model: a JSON list of function schemas.
    #[arg(long, value_name = "FILE", conflicts_with = "raw")]
    tools: Option<PathBuf>,

    /// Variable of the chat template, such as `enable_thinking=false`; the value is JSON or text.
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = texts::parse_variable, conflicts_with = "raw")]
    variables: Vec<(String, Value)>,

    /// Continue --prompt as it is, without the chat template.
    #[arg(long, conflicts_with = "messages")]
    raw: bool,

    /// Print what the model would be given, and stop.
    #[arg(long)]
    show_prompt: bool,

    /// Stop after this many tokens [default: when the context is full].
    #[arg(long, value_name = "N")]
    max_tokens: Option<usize>,

    /// Stop where this text appears; can be given more than once.
    #[arg(long = "stop", value_name = "TEXT", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    stops: Vec<String>,

    /// Go on where the model would end its answer.
    #[arg(long)]
    ignore_eos: bool,

    /// A converted directory of a small model with the same tokens: it drafts, and the model checks several tokens in one
    /// call. The answer is as without. Convert the model with `--functions infer,prefill,verify:K` or `single`.
    #[arg(long, value_name = "DIR")]
    draft: Option<PathBuf>,

    /// Most tokens of a draft [default: what one call of the model checks].
    #[arg(long, value_name = "N", requires = "draft")]
    draft_tokens: Option<usize>,

    #[command(flatten)]
    backend: BackendArguments,

    #[command(flatten)]
    numerics: NumericsArgument,

    /// Print one JSON object for each answer, in a line, instead of the text as it comes.
    #[arg(long)]
    json: bool,

    // Its heading holds for everything that follows.
    #[command(flatten)]
    sampling: SamplingArguments,
}

impl Arguments {
    /// An option that is given and means nothing without a chat template.
    fn option_of_templates(&self) -> Option<&'static str> {
        let options = [
            ("--messages", self.messages.is_some()),
            ("--system", self.system.is_some()),
            ("--tools", self.tools.is_some()),
            ("--set", !self.variables.is_empty()),
        ];
        options.iter().find(|(_, given)| *given).map(|(option, _)| *option)
    }
}

/// What a model is run with.
struct Run<'a> {
    generator: Generator,
    sampler: Sampler,
    limits: Limits,
    stops: &'a [String],
    texts: &'a Texts,
    tokenizer: TextTokenizer,
    json: bool,
    console: Console,
    /// Stops an answer, where there is a person to stop it.
    interrupt: Option<Interrupt>,
}

/// Generates text.
pub fn run(arguments: &Arguments, console: Console) -> Result<(), Failure> {
    match run_model(arguments, console) {
        // Whoever reads has seen enough.
        Err(RunError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => Ok(result?),
    }
}

fn run_model(arguments: &Arguments, console: Console) -> Result<(), RunError> {
    let mut texts = Texts::open(&arguments.path, &arguments.variables, arguments.tools.as_deref())?;
    if arguments.raw || arguments.prompt_tokens.is_some() {
        texts.template = None;
    }
    if texts.template.is_none()
        && let Some(option) = arguments.option_of_templates()
    {
        return Err(RunError::NoTemplate { option });
    }
    let turns = match &arguments.messages {
        Some(path) => Turns::of(texts::read_list(path)?),
        None => Turns::new(arguments.system.as_deref()),
    };
    if arguments.show_prompt {
        let turns = arguments.prompt.iter().fold(turns, |turns, prompt| turns.with_user(prompt));
        return console.data(&printable(&texts.render(&turns)?)).map_err(RunError::Output);
    }
    let directory = ModelDirectory::open(&arguments.path)?;
    if texts.template.is_none() && !arguments.raw && arguments.prompt_tokens.is_none() {
        console.status("note: the model has no chat template; the text is continued as it is");
    }
    if let Some(device) = arguments.backend.device(&[])? {
        return answer_all(arguments, &directory, device.engine(), &texts, turns, console);
    }
    let numerics = arguments.numerics.numerics();
    let backend = ReferenceBackend::new(ReferenceOptions { numerics, statistics: false });
    answer_all(arguments, &directory, &backend, &texts, turns, console)
}

/// Answers what the options ask for.
fn answer_all(
    arguments: &Arguments,
    directory: &ModelDirectory,
    engine: &dyn Engine,
    texts: &Texts,
    turns: Turns,
    console: Console,
) -> Result<(), RunError> {
    let mut run = open(arguments, directory, engine, texts, console)?;
    if let Some(path) = &arguments.prompt_tokens {
        return run.answer_prompt(&Prompt::of(texts::read_list(path)?)).map(drop);
    }
    if arguments.chat {
        return chat::run(&mut run, &turns);
    }
    let turns = arguments.prompt.iter().fold(turns, |turns, prompt| turns.with_user(prompt));
    run.answer(&turns).map(drop)
}

fn open<'a>(
    arguments: &'a Arguments,
    directory: &ModelDirectory,
    engine: &dyn Engine,
    texts: &'a Texts,
    console: Console,
) -> Result<Run<'a>, RunError> {
    let parameters = &directory.meta().model_info.parameters;
    let generation = GenerationConfig::open(&arguments.path)?;
    let sampling = arguments.sampling.resolve(parameters, &generation, console)?;
    let sampler = Sampler::new(sampling)?;
    let tokenizer = TextTokenizer::open(&arguments.path)?;
    let mut stop_tokens = Vec::new();
    if !arguments.ignore_eos {
        stop_tokens = generation.stop_tokens(&texts.config, &tokenizer);
    }
    // Special tokens have no text that could be found.
    let special = arguments.stops.iter().filter(|stop| tokenizer.is_special(stop));
    stop_tokens.extend(special.filter_map(|stop| tokenizer.token(stop)));
    let mut generator = Generator::new(directory.session(engine)?);
    if let Some(path) = &arguments.draft {
        let checked = generator.session().capabilities().verify_size.saturating_sub(1);
        if checked == 0 {
            return Err(RunError::NoVerify { path: arguments.path.clone() });
        }
        let draft = ModelDirectory::open(path)?.session(engine)?;
        generator = generator.with_draft(draft, arguments.draft_tokens.unwrap_or(checked))?;
    }
    Ok(Run {
        generator,
        sampler,
        limits: Limits { stop_tokens, max_tokens: arguments.max_tokens },
        stops: &arguments.stops,
        texts,
        tokenizer,
        json: arguments.json,
        console,
        interrupt: None,
    })
}

/// Tokens that an answer should have room for: as many as are asked for, and a quarter of the context at most.
fn room(context_length: usize, max_tokens: Option<usize>) -> usize {
    let quarter = (context_length / 4).max(1);
    max_tokens.map_or(quarter, |most| most.clamp(1, quarter))
}

impl Run<'_> {
    /// Answers, writes the answer, and reports how it went.
    fn answer(&mut self, turns: &Turns) -> Result<Answer, RunError> {
        let prompt = self.texts.encode(turns, &self.tokenizer)?;
        self.answer_prompt(&prompt)
    }

    /// As [`Self::answer`], to tokens.
    fn answer_prompt(&mut self, prompt: &Prompt) -> Result<Answer, RunError> {
        let writer = if self.json { Writer::Nothing } else { Writer::Console(self.console) };
        let answer = answer::generate(self, prompt, writer)?;
        if self.json {
            self.console.stream(&format!("{}\n", answer.to_json())).map_err(RunError::Output)?;
        } else if !answer.text.ends_with('\n') {
            self.console.stream("\n").map_err(RunError::Output)?;
        }
        if answer.finish == Some(Finish::ContextFull) {
            let context_length = self.generator.session().capabilities().context_length;
            self.console
                .status(&format!("note: the answer ends because the context of {context_length} tokens is full"));
        }
        if answer.is_interrupted {
            self.console.status("note: the answer was stopped");
        }
        self.console.status(&answer.speed());
        Ok(answer)
    }
}
