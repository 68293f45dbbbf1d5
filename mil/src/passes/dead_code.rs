//! Removes operations whose results nothing uses.
//!
//! Writes to states stay, and so does everything that a write needs. A read of a state that nothing uses goes. Ops that
//! are not known stay, as nothing is known of their effects. A function must use its parameters: where only dead
//! operations use one, the first of them stays.
//!
//! Before:
//! ```text
//! tensor<fp16, [1, 8]> a = relu(x = x)[name = string("a")];
//! tensor<fp16, [1, 8]> b = relu(x = a)[name = string("b")];
//! tensor<fp16, [1, 8]> y = silu(x = x)[name = string("y")];
//! } -> (y);
//! ```
//! After:
//! ```text
//! tensor<fp16, [1, 8]> y = silu(x = x)[name = string("y")];
//! } -> (y);
//! ```

use std::collections::BTreeSet;

use super::Changed;
use crate::ops::decl::Effect;
use crate::ops::find;
use crate::program::{Function, Operation};

/// Runs the pass.
pub fn run(function: &mut Function) -> Changed {
    let needed = live_operations(function, &BTreeSet::new());
    let users = only_users(function, &needed);
    let needed = if users.is_empty() { needed } else { live_operations(function, &users) };
    let before = needed.len();
    let mut needed = needed.into_iter();
    function.block.operations.retain(|_| needed.next().unwrap_or(true));
    Changed(before - function.block.operations.len())
}

/// For each operation, whether it must stay because of its effect, because of what uses it, or as one of `forced`.
fn live_operations(function: &Function, forced: &BTreeSet<usize>) -> Vec<bool> {
    let mut live: BTreeSet<&str> = function.block.outputs.iter().map(String::as_str).collect();
    let mut needed = vec![false; function.block.operations.len()];
    for ((index, operation), needed) in function.block.operations.iter().enumerate().zip(&mut needed).rev() {
        let used = operation.outputs.iter().any(|output| live.contains(output.name.as_str()));
        *needed = used || has_effect(operation) || forced.contains(&index);
        if *needed {
            live.extend(operation.names_used());
        }
    }
    needed
}

/// The first user of each parameter that no needed operation uses.
fn only_users(function: &Function, needed: &[bool]) -> BTreeSet<usize> {
    let operations = || function.block.operations.iter().zip(needed).enumerate();
    let mut used: BTreeSet<&str> = function.block.outputs.iter().map(String::as_str).collect();
    for (_, (operation, _)) in operations().filter(|(_, (_, needed))| **needed) {
        used.extend(operation.names_used());
    }
    let parameters = function.inputs.iter().map(|input| input.name.as_str());
    let mut unused: BTreeSet<&str> = parameters.filter(|name| !used.contains(name)).collect();
    let mut users = BTreeSet::new();
    for (index, (operation, needed)) in operations() {
        for name in operation.names_used() {
            if !needed && unused.remove(name) {
                users.insert(index);
            }
        }
    }
    users
}

/// Whether `operation` must stay where nothing uses its results.
fn has_effect(operation: &Operation) -> bool {
    match find(&operation.op) {
        Some(decl) => decl.effect == Effect::WritesState,
        None => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builder::FunctionBuilder;
    use crate::dtype::DataType;
    use crate::opset::Opset;
    use crate::types::{TensorType, ValueType};
    use crate::value::Value;

    fn fp16() -> TensorType {
        TensorType::fixed(DataType::Float16, &[1, 8])
    }

    fn names(function: &Function) -> Vec<&str> {
        function.block.operations.iter().filter_map(Operation::display_name).collect()
    }

    #[test]
    fn operations_that_nothing_uses_go_with_their_operands() {
        let mut builder = FunctionBuilder::new(Opset::Ios18);
        let x = builder.input("x", fp16());
        let a = builder.relu("a", &x).expect("valid");
        builder.relu("b", &a).expect("valid");
        builder.constant("c", Value::int32(1));
        let y = builder.silu("y", &x).expect("valid");
        let mut function = builder.finish(&[&y]);
        assert_eq!(run(&mut function), Changed(3));
        assert_eq!(names(&function), ["y"]);
        assert_eq!(run(&mut function), Changed(0));
    }

    #[test]
    fn writes_stay_with_what_they_need_and_unused_reads_go() {
        let mut builder = FunctionBuilder::new(Opset::Ios18);
        let x = builder.input("x", fp16());
        let cache = builder.input("cache", ValueType::State(fp16()));
        builder.read_state("old", &cache).expect("valid");
        let sum = builder.relu("sum", &x).expect("valid");
        builder.update_state("new", &cache, &sum).expect("valid");
        let y = builder.silu("y", &x).expect("valid");
        let mut function = builder.finish(&[&y]);
        assert_eq!(run(&mut function), Changed(2));
        assert_eq!(names(&function), ["sum", "new_write_state", "y"]);
    }

    #[test]
    fn a_parameter_keeps_its_first_user_and_what_that_needs() {
        let mut builder = FunctionBuilder::new(Opset::Ios18);
        let x = builder.input("x", fp16());
        let only = builder.input("only", fp16());
        let a = builder.relu("a", &x).expect("valid");
        builder.add("b", &a, &only).expect("valid");
        builder.relu("c", &only).expect("valid");
        let y = builder.silu("y", &x).expect("valid");
        let mut function = builder.finish(&[&y]);
        assert_eq!(run(&mut function), Changed(1));
        assert_eq!(names(&function), ["a", "b", "y"]);
    }

    #[test]
    fn ops_that_are_not_known_stay_with_what_their_blocks_use() {
        let mut builder = FunctionBuilder::new(Opset::Ios18);
        let x = builder.input("x", fp16());
        builder.relu("a", &x).expect("valid");
        builder.relu("b", &x).expect("valid");
        let y = builder.silu("y", &x).expect("valid");
        let mut function = builder.finish(&[&y]);
        function.block.operations.push(Operation {
            op: "unknown_op".to_owned(),
            inputs: std::collections::BTreeMap::default(),
            outputs: Vec::new(),
            attributes: std::collections::BTreeMap::from([("name".to_owned(), Value::string("unknown_op"))]),
            blocks: vec![crate::program::Block { outputs: vec!["a".to_owned()], ..crate::program::Block::default() }],
        });
        assert_eq!(run(&mut function), Changed(1));
        assert_eq!(names(&function), ["a", "y", "unknown_op"]);
    }
}
