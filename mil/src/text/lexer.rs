//! Words, numbers, strings and marks of the text.

/// A piece of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token<'a> {
    /// An identifier, a number, `inf` or `nan`; everything without blanks or marks.
    Word(&'a str),
    /// A string as it stands between its quotes, escapes included.
    String(&'a str),
    /// One of `( ) [ ] { } < > , ; =`.
    Mark(char),
    /// `->`.
    Arrow,
    /// A character that begins nothing.
    Unknown(char),
    /// The end of the text.
    End,
}

impl Token<'_> {
    /// The token as an error message shows it.
    pub(super) fn describe(self) -> String {
        match self {
            Self::Word(word) => format!("`{}`", shorten(word)),
            Self::String(string) => format!("the string \"{}\"", shorten(string)),
            Self::Mark(mark) => format!("`{mark}`"),
            Self::Arrow => "`->`".to_owned(),
            Self::Unknown(c) => format!("the character {c:?}"),
            Self::End => "the end".to_owned(),
        }
    }
}

fn shorten(text: &str) -> String {
    const LONGEST: usize = 40;
    if text.chars().count() <= LONGEST {
        return text.to_owned();
    }
    text.chars().take(LONGEST).chain("…".chars()).collect()
}

/// Cuts a text into tokens.
#[derive(Clone, Debug)]
pub(super) struct Lexer<'a> {
    text: &'a str,
    position: usize,
}

impl<'a> Lexer<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, position: 0 }
    }

    /// The next token and where it starts.
    pub(super) fn next(&mut self) -> (usize, Token<'a>) {
        let rest = self.rest();
        self.position += rest.len() - rest.trim_ascii_start().len();
        let start = self.position;
        let rest = self.rest();
        let Some(first) = rest.chars().next() else { return (start, Token::End) };
        let token = match first {
            '"' => return (start, self.string()),
            '-' if rest.starts_with("->") => Token::Arrow,
            '(' | ')' | '[' | ']' | '{' | '}' | '<' | '>' | ',' | ';' | '=' => Token::Mark(first),
            _ if is_word(first) => Token::Word(word(rest)),
            _ => Token::Unknown(first),
        };
        self.position += match token {
            Token::Word(word) => word.len(),
            Token::Arrow => 2,
            _ => first.len_utf8(),
        };
        (start, token)
    }

    fn string(&mut self) -> Token<'a> {
        let body = self.rest().get(1..).unwrap_or_default();
        let mut escaped = false;
        for (index, c) in body.char_indices() {
            match c {
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                '"' => {
                    self.position += index + 2;
                    return Token::String(body.get(..index).unwrap_or_default());
                }
                _ => {}
            }
        }
        self.position = self.text.len();
        Token::Unknown('"')
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.position..).unwrap_or_default()
    }
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-' | '+' | '?' | '@')
}

/// The longest word at the start; an arrow ends it.
fn word(text: &str) -> &str {
    let end = text
        .char_indices()
        .find(|(index, c)| !is_word(*c) || text.get(*index..).is_some_and(|rest| rest.starts_with("->")));
    end.map_or(text, |(end, _)| text.get(..end).unwrap_or_default())
}

/// A string without its escapes.
pub(super) fn unescape(body: &str) -> String {
    let mut text = String::with_capacity(body.len());
    let mut characters = body.chars();
    while let Some(c) = characters.next() {
        if c == '\\' {
            text.extend(characters.next());
        } else {
            text.push(c);
        }
    }
    text
}
