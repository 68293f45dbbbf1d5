//! The ops as a page to read.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::OPS;
use super::decl::{Change, Evidence, OpDecl};
use crate::opset::Opset;

const HEAD: &str = "\
# Ops

What is known of every op: since which operation set it exists, with which of them its parameters changed, and what shows
how Core ML writes it in compiled programs. This page is generated from the declarations in `mil/src/ops/`, do not edit it.

Every op here is verified, linted, printed, read back and evaluated on the CPU. `mil/tests/vectors/` holds what coremltools,
PyTorch or NumPy compute for each, but for constants, states, lists, `classify` and control flow, which have tests of their
own. Random ops are evaluated with the same numbers each time: their distribution is what counts.

- pair: the op stands in a package and in what Apple's compiler made of it, and both are compared.
- compiled: the op stands in a program that Apple's compiler wrote.
- loaded: text by others with the op was loaded by Core ML.
- none: no one has shown it. The op is written as all others are, so far without an exception: arguments by name, sorted.
";

/// The page, in Markdown.
pub fn markdown() -> String {
    let mut text = HEAD.to_owned();
    let shown = OPS.iter().filter(|decl| decl.evidence != Evidence::None).count();
    // Writing to a string cannot fail.
    let _ = writeln!(text, "\n{} ops, {shown} of them with evidence.\n", OPS.len());
    text.push_str("| op | since | changed | evidence |\n| --- | --- | --- | --- |\n");
    for decl in OPS {
        let changed: Vec<String> = changes(decl).iter().map(Opset::to_string).collect();
        let changed = if changed.is_empty() { "–".to_owned() } else { changed.join(", ") };
        let evidence = match decl.evidence {
            Evidence::Pair(place) => format!("pair: {place}"),
            Evidence::Compiled(place) => format!("compiled: {place}"),
            Evidence::Loaded(place) => format!("loaded: {place}"),
            Evidence::None => "none".to_owned(),
        };
        let _ = writeln!(text, "| `{}` | {} | {changed} | {evidence} |", decl.name, decl.since);
    }
    text
}

/// The operation sets after the op's first that changed its parameters.
fn changes(decl: &OpDecl) -> BTreeSet<Opset> {
    let all = decl.parameters.iter().flat_map(|parameter| parameter.changes);
    let opset = |change: &Change| match change {
        Change::Since(opset)
        | Change::Until(opset)
        | Change::Takes(opset, _)
        | Change::Group(opset, _)
        | Change::Variable(opset) => *opset,
    };
    all.map(opset).filter(|opset| *opset > decl.since).collect()
}
