//! Walks encoded messages and reports what decoding would drop: unknown fields, repeated single fields, repeated keys.

use std::collections::BTreeSet;

use anec_schemas::wire::{FieldKind, FieldTable, MessageTable};

/// Deepest nesting of messages, as in the protobuf decoder.
const MAX_DEPTH: u32 = 100;

/// Longest encoding of a variable-length integer, in bytes.
const MAX_VARINT_BYTES: usize = 10;

/// An encoded message that cannot be decoded without loss.
#[derive(Clone, Debug, thiserror::Error)]
#[error("`{path}` {problem}")]
pub struct FieldError {
    /// The fields that lead to the message, outermost first.
    pub path: String,
    /// What is wrong there.
    pub problem: FieldProblem,
}

/// What is wrong with an encoded message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FieldProblem {
    /// A field that this version of the format does not have.
    #[error("has the unknown field {number}")]
    Unknown {
        /// The field's number.
        number: u32,
    },
    /// A field, or another of its oneof, that may stand only once.
    #[error("has `{field}` more than once, or with another of the same choice")]
    Repeated {
        /// The field that came second.
        field: &'static str,
    },
    /// Two entries of a map with the same key.
    #[error("has two entries `{key}` in `{field}`")]
    RepeatedKey {
        /// The map.
        field: &'static str,
        /// The key.
        key: String,
    },
    /// A field is encoded in another way than its type is.
    #[error("has `{field}` with wire type {wire_type}")]
    WireType {
        /// The field.
        field: &'static str,
        /// The wire type found.
        wire_type: u32,
    },
    /// The bytes end within a field, or a number has too many bytes.
    #[error("is cut off or malformed at byte {position}")]
    Malformed {
        /// Byte within the message.
        position: usize,
    },
    /// Messages are nested too deeply.
    #[error("is nested deeper than {MAX_DEPTH} messages")]
    TooDeep,
}

/// Checks that decoding `bytes` as the message of `table` loses nothing.
///
/// # Errors
/// See [`FieldProblem`].
pub fn check_fields(bytes: &[u8], table: &'static MessageTable) -> Result<(), FieldError> {
    match unknown_fields(bytes, table)?.into_iter().next() {
        None => Ok(()),
        Some(unknown) => Err(unknown),
    }
}

/// The fields that decoding `bytes` as the message of `table` drops because they are not known: the first hundred.
///
/// # Errors
/// See [`FieldProblem`]; decoding loses something else.
pub fn unknown_fields(bytes: &[u8], table: &'static MessageTable) -> Result<Vec<FieldError>, FieldError> {
    let located = |(mut path, problem): Located| {
        path.push(table.name.to_owned());
        path.reverse();
        FieldError { path: path.join("."), problem }
    };
    let mut unknown = Vec::new();
    check_message(bytes, table, 0, &mut unknown).map_err(located)?;
    Ok(unknown.into_iter().map(located).collect())
}

/// The fields at the top of a message, with what they hold; numbers of variable length hold nothing here.
pub(crate) fn top_level(bytes: &[u8]) -> impl Iterator<Item = Result<(u32, &[u8]), FieldError>> {
    let mut cursor = Cursor { bytes, position: 0 };
    let mut failed = false;
    std::iter::from_fn(move || {
        if failed || cursor.position >= cursor.bytes.len() {
            return None;
        }
        let field = read_any_field(&mut cursor);
        failed = field.is_err();
        Some(field.map_err(|problem| FieldError { path: "Model".to_owned(), problem }))
    })
}

fn read_any_field<'bytes>(cursor: &mut Cursor<'bytes>) -> Result<(u32, &'bytes [u8]), FieldProblem> {
    let tag = cursor.varint()?;
    let number = u32::try_from(tag >> 3).map_err(|_| cursor.malformed())?;
    Ok((number, skip_field(cursor, (tag & 7) as u32)?))
}

/// Unknown fields that are told apart.
const MAX_UNKNOWN: usize = 100;

/// Path segments are collected innermost first, and only when something is wrong.
type Located = (Vec<String>, FieldProblem);

struct Cursor<'bytes> {
    bytes: &'bytes [u8],
    position: usize,
}

impl<'bytes> Cursor<'bytes> {
    fn malformed(&self) -> FieldProblem {
        FieldProblem::Malformed { position: self.position }
    }

    fn varint(&mut self) -> Result<u64, FieldProblem> {
        let mut value = 0;
        for index in 0..MAX_VARINT_BYTES {
            let byte = *self.bytes.get(self.position).ok_or_else(|| self.malformed())?;
            self.position += 1;
            value |= u64::from(byte & 0x7f) << (7 * index);
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(self.malformed())
    }

    fn take(&mut self, length: u64) -> Result<&'bytes [u8], FieldProblem> {
        let end = usize::try_from(length).ok().and_then(|length| self.position.checked_add(length));
        let slice = end.and_then(|end| self.bytes.get(self.position..end)).ok_or_else(|| self.malformed())?;
        self.position += slice.len();
        Ok(slice)
    }
}

