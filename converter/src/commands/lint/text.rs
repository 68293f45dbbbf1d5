//! Findings for people: by program, then by rule, the worst first.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anec_mil::rules::Severity;

use super::report::{FindingReport, LintReport};

/// How many findings of a rule are shown unless all are asked for.
const SHOWN: usize = 5;

/// The report as text; with `all`, every finding.
pub(super) fn write(report: &LintReport, all: bool) -> String {
    let mut text = String::new();
    for program in &report.programs {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{}", program.path);
        let mut rules: BTreeMap<(Severity, &str), Vec<&FindingReport>> = BTreeMap::new();
        for finding in &program.findings {
            rules.entry((finding.severity, finding.rule)).or_default().push(finding);
        }
        if rules.is_empty() {
            text.push_str("  nothing found\n");
        }
        for ((severity, rule), findings) in rules {
            let _ = writeln!(text, "  {severity}[{rule}]");
            let shown = if all { findings.len() } else { SHOWN };
            for finding in findings.iter().take(shown) {
                let _ = writeln!(text, "    {}: {}", finding.place(), finding.message);
            }
            if findings.len() > shown {
                let _ = writeln!(text, "    and {} more; --all shows them", findings.len() - shown);
            }
            if let Some(finding) = findings.first() {
                let _ = writeln!(text, "    fix: {}", finding.fix);
            }
        }
        text.push('\n');
    }
    let count = |count: usize, noun: &str| format!("{count} {noun}{}", if count == 1 { "" } else { "s" });
    let (errors, warnings) = (count(report.errors, "error"), count(report.warnings, "warning"));
    let notes = count(report.notes, "note");
    let programs = count(report.programs.len(), "program");
    let _ = writeln!(text, "{errors}, {warnings}, {notes} in {programs} for {}", audience(report));
    text
}

fn audience(report: &LintReport) -> String {
    let system = report.os.as_ref().or(report.target.as_ref());
    let chip = if report.chip == "generic" { "all chips" } else { &report.chip };
    format!("{chip}, {}", system.map_or("iOS and macOS", String::as_str))
}
