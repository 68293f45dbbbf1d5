//! Operation sets: which form of each op a function may use.

use std::fmt;

/// A version of Core ML's operation set.
///
/// # Source
/// `MIL.proto` `Function.opset` and the `func name<opset>` of compiled programs; specification versions:
/// `Model.proto`, coremltools@e0e2f42b.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(missing_docs, reason = "each variant is the operating system that brought the set")]
pub enum Opset {
    Ios15,
    Ios16,
    Ios17,
    Ios18,
    Ios26,
}

const TABLE: [(Opset, &str, &str, i32); 5] = [
    (Opset::Ios15, "ios15", "CoreML5", 6),
    (Opset::Ios16, "ios16", "CoreML6", 7),
    (Opset::Ios17, "ios17", "CoreML7", 8),
    (Opset::Ios18, "ios18", "CoreML8", 9),
    (Opset::Ios26, "ios26", "CoreML9", 10),
];

impl Opset {
    /// The name in MIL text, such as `ios18`.
    pub fn text_name(self) -> &'static str {
        TABLE[self as usize].1
    }

    /// The name in the protobuf, such as `CoreML8`.
    pub fn proto_name(self) -> &'static str {
        TABLE[self as usize].2
    }

    /// The specification version that goes with this set.
    pub fn specification_version(self) -> i32 {
        TABLE[self as usize].3
    }

    /// The set that MIL text calls `name`.
    pub fn from_text_name(name: &str) -> Option<Self> {
        TABLE.iter().find(|row| row.1 == name).map(|row| row.0)
    }

    /// The set that the protobuf calls `name`.
    pub fn from_proto_name(name: &str) -> Option<Self> {
        TABLE.iter().find(|row| row.2 == name).map(|row| row.0)
    }

    /// The set of this specification version.
    pub fn from_specification_version(version: i32) -> Option<Self> {
        TABLE.iter().find(|row| row.3 == version).map(|row| row.0)
    }
}

impl fmt::Display for Opset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text_name())
    }
}
