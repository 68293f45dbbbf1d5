//! Which tokens a model is calibrated with.
//!
//! `builtin` is text that ships with anec and answers that the checkpoint gives to prompts that ship, through its
//! own chat template: on real models, text alone spoils chat, and answers alone spoil text. It needs no file and no network.

mod chat;
mod check;
mod generate;
mod step;

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anec_runtime::generate::GenerationConfig;
use anec_runtime::tokenizer::{SpecialTokens, TextTokenizer, TokenizerConfig};
use fs_err as fs;

pub use self::check::check_source;
use self::generate::Request;
pub(super) use self::step::{KEPT_BYTES, parameters};
use super::engine::Tokens;
use super::error::CalibrateError;
use crate::model::decoder_plan::DecoderPlan;
use crate::source::checkpoint::Checkpoint;

/// The text that ships.
const TEXT: &str = include_str!("builtin.txt");

/// The prompts that ship, one a line.
const PROMPTS: &str = include_str!("prompts.txt");

/// Tokens of a window, where the model takes as many.
const WINDOW: usize = 512;

/// A window for so many channels of the widest input of a layer: what is known of each pair of channels comes from tokens.
const CHANNELS_PER_WINDOW: usize = 22;

/// Windows of the smallest checkpoints, of those whose calibration takes minutes, and of larger ones.
const LEAST_WINDOWS: usize = 16;
const MOST_WINDOWS: usize = 70;
const MOST_WINDOWS_OF_LARGE: usize = 31;

/// Parameters beyond which a checkpoint is large.
const LARGE_PARAMETERS: usize = 500_000_000;

/// The share of the text that ships, in sevenths; answers are the rest.
const TEXT_SEVENTHS: usize = 4;

/// Windows of a file of the user's.
const FILE_WINDOWS: usize = 24;

/// Windows of what is looked at to find out what counts.
const SAMPLE_WINDOWS: usize = 8;

/// Fewer tokens than this tell too little of the inputs of a layer.
const LEAST_TOKENS: usize = 1024;

/// Prompts that are answered for a window of answers: enough for many subjects, few enough for long answers.
const PROMPTS_PER_WINDOW: usize = 2;

/// Tokens of a prompt with its answer.
const LONGEST_ANSWER: usize = 448;

/// Parameters beyond which the checkpoint is not made to answer: each token reads all of them.
const MOST_GENERATING_PARAMETERS: usize = 4_000_000_000;

/// Largest file that is read, in bytes.
const MAX_FILE_BYTES: u64 = 1 << 28;

/// Where calibration tokens come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CalibrationSource {
    /// Text that ships and answers of the checkpoint.
    Builtin,
    /// A file: text, or with the extension `jsonl` chats, one a line.
    File(PathBuf),
    /// No calibration.
    None,
}

impl FromStr for CalibrationSource {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "builtin" => Ok(Self::Builtin),
            "none" => Ok(Self::None),
            "" => Err("expected `builtin`, `none` or a file".to_owned()),
            path => Ok(Self::File(path.into())),
        }
    }
}

impl fmt::Display for CalibrationSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Builtin => f.write_str("builtin"),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::None => f.write_str("none"),
        }
    }
}

/// Tokens with where they come from, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CalibrationTokens {
    /// The tokens.
    pub tokens: Tokens,
    /// Where they come from.
    pub description: String,
}

/// The tokens of a source.
///
/// # Errors
/// A file cannot be read, is no chat, or has too few tokens; the checkpoint has no tokenizer; or `proceed` fails.
pub fn calibration_tokens(
    source: &CalibrationSource,
    checkpoint: &Checkpoint,
    plan: &DecoderPlan,
    proceed: &(dyn Fn() -> Result<(), CalibrateError> + Sync),
) -> Result<CalibrationTokens, CalibrateError> {
    let maker = Maker::open(checkpoint, plan)?;
    let (tokens, description) = match source {
        CalibrationSource::File(path) => (maker.file(path, FILE_WINDOWS)?, file_name(path)),
        CalibrationSource::None => return Err(CalibrateError::TooShort { found: 0, least: LEAST_TOKENS }),
        CalibrationSource::Builtin => {
            let [text_windows, chat_windows] = builtin_windows(plan);
            let mut tokens = maker.shipped(text_windows)?;
            let answers = maker.answers(checkpoint, chat_windows, proceed)?;
            let description = match &answers {
                Some(answers) => {
                    tokens.extend(maker.cutter.cut(answers, chat_windows));
                    "text that ships with anec, and answers of the checkpoint to prompts that ship"
                }
                None => "text that ships with anec",
            };
            (tokens, description.to_owned())
        }
    };
    maker.checked(tokens, description)
}

