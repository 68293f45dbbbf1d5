//! A curve in a terminal: braille dots, two by four in a character.

use std::fmt::Write as _;

/// Characters of a plot.
const WIDTH: usize = 72;
const HEIGHT: usize = 14;

/// The bit of each dot of a braille character, by column and row.
const DOTS: [[u32; 4]; 2] = [[0x01, 0x02, 0x04, 0x40], [0x08, 0x10, 0x20, 0x80]];

/// The first braille character, without dots.
const BLANK: u32 = 0x2800;

/// A curve of numbers over steps from `first` on; nothing where there are fewer than two.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a plot is as exact as its dots"
)]
pub(super) fn curve(values: &[f64], first: u64) -> String {
    let finite = || values.iter().copied().filter(|value| value.is_finite());
    let (low, high) = (finite().fold(f64::INFINITY, f64::min), finite().fold(f64::NEG_INFINITY, f64::max));
    if finite().count() < 2 {
        return String::new();
    }
    let (columns, rows) = (2 * WIDTH, 4 * HEIGHT);
    let span = (high - low).max(f64::MIN_POSITIVE);
    let mut cells = vec![BLANK; WIDTH * HEIGHT];
    for (index, value) in values.iter().enumerate().filter(|(_, value)| value.is_finite()) {
        let column = index * (columns - 1) / (values.len() - 1);
        let row = (((high - value) / span) * (rows - 1) as f64).round() as usize;
        let dot = DOTS.get(column % 2).and_then(|dots| dots.get(row % 4)).copied().unwrap_or(0);
        if let Some(cell) = cells.get_mut(row / 4 * WIDTH + column / 2) {
            *cell |= dot;
        }
    }
    let mut text = String::new();
    for (row, cells) in cells.chunks(WIDTH).enumerate() {
        let label = high - span * row as f64 / (HEIGHT - 1) as f64;
        let line: String = cells.iter().filter_map(|cell| char::from_u32(*cell)).collect();
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{label:>8.3} {line}");
    }
    let last = first + values.len() as u64 - 1;
    let _ = writeln!(text, "{:8} {first:<width$}{last:>8}", "step", width = WIDTH - 8);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_falling_line_goes_from_the_upper_left_to_the_lower_right() {
        let text = curve(&[3.0, 2.0, 1.0], 1);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), HEIGHT + 1);
        assert!(lines[0].starts_with("   3.000 ⠁") && lines[HEIGHT - 1].ends_with('⢀'), "{text}");
        assert_eq!(curve(&[1.0], 1), "");
    }
}
