//! Weight files that are too large for Mac.

use crate::rules::limits::MACOS_FILE_BYTES as MOST;
use crate::rules::rule::{Check, Rule, Scope, Severity};
use crate::rules::sink::Sink;
use crate::rules::system::System;
use crate::rules::view::ProgramView;

/// The rule.
pub(super) static RULE: Rule = Rule {
    id: "macos-file-size",
    severity: Severity::Error,
    summary: "The weight file of a package for macOS has at most 2 GB",
    scope: Scope::system(System::Macos),
    source: "ane-book, M4 Max: 1.9 GB on the Neural Engine, 2.3 GB on the CPU; ANEMLL and Anemll-forge stop \
        at 1.9 to 2 GB",
    conflict: Some("ane-book also has packages beyond 1 GB that fail (-14)"),
    fix: "more chunks: `--chunks`",
    check: Check::Program(check),
};

fn check(view: &ProgramView<'_>, sink: &mut Sink<'_>) {
    if let Some(bytes) = view.subject.weight_file_bytes.filter(|bytes| *bytes > MOST) {
        sink.whole(format!("the weight file has {bytes} bytes, expected at most {MOST} for {}", System::Macos));
    }
}
