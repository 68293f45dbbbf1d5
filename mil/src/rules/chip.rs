//! The chips that programs run on, and what is known about each.

use std::fmt;
use std::str::FromStr;

use self::DmaNotch::{Assumed, Measured, ReportedAbsent};

/// A chip with a Neural Engine of 16 cores, or [`Chip::Generic`], which stands for all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(missing_docs, reason = "each variant is Apple's name of the chip")]
pub enum Chip {
    /// Whatever holds for one chip is taken to hold here: what passes is safe on all.
    Generic,
    A14,
    A15,
    A16,
    A17Pro,
    A18,
    A18Pro,
    A19,
    A19Pro,
    M1,
    M1Pro,
    M1Max,
    M2,
    M2Pro,
    M2Max,
    M3,
    M3Pro,
    M3Max,
    M4,
    M4Pro,
    M4Max,
    M5,
    M5Pro,
    M5Max,
}

/// A number with where it comes from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Figure {
    /// The number, in the unit of the field that holds it.
    pub value: f64,
    /// Who measured or published it.
    pub source: &'static str,
}

/// Whether reading a weight slows down when its share per core is near a multiple of 1 MiB; see [`super::notch`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DmaNotch {
    /// Measured on this chip.
    Measured,
    /// Not measured; taken to be there, since avoiding it costs next to nothing.
    Assumed,
    /// One report says that it is not there.
    ReportedAbsent,
}

/// What is known about a chip.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ChipFacts {
    /// The chip.
    pub chip: Chip,
    /// Its name on the command line.
    pub name: &'static str,
    /// Gigabytes (10^9 bytes) of weights that its Neural Engine was seen to read in a second.
    pub weight_bandwidth: Option<Figure>,
    /// Gigabytes (10^9 bytes) that its memory can deliver in a second: nothing reads faster.
    pub memory_bandwidth: Option<Figure>,
    /// 10^12 operations a second of the Neural Engine, a multiplication and an addition being two; fp16 where measured.
    pub tops: Option<Figure>,
    /// The longest axis that its Neural Engine takes, which bounds the rows of one part of an LM head.
    pub max_head_rows: u64,
    /// The slow spots of its weight reads.
    pub dma_notch: DmaNotch,
}

/// Every chip, `generic` first.
pub static CHIPS: &[ChipFacts] = &[
    row(Chip::Generic, "generic", None, None, None, OLD_ROWS, Assumed),
    row(Chip::A14, "a14", None, Some(phone(34.1)), Some(apple(11.0)), OLD_ROWS, Assumed),
    row(Chip::A15, "a15", None, Some(phone(34.1)), Some(apple(15.8)), OLD_ROWS, Assumed),
    row(Chip::A16, "a16", None, Some(phone(51.2)), Some(apple(17.0)), NEW_ROWS, Assumed),
    row(Chip::A17Pro, "a17-pro", None, Some(phone(51.2)), Some(apple(35.0)), NEW_ROWS, Assumed),
    row(Chip::A18, "a18", None, Some(phone(60.0)), Some(apple(35.0)), NEW_ROWS, Assumed),
    row(Chip::A18Pro, "a18-pro", None, Some(phone(60.0)), Some(conv(30.2)), NEW_ROWS, Assumed),
    row(Chip::A19, "a19", None, Some(phone(68.3)), None, NEW_ROWS, Assumed),
    row(Chip::A19Pro, "a19-pro", None, Some(phone(76.8)), Some(conv(44.4)), NEW_ROWS, Assumed),
    row(Chip::M1, "m1", Some(head(61.0)), Some(mac(68.3)), Some(conv(10.8)), OLD_ROWS, ReportedAbsent),
    row(Chip::M1Pro, "m1-pro", None, Some(mac(204.8)), Some(apple(11.0)), OLD_ROWS, Assumed),
    row(Chip::M1Max, "m1-max", None, Some(mac(409.6)), Some(apple(11.0)), OLD_ROWS, Assumed),
    row(Chip::M2, "m2", Some(head(60.0)), Some(mac(102.4)), Some(apple(15.8)), OLD_ROWS, Assumed),
    row(Chip::M2Pro, "m2-pro", None, Some(mac(204.8)), Some(apple(15.8)), OLD_ROWS, Assumed),
    row(Chip::M2Max, "m2-max", None, Some(mac(409.6)), Some(apple(15.8)), OLD_ROWS, Assumed),
    row(Chip::M3, "m3", Some(head(63.0)), Some(mac(102.4)), Some(apple(18.0)), OLD_ROWS, Measured),
    row(Chip::M3Pro, "m3-pro", None, Some(mac(153.6)), Some(apple(18.0)), OLD_ROWS, Assumed),
    row(Chip::M3Max, "m3-max", Some(head(120.0)), Some(mac(409.6)), Some(apple(18.0)), OLD_ROWS, Assumed),
    row(Chip::M4, "m4", Some(head(64.0)), Some(mac(120.0)), Some(conv(18.5)), NEW_ROWS, Measured),
    row(Chip::M4Pro, "m4-pro", Some(head(126.0)), Some(mac(273.0)), Some(conv(18.5)), NEW_ROWS, Measured),
    row(Chip::M4Max, "m4-max", Some(head(119.0)), Some(mac(546.0)), Some(conv(18.5)), NEW_ROWS, Assumed),
    row(Chip::M5, "m5", Some(head(70.0)), Some(mac(153.6)), None, NEW_ROWS, Assumed),
    row(Chip::M5Pro, "m5-pro", None, Some(mac(307.0)), None, NEW_ROWS, Assumed),
    row(Chip::M5Max, "m5-max", None, Some(mac(614.0)), None, NEW_ROWS, ReportedAbsent),
];

