//! Sizes in bytes, as people write them.

use std::fmt;
use std::str::FromStr;

/// A size in bytes, written like `950MB`, `1.9GB` or `900MiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

impl FromStr for ByteSize {
    type Err = String;

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the product is checked to be a positive number below 2^53"
    )]
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const UNITS: [(&str, f64); 8] = [
            ("KiB", 1024.0),
            ("MiB", 1_048_576.0),
            ("GiB", 1_073_741_824.0),
            ("KB", 1e3),
            ("MB", 1e6),
            ("GB", 1e9),
            ("B", 1.0),
            ("", 1.0),
        ];
        let message = || "expected a size such as 950MB, 1.9GB or 900MiB".to_owned();
        let (number, factor) =
            UNITS.iter().find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, *factor))).ok_or_else(message)?;
        let bytes = number.trim().parse::<f64>().map_err(|_| message())? * factor;
        if bytes.is_finite() && (1.0..9e15).contains(&bytes) { Ok(Self(bytes.round() as u64)) } else { Err(message()) }
    }
}

impl fmt::Display for ByteSize {
    /// Writes at most one decimal of the largest decimal unit that gives a number of at least 1.
    #[expect(clippy::cast_precision_loss, reason = "for people; one decimal is shown")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.0 as f64;
        match self.0 {
            0..1_000 => write!(f, "{} B", self.0),
            1_000..1_000_000 => write!(f, "{:.1} kB", bytes / 1e3),
            1_000_000..1_000_000_000 => write!(f, "{:.1} MB", bytes / 1e6),
            _ => write!(f, "{:.2} GB", bytes / 1e9),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_decimal_and_binary_units() {
        assert_eq!("950MB".parse(), Ok(ByteSize(950_000_000)));
        assert_eq!("1.9GB".parse(), Ok(ByteSize(1_900_000_000)));
        assert_eq!("2MiB".parse(), Ok(ByteSize(2_097_152)));
        assert_eq!("123".parse(), Ok(ByteSize(123)));
        for wrong in ["", "MB", "-1MB", "1TB", "nanMB", "0"] {
            assert!(wrong.parse::<ByteSize>().is_err(), "{wrong}");
        }
    }
}
