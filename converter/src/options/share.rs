//! Which share of a conversion is done, where several machines do one.

use std::fmt;
use std::str::FromStr;

/// Most parts of a conversion.
const MOST: u32 = 9999;

/// The `number`-th of `count` shares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    number: u32,
    count: u32,
}

impl Share {
    /// Which one, from 1 on.
    pub fn number(self) -> u32 {
        self.number
    }

    /// How many there are.
    pub fn count(self) -> u32 {
        self.count
    }

    /// Whether it is the one with everything that is no weight.
    pub fn is_first(self) -> bool {
        self.number == 1
    }

    /// Whether work belongs to it of which so much comes before, out of a total.
    pub(crate) fn has(self, before: u64, total: u64) -> bool {
        let index = u128::from(before) * u128::from(self.count) / u128::from(total.max(1));
        index.min(u128::from(self.count - 1)) == u128::from(self.number - 1)
    }
}

impl FromStr for Share {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let numbers =
            text.split_once('/').and_then(|(number, count)| Some((number.parse().ok()?, count.parse().ok()?)));
        let numbers = numbers.filter(|(number, count)| (1..=*count).contains(number) && *count <= MOST);
        let (number, count) =
            numbers.ok_or_else(|| format!("expected I/N, such as 2/5, with I from 1 to N, and N up to {MOST}"))?;
        Ok(Self { number, count })
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.number, self.count)
    }
}

/// What of a conversion is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The calibration, which all shares need.
    Calibration,
    /// A share of the weights.
    Share(Share),
}

/// The word for the calibration.
const CALIBRATION: &str = "calibration";

impl FromStr for Part {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            CALIBRATION => Ok(Self::Calibration),
            share => share.parse().map(Self::Share).map_err(|error| format!("{error}, or `{CALIBRATION}`")),
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Calibration => f.write_str(CALIBRATION),
            Self::Share(share) => share.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_read_and_others_refused() {
        assert_eq!("2/5".parse(), Ok(Share { number: 2, count: 5 }));
        assert_eq!("calibration".parse(), Ok(Part::Calibration));
        for wrong in ["", "2", "0/5", "6/5", "1/0", "1/10000", "-1/2", "a/b"] {
            assert!(wrong.parse::<Share>().is_err() && wrong.parse::<Part>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn every_piece_of_work_belongs_to_one_share() {
        for count in [1, 2, 3, 7, 100] {
            for before in 0..=20 {
                let shares = (1..=count).map(|number| Share { number, count });
                assert_eq!(shares.filter(|share| share.has(before, 20)).count(), 1, "{before} of {count}");
            }
        }
    }
}
