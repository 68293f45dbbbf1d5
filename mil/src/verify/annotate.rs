//! Shows errors in the text of the program.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::finding::{Finding, Place, VerifyErrors};
use crate::program::Program;
use crate::text::{self, TextVersion};

/// Lines that are shown around a line with an error.
const CONTEXT: usize = 2;
/// Errors that are shown of one line.
const SHOWN_PER_LINE: usize = 20;
/// Columns of a line that are shown at least, where it is longer than that.
const WIDTH: usize = 160;

impl VerifyErrors {
    /// The text of `program` around each error, with a mark under what is wrong and the message behind it.
    ///
    /// Stretches without errors are left out. Errors that stand nowhere in the text come first; for a program without a
    /// text form, these are all.
    pub fn annotate(&self, program: &Program) -> String {
        let printed = text::print(program, TextVersion::V1_3).unwrap_or_default();
        let lines: Vec<&str> = printed.lines().collect();
        let functions = find_functions(&lines);
        let signatures: BTreeSet<usize> = functions.values().map(|function| function.signature).collect();
        let mut shown = String::new();
        let mut marked: BTreeMap<usize, Vec<&Finding>> = BTreeMap::new();
        for finding in &self.errors {
            match line_of(finding, &functions) {
                Some(line) => marked.entry(line).or_default().push(finding),
                None => put_line(&mut shown, &finding.to_string()),
            }
        }
        let mut next = 0;
        for (line, findings) in &marked {
            put_context(&mut shown, &lines, &mut next, *line, &signatures);
            let (findings, more) = findings.split_at(findings.len().min(SHOWN_PER_LINE));
            let text = lines.get(*line).copied().unwrap_or_default();
            let spans: Vec<(usize, usize)> = findings.iter().map(|finding| span(finding, text)).collect();
            let end = spans.iter().map(|(start, length)| start + length).max().unwrap_or_default();
            put_line(&mut shown, &clipped(text, (end + WIDTH / 2).max(WIDTH)));
            for (finding, (start, length)) in findings.iter().zip(spans) {
                let (indentation, mark) = (" ".repeat(start), "~".repeat(length.saturating_sub(1)));
                put_line(&mut shown, &format!("{indentation}^{mark} {}", finding.message));
                if let Some(hint) = &finding.hint {
                    put_line(&mut shown, &format!("{indentation}hint: {hint}"));
                }
            }
            if !more.is_empty() {
                put_line(&mut shown, &format!("and {} more errors in this line", more.len()));
            }
            next = line + 1;
        }
        if let Some(last) = marked.keys().next_back() {
            let end = (last + 1 + CONTEXT).min(lines.len());
            for text in lines.get(last + 1..end).unwrap_or_default() {
                put_line(&mut shown, &clipped(text, WIDTH));
            }
        }
        shown
    }
}

/// Where the parts of a function stand in the text.
#[derive(Default)]
struct FunctionLines {
    signature: usize,
    operations: Vec<usize>,
    results: usize,
}

/// The functions in `lines`, which [`text::print`] wrote: one operation on each line.
fn find_functions<'a>(lines: &[&'a str]) -> BTreeMap<&'a str, FunctionLines> {
    let mut functions = BTreeMap::new();
    let mut current: Option<(&str, FunctionLines)> = None;
    for (index, whole) in lines.iter().enumerate() {
        let line = whole.trim_start();
        // What stands further in belongs to the blocks of the operation before.
        if whole.len() - line.len() > text::OPERATION_INDENT {
            continue;
        }
        if let Some(signature) = line.strip_prefix("func ") {
            let name = signature.split('<').next().unwrap_or_default();
            current = Some((name, FunctionLines { signature: index, ..FunctionLines::default() }));
        } else if line.starts_with("} -> (") {
            if let Some((name, mut function)) = current.take() {
                function.results = index;
                functions.insert(name, function);
            }
        } else if let Some((_, function)) = &mut current {
            function.operations.push(index);
        }
    }
    functions
}

fn line_of(finding: &Finding, functions: &BTreeMap<&str, FunctionLines>) -> Option<usize> {
    let function = functions.get(finding.location.function.as_deref()?)?;
    match finding.location.place {
        Place::Whole | Place::Input(_) => Some(function.signature),
        Place::Operation(index) => function.operations.get(index).copied(),
        Place::Output(_) => Some(function.results),
    }
}

/// Writes the lines between the last line shown and `line`: the signature of its function, and the nearest ones.
fn put_context(shown: &mut String, lines: &[&str], next: &mut usize, line: usize, signatures: &BTreeSet<usize>) {
    if let Some(signature) = signatures.range(*next..line).next_back() {
        put_line(shown, &clipped(lines.get(*signature).copied().unwrap_or_default(), WIDTH));
        *next = signature + 1;
    }
    let from = line.saturating_sub(CONTEXT);
    if from > *next && *next > 0 {
        put_line(shown, "            …");
    }
    for text in lines.get(from.max(*next)..line).unwrap_or_default() {
        put_line(shown, &clipped(text, WIDTH));
    }
}

/// Column and width of what `finding` is about; the whole line where it is not found. Columns are characters.
fn span(finding: &Finding, line: &str) -> (usize, usize) {
    let location = &finding.location;
    let value = location.value.as_deref().and_then(|value| find_word(line, value));
    let bytes = match (value, location.op.as_deref()) {
        (Some((start, end)), Some(op)) => {
            let call = line.get(end..).and_then(|rest| find_word(rest, op)).map(|(_, length)| end + length);
            Some((start, call.unwrap_or(end)))
        }
        (Some(found), None) => Some(found),
        (None, Some(op)) => find_word(line, op),
        (None, None) => location.function.as_deref().and_then(|function| find_word(line, function)),
    };
    let indentation = line.len() - line.trim_start().len();
    let (start, end) = bytes.unwrap_or((indentation, line.len().min(indentation + WIDTH)));
    let columns = |from: usize, to: usize| line.get(from..to).map_or(0, |text| text.chars().count());
    (columns(0, start), columns(start, end).max(1))
}

/// The bytes where `word` stands alone in `line`.
fn find_word(line: &str, word: &str) -> Option<(usize, usize)> {
    if word.is_empty() {
        return None;
    }
    let joins = |c: char| c.is_alphanumeric() || c == '_' || c == '@';
    line.match_indices(word).map(|(start, _)| (start, start + word.len())).find(|(start, end)| {
        let before = line.get(..*start).and_then(|text| text.chars().next_back());
        let after = line.get(*end..).and_then(|text| text.chars().next());
        !before.is_some_and(joins) && !after.is_some_and(joins)
    })
}

fn clipped(line: &str, width: usize) -> String {
    match line.char_indices().nth(width) {
        None => line.to_owned(),
        Some((end, _)) => format!("{}…", line.get(..end).unwrap_or_default()),
    }
}

fn put_line(shown: &mut String, line: &str) {
    // Writing to memory does not fail.
    let _ = writeln!(shown, "{}", line.trim_end());
}
