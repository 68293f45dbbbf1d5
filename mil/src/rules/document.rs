//! The rules as a page to read.

use std::fmt::Write as _;

use super::RULES;
use super::chip::{CHIPS, DmaNotch, Figure};
use super::rule::Severity;

const HEAD: &str = "\
# Rules of the Neural Engine

What `anec lint` checks, one rule a section; `anec rules` prints the same. This page is generated from the rules in
`mil/src/rules/catalog/`, do not edit it.

Nothing here was measured by this project: every rule names who found it. Where sources disagree, the rule says so.
Errors are programs that will not load or compute something else, warnings are programs that leave the Neural Engine or
are slow on it, notes are worth knowing.
";

const CHIP_HEAD: &str = "\
## Chips

Weights: gigabytes a second of weights that the Neural Engine was seen to read. Memory: what the memory can deliver.
TOPS: 10^12 operations a second. Rows: the longest axis. Notch: whether reads slow down near multiples of 1 MiB per core.
`generic` is safe on all of them.

| chip | weights | memory | TOPS | rows | notch |
| --- | --- | --- | --- | --- | --- |
";

/// The page, in Markdown.
pub fn markdown() -> String {
    let mut text = HEAD.to_owned();
    // Writing to a string cannot fail.
    text.push_str("\n| rule | severity | what |\n| --- | --- | --- |\n");
    for rule in RULES {
        let _ = writeln!(text, "| [{0}](#{0}) | {1} | {2} |", rule.id, rule.severity, rule.summary);
    }
    for severity in [Severity::Error, Severity::Warning, Severity::Note] {
        let _ = write!(text, "\n## {}\n", title(severity));
        for rule in RULES.iter().filter(|rule| rule.severity == severity) {
            let _ = write!(text, "\n### {}\n\n{}.\n\n", rule.id, rule.summary);
            let _ = writeln!(text, "- Where: {}", rule.scope);
            let _ = writeln!(text, "- Source: {}", rule.source);
            if let Some(conflict) = rule.conflict {
                let _ = writeln!(text, "- Conflict: {conflict}");
            }
            let _ = writeln!(text, "- Fix: {}", rule.fix);
        }
    }
    text.push('\n');
    text.push_str(CHIP_HEAD);
    let mut sources = Vec::new();
    for facts in CHIPS {
        let figures = [facts.weight_bandwidth, facts.memory_bandwidth, facts.tops];
        let [weights, memory, tops] = figures.map(|figure| cell(figure, &mut sources));
        let notch = match facts.dma_notch {
            DmaNotch::Measured => "measured",
            DmaNotch::Assumed => "assumed",
            DmaNotch::ReportedAbsent => "reported absent",
        };
        let _ =
            writeln!(text, "| {} | {weights} | {memory} | {tops} | {} | {notch} |", facts.name, facts.max_head_rows);
    }
    text.push('\n');
    for (index, source) in sources.iter().enumerate() {
        let _ = writeln!(text, "{}. {source}", index + 1);
    }
    text
}

fn title(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "Errors",
        Severity::Warning => "Warnings",
        Severity::Note => "Notes",
    }
}

/// A number with the number of its source, or a dash.
fn cell(figure: Option<Figure>, sources: &mut Vec<&'static str>) -> String {
    let Some(Figure { value, source }) = figure else { return "–".to_owned() };
    let known = sources.iter().position(|known| *known == source);
    let index = known.unwrap_or_else(|| {
        sources.push(source);
        sources.len() - 1
    });
    format!("{value} ({})", index + 1)
}
