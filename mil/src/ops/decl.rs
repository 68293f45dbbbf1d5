//! What an op declares about itself, and what its type inference sees.

use std::collections::BTreeMap;

use crate::dtype::DataType;
use crate::evaluate::{Evaluate, EvaluateError, EvaluateFn};
use crate::opset::Opset;
use crate::program::{Argument, Binding, Block, Operation};
use crate::types::{TensorType, ValueType};
use crate::value::Value;

/// The declaration of one op: all that generic code (verifier, builder, docs) needs to know.
pub struct OpDecl {
    /// Core ML's name.
    pub name: &'static str,
    /// One sentence on what it computes.
    pub doc: &'static str,
    /// Oldest operation set with this op.
    pub since: Opset,
    /// Parameters, in the order of Core ML's documentation.
    pub parameters: &'static [Parameter],
    /// How many results it has.
    pub results: Results,
    /// Whether it touches a state.
    pub effect: Effect,
    /// Types of the results, or why the operands cannot be taken.
    pub infer: Infer,
    /// What it computes.
    pub evaluate: Evaluate,
    /// What shows how Core ML writes it in compiled programs.
    pub evidence: Evidence,
    /// Operation sets, oldest first, in which Core ML's compiler counts it anew: `metadata.json` calls it by the newest of
    /// them that its function has, and by its name alone where there is none.
    pub renewed: &'static [Opset],
}

/// What most ops have: every set after the first counts them anew.
///
/// # Source
/// `metadata.json` of 62 compiled models, which have half of the ops. For those that none of them has it is likely, and
/// means nothing to Core ML, which does not read the file.
pub const RENEWED: &[Opset] = &[Opset::Ios16, Opset::Ios17, Opset::Ios18];

impl OpDecl {
    /// An op of the first operation set that has one result and touches no state, and that no compiled program was seen with.
    pub const fn new(name: &'static str, doc: &'static str, parameters: &'static [Parameter], infer: Infer) -> Self {
        Self {
            name,
            doc,
            since: Opset::Ios15,
            parameters,
            results: Results::Exactly(1),
            effect: Effect::Pure,
            infer,
            evaluate: Evaluate::Moves(|_| Err(EvaluateError::Unsupported("this op".to_owned()))),
            evidence: Evidence::None,
            renewed: RENEWED,
        }
    }

    /// How many nested blocks it has.
    pub fn blocks(&self) -> usize {
        match self.evaluate {
            Evaluate::Computes(_) | Evaluate::Moves(_) => 0,
            Evaluate::Branches | Evaluate::Repeats => 2,
        }
    }

    /// Came with this operation set.
    #[must_use]
    pub const fn since(mut self, opset: Opset) -> Self {
        self.since = opset;
        self
    }

    /// Has this many results.
    #[must_use]
    pub const fn results(mut self, results: Results) -> Self {
        self.results = results;
        self
    }

    /// Computes floats by this function.
    #[must_use]
    pub const fn computes(mut self, evaluate: EvaluateFn) -> Self {
        self.evaluate = Evaluate::Computes(evaluate);
        self
    }

    /// Moves elements, or computes no floats, by this function.
    #[must_use]
    pub const fn moves(mut self, evaluate: EvaluateFn) -> Self {
        self.evaluate = Evaluate::Moves(evaluate);
        self
    }

    /// Is counted anew in these operation sets.
    #[must_use]
    pub const fn renewed(mut self, sets: &'static [Opset]) -> Self {
        self.renewed = sets;
        self
    }

    /// Is written in compiled programs as `evidence` shows.
    #[must_use]
    pub const fn seen(mut self, evidence: Evidence) -> Self {
        self.evidence = evidence;
        self
    }
}

