//! The system that a model must run on, in the words of `anec convert --target`.

use std::str::FromStr;

use anec_mil::rules::{OsVersion, System};
use clap::ValueEnum as _;

use crate::options::Target;

/// A family of systems, and the oldest version where one is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TargetSystem(pub(super) (System, Option<OsVersion>));

/// What follows the name of a system where a model is for its GPU.
const GPU: &str = "-gpu";

impl FromStr for TargetSystem {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let name = text.strip_suffix(GPU).unwrap_or(text);
        if let Ok(version) = name.parse::<OsVersion>() {
            return Ok(Self((version.system, Some(version))));
        }
        name.parse::<System>().map(|system| Self((system, None))).map_err(|_| {
            let known: Vec<String> = Target::value_variants().iter().map(|target| target.name()).collect();
            format!("expected a system such as {}, or ios or macos for every version", known.join(", "))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_of_a_conversion_is_one_here() {
        for target in Target::value_variants() {
            let TargetSystem((system, version)) = target.name().parse().expect("a system");
            assert_eq!(system == System::Ios, target.is_mobile());
            assert!(version.is_some_and(|version| {
                target.name().starts_with(&version.to_string().replace(' ', "").to_lowercase())
            }));
        }
        assert_eq!("macos".parse(), Ok(TargetSystem((System::Macos, None))));
        assert!("tvos".parse::<TargetSystem>().is_err());
    }
}