/// The chips on which all states of a model must have one shape; rule `state-shapes`.
///
/// # Source
/// ANEMLL 0.3.5 release notes.
pub const STATES_OF_ONE_SHAPE: &[Chip] = &[Chip::A14, Chip::M1, Chip::M1Pro, Chip::M1Max];

/// Longest axis before A16 and M4.
///
/// # Source
/// Error text of the E5 compiler: height, width and contraction 1 to 16384; ANEForge's sweep over chips. A16 has the
/// larger limit and M3 does not, though they are of one year.
const OLD_ROWS: u64 = 16_384;

/// Longest axis since A16 and M4; same sources.
const NEW_ROWS: u64 = 65_536;

/// Read speed of an fp16 LM head.
const fn head(value: f64) -> Figure {
    Figure { value, source: "anemll-bench, fp16 LM head on the Neural Engine" }
}

/// Apple's figure for a Mac.
const fn mac(value: f64) -> Figure {
    Figure { value, source: "Apple's specification of the chip, its largest variant" }
}

/// The memory of a phone.
const fn phone(value: f64) -> Figure {
    Figure { value, source: "data rate of the LPDDR memory, 64 bits wide" }
}

/// Apple's figure for the Neural Engine; from A17 Pro on it counts int8 operations.
const fn apple(value: f64) -> Figure {
    Figure { value, source: "Apple's specification of the Neural Engine" }
}

/// A measured convolution.
const fn conv(value: f64) -> Figure {
    Figure { value, source: "freedomtan, fp16 convolutions through Core ML (M4 and M4 Max: as M4 Pro)" }
}

const fn row(
    chip: Chip,
    name: &'static str,
    weight_bandwidth: Option<Figure>,
    memory_bandwidth: Option<Figure>,
    tops: Option<Figure>,
    max_head_rows: u64,
    dma_notch: DmaNotch,
) -> ChipFacts {
    ChipFacts { chip, name, weight_bandwidth, memory_bandwidth, tops, max_head_rows, dma_notch }
}

impl Chip {
    /// What is known about the chip.
    pub fn facts(self) -> &'static ChipFacts {
        &CHIPS[self as usize]
    }

    /// The name on the command line, such as `m4-pro`.
    pub fn name(self) -> &'static str {
        self.facts().name
    }

    /// Whether the chip is in phones, and in tablets of the same name.
    pub fn is_mobile(self) -> bool {
        (Self::A14..=Self::A19Pro).contains(&self)
    }

    /// Gigabytes of weights a second that bound the speed of decoding: as measured, else what the memory can deliver.
    pub fn bandwidth_bound(self) -> Option<Figure> {
        self.facts().weight_bandwidth.or(self.facts().memory_bandwidth)
    }
}

impl fmt::Display for Chip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A chip that is not known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{found}` is not a chip; expected {}", names())]
pub struct UnknownChip {
    /// What was given instead.
    pub found: String,
}

fn names() -> String {
    CHIPS.iter().map(|facts| facts.name).collect::<Vec<_>>().join(", ")
}

impl FromStr for Chip {
    type Err = UnknownChip;

    /// Takes `m4-pro`, `M4 Pro` and `m4pro` alike, and `a17` for the only A17.
    fn from_str(text: &str) -> Result<Self, UnknownChip> {
        let plain = |name: &str| -> String { name.chars().filter(char::is_ascii_alphanumeric).collect() };
        let wanted = match plain(text).to_ascii_lowercase() {
            short if short == "a17" => "a17pro".to_owned(),
            other => other,
        };
        let facts = CHIPS.iter().find(|facts| plain(facts.name) == wanted);
        facts.map(|facts| facts.chip).ok_or_else(|| UnknownChip { found: text.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_chip_has_the_row_of_its_number() {
        for (index, facts) in CHIPS.iter().enumerate() {
            assert_eq!(facts.chip as usize, index);
            assert_eq!(facts.chip.facts().name, facts.name);
            assert_eq!(facts.name.parse(), Ok(facts.chip));
            assert_eq!(facts.chip.to_string(), facts.name);
        }
    }

    #[test]
    fn chips_are_read_as_people_write_them() {
        for (text, chip) in [("M4 Pro", Chip::M4Pro), ("a17", Chip::A17Pro), ("A19pro", Chip::A19Pro)] {
            assert_eq!(text.parse(), Ok(chip));
        }
        let error = "m9".parse::<Chip>().expect_err("no such chip").to_string();
        assert!(error.starts_with("`m9` is not a chip; expected generic, a14,"), "{error}");
    }

    #[test]
    fn generic_has_the_strictest_limits() {
        let least = CHIPS.iter().map(|facts| facts.max_head_rows).min();
        assert_eq!(Some(Chip::Generic.facts().max_head_rows), least);
        assert_ne!(Chip::Generic.facts().dma_notch, ReportedAbsent);
        assert_eq!(Chip::Generic.bandwidth_bound(), None);
    }

    #[test]
    fn no_engine_reads_faster_than_its_memory_delivers() {
        for facts in CHIPS {
            if let (Some(weights), Some(memory)) = (facts.weight_bandwidth, facts.memory_bandwidth) {
                assert!(weights.value <= memory.value, "{}", facts.name);
            }
        }
    }
}