/// How the types of results follow from operands.
pub type Infer = fn(&OpContext<'_>) -> Result<Vec<ValueType>, InferError>;

/// What shows how Core ML's compiler writes an op as text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// A package and what Apple's compiler made of it, where the op stands in both. Says where the pair is.
    Pair(&'static str),
    /// A program that Apple's compiler wrote. Says where it is.
    Compiled(&'static str),
    /// Text by others that Core ML was seen to load. Says where it is.
    Loaded(&'static str),
    /// None: the op is written as all others are, which no one has shown for this op.
    None,
}

/// How many results an op has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Results {
    /// Exactly this many.
    Exactly(usize),
    /// One or more, decided by the operands.
    Several,
}

/// What an op does besides computing its results.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing; it can be removed where no result is used, and merged with an equal op.
    Pure,
    /// Reads a state; it can be removed where unused, but not moved over a write.
    ReadsState,
    /// Writes a state; it must stay where it is.
    WritesState,
}

/// One parameter of an op.
pub struct Parameter {
    /// Core ML's name.
    pub name: &'static str,
    /// Element types it takes.
    pub domain: Domain,
    /// Parameters with the same letter must have the same element type.
    pub group: Option<char>,
    /// Whether the operand must be a constant.
    pub constant: bool,
    /// Whether it must be given.
    pub presence: Presence,
    /// Whether it takes several values, as `values` of `concat` does.
    pub variadic: bool,
    /// What changed with later operation sets.
    pub changes: &'static [Change],
}

/// What changes about a parameter with an operation set.
#[derive(Clone, Copy)]
pub enum Change {
    /// There is no such parameter before.
    Since(Opset),
    /// There is no such parameter from here on.
    Until(Opset),
    /// From here on it takes these element types.
    Takes(Opset, Domain),
    /// From here on it shares its element type with the parameters of this letter.
    Group(Opset, char),
    /// From here on it need not be constant.
    Variable(Opset),
}

/// The element types that a parameter takes.
#[derive(Clone, Copy)]
pub enum Domain {
    /// Any tensor.
    Any,
    /// A tensor of one of these types.
    OneOf(&'static [DataType]),
    /// A state.
    State,
    /// A list.
    List,
    /// Any tensor, or a list.
    AnyOrList,
}

/// Whether a parameter must be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// Always.
    Required,
    /// It has a default, which every known writer spells out; readers accept its absence.
    Defaulted,
    /// Absence has a meaning of its own.
    Optional,
}

/// Floating-point types that most ops compute in.
pub const FLOATS: Domain = Domain::OneOf(&[DataType::Float16, DataType::Float32]);
/// Types that arithmetic ops compute in.
pub const NUMBERS: Domain = Domain::OneOf(&[DataType::Float16, DataType::Float32, DataType::Int32]);
/// int32 only.
pub const INT32: Domain = Domain::OneOf(&[DataType::Int32]);
/// Signed integers that positions and sizes may have.
pub const POSITIONS: Domain = Domain::OneOf(&[DataType::Int8, DataType::Int16, DataType::Int32]);
/// bool only.
pub const BOOL: Domain = Domain::OneOf(&[DataType::Bool]);
/// string only.
pub const STRING: Domain = Domain::OneOf(&[DataType::String]);

impl Parameter {
    /// A required operand that need not be constant.
    pub const fn new(name: &'static str, domain: Domain) -> Self {
        Self { name, domain, group: None, constant: false, presence: Presence::Required, variadic: false, changes: &[] }
    }

    /// Whether the op has this parameter in `opset`.
    pub fn exists_in(&self, opset: Opset) -> bool {
        self.changes.iter().all(|change| match change {
            Change::Since(first) => opset >= *first,
            Change::Until(end) => opset < *end,
            Change::Takes(..) | Change::Group(..) | Change::Variable(_) => true,
        })
    }

    /// The element types that it takes in `opset`.
    pub fn domain_in(&self, opset: Opset) -> Domain {
        let later = self.changes.iter().rev().find_map(|change| match change {
            Change::Takes(first, domain) if opset >= *first => Some(*domain),
            _ => None,
        });
        later.unwrap_or(self.domain)
    }

    /// The letter of the parameters that it shares its element type with in `opset`.
    pub fn group_in(&self, opset: Opset) -> Option<char> {
        let later = self.changes.iter().rev().find_map(|change| match change {
            Change::Group(first, letter) if opset >= *first => Some(*letter),
            _ => None,
        });
        later.or(self.group)
    }

    /// Whether it must be constant in `opset`.
    pub fn constant_in(&self, opset: Opset) -> bool {
        let variable = |change: &Change| matches!(change, Change::Variable(first) if opset >= *first);
        self.constant && !self.changes.iter().any(variable)
    }

    /// Changes with later operation sets, oldest first.
    #[must_use]
    pub const fn changes(mut self, changes: &'static [Change]) -> Self {
        self.changes = changes;
        self
    }

    /// Shares its element type with the parameters of the same letter.
    #[must_use]
    pub const fn group(mut self, letter: char) -> Self {
        self.group = Some(letter);
        self
    }

    /// Must be constant.
    #[must_use]
    pub const fn constant(mut self) -> Self {
        self.constant = true;
        self
    }

    /// May be absent, with a meaning of its own.
    #[must_use]
    pub const fn optional(mut self) -> Self {
        self.presence = Presence::Optional;
        self
    }

    /// May be absent, which means its default.
    #[must_use]
    pub const fn defaulted(mut self) -> Self {
        self.presence = Presence::Defaulted;
        self
    }

    /// Takes several values.
    #[must_use]
    pub const fn variadic(mut self) -> Self {
        self.variadic = true;
        self
    }
}

/// Why operands cannot be taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InferError {
    /// A parameter without a default is missing.
    #[error("parameter `{0}` is missing")]
    Missing(String),
    /// A parameter is not what the op takes there.
    #[error("parameter `{parameter}`: expected {expected}, got {found}")]
    Operand {
        /// The parameter.
        parameter: String,
        /// What the op takes.
        expected: String,
        /// What was given.
        found: String,
    },
    /// Operands that do not fit each other.
    #[error("{0}")]
    Mismatch(String),
}

