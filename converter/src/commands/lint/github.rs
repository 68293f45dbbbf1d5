//! Findings as workflow commands, which GitHub shows beside a commit.
//!
//! # Source
//! docs.github.com, "Workflow commands for GitHub Actions": `::level properties::message`, and what is escaped where.

use std::fmt::Write as _;

use anec_mil::rules::Severity;

use super::report::LintReport;

/// The report as workflow commands, one a line.
pub(super) fn write(report: &LintReport) -> String {
    let mut text = String::new();
    for program in &report.programs {
        for finding in &program.findings {
            let level = match finding.severity {
                Severity::Error => "error",
                Severity::Warning => "warning",
                Severity::Note => "notice",
            };
            let (file, title) = (property(&program.path), property(&format!("anec {}", finding.rule)));
            let message = data(&format!("{}: {}\nfix: {}", finding.place(), finding.message, finding.fix));
            // Writing to a string cannot fail.
            let _ = writeln!(text, "::{level} file={file},title={title}::{message}");
        }
    }
    text
}

fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_end_a_command_is_escaped() {
        assert_eq!(property("a,b:c%\n"), "a%2Cb%3Ac%25%0A");
        assert_eq!(data("a,b:c%\r\n"), "a,b:c%25%0D%0A");
    }
}
