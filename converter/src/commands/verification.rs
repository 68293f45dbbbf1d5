//! What `anec verify` has found out about a directory, as the report in it says.

use std::path::Path;

use anec_schemas::report::{REPORT_JSON, Report};
use fs_err as fs;

use crate::output::checksums::{self, CHECKSUMS};

/// What is known.
pub(super) enum Verification {
    /// There is no report, or none that can be read.
    Missing,
    /// The files were changed after it was written.
    Outdated(Box<Report>),
    /// A check did not pass.
    Failed(Box<Report>),
    /// All checks passed.
    Passed(Box<Report>),
}

impl Verification {
    /// Reads the report in a directory.
    pub(super) fn of(path: &Path) -> Self {
        let text = fs::read_to_string(path.join(REPORT_JSON)).ok();
        let Some(report) = text.and_then(|text| Report::from_json(&text).ok()) else { return Self::Missing };
        let now = checksums::checksum(&path.join(CHECKSUMS)).ok();
        let then = report.made.as_ref().and_then(|made| made.checksums_sha256.clone());
        let report = Box::new(report);
        match report.passed {
            _ if then.is_some() && then != now => Self::Outdated(report),
            true => Self::Passed(report),
            false => Self::Failed(report),
        }
    }

    /// What keeps the directory from being shipped, if anything.
    pub(super) fn objection(&self) -> Option<String> {
        match self {
            Self::Passed(_) => None,
            Self::Missing => Some("it was not verified against its checkpoint".to_owned()),
            Self::Outdated(_) => Some("its files were changed after it was verified".to_owned()),
            Self::Failed(report) => {
                let failed = report.checks.iter().filter(|check| !check.passed).map(|check| check.name.as_str());
                Some(format!("its verification failed: {}", failed.collect::<Vec<_>>().join(", ")))
            }
        }
    }
}
