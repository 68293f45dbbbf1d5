//! The systems that programs run on.

use std::fmt;
use std::str::FromStr;

/// A family of systems.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum System {
    /// iPhone and iPad.
    Ios,
    /// Mac.
    Macos,
}

/// A system with its major version, such as iOS 18.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OsVersion {
    /// The family.
    pub system: System,
    /// The major version, as Apple numbers it.
    pub major: u32,
}

/// Since this number, all systems have the same major version.
const COMMON_NUMBERING: u32 = 26;

/// By how much macOS was behind iOS before that.
const MACOS_LAG: u32 = 3;

impl OsVersion {
    /// The major version of the iOS that brought the same Core ML.
    pub fn generation(self) -> u32 {
        match self.system {
            System::Macos if self.major < COMMON_NUMBERING => self.major.saturating_add(MACOS_LAG),
            _ => self.major,
        }
    }
}

/// How the system of a generation is called on phones and on Macs, such as `iOS 18/macOS 15`.
pub fn generation_name(generation: u32) -> String {
    let macos = if generation < COMMON_NUMBERING { generation.saturating_sub(MACOS_LAG) } else { generation };
    format!("iOS {generation}/macOS {macos}")
}

impl fmt::Display for System {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ios => "iOS",
            Self::Macos => "macOS",
        })
    }
}

impl fmt::Display for OsVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.system, self.major)
    }
}

/// A text that names no system.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{found}` is not {expected}")]
pub struct UnknownSystem {
    /// What was given instead.
    pub found: String,
    /// What was expected.
    pub expected: &'static str,
}

impl FromStr for System {
    type Err = UnknownSystem;

    fn from_str(text: &str) -> Result<Self, UnknownSystem> {
        match text.to_ascii_lowercase().as_str() {
            "ios" | "ipados" => Ok(Self::Ios),
            "macos" => Ok(Self::Macos),
            _ => Err(UnknownSystem { found: text.to_owned(), expected: "a system; expected ios or macos" }),
        }
    }
}

impl FromStr for OsVersion {
    type Err = UnknownSystem;

    /// Takes `ios18`, `iOS 18`, `macos-15` and `macOS 15.4` alike; what follows the major version is not looked at.
    fn from_str(text: &str) -> Result<Self, UnknownSystem> {
        let unknown = || UnknownSystem {
            found: text.to_owned(),
            expected: "a system with its version; expected one such as ios18 or macos15",
        };
        let digits = text.find(|character: char| character.is_ascii_digit()).ok_or_else(unknown)?;
        let (name, version) = text.split_at_checked(digits).ok_or_else(unknown)?;
        let system = name.trim_end_matches([' ', '-', '_']).parse().map_err(|_| unknown())?;
        let mut numbers = version.split('.');
        let major = numbers.next().and_then(|number| number.parse().ok()).ok_or_else(unknown)?;
        if numbers.any(|number| number.parse::<u32>().is_err()) {
            return Err(unknown());
        }
        Ok(Self { system, major })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_people_write_them() {
        for text in ["ios18", "iOS 18", "ios-18", "ipados18.2.1"] {
            assert_eq!(text.parse(), Ok(OsVersion { system: System::Ios, major: 18 }), "{text}");
        }
        for text in ["", "18", "ios", "ios-", "android15", "ios18.x", "ios99999999999"] {
            assert!(text.parse::<OsVersion>().is_err(), "{text}");
        }
    }

    #[test]
    fn macos_15_and_ios_18_are_of_one_generation_as_are_both_26() {
        let generation = |text: &str| text.parse::<OsVersion>().expect("a version").generation();
        assert_eq!(generation("macos15"), generation("ios18"));
        assert_eq!(generation("macos26"), generation("ios26"));
        assert_eq!(generation_name(18), "iOS 18/macOS 15");
        assert_eq!(generation_name(26), "iOS 26/macOS 26");
    }
}
