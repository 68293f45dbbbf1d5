//! The ops as a page to read.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::OPS;
use super::decl::{Change, Evidence, OpDecl};
use crate::opset::Opset;

const HEAD: &str = "\
# Ops

What is known of every op: since which operation set it exists, with which of them its parameters changed, how its evaluation
is held, and what shows how Core ML writes it in compiled programs. This page is generated from the declarations in
`mil/src/ops/`, do not edit it; `anec ops NAME` describes one, `anec ops --json` has all parameters in every operation set.

Every op here is declared, verified, linted, printed, read back and evaluated on the CPU.

- vectors: `mil/tests/vectors/` holds what coremltools, PyTorch or NumPy compute. Each case is also a program that coremltools
  writes, and `tests/conformance` lints, compiles, reads back and computes it.
- programs: ops that no vector can show are in programs of their own there. Random ops give the same numbers each time: their
  distribution is what counts.

How Core ML writes it:

- pair: the op stands in a package and in what Apple's compiler made of it, and both are compared.
- compiled: the op stands in a program that Apple's compiler wrote.
- loaded: text by others with the op was loaded by Core ML, or by the compiler of the Neural Engine.
- none: no one has shown it. The op is written as all others are, so far without an exception: arguments by name, sorted.
  `anec compile` refuses such a program unless `--unproven` is given.

Operation set `ios26`, specification version 10: coremltools 9 registers no op that it adds or changes, so its ops are those of
`ios18`. Public code hands text that begins with `func main<ios26>` to the compiler of the Neural Engine; no compiled model was
seen. Programs of this set are compiled with `--unproven` only.
";

/// Ops that no vector can show.
const PROGRAMS: [&str; 13] = [
    "classify",
    "cond",
    "const",
    "list_gather",
    "list_length",
    "list_read",
    "list_scatter",
    "list_write",
    "make_list",
    "non_zero",
    "read_state",
    "while_loop",
    "write_state",
];

/// The page, in Markdown.
pub fn markdown() -> String {
    let mut text = HEAD.to_owned();
    let unproven: Vec<String> =
        OPS.iter().filter(|decl| decl.evidence == Evidence::None).map(|decl| format!("`{}`", decl.name)).collect();
    // Writing to a string cannot fail.
    let _ = writeln!(text, "\n{} ops, {} of them with evidence.\n", OPS.len(), OPS.len() - unproven.len());
    text.push_str("| op | since | changed | evaluated | compiled form |\n| --- | --- | --- | --- | --- |\n");
    for decl in OPS {
        let changed: Vec<String> = changes(decl).iter().map(Opset::to_string).collect();
        let changed = if changed.is_empty() { "–".to_owned() } else { changed.join(", ") };
        let held = if PROGRAMS.contains(&decl.name) { "programs" } else { "vectors" };
        let _ = writeln!(text, "| `{}` | {} | {changed} | {held} | {} |", decl.name, decl.since, decl.evidence);
    }
    text
}

/// The operation sets after the op's first that changed its parameters.
fn changes(decl: &OpDecl) -> BTreeSet<Opset> {
    let all = decl.parameters.iter().flat_map(|parameter| parameter.changes);
    all.map(Change::opset).filter(|opset| *opset > decl.since).collect()
}