impl InferError {
    /// An operand that is not what the op takes.
    #[expect(clippy::needless_pass_by_value, reason = "callers give references and temporaries alike")]
    pub fn operand(parameter: &str, expected: impl Into<String>, found: impl ToString) -> Self {
        Self::Operand { parameter: parameter.to_owned(), expected: expected.into(), found: found.to_string() }
    }
}

/// One operand as type inference sees it.
#[derive(Clone, Copy, Debug)]
pub struct Operand<'a> {
    /// Its type.
    pub ty: &'a ValueType,
    /// Its value, where it is a constant.
    pub value: Option<&'a Value>,
    /// Whether it is produced by `const`, a `constexpr_*` op or stands in place.
    pub constant: bool,
}

/// Finds what an operation's bindings refer to.
pub trait Scope {
    /// The value called `name`, if it is defined here.
    fn lookup(&self, name: &str) -> Option<Operand<'_>>;
}

/// An operation with its operands resolved. Attributes other than `name` count as operands, because the `constexpr_*`
/// ops before ios18 keep theirs there.
pub struct OpContext<'a> {
    operation: &'a Operation,
    opset: Opset,
    operands: BTreeMap<&'a str, Vec<Operand<'a>>>,
    blocks: Vec<BlockTypes>,
}

/// Types of the parameters and of the results of a nested block.
pub type BlockTypes = (Vec<ValueType>, Vec<ValueType>);

impl<'a> OpContext<'a> {
    /// Resolves the bindings of `operation`.
    ///
    /// # Errors
    /// The first name that `scope` does not know.
    pub fn new(operation: &'a Operation, opset: Opset, scope: &'a dyn Scope) -> Result<Self, String> {
        let mut operands = BTreeMap::new();
        for (parameter, Argument(bindings)) in &operation.inputs {
            let mut resolved = Vec::with_capacity(bindings.len());
            for binding in bindings {
                resolved.push(match binding {
                    Binding::Name(name) => scope.lookup(name).ok_or_else(|| name.clone())?,
                    Binding::Value(value) => Operand { ty: &value.ty, value: Some(value), constant: true },
                });
            }
            operands.insert(parameter.as_str(), resolved);
        }
        for (attribute, value) in &operation.attributes {
            if attribute != "name" {
                let operand = Operand { ty: &value.ty, value: Some(value), constant: true };
                operands.entry(attribute.as_str()).or_insert_with(|| vec![operand]);
            }
        }
        let blocks = operation.blocks.iter().map(|block| block_types(block, scope)).collect::<Result<_, _>>()?;
        Ok(Self { operation, opset, operands, blocks })
    }

    /// The nested blocks.
    pub fn blocks(&self) -> &[BlockTypes] {
        &self.blocks
    }

