//! Names of functions and values.
//!
//! # Source
//! `MIL.proto` and the names that coremltools avoids, coremltools@e0e2f42b. A parameter called `state` is known to be
//! refused when the program is loaded.

use super::finding::{Findings, Subject, clipped};

/// Words that must not name a value or a function, sorted.
const RESERVED: [&str; 30] = [
    "any", "bf16", "bool", "dict", "false", "fp16", "fp32", "fp64", "func", "int16", "int32", "int4", "int64", "int8",
    "list", "program", "state", "string", "tensor", "true", "tuple", "uint1", "uint16", "uint2", "uint3", "uint32",
    "uint4", "uint6", "uint64", "uint8",
];

/// Reports `name` if it cannot name a value or a function.
pub(super) fn check(name: &str, subject: Subject<'_>, findings: &mut Findings<'_>) {
    let starts_well = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if !starts_well || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '@') {
        let message = format!("`{}` is not an identifier, expected `[A-Za-z_][A-Za-z0-9_]*`", clipped(name));
        findings.error(subject, message);
    } else if name.contains('@') {
        let message = format!("`{}` has an `@`, which the protobuf allows and the text form may not", clipped(name));
        findings.warning(subject, message);
    } else if is_reserved(name) {
        let message = format!("`{name}` is a word of the language and cannot be a name");
        findings.error_with_hint(subject, message, Some(format!("call it `{name}_0`")));
    }
}

fn is_reserved(name: &str) -> bool {
    RESERVED.contains(&name)
}
