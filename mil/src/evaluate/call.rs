//! One operation with its operands, as the function that evaluates its op sees it.

use std::borrow::Cow;

use super::error::EvaluateError;
use super::function::State;
use super::numerics::Numerics;
use super::tensor::Tensor;
use crate::ops::decl::{InferError, normalize_axis};
use crate::opset::Opset;
use crate::program::NamedValueType;
use crate::types::TensorType;

/// An operation about to be evaluated.
///
/// Operands are looked up by parameter name. Type inference has accepted the program before, but not the lengths and
/// values that are known only now, so every access is checked.
pub struct Call<'a> {
    pub(super) opset: Opset,
    pub(super) numerics: Numerics,
    pub(super) results: &'a [(NamedValueType, usize)],
    pub(super) operands: Vec<(&'a str, Vec<Tensor>)>,
    pub(super) state: Option<StateOperand<'a>>,
}

/// The state that an operation reads or writes.
pub(super) struct StateOperand<'a> {
    pub(super) name: &'a str,
    pub(super) state: &'a mut State,
    pub(super) ty: &'a TensorType,
    /// Whether the next access to the state is a write, so that a read may take the tensor away.
    pub(super) take: bool,
}

impl Call<'_> {
    /// How floats are computed.
    pub fn numerics(&self) -> Numerics {
        self.numerics
    }

    /// The operation set of the function.
    pub fn opset(&self) -> Opset {
        self.opset
    }

    /// The declared results.
    pub fn results(&self) -> impl Iterator<Item = &NamedValueType> {
        self.results.iter().map(|(result, _)| result)
    }

    /// All operands given for `parameter`.
    pub fn operands(&self, parameter: &str) -> &[Tensor] {
        self.operands.iter().find(|(name, _)| *name == parameter).map_or(&[], |(_, tensors)| tensors.as_slice())
    }

    /// The operand of `parameter`, if given.
    pub fn optional(&self, parameter: &str) -> Option<&Tensor> {
        self.operands(parameter).first()
    }

    /// The operand of `parameter`.
    ///
    /// # Errors
    /// It is not given.
    pub fn tensor(&self, parameter: &str) -> Result<&Tensor, EvaluateError> {
        self.optional(parameter).ok_or_else(|| InferError::Missing(parameter.to_owned()).into())
    }

    /// The operand of `parameter`, for good: where nothing else needs it, its elements can be changed in place.
    ///
    /// # Errors
    /// It is not given, or was taken before.
    pub fn take(&mut self, parameter: &str) -> Result<Tensor, EvaluateError> {
        let operands = self.operands.iter_mut().find(|(name, _)| *name == parameter);
        let taken = operands.and_then(|(_, tensors)| tensors.pop());
        taken.ok_or_else(|| InferError::Missing(parameter.to_owned()).into())
    }

    /// The floats of the operand of `parameter`.
    ///
    /// # Errors
    /// It is not given or holds no floats.
    pub fn floats(&self, parameter: &str) -> Result<Cow<'_, [f32]>, EvaluateError> {
        self.tensor(parameter)?.as_floats().map_err(|error| InferError::operand(parameter, "floats", error).into())
    }

    /// The integers of the operand of `parameter`.
    ///
    /// # Errors
    /// It is not given or holds no integers.
    pub fn integers(&self, parameter: &str) -> Result<Cow<'_, [i32]>, EvaluateError> {
        self.tensor(parameter)?.as_integers().map_err(|error| InferError::operand(parameter, "integers", error).into())
    }

    /// The integers of the operand of `parameter`; `None` where it is absent.
    ///
    /// # Errors
    /// It holds no integers.
    pub fn optional_integers(&self, parameter: &str) -> Result<Option<Cow<'_, [i32]>>, EvaluateError> {
        self.optional(parameter).map(|_| self.integers(parameter)).transpose()
    }

    /// The only integer of the operand of `parameter`, or `default` where it is absent.
    ///
    /// # Errors
    /// It is not one integer.
    pub fn int_or(&self, parameter: &str, default: i64) -> Result<i64, EvaluateError> {
        let Some(tensor) = self.optional(parameter) else { return Ok(default) };
        match *self.integers(parameter)? {
            [value] => Ok(i64::from(value)),
            _ => Err(InferError::operand(parameter, "one integer", tensor.ty()).into()),
        }
    }

    /// The only float of the operand of `parameter`, or `default` where it is absent.
    ///
    /// # Errors
    /// It is not one float.
    pub fn float_or(&self, parameter: &str, default: f32) -> Result<f32, EvaluateError> {
        let Some(tensor) = self.optional(parameter) else { return Ok(default) };
        match *self.floats(parameter)? {
            [value] => Ok(value),
            _ => Err(InferError::operand(parameter, "one float", tensor.ty()).into()),
        }
    }

    /// The only number of the operand of `parameter`, a float or an integer, or `default` where it is absent.
    ///
    /// # Errors
    /// It is not one number.
    pub fn number_or(&self, parameter: &str, default: f32) -> Result<f32, EvaluateError> {
        match self.optional(parameter) {
            #[expect(clippy::cast_precision_loss, reason = "lengths and factors are far below 2^24")]
            Some(tensor) if tensor.dtype().is_integer() => Ok(self.int_or(parameter, 0)? as f32),
            _ => self.float_or(parameter, default),
        }
    }

    /// The only float of the operand of `parameter`.
    ///
    /// # Errors
    /// It is not given or is not one float.
    pub fn float(&self, parameter: &str) -> Result<f32, EvaluateError> {
        self.tensor(parameter)?;
        self.float_or(parameter, 0.0)
    }

    /// The only boolean of the operand of `parameter`, or `default` where it is absent.
    ///
    /// # Errors
    /// It is not one boolean.
    pub fn bool_or(&self, parameter: &str, default: bool) -> Result<bool, EvaluateError> {
        let Some(tensor) = self.optional(parameter) else { return Ok(default) };
        match tensor.as_bools() {
            Ok([value]) => Ok(*value),
            _ => Err(InferError::operand(parameter, "one boolean", tensor.ty()).into()),
        }
    }

    /// The booleans of the operand of `parameter`; none where it is absent.
    ///
    /// # Errors
    /// It holds no booleans.
    pub fn bools(&self, parameter: &str) -> Result<&[bool], EvaluateError> {
        let Some(tensor) = self.optional(parameter) else { return Ok(&[]) };
        tensor.as_bools().map_err(|error| InferError::operand(parameter, "booleans", error).into())
    }

    /// The text of the operand of `parameter`, or `default` where it is absent.
    ///
    /// # Errors
    /// It is not one string.
    pub fn string_or<'s>(&'s self, parameter: &str, default: &'s str) -> Result<&'s str, EvaluateError> {
        let Some(tensor) = self.optional(parameter) else { return Ok(default) };
        tensor.as_str().map_err(|error| InferError::operand(parameter, "a string", error).into())
    }

    /// The axis of a tensor of `rank` axes that `parameter` names, or `default` where it is absent.
    ///
    /// # Errors
    /// There is no such axis.
    pub fn axis_or(&self, parameter: &str, default: i64, rank: usize) -> Result<usize, EvaluateError> {
        Ok(normalize_axis(parameter, self.int_or(parameter, default)?, rank)?)
    }

    /// The tensor that the state operand holds.
    ///
    /// # Errors
    /// There is none.
    pub fn read_state(&mut self) -> Result<Tensor, EvaluateError> {
        let operand = self.state.as_mut().ok_or_else(|| InferError::Missing("input".to_owned()))?;
        let tensor = if operand.take {
            operand.state.tensors.remove(operand.name)
        } else {
            operand.state.tensors.get(operand.name).cloned()
        };
        tensor.ok_or_else(|| EvaluateError::Missing { kind: "state", name: operand.name.to_owned() })
    }

    /// Puts a tensor into the state operand.
    ///
    /// # Errors
    /// There is none, or it is for tensors of another type.
    pub fn write_state(&mut self, tensor: Tensor) -> Result<(), EvaluateError> {
        let operand = self.state.as_mut().ok_or_else(|| InferError::Missing("input".to_owned()))?;
        if tensor.ty() != *operand.ty {
            let (expected, found) = (operand.ty.to_string(), tensor.ty().to_string());
            return Err(EvaluateError::Type { name: operand.name.to_owned(), expected, found });
        }
        operand.state.tensors.insert(operand.name.to_owned(), tensor);
        Ok(())
    }
}
