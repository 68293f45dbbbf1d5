//! Branches and loops of a running function.

use super::error::EvaluateError;
use super::function::{EvaluableFunction, PreparedBlock, Run, check_type};
use super::tensor::Tensor;
use crate::ops::decl::InferError;

/// Operands by parameter.
type Operands<'a> = Vec<(&'a str, Vec<Tensor>)>;

impl EvaluableFunction {
    /// The results of the block that the operand chooses: the first where it is true.
    pub(super) fn branch(
        &self,
        blocks: &[PreparedBlock; 2],
        operands: &Operands<'_>,
        run: &mut Run<'_>,
    ) -> Result<Vec<Tensor>, EvaluateError> {
        let condition = operands.iter().flat_map(|(_, tensors)| tensors).next();
        let [first, second] = blocks;
        let chosen = if holds("pred", condition)? { first } else { second };
        self.block(chosen, Vec::new(), run)
    }

    /// The last results of the second block, which starts with the operands and runs on its own results as long as the
    /// first block holds of them.
    pub(super) fn repeat(
        &self,
        blocks: &[PreparedBlock; 2],
        operands: Operands<'_>,
        run: &mut Run<'_>,
    ) -> Result<Vec<Tensor>, EvaluateError> {
        let [condition, body] = blocks;
        let mut values: Vec<Tensor> = operands.into_iter().flat_map(|(_, tensors)| tensors).collect();
        while holds("the condition", self.block(condition, values.clone(), run)?.first())? {
            run.iterations += 1;
            if run.iterations > self.iteration_limit {
                return Err(EvaluateError::Iterations { limit: self.iteration_limit });
            }
            values = self.block(body, values, run)?;
        }
        Ok(values)
    }

    /// The results of a block that is given `values`.
    fn block(
        &self,
        block: &PreparedBlock,
        values: Vec<Tensor>,
        run: &mut Run<'_>,
    ) -> Result<Vec<Tensor>, EvaluateError> {
        if values.len() != block.inputs.len() {
            return Err(EvaluateError::Type {
                name: "a nested block".to_owned(),
                expected: format!("{} values", block.inputs.len()),
                found: format!("{} values", values.len()),
            });
        }
        for (value, (input, slot)) in values.into_iter().zip(&block.inputs) {
            check_type(input, &value)?;
            run.put(*slot, Some(value));
        }
        self.operations(&block.operations, run, true)?;
        let results: Option<Vec<Tensor>> = block.outputs.iter().map(|source| run.get(source)).collect();
        for slot in block.slots.clone() {
            run.put(slot, None);
        }
        results.ok_or_else(|| EvaluateError::Undefined("a result of a nested block".to_owned()))
    }
}

/// Whether a tensor is one boolean that is true.
fn holds(what: &str, condition: Option<&Tensor>) -> Result<bool, EvaluateError> {
    let condition = condition.ok_or_else(|| InferError::Missing(what.to_owned()))?;
    match condition.as_bools() {
        Ok([holds]) => Ok(*holds),
        _ => Err(InferError::operand(what, "one boolean", condition.ty()).into()),
    }
}
