//! What differs between conversions of one contract.

use std::fmt;

/// Something that a conversion, or one file of it, may be.
#[derive(Clone, Copy, Debug)]
pub struct Variant {
    /// Its name; variants are the same where their names are.
    pub name: &'static str,
    /// What it is, and how it is asked for.
    pub meaning: &'static str,
}

/// When something is part of a contract.
#[derive(Clone, Copy, Debug)]
pub enum When {
    /// In every conversion.
    Always,
    /// Where the variant holds.
    With(Variant),
    /// Where it does not.
    Without(Variant),
    /// Where all of these hold.
    All(&'static [When]),
}

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Always => f.write_str("always"),
            Self::With(variant) => f.write_str(variant.name),
            Self::Without(variant) => write!(f, "not {}", variant.name),
            Self::All(conditions) => {
                for (index, condition) in conditions.iter().enumerate() {
                    let and = if index == 0 { "" } else { ", " };
                    write!(f, "{and}{condition}")?;
                }
                Ok(())
            }
        }
    }
}