/// Fewer tokens of a source, without answers of the checkpoint: to find out what counts in it, before it is calibrated.
///
/// # Errors
/// As [`calibration_tokens`].
pub fn sample_tokens(
    source: &CalibrationSource,
    checkpoint: &Checkpoint,
    plan: &DecoderPlan,
) -> Result<CalibrationTokens, CalibrateError> {
    let maker = Maker::open(checkpoint, plan)?;
    match source {
        CalibrationSource::File(path) => maker.checked(maker.file(path, SAMPLE_WINDOWS)?, file_name(path)),
        CalibrationSource::None => Err(CalibrateError::TooShort { found: 0, least: LEAST_TOKENS }),
        CalibrationSource::Builtin => {
            maker.checked(maker.shipped(SAMPLE_WINDOWS)?, "text that ships with anec".to_owned())
        }
    }
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// What makes tokens of texts.
struct Maker<'a> {
    plan: &'a DecoderPlan,
    tokenizer: TextTokenizer,
    config: TokenizerConfig,
    cutter: Cutter,
}

impl<'a> Maker<'a> {
    fn open(checkpoint: &Checkpoint, plan: &'a DecoderPlan) -> Result<Self, CalibrateError> {
        let directory = checkpoint.companions()?;
        let tokenizer = TextTokenizer::open(directory)?;
        let config = TokenizerConfig::open(directory).map_err(anec_runtime::tokenizer::TokenizerError::from)?;
        let bos = config.special_token("bos_token").and_then(|spelling| tokenizer.token(spelling));
        Ok(Self { plan, tokenizer, config, cutter: Cutter { bos, length: window(plan) } })
    }

    /// Windows of the user's file.
    fn file(&self, path: &Path, windows: usize) -> Result<Vec<u32>, CalibrateError> {
        let bytes = fs::metadata(path).map_err(CalibrateError::File)?.len();
        if bytes > MAX_FILE_BYTES {
            return Err(CalibrateError::FileSize { path: path.to_owned(), bytes, most: MAX_FILE_BYTES });
        }
        let text = fs::read_to_string(path).map_err(CalibrateError::File)?;
        let ids = if is_chat(path) {
            chat::tokens(&chat::read(path, &text)?, &self.config, &self.tokenizer)?
        } else {
            self.tokenizer.encode(&text, SpecialTokens::Present)?
        };
        Ok(self.cutter.cut(&ids, windows))
    }

    /// Windows of the text that ships.
    fn shipped(&self, windows: usize) -> Result<Vec<u32>, CalibrateError> {
        Ok(self.cutter.cut(&self.tokenizer.encode(TEXT, SpecialTokens::Present)?, windows))
    }

    /// Answers of the checkpoint with their prompts, one after the other; none where it has no chat template or is too large.
    fn answers(
        &self,
        checkpoint: &Checkpoint,
        windows: usize,
        proceed: &(dyn Fn() -> Result<(), CalibrateError> + Sync),
    ) -> Result<Option<Vec<u32>>, CalibrateError> {
        let Self { plan, tokenizer, config, cutter } = self;
        if config.chat_templates.is_empty() || !answers_prompts(plan) {
            return Ok(None);
        }
        let all: Vec<&str> = PROMPTS.lines().filter(|line| !line.is_empty()).collect();
        let count = all.len().min(PROMPTS_PER_WINDOW * windows);
        let chosen = (0..count).filter_map(|index| all.get(index * all.len() / count));
        let prompts = chosen.map(|prompt| chat::prompt(prompt, config, tokenizer)).collect::<Result<Vec<_>, _>>()?;
        for prompt in &prompts {
            check_vocabulary(prompt, plan.vocab_size)?;
        }
        let stop = GenerationConfig::open(checkpoint.companions()?)
            .map_err(anec_runtime::tokenizer::TokenizerError::from)?
            .stop_tokens(config, tokenizer);
        let longest = LONGEST_ANSWER.min(plan.max_position_embeddings);
        let enough = windows * cutter.length;
        let request = Request { prompts: &prompts, stop: &stop, longest, enough, seed: 0 };
        Ok(Some(generate::generate(checkpoint, plan, &request, proceed)?.concat()))
    }

