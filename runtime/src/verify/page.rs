//! The report as a page: one file that needs no network.

use anec_schemas::report::{Report, ReportError};

/// The page around the data.
const PAGE: &str = include_str!("page.html");

/// What stands in [`PAGE`] for the data.
const DATA_MARK: &str = "\"REPORT\"";

/// The page of a report.
///
/// # Errors
/// The report cannot be written as JSON.
pub fn report_page(report: &Report) -> Result<String, ReportError> {
    // No `<` may stand in the data, or a name could end the script element.
    let data = report.to_json()?.replace('<', "\\u003c");
    Ok(PAGE.replacen(DATA_MARK, data.trim_end(), 1))
}
