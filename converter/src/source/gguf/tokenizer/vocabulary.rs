//! The tokens of a GGUF: their spellings, and what kind of token each is.

use std::collections::HashMap;

use crate::source::gguf::error::GgufError;
use crate::source::gguf::metadata::Metadata;

/// Most tokens of a vocabulary, far above every published one.
const MAX_TOKENS: usize = 1 << 22;

/// Spaces as SentencePiece spells them. The longest run of spaces that is a token has 31.
const SPACES: &str = "▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁";

/// What a token is.
///
/// # Source
/// `enum llama_token_type` of llama.cpp's `include/llama.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Normal,
    Unknown,
    Control,
    UserDefined,
    Unused,
    Byte,
}

/// The tokens of a tokenizer, in the order of their ids.
pub(super) struct Vocabulary<'a> {
    spellings: Vec<&'a str>,
    kinds: Vec<Kind>,
    /// The first token of each spelling.
    ids: HashMap<&'a str, usize>,
}

impl<'a> Vocabulary<'a> {
    /// The tokens of a file; none where it has none.
    ///
    /// Rows of the embeddings that llama.cpp made up names for, at the end of the list, are no tokens. Where `spells_spaces`,
    /// runs of spaces that the user defined are spelled as SentencePiece does, which llama.cpp's converter undoes.
    ///
    /// # Source
    /// `_create_vocab_sentencepiece` of llama.cpp's `convert_hf_to_gguf.py`: "pre-normalize user-defined spaces".
    pub(super) fn read(metadata: &Metadata, bytes: &'a [u8], spells_spaces: bool) -> Result<Option<Self>, GgufError> {
        let Some(mut spellings) = metadata.strings(bytes, "tokenizer.ggml.tokens")? else { return Ok(None) };
        if spellings.len() > MAX_TOKENS {
            let (found, most) = (spellings.len() as u64, MAX_TOKENS as u64);
            return Err(GgufError::Count { what: "tokens", found, most });
        }
        let numbers = metadata.integers(bytes, "tokenizer.ggml.token_type")?;
        let mut kinds: Vec<Kind> = match numbers {
            Some(numbers) => numbers.into_iter().map(kind).collect(),
            None => vec![Kind::Normal; spellings.len()],
        };
        if kinds.len() != spellings.len() {
            let found = format!("{} tokens and {} types of tokens", spellings.len(), kinds.len());
            return Err(GgufError::Tokenizer { found });
        }
        let made_up = |(spelling, kind): (&&str, &Kind)| *kind == Kind::Unused && spelling.starts_with("[PAD");
        while spellings.last().zip(kinds.last()).is_some_and(made_up) {
            spellings.pop();
            kinds.pop();
        }
        if spells_spaces {
            for (spelling, kind) in spellings.iter_mut().zip(&kinds) {
                if *kind == Kind::UserDefined {
                    *spelling = run_of_spaces(spelling).unwrap_or(spelling);
                }
            }
        }
        let mut ids = HashMap::with_capacity(spellings.len());
        for (id, spelling) in spellings.iter().enumerate() {
            ids.entry(*spelling).or_insert(id);
        }
        Ok(Some(Self { spellings, kinds, ids }))
    }

    pub(super) fn len(&self) -> usize {
        self.spellings.len()
    }

    /// Ids, spellings and kinds.
    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, &'a str, Kind)> {
        self.spellings.iter().zip(&self.kinds).enumerate().map(|(id, (spelling, kind))| (id, *spelling, *kind))
    }

    pub(super) fn id(&self, spelling: &str) -> Option<usize> {
        self.ids.get(spelling).copied()
    }

    pub(super) fn kind(&self, id: usize) -> Kind {
        self.kinds.get(id).copied().unwrap_or(Kind::Normal)
    }

    pub(super) fn spelling(&self, id: u64) -> Option<&'a str> {
        self.spellings.get(usize::try_from(id).ok()?).copied()
    }
}

/// Spaces alone, as SentencePiece spells them.
fn run_of_spaces(spelling: &str) -> Option<&'static str> {
    let is_run = !spelling.is_empty() && spelling.bytes().all(|byte| byte == b' ');
    SPACES.get(..spelling.len() * '▁'.len_utf8()).filter(|_| is_run)
}

fn kind(number: i32) -> Kind {
    match number {
        2 => Kind::Unknown,
        3 => Kind::Control,
        4 => Kind::UserDefined,
        5 => Kind::Unused,
        6 => Kind::Byte,
        _ => Kind::Normal,
    }
}