    fn checked(&self, tokens: Vec<u32>, description: String) -> Result<CalibrationTokens, CalibrateError> {
        check_length(tokens.len(), self.cutter.length)?;
        check_vocabulary(&tokens, self.plan.vocab_size)?;
        Ok(CalibrationTokens { tokens: Tokens { length: self.cutter.length, tokens }, description })
    }
}

/// Windows of the text that ships and of answers.
fn builtin_windows(plan: &DecoderPlan) -> [usize; 2] {
    let is_large = parameters(plan) > LARGE_PARAMETERS;
    let most = if is_large { MOST_WINDOWS_OF_LARGE } else { MOST_WINDOWS };
    let windows = (plan.intermediate_size / CHANNELS_PER_WINDOW).clamp(LEAST_WINDOWS, most);
    let text = (windows * TEXT_SEVENTHS).div_ceil(7);
    [text, windows - text]
}

/// Whether the checkpoint is made to answer prompts.
fn answers_prompts(plan: &DecoderPlan) -> bool {
    parameters(plan) <= MOST_GENERATING_PARAMETERS
}

/// Tokens of a window.
fn window(plan: &DecoderPlan) -> usize {
    WINDOW.min(plan.max_position_embeddings)
}

/// Whether a file has chats.
fn is_chat(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("jsonl"))
}

fn check_length(found: usize, length: usize) -> Result<(), CalibrateError> {
    let least = LEAST_TOKENS.min(4 * length);
    if found < least { Err(CalibrateError::TooShort { found, least }) } else { Ok(()) }
}

/// Tokens that a source is expected to give.
pub(super) struct Expected {
    /// All tokens, at most.
    pub(super) tokens: usize,
    /// Tokens of a window.
    pub(super) length: usize,
    /// Tokens that the checkpoint is made to generate, or read as prompts, for them.
    pub(super) answers: usize,
}

/// What a source is expected to give, of a checkpoint with a chat template.
pub(super) fn expected(source: &CalibrationSource, plan: &DecoderPlan) -> Expected {
    let length = window(plan);
    let [windows, chats] = match source {
        CalibrationSource::Builtin => {
            let [text, chats] = builtin_windows(plan);
            [text, if answers_prompts(plan) { chats } else { 0 }]
        }
        CalibrationSource::File(_) => [FILE_WINDOWS, 0],
        CalibrationSource::None => [0, 0],
    };
    Expected { tokens: (windows + chats) * length, length, answers: chats * length }
}

fn check_vocabulary(tokens: &[u32], vocab_size: usize) -> Result<(), CalibrateError> {
    match tokens.iter().find(|token| usize::try_from(**token).is_ok_and(|token| token >= vocab_size)) {
        Some(token) => Err(CalibrateError::Token { token: *token, vocab_size }),
        None => Ok(()),
    }
}

/// Cuts tokens into windows that start as the model expects.
struct Cutter {
    bos: Option<u32>,
    length: usize,
}

impl Cutter {
    /// At most `count` windows, evenly from all of the tokens; what is left over at the end is dropped.
    fn cut(&self, tokens: &[u32], count: usize) -> Vec<u32> {
        let body = self.length.saturating_sub(self.bos.iter().len()).max(1);
        let windows: Vec<&[u32]> = tokens.chunks_exact(body).collect();
        let count = count.min(windows.len());
        let chosen = (0..count).filter_map(|index| windows.get(index * windows.len() / count));
        chosen.flat_map(|window| self.bos.into_iter().chain(window.iter().copied())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_start_with_the_token_for_the_start_and_come_from_the_whole_text() {
        let tokens: Vec<u32> = (10..110).collect();
        let cutter = Cutter { bos: Some(1), length: 11 };
        let windows = cutter.cut(&tokens, 2);
        assert_eq!(windows.len(), 22);
        assert_eq!((windows[0], windows[1], windows[11], windows[12]), (1, 10, 1, 60));
        assert_eq!(Cutter { bos: None, length: 30 }.cut(&tokens, 9).len(), 90);
    }

    #[test]
    fn the_sources_are_read_as_the_help_says() {
        assert_eq!("builtin".parse(), Ok(CalibrationSource::Builtin));
        assert_eq!("none".parse(), Ok(CalibrationSource::None));
        assert_eq!("a/b.jsonl".parse(), Ok(CalibrationSource::File("a/b.jsonl".into())));
    }

    #[test]
    fn enough_prompts_and_text_ship() {
        assert!(PROMPTS.lines().count() >= 50);
        let most = (MOST_WINDOWS * TEXT_SEVENTHS).div_ceil(7);
        assert!(TEXT.len() > 3 * WINDOW * most);
    }
}
