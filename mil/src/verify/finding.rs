//! What verification reports, and where.

use std::fmt;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Core ML refuses the program, crashes on it or computes something else.
    Error,
    /// Core ML's behavior is not known, or differs between versions.
    Warning,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
        })
    }
}

/// Which of the findings it is, where readers treat it apart from the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Topic {
    /// None of those below.
    Other,
    /// An op that is not known here; Core ML may know it.
    UnknownOp,
    /// More axes than Core ML computes with.
    Rank,
    /// The type of a state.
    StateType,
    /// The number of states.
    StateCount,
    /// A result that is tied to what a state is written.
    StateResult,
    /// The states of one function against those of another.
    StateSet,
    /// A result that is returned twice.
    DuplicateResult,
}

/// The part of a function that a finding is about; in program order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// The function as a whole, or the program where no function is named.
    Whole,
    /// The parameter of this index.
    Input(usize),
    /// The operation of this index.
    Operation(usize),
    /// The result of this index.
    Output(usize),
}

/// Where a finding is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    /// The function; `None` for the program.
    pub function: Option<String>,
    /// The part of the function.
    pub place: Place,
    /// The op, where the place is an operation.
    pub op: Option<String>,
    /// The parameter, the result, or the first result of the operation.
    pub value: Option<String>,
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(function) = &self.function else { return f.write_str("program") };
        match (&self.value, &self.op) {
            (None, None) => f.write_str(function),
            (Some(name), None) | (None, Some(name)) => write!(f, "{function} / {name}"),
            (Some(value), Some(op)) => write!(f, "{function} / {value} = {op}"),
        }
    }
}

/// One thing that is wrong with a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// Which finding it is.
    pub topic: Topic,
    /// Where it is.
    pub location: Location,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.location, self.message)
    }
}

/// All findings of one verification, in program order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Findings that make the program unusable.
    pub errors: Vec<Finding>,
    /// Findings that may not matter.
    pub warnings: Vec<Finding>,
}

impl Report {
    /// The errors as a result; warnings are dropped.
    pub fn into_result(self) -> Result<(), VerifyErrors> {
        if self.errors.is_empty() { Ok(()) } else { Err(VerifyErrors { errors: self.errors }) }
    }
}

/// Every error of a program that is not valid. Whose bug it is depends on where the program comes from: for a program
/// that this project built, ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifyErrors {
    /// The errors in program order; at least one.
    pub errors: Vec<Finding>,
}

impl std::error::Error for VerifyErrors {}

impl fmt::Display for VerifyErrors {
    /// One line per error.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, finding) in self.errors.iter().enumerate() {
            let separator = if position == 0 { "" } else { "\n" };
            write!(f, "{separator}{finding}")?;
        }
        Ok(())
    }
}

/// Collects findings about one function, or about the program.
pub(super) struct Findings<'a> {
    function: Option<&'a str>,
    found: Vec<Finding>,
}

/// The part of a function that is being checked, with the names to show for it.
#[derive(Clone, Copy)]
pub(super) struct Subject<'a> {
    pub(super) place: Place,
    pub(super) op: Option<&'a str>,
    pub(super) value: Option<&'a str>,
}

impl Subject<'_> {
    /// The function as a whole.
    pub(super) const WHOLE: Subject<'static> = Subject { place: Place::Whole, op: None, value: None };
}

impl<'a> Findings<'a> {
    pub(super) fn new(function: Option<&'a str>) -> Self {
        Self { function, found: Vec::new() }
    }

    pub(super) fn error(&mut self, subject: Subject<'_>, message: impl Into<String>) {
        self.add((Severity::Error, Topic::Other), subject, message.into(), None);
    }

    pub(super) fn error_with_hint(&mut self, subject: Subject<'_>, message: impl Into<String>, hint: Option<String>) {
        self.add((Severity::Error, Topic::Other), subject, message.into(), hint);
    }

    pub(super) fn error_about(&mut self, topic: Topic, subject: Subject<'_>, message: impl Into<String>) {
        self.add((Severity::Error, topic), subject, message.into(), None);
    }

    pub(super) fn warning(&mut self, subject: Subject<'_>, message: impl Into<String>) {
        self.add((Severity::Warning, Topic::Other), subject, message.into(), None);
    }

    pub(super) fn add(
        &mut self,
        (severity, topic): (Severity, Topic),
        subject: Subject<'_>,
        message: String,
        hint: Option<String>,
    ) {
        let location = Location {
            function: self.function.map(clipped),
            place: subject.place,
            op: subject.op.map(clipped),
            value: subject.value.map(clipped),
        };
        self.found.push(Finding { severity, topic, location, message, hint });
    }

    /// Everything found, in program order.
    pub(super) fn finish(mut self) -> Vec<Finding> {
        self.found.sort_by_key(|finding| finding.location.place);
        self.found
    }
}

/// `text`, cut where it is too long to show: a hostile name must not be repeated in full by every error about it.
pub(crate) fn clipped(text: &str) -> String {
    const SHOWN: usize = 120;
    match text.char_indices().nth(SHOWN) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
    }
}
