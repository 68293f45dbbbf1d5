//! The program as a whole: its functions side by side.

use super::finding::{Finding, Findings, Report, Severity, Subject, clipped};
use super::{function, state};
use crate::program::Program;

/// The only program attribute that Core ML takes.
///
/// # Source
/// The loader of coremltools@e0e2f42b.
const BUILD_INFO: &str = "buildInfo";

/// Everything that is wrong with `program`, in program order.
pub(super) fn check(program: &Program) -> Report {
    let mut report = Report::default();
    add(&mut report, check_whole(program));
    let mut across = state::check_across(program);
    let first = program.functions.first_key_value();
    for (name, function) in &program.functions {
        let mut findings = function::check(name, function);
        findings.extend(across.remove(name.as_str()).unwrap_or_default());
        if let Some((first_name, first)) = first
            && first.opset != function.opset
        {
            let mut other = Findings::new(Some(name));
            let (here, there, first_name) = (function.opset, first.opset, clipped(first_name));
            let message = format!("the function uses {here}, but `{first_name}` uses {there}");
            other.error(Subject::WHOLE, message);
            findings.extend(other.finish());
        }
        findings.sort_by_key(|finding| finding.location.place);
        add(&mut report, findings);
    }
    report
}

fn check_whole(program: &Program) -> Vec<Finding> {
    let mut findings = Findings::new(None);
    if program.functions.is_empty() {
        findings.error(Subject::WHOLE, "there is no function");
    }
    for attribute in program.attributes.keys().filter(|attribute| *attribute != BUILD_INFO) {
        let message = format!("`{}` is not a program attribute, expected `{BUILD_INFO}` only", clipped(attribute));
        findings.error(Subject::WHOLE, message);
    }
    findings.finish()
}

fn add(report: &mut Report, findings: Vec<Finding>) {
    for finding in findings {
        match finding.severity {
            Severity::Error => report.errors.push(finding),
            Severity::Warning => report.warnings.push(finding),
        }
    }
}
