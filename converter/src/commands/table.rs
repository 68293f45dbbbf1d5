//! Rows of text whose columns line up.

/// Spaces between columns.
const GAP: usize = 2;

/// A table: the first column is words and starts at the left, the others are numbers and end at the right.
pub(super) fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let header: Vec<String> = header.iter().map(|&title| title.to_owned()).collect();
    let all: Vec<&Vec<String>> = std::iter::once(&header).chain(rows).collect();
    let width = |column: usize| {
        let cells = all.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let mut text = String::new();
    for row in &all {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let padding = " ".repeat(width(column).saturating_sub(cell.chars().count()));
            if column == 0 {
                line.push_str(cell);
                line.push_str(&padding);
            } else {
                line.push_str(&" ".repeat(GAP));
                line.push_str(&padding);
                line.push_str(cell);
            }
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// A number with three digits and a prefix of the metric system, such as `1.61 M`.
pub(super) fn metric(value: f64) -> String {
    const PREFIXES: [&str; 5] = ["", "k", "M", "G", "T"];
    let mut scaled = value;
    let mut prefixes = PREFIXES.iter();
    let mut prefix = prefixes.next().copied().unwrap_or_default();
    while scaled >= 1000.0
        && let Some(next) = prefixes.next()
    {
        scaled /= 1000.0;
        prefix = next;
    }
    let digits = if scaled >= 100.0 || scaled == 0.0 {
        0
    } else if scaled >= 10.0 {
        1
    } else {
        2
    };
    format!("{scaled:.digits$} {prefix}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_whatever_stands_in_them() {
        let rows = [vec!["fwdAttn".to_owned(), "7".to_owned()], vec!["x".to_owned(), "1234567".to_owned()]];
        let expected = "kind       calls\nfwdAttn        7\nx        1234567\n";
        assert_eq!(table(&["kind", "calls"], &rows), expected);
    }

    #[test]
    fn numbers_have_three_digits() {
        let texts = [0.0, 1.0, 12.34, 999.0, 1_605_632.0, 18.5e12, 3e15].map(metric);
        assert_eq!(texts, ["0 ", "1.00 ", "12.3 ", "999 ", "1.61 M", "18.5 T", "3000 T"]);
    }
}
