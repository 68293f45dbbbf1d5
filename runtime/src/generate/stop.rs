//! Texts that end a generation.

/// Passes text on until a stop text appears. What may be the start of one waits.
#[derive(Clone, Debug, Default)]
pub struct StopTexts {
    texts: Vec<String>,
    waiting: String,
}

/// What came out of [`StopTexts::push`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passed {
    /// Text that is not part of a stop text.
    pub text: String,
    /// Whether a stop text followed it.
    pub stopped: bool,
}

impl StopTexts {
    /// Stops at the first of these texts. Empty ones are left out.
    pub fn new(texts: impl IntoIterator<Item = String>) -> Self {
        Self { texts: texts.into_iter().filter(|text| !text.is_empty()).collect(), waiting: String::new() }
    }

    /// Takes text and gives what is certain.
    pub fn push(&mut self, text: &str) -> Passed {
        self.waiting.push_str(text);
        let found = self.texts.iter().filter_map(|stop| self.waiting.find(stop)).min();
        if let Some(position) = found {
            self.waiting.truncate(position);
            return Passed { text: std::mem::take(&mut self.waiting), stopped: true };
        }
        let waits = |position: &usize| {
            let end = self.waiting.get(*position..).unwrap_or_default();
            self.texts.iter().any(|stop| stop.starts_with(end))
        };
        let position = self.waiting.char_indices().map(|(position, _)| position).find(waits);
        let rest = self.waiting.split_off(position.unwrap_or(self.waiting.len()));
        Passed { text: std::mem::replace(&mut self.waiting, rest), stopped: false }
    }

    /// What waits when no more text comes.
    pub fn finish(&mut self) -> String {
        std::mem::take(&mut self.waiting)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pushed(stops: &[&str], pieces: &[&str]) -> (String, bool) {
        let mut filter = StopTexts::new(stops.iter().map(|text| (*text).to_owned()));
        let mut text = String::new();
        for piece in pieces {
            let passed = filter.push(piece);
            text.push_str(&passed.text);
            if passed.stopped {
                return (text, true);
            }
        }
        (text + &filter.finish(), false)
    }

    #[test]
    fn a_stop_text_in_pieces_is_found_and_left_out() {
        assert_eq!(pushed(&["\nUser:"], &["Hello\nUs", "er", ": hi"]), ("Hello".to_owned(), true));
        assert_eq!(pushed(&["aab"], &["a", "a", "a", "b"]), ("a".to_owned(), true));
        assert_eq!(pushed(&["é!"], &["caf", "é", "!"]), ("caf".to_owned(), true));
    }

    #[test]
    fn the_first_of_several_stop_texts_counts() {
        assert_eq!(pushed(&["cd", "b"], &["abcd"]), ("a".to_owned(), true));
    }

    #[test]
    fn text_that_only_starts_like_a_stop_text_is_passed_on() {
        assert_eq!(pushed(&["stop", ""], &["sto", "re st"]), ("store st".to_owned(), false));
    }

    #[test]
    fn text_waits_no_longer_than_it_has_to() {
        let mut filter = StopTexts::new(["###".to_owned()]);
        assert_eq!(filter.push("a#b##").text, "a#b");
        assert_eq!(filter.push("c").text, "##c");
    }
}
