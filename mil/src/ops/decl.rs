//! What an op declares about itself.

pub use super::context::{BlockTypes, InferError, OpContext, Operand, Scope, normalize_axis};
use crate::dtype::DataType;
use crate::evaluate::{Evaluate, EvaluateError, EvaluateFn};
use crate::opset::Opset;
use crate::types::ValueType;

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

impl std::fmt::Debug for OpDecl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "OpDecl({})", self.name)
    }
}

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

    /// Runs nested blocks in this way.
    #[must_use]
    pub const fn evaluated(mut self, evaluate: Evaluate) -> Self {
        self.evaluate = evaluate;
        self
    }

    /// Does this besides computing its results.
    #[must_use]
    pub const fn effect(mut self, effect: Effect) -> Self {
        self.effect = effect;
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

impl Evidence {
    /// Its kind in a word, and where it is.
    pub fn parts(self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::Pair(place) => Some(("pair", place)),
            Self::Compiled(place) => Some(("compiled", place)),
            Self::Loaded(place) => Some(("loaded", place)),
            Self::None => None,
        }
    }
}

impl std::fmt::Display for Evidence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.parts() {
            Some((kind, place)) => write!(f, "{kind}: {place}"),
            None => f.write_str("none"),
        }
    }
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

impl Change {
    /// The operation set that it came with.
    pub fn opset(&self) -> Opset {
        match self {
            Self::Since(opset)
            | Self::Until(opset)
            | Self::Takes(opset, _)
            | Self::Group(opset, _)
            | Self::Variable(opset) => *opset,
        }
    }
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