fn check_message(
    bytes: &[u8],
    table: &'static MessageTable,
    depth: u32,
    unknown: &mut Vec<Located>,
) -> Result<(), Located> {
    let here = |problem| (Vec::new(), problem);
    if depth >= MAX_DEPTH {
        return Err(here(FieldProblem::TooDeep));
    }
    let mut cursor = Cursor { bytes, position: 0 };
    let mut single: BTreeSet<u32> = BTreeSet::new();
    let mut keys: BTreeSet<(u32, &[u8])> = BTreeSet::new();
    let mut elements: Vec<(u32, usize)> = Vec::new();
    while cursor.position < bytes.len() {
        let tag = cursor.varint().map_err(here)?;
        let wire_type = (tag & 7) as u32;
        let number = u32::try_from(tag >> 3).map_err(|_| here(cursor.malformed()))?;
        let Some(field) = table.field(number) else {
            skip_field(&mut cursor, wire_type).map_err(here)?;
            if unknown.len() < MAX_UNKNOWN {
                unknown.push(here(FieldProblem::Unknown { number }));
            }
            continue;
        };
        if !field.repeated && !single.insert(field.oneof.unwrap_or(number)) {
            return Err(here(FieldProblem::Repeated { field: field.name }));
        }
        let content = read_field(&mut cursor, field, wire_type).map_err(here)?;
        let FieldKind::Message(inner) = field.kind else { continue };
        let index = count_element(&mut elements, number);
        let key = if inner.is_map_entry { Some(entry_key(content).map_err(here)?) } else { None };
        if let Some(key) = key
            && !keys.insert((number, key))
        {
            let key = String::from_utf8_lossy(key).into_owned();
            return Err(here(FieldProblem::RepeatedKey { field: field.name, key }));
        }
        let place = || match key {
            Some(key) => format!("{}[\"{}\"]", field.name, String::from_utf8_lossy(key)),
            None if field.repeated => format!("{}[{index}]", field.name),
            None => field.name.to_owned(),
        };
        let known = unknown.len();
        let checked = check_message(content, inner, depth + 1, unknown);
        for (path, _) in unknown.iter_mut().skip(known) {
            path.push(place());
        }
        checked.map_err(|(mut path, problem)| {
            path.push(place());
            (path, problem)
        })?;
    }
    Ok(())
}

/// The field's content; empty for numbers.
fn read_field<'bytes>(
    cursor: &mut Cursor<'bytes>,
    field: &'static FieldTable,
    wire_type: u32,
) -> Result<&'bytes [u8], FieldProblem> {
    let packable = field.repeated && matches!(field.kind, FieldKind::Varint | FieldKind::Fixed32 | FieldKind::Fixed64);
    match (wire_type, field.kind) {
        (0, FieldKind::Varint) => cursor.varint().map(|_| &[][..]),
        (1, FieldKind::Fixed64) => cursor.take(8),
        (5, FieldKind::Fixed32) => cursor.take(4),
        (2, kind) if packable || matches!(kind, FieldKind::Text | FieldKind::Bytes | FieldKind::Message(_)) => {
            let length = cursor.varint()?;
            cursor.take(length)
        }
        _ => Err(FieldProblem::WireType { field: field.name, wire_type }),
    }
}

/// The content of a field of whatever kind; empty for numbers of variable length.
fn skip_field<'bytes>(cursor: &mut Cursor<'bytes>, wire_type: u32) -> Result<&'bytes [u8], FieldProblem> {
    match wire_type {
        0 => cursor.varint().map(|_| &[][..]),
        1 => cursor.take(8),
        2 => cursor.varint().and_then(|length| cursor.take(length)),
        5 => cursor.take(4),
        _ => Err(cursor.malformed()),
    }
}

/// The key of a map entry; keys are text in every map of the format, and a writer may leave out an empty one.
fn entry_key(entry: &[u8]) -> Result<&[u8], FieldProblem> {
    const KEY: u64 = 1;
    let mut cursor = Cursor { bytes: entry, position: 0 };
    while cursor.position < entry.len() {
        let tag = cursor.varint()?;
        let content = skip_field(&mut cursor, (tag & 7) as u32)?;
        if tag >> 3 == KEY {
            return Ok(content);
        }
    }
    Ok(&[])
}

/// How many elements of a repeated field came before this one.
fn count_element(elements: &mut Vec<(u32, usize)>, number: u32) -> usize {
    if let Some((_, count)) = elements.iter_mut().find(|(other, _)| *other == number) {
        *count += 1;
        return *count - 1;
    }
    elements.push((number, 1));
    0
}
