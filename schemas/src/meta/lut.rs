//! Palette bits: a number, or the word `none`.

use std::fmt;

use serde::de::{Error, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Bits of a palette index; `None` is written as the word `none` and means weights without a palette.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LutBits(pub Option<u32>);

impl LutBits {
    /// Weights without a palette, as files spell it.
    const NONE: &'static str = "none";
}

impl fmt::Display for LutBits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(bits) => write!(f, "{bits}"),
            None => f.write_str(Self::NONE),
        }
    }
}

impl Serialize for LutBits {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Some(bits) => serializer.serialize_u32(bits),
            None => serializer.serialize_str(Self::NONE),
        }
    }
}

impl<'de> Deserialize<'de> for LutBits {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(LutVisitor)
    }
}

struct LutVisitor;

impl Visitor<'_> for LutVisitor {
    type Value = LutBits;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number of bits or `none`")
    }

    fn visit_u64<E: Error>(self, bits: u64) -> Result<LutBits, E> {
        let narrow = u32::try_from(bits).map_err(|_| E::invalid_value(Unexpected::Unsigned(bits), &self))?;
        Ok(LutBits(Some(narrow)))
    }

    fn visit_i64<E: Error>(self, bits: i64) -> Result<LutBits, E> {
        let narrow = u32::try_from(bits).map_err(|_| E::invalid_value(Unexpected::Signed(bits), &self))?;
        Ok(LutBits(Some(narrow)))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<LutBits, E> {
        if text.eq_ignore_ascii_case(LutBits::NONE) || text.is_empty() {
            return Ok(LutBits(None));
        }
        let bits = text.parse().map_err(|_| E::invalid_value(Unexpected::Str(text), &self))?;
        Ok(LutBits(Some(bits)))
    }

    fn visit_unit<E: Error>(self) -> Result<LutBits, E> {
        Ok(LutBits(None))
    }

    fn visit_none<E: Error>(self) -> Result<LutBits, E> {
        Ok(LutBits(None))
    }
}
