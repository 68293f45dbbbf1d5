//! Operands against the declaration of their op: which are given, of which types, and whether they are constants.

use super::finding::{Findings, Subject, clipped};
use crate::dtype::DataType;
use crate::ops::decl::{Domain, OpContext, OpDecl, Operand, Parameter, Presence};
use crate::opset::Opset;
use crate::types::ValueType;

/// Reports operands that `decl` does not allow; tells whether there are none.
pub(super) fn check(decl: &OpDecl, ctx: &OpContext<'_>, subject: Subject<'_>, findings: &mut Findings<'_>) -> bool {
    let mut problems = Vec::new();
    let opset = ctx.opset();
    for name in ctx.operation().inputs.keys() {
        let same_name = || decl.parameters.iter().filter(|parameter| parameter.name == name);
        if !same_name().any(|parameter| parameter.exists_in(opset)) {
            let when = if same_name().next().is_some() { format!(" in {opset}") } else { String::new() };
            problems.push(format!("`{}` has no parameter `{}`{when}", decl.name, clipped(name)));
        }
    }
    let mut groups: Vec<(char, &str, DataType)> = Vec::new();
    for parameter in decl.parameters.iter().filter(|parameter| parameter.exists_in(opset)) {
        let operands = ctx.operands(parameter.name);
        if operands.is_empty() && parameter.presence == Presence::Required {
            problems.push(format!("parameter `{}` is missing", parameter.name));
        }
        if operands.len() > 1 && !parameter.variadic {
            let found = operands.len();
            problems.push(format!("parameter `{}`: expected one value, got {found}", parameter.name));
            continue;
        }
        if let Some(problem) = operands.iter().find_map(|operand| operand_problem(parameter, opset, *operand)) {
            problems.push(format!("parameter `{}`: {problem}", parameter.name));
            continue;
        }
        let Some(letter) = parameter.group_in(opset) else { continue };
        for dtype in operands.iter().filter_map(|operand| operand.ty.as_tensor()).map(|tensor| tensor.dtype) {
            match groups.iter().find(|(group, ..)| *group == letter) {
                None => groups.push((letter, parameter.name, dtype)),
                Some((_, first, expected)) if *expected != dtype => {
                    let name = parameter.name;
                    problems
                        .push(format!("parameter `{name}`: expected {expected} elements as of `{first}`, got {dtype}"));
                    break;
                }
                Some(_) => {}
            }
        }
    }
    let good = problems.is_empty();
    for problem in problems {
        findings.error(subject, problem);
    }
    good
}

fn operand_problem(parameter: &Parameter, opset: Opset, operand: Operand<'_>) -> Option<String> {
    let found = operand.ty;
    let expected = match (&parameter.domain_in(opset), found) {
        (Domain::State, ValueType::State(_))
        | (Domain::List, ValueType::List(..))
        | (Domain::AnyOrList, ValueType::Tensor(_) | ValueType::List(..))
        | (Domain::Any, ValueType::Tensor(_)) => None,
        (Domain::State, _) => Some("a state".to_owned()),
        (Domain::List, _) => Some("a list".to_owned()),
        (Domain::AnyOrList, _) => Some("a tensor or a list".to_owned()),
        (Domain::OneOf(dtypes), ValueType::Tensor(tensor)) if dtypes.contains(&tensor.dtype) => None,
        (Domain::OneOf(dtypes), _) => {
            let names: Vec<&str> = dtypes.iter().map(|dtype| dtype.text_name()).collect();
            Some(format!("a tensor of {}", names.join(", ")))
        }
        (Domain::Any, _) => Some("a tensor".to_owned()),
    };
    if let Some(expected) = expected {
        return Some(format!("expected {expected}, got {found}"));
    }
    (parameter.constant_in(opset) && !operand.constant).then(|| {
        let source = "the result of a `const` or `constexpr_*` op";
        format!("expected {source}, got a {found} that the running program computes")
    })
}
