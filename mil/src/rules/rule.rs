//! What a rule is: a row of data with a check.

use std::fmt;

use super::chip::Chip;
use super::sink::Sink;
use super::system::{OsVersion, System, generation_name};
use super::view::{FunctionView, ProgramView, Site};
use crate::verify::Topic;

/// How bad it is to break a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Severity {
    /// The program will not load, or computes something else.
    Error,
    /// The program, or part of it, leaves the Neural Engine or is slow on it.
    Warning,
    /// Worth knowing; sources disagree, or the cost is small or cannot be avoided.
    Note,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        })
    }
}

/// One rule.
#[derive(Debug)]
pub struct Rule {
    /// Its name, in words joined by hyphens.
    pub id: &'static str,
    /// How bad it is to break it.
    pub severity: Severity,
    /// The rule in one sentence.
    pub summary: &'static str,
    /// Where it holds.
    pub scope: Scope,
    /// Who found it.
    pub source: &'static str,
    /// What sources disagree about.
    pub conflict: Option<&'static str>,
    /// What to do about a finding.
    pub fix: &'static str,
    /// How it is decided.
    pub check: Check,
}

/// On what a rule looks; what it finds goes to the [`Sink`].
pub enum Check {
    /// On every operation.
    Operation(fn(&Site<'_>, &mut Sink<'_>)),
    /// On every function.
    Function(fn(&FunctionView<'_>, &mut Sink<'_>)),
    /// On the program.
    Program(fn(&ProgramView<'_>, &mut Sink<'_>)),
    /// On what the verifier finds.
    Verifier(Topic),
}

impl fmt::Debug for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Operation(_) => "Operation",
            Self::Function(_) => "Function",
            Self::Program(_) => "Program",
            Self::Verifier(_) => "Verifier",
        })
    }
}

/// Chips and systems for which a rule holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scope {
    /// The chips; all where empty.
    pub chips: &'static [Chip],
    /// Whether it holds only where one of the chips is asked for by name, and not on [`Chip::Generic`]: for what runs on all
    /// other chips and is worth having there.
    pub by_name: bool,
    /// The system; both where none.
    pub system: Option<System>,
    /// First generation of the system; see [`OsVersion::generation`].
    pub since: Option<u32>,
    /// First generation of the system for which it holds no more.
    pub before: Option<u32>,
}

impl Scope {
    /// Everywhere.
    pub const ALL: Self = Self { chips: &[], by_name: false, system: None, since: None, before: None };

    /// On these chips.
    pub const fn chips(chips: &'static [Chip]) -> Self {
        Self { chips, ..Self::ALL }
    }

    /// On these chips, where they are asked for by name.
    pub const fn only(chips: &'static [Chip]) -> Self {
        Self { chips, by_name: true, ..Self::ALL }
    }

    /// On this system.
    pub const fn system(system: System) -> Self {
        Self { system: Some(system), ..Self::ALL }
    }

    /// Whether the rule holds under `conditions`; what is left open there counts as all.
    pub fn covers(self, conditions: &Conditions) -> bool {
        let generation = conditions.os.map(OsVersion::generation);
        let generic = conditions.chip == Chip::Generic && !self.by_name;
        let chip = self.chips.is_empty() || generic || self.chips.contains(&conditions.chip);
        let system = match (self.system, conditions.system()) {
            (Some(scope), Some(asked)) => scope == asked,
            _ => true,
        };
        let since = self.since.zip(generation).is_none_or(|(since, asked)| asked >= since);
        let before = self.before.zip(generation).is_none_or(|(before, asked)| asked < before);
        chip && system && since && before
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        if !self.chips.is_empty() {
            let names = self.chips.iter().map(|chip| chip.name()).collect::<Vec<_>>().join(", ");
            parts.push(if self.by_name { format!("{names}, by name") } else { names });
        }
        parts.extend(self.system.map(|system| system.to_string()));
        parts.extend(self.since.map(|since| format!("since {}", generation_name(since))));
        parts.extend(self.before.map(|before| format!("before {}", generation_name(before))));
        if parts.is_empty() { f.write_str("all") } else { f.write_str(&parts.join("; ")) }
    }
}

/// For what a program is linted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conditions {
    /// The chip.
    pub chip: Chip,
    /// The system; both where none.
    pub target: Option<System>,
    /// The version of the system; all where none.
    pub os: Option<OsVersion>,
}

impl Conditions {
    /// Everything must be safe everywhere.
    pub const GENERIC: Self = Self { chip: Chip::Generic, target: None, os: None };

    /// The system, as the target or the version says.
    pub fn system(&self) -> Option<System> {
        self.target.or(self.os.map(|os| os.system))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conditions(chip: Chip, os: Option<&str>) -> Conditions {
        let os = os.map(|os| os.parse().expect("a version"));
        Conditions { chip, target: None, os }
    }

    #[test]
    fn what_is_left_open_counts_as_all() {
        let scope =
            Scope { system: Some(System::Macos), since: Some(26), before: Some(27), ..Scope::chips(&[Chip::M1]) };
        assert!(scope.covers(&Conditions::GENERIC));
        assert!(scope.covers(&conditions(Chip::M1, Some("macos26"))));
        assert!(!scope.covers(&conditions(Chip::M2, None)));
        for os in ["macos15", "macos27", "ios26"] {
            assert!(!scope.covers(&conditions(Chip::Generic, Some(os))), "{os}");
        }
    }

    #[test]
    fn scopes_are_shown_in_words() {
        assert_eq!(Scope::ALL.to_string(), "all");
        let scope = Scope { since: Some(26), ..Scope::chips(&[Chip::A14, Chip::M1]) };
        assert_eq!(scope.to_string(), "a14, m1; since iOS 26/macOS 26");
    }
}
