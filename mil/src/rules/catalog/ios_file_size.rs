//! Weight files that are too large for iPhone and iPad.

use crate::rules::limits::IOS_FILE_BYTES as MOST;
use crate::rules::rule::{Check, Rule, Scope, Severity};
use crate::rules::sink::Sink;
use crate::rules::system::System;
use crate::rules::view::ProgramView;

/// The rule.
pub(super) static RULE: Rule = Rule {
    id: "ios-file-size",
    severity: Severity::Warning,
    summary: "The weight file of a package for iOS has at most 1 GB",
    scope: Scope::system(System::Ios),
    source: "ANEMLL: packages beyond 1 GB may fail to load on iPhone; john-rocky: 1.0 to 1.4 GB run on the \
        GPU without a word",
    conflict: Some("Apple asks for less than 2 GB"),
    fix: "more chunks: `--chunks`, or `--target`",
    check: Check::Program(check),
};

fn check(view: &ProgramView<'_>, sink: &mut Sink<'_>) {
    if let Some(bytes) = view.subject.weight_file_bytes.filter(|bytes| *bytes > MOST) {
        sink.whole(format!("the weight file has {bytes} bytes, expected at most {MOST} for {}", System::Ios));
    }
}
