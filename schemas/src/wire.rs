//! Tables of the fields of every message of [`crate::proto`], for readers that look at the bytes themselves.

/// The fields of one message.
#[derive(Debug)]
pub struct MessageTable {
    /// The message's name without its package.
    pub name: &'static str,
    /// Whether this is the entry of a map: key 1, value 2.
    pub is_map_entry: bool,
    /// The fields, by number.
    pub fields: &'static [FieldTable],
}

/// One field.
#[derive(Debug)]
pub struct FieldTable {
    /// Its number.
    pub number: u32,
    /// Its name.
    pub name: &'static str,
    /// How it is encoded.
    pub kind: FieldKind,
    /// Whether it may stand more than once.
    pub repeated: bool,
    /// Equal for the fields of one oneof.
    pub oneof: Option<u32>,
}

/// How a field is encoded.
#[derive(Clone, Copy, Debug)]
pub enum FieldKind {
    /// A variable-length integer.
    Varint,
    /// Four bytes.
    Fixed32,
    /// Eight bytes.
    Fixed64,
    /// Length and UTF-8 text.
    Text,
    /// Length and bytes.
    Bytes,
    /// Length and a message.
    Message(&'static MessageTable),
}

impl MessageTable {
    /// The field with this number.
    pub fn field(&self, number: u32) -> Option<&'static FieldTable> {
        self.fields.iter().find(|field| field.number == number)
    }
}

include!(concat!(env!("OUT_DIR"), "/tables.rs"));
