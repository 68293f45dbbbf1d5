//! Values from before a write.

use std::collections::{BTreeMap, BTreeSet};

use crate::ops::special;
use crate::rules::rule::{Check, Rule, Scope, Severity};
use crate::rules::sink::Sink;
use crate::rules::view::{self, FunctionView};

/// The rule.
pub(super) static RULE: Rule = Rule {
    id: "state-reread",
    severity: Severity::Warning,
    summary: "After a state is written, only what is read from it again is used",
    scope: Scope::ALL,
    source: "Anemll-forge; john-rocky; ANEMLL and CoreML-LLM read again after every write",
    conflict: None,
    fix: "`read_state` after `write_state`, and go on from its result",
    check: Check::Function(check),
};

fn check(view: &FunctionView<'_>, sink: &mut Sink<'_>) {
    let mut writes: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for (index, operation) in view.operations().iter().enumerate() {
        if operation.op != special::WRITE_STATE {
            continue;
        }
        if let Some(state) = operation.inputs.get("input").and_then(view::name) {
            writes.entry(state).or_default().push(index);
        }
        let written = operation.inputs.get("data").and_then(view::name).filter(|name| seen.insert(*name));
        for user in written.map(|name| view.users(name)).unwrap_or_default() {
            if *user != index {
                sink.operation(*user, "takes what is written to a state instead of what is read from it afterwards");
            }
        }
    }
    for (index, operation) in view.operations().iter().enumerate() {
        let state = operation.inputs.get("input").and_then(view::name).filter(|_| operation.op == special::READ_STATE);
        let Some(writes) = state.and_then(|state| writes.get(state)) else { continue };
        let next = writes.get(writes.partition_point(|write| *write < index)).copied().unwrap_or(usize::MAX);
        let read = operation.outputs.first().map(|output| output.name.as_str()).unwrap_or_default();
        let users = view.users(read);
        if let Some(user) = users.get(users.partition_point(|user| *user <= next)) {
            sink.operation(*user, format!("takes `{read}`, which was read before the state was written"));
        }
    }
}