    /// The operation.
    pub fn operation(&self) -> &'a Operation {
        self.operation
    }

    /// The operation set of the function.
    pub fn opset(&self) -> Opset {
        self.opset
    }

    /// All operands given for `parameter`.
    pub fn operands(&self, parameter: &str) -> &[Operand<'a>] {
        self.operands.get(parameter).map_or(&[], Vec::as_slice)
    }

    /// Names of all parameters that are given, sorted.
    pub fn given(&self) -> impl Iterator<Item = &str> {
        self.operands.keys().copied()
    }

    /// The operand of `parameter`, if given.
    pub fn optional(&self, parameter: &str) -> Option<Operand<'a>> {
        self.operands(parameter).first().copied()
    }

    /// The operand of `parameter`.
    pub fn required(&self, parameter: &str) -> Result<Operand<'a>, InferError> {
        self.optional(parameter).ok_or_else(|| InferError::Missing(parameter.to_owned()))
    }

    /// The tensor given for `parameter`.
    pub fn tensor(&self, parameter: &str) -> Result<&'a TensorType, InferError> {
        let operand = self.required(parameter)?;
        operand.ty.as_tensor().ok_or_else(|| InferError::operand(parameter, "a tensor", operand.ty))
    }

    /// The tensors given for a variadic parameter.
    pub fn tensors(&self, parameter: &str) -> Result<Vec<&'a TensorType>, InferError> {
        if self.operands(parameter).is_empty() {
            return Err(InferError::Missing(parameter.to_owned()));
        }
        let as_tensor = |operand: &Operand<'a>| {
            operand.ty.as_tensor().ok_or_else(|| InferError::operand(parameter, "tensors", operand.ty))
        };
        self.operands(parameter).iter().map(as_tensor).collect()
    }

    /// The value of `parameter` read by `read`, or `None` where it is absent or not known before run time.
    ///
    /// # Errors
    /// A constant that `read` cannot take, described as `expected`.
    pub fn value<T>(
        &self,
        parameter: &str,
        expected: &str,
        read: impl Fn(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, InferError> {
        let Some(value) = self.optional(parameter).and_then(|operand| operand.value) else { return Ok(None) };
        if value.as_blob().is_some() {
            return Ok(None);
        }
        read(value).map(Some).ok_or_else(|| InferError::operand(parameter, expected, &value.ty))
    }

    /// The constant integer of `parameter`, or `default` where it is absent.
    pub fn int_or(&self, parameter: &str, default: i64) -> Result<i64, InferError> {
        Ok(self.value(parameter, "a constant integer", Value::as_int)?.unwrap_or(default))
    }

    /// The constant boolean of `parameter`, or `default` where it is absent.
    pub fn bool_or(&self, parameter: &str, default: bool) -> Result<bool, InferError> {
        Ok(self.value(parameter, "a constant boolean", Value::as_bool)?.unwrap_or(default))
    }

    /// The constant integers of `parameter`; `None` where it is absent or not known.
    pub fn ints(&self, parameter: &str) -> Result<Option<Vec<i64>>, InferError> {
        self.value(parameter, "constant integers", Value::as_ints)
    }

    /// The constant booleans of `parameter`; `None` where it is absent or not known.
    pub fn bools(&self, parameter: &str) -> Result<Option<&'a [bool]>, InferError> {
        self.value(parameter, "constant booleans", Value::as_bools)
    }

    /// The constant string of `parameter`, or `default` where it is absent.
    pub fn string_or(&self, parameter: &str, default: &'a str) -> Result<&'a str, InferError> {
        Ok(self.value(parameter, "a constant string", Value::as_str)?.unwrap_or(default))
    }
}

/// The types of a block, whose results may be its parameters, values of its operations, or values around it.
fn block_types(block: &Block, scope: &dyn Scope) -> Result<BlockTypes, String> {
    let results = block.operations.iter().flat_map(|operation| &operation.outputs);
    let own: BTreeMap<&str, &ValueType> =
        block.inputs.iter().chain(results).map(|value| (value.name.as_str(), &value.ty)).collect();
    let of = |name: &String| {
        let outside = || scope.lookup(name).map(|operand| operand.ty);
        own.get(name.as_str()).copied().or_else(outside).cloned().ok_or_else(|| name.clone())
    };
    let results = block.outputs.iter().map(of).collect::<Result<_, _>>()?;
    Ok((block.inputs.iter().map(|input| input.ty.clone()).collect(), results))
}

/// `axis` of a tensor of `rank` axes as an index; negative values count from the end.
pub fn normalize_axis(parameter: &str, axis: i64, rank: usize) -> Result<usize, InferError> {
    let signed_rank = i64::try_from(rank).unwrap_or(i64::MAX);
    let index = if axis < 0 { axis + signed_rank } else { axis };
    usize::try_from(index)
        .ok()
        .filter(|index| *index < rank)
        .ok_or_else(|| InferError::operand(parameter, format!("an axis of a tensor of rank {rank}"), axis))
}
