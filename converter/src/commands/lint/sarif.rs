//! Findings as SARIF, which code scanning services take.
//!
//! # Source
//! OASIS, Static Analysis Results Interchange Format 2.1.0.

use anec_mil::rules::{RULES, Rule, Severity};
use serde_json::{Value, json};

use super::report::{FindingReport, LintReport, ProgramReport};

const SCHEMA: &str = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json";

/// The report as a SARIF log with one run. All rules are listed, broken or not.
pub(super) fn write(report: &LintReport) -> Value {
    let results: Vec<Value> = report.programs.iter().flat_map(results).collect();
    json!({
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [{
            "tool": {
                "driver": {
                    "name": "anec",
                    "version": env!("CARGO_PKG_VERSION"),
                    "semanticVersion": env!("CARGO_PKG_VERSION"),
                    "rules": RULES.iter().map(|rule| descriptor(rule)).collect::<Vec<_>>(),
                },
            },
            "results": results,
        }],
    })
}

fn descriptor(rule: &Rule) -> Value {
    let conflict = rule.conflict.map(|conflict| format!(" Sources disagree: {conflict}.")).unwrap_or_default();
    json!({
        "id": rule.id,
        "shortDescription": { "text": format!("{}.", rule.summary) },
        "fullDescription": { "text": format!("{}. Source: {}.{conflict}", rule.summary, rule.source) },
        "help": { "text": format!("Fix: {}.", rule.fix) },
        "defaultConfiguration": { "level": level(rule.severity) },
        "properties": { "scope": rule.scope.to_string() },
    })
}

fn results(program: &ProgramReport) -> impl Iterator<Item = Value> {
    program.findings.iter().map(|finding| result(&program.path, finding))
}

fn result(path: &str, finding: &FindingReport) -> Value {
    let index = RULES.iter().position(|rule| rule.id == finding.rule);
    let mut location = json!({ "physicalLocation": { "artifactLocation": { "uri": uri(path) } } });
    if let (Some(function), Some(fields)) = (&finding.function, location.as_object_mut()) {
        let (name, kind) = match finding.value.as_ref().or(finding.op.as_ref()) {
            Some(value) => (value, "variable"),
            None => (function, "function"),
        };
        let logical = json!({ "name": name, "fullyQualifiedName": finding.place(), "kind": kind });
        fields.insert("logicalLocations".to_owned(), json!([logical]));
    }
    json!({
        "ruleId": finding.rule,
        "ruleIndex": index,
        "level": level(finding.severity),
        "message": { "text": format!("{}: {}. Fix: {}.", finding.place(), finding.message, finding.fix) },
        "locations": [location],
    })
}

fn level(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Note => "note",
    }
}

/// A path as a relative or `file:` reference: everything but letters, digits and `-._~/` is escaped.
fn uri(path: &str) -> String {
    use std::fmt::Write as _;
    let path = path.replace('\\', "/");
    let mut text = if path.starts_with('/') { "file://".to_owned() } else { String::new() };
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            text.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_become_references() {
        assert_eq!(uri("out/a b.mlpackage"), "out/a%20b.mlpackage");
        assert_eq!(uri("/x/ü"), "file:///x/%C3%BC");
    }
}
