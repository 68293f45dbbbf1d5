//! A layout as a document: what docs/layouts has.

use std::fmt::Write as _;

use anec_schemas::contract::{FileContract, FunctionContract, TensorContract, When};

use super::count;
use crate::output::layouts::Layout;

/// The document in Markdown.
pub(super) fn markdown(layout: &dyn Layout) -> String {
    let contract = layout.family().contract();
    let mut text = format!(
        "<!-- Made by `ANEC_BLESS=1 cargo test -p anec-converter layout_documents` from the contract. -->\n\n\
         # `--layout {}`\n\nOpened by {}. The contract `{}`: {}.\n\n",
        layout.name(),
        layout.summary(),
        contract.name,
        contract.summary
    );
    for (what, said) in [
        ("Forms", layout.forms().join(", ")),
        ("Systems", contract.systems.to_owned()),
        ("Memory on the device", contract.memory.to_owned()),
        ("Known from", contract.source.to_owned()),
    ] {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "- {what}: {said}.");
    }
    text.push_str("\n## Files\n");
    for file in contract.files {
        add_file(&mut text, file);
    }
    text.push_str("\n## Order of calls\n\nEach is made once for each file of the role.\n\n");
    text.push_str("| phase | role | function | when | what is given |\n| --- | --- | --- | --- | --- |\n");
    for call in contract.calls {
        let (phase, role) = (call.phase, call.role);
        let _ = writeln!(text, "| {phase} | {role} | `{}` | {} | {} |", call.function, call.when, call.feeds);
    }
    text.push_str("\n## What the client keeps, and other rules\n\n");
    for rule in contract.rules {
        let _ = writeln!(text, "- {rule}");
    }
    if !contract.variants.is_empty() {
        text.push_str("\n## Variants\n\n");
        for variant in contract.variants {
            let _ = writeln!(text, "- {}: {}.", variant.name, variant.meaning);
        }
    }
    let _ = write!(
        text,
        "\n## A client in Swift\n\nTo start from: short rather than fast, and not checked by a compiler here. `meta.yaml` has the \
         names and sizes that it asks for.\n\n```swift\n{}```\n",
        contract.swift
    );
    text
}

fn add_file(text: &mut String, file: &FileContract) {
    let (first, rest) = file.meaning.split_at_checked(1).unwrap_or_default();
    let _ = writeln!(text, "\n### {} ({})\n\n{}{rest}.", file.role, count(file.count), first.to_uppercase());
    for function in file.functions {
        add_function(text, function);
    }
}

fn add_function(text: &mut String, function: &FunctionContract) {
    let when = match function.when {
        When::Always => String::new(),
        when => format!(", where {when}"),
    };
    let _ = writeln!(text, "\n`{}`{when}: {}.\n", function.name, function.meaning);
    text.push_str("| | tensor | type | shape | when | what it holds |\n| --- | --- | --- | --- | --- | --- |\n");
    for (kind, tensors) in [("in", function.inputs), ("state", function.states), ("out", function.outputs)] {
        for tensor in tensors {
            add_tensor(text, kind, tensor);
        }
    }
}

fn add_tensor(text: &mut String, kind: &str, tensor: &TensorContract) {
    let shape: Vec<String> = tensor.shape.iter().map(ToString::to_string).collect();
    let TensorContract { name, dtype, when, meaning, .. } = tensor;
    let _ = writeln!(text, "| {kind} | `{name}` | {dtype} | [{}] | {when} | {meaning} |", shape.join(", "));
}
