//! Texts beside each other.

/// Characters of a column, and between two of them.
const WIDTH: usize = 48;
const GAP: usize = 4;

/// Texts in columns, wrapped at words.
pub(super) fn beside(texts: &[&str; 2]) -> String {
    let [left, right] = texts.map(wrapped);
    let mut out = String::new();
    for index in 0..left.len().max(right.len()) {
        let line = |lines: &[String]| lines.get(index).cloned().unwrap_or_default();
        let (left, right) = (line(&left), line(&right));
        let padding = (WIDTH + GAP).saturating_sub(left.chars().count());
        let line = format!("  {left}{}{right}", " ".repeat(padding));
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

/// Lines of a column; a word that is longer than one is cut.
fn wrapped(text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    for paragraph in text.lines() {
        let mut line = String::new();
        for word in paragraph.split(' ') {
            for piece in pieces(word) {
                let is_first = line.is_empty();
                if !is_first && line.chars().count() + 1 + piece.chars().count() > WIDTH {
                    lines.push(std::mem::take(&mut line));
                } else if !is_first {
                    line.push(' ');
                }
                line.push_str(&piece);
            }
        }
        lines.push(line);
    }
    lines
}

fn pieces(word: &str) -> Vec<String> {
    let characters: Vec<char> = word.chars().collect();
    characters.chunks(WIDTH).map(|piece| piece.iter().collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_stand_beside_each_other_and_wrap_at_words() {
        let text = beside(&["short", &"word ".repeat(12)]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 2);
        assert!(lines[0].starts_with("  short ") && lines[0].ends_with("word"));
        assert!(lines.iter().all(|line| line.len() <= 2 + 2 * WIDTH + GAP), "{text}");
        let long = beside(&[&"x".repeat(100), ""]);
        assert_eq!(long.matches('x').count(), 100);
        assert!(long.lines().all(|line| line.len() <= 2 + WIDTH), "{long}");
    }
}
