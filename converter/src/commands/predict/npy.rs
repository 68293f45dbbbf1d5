//! NumPy's `.npy` files.
//!
//! # Source
//! `numpy.lib.format` of NumPy 2: magic, version, length of the header, a Python dictionary, the elements.

use std::io::{self, Read, Write};

use anec_mil::DataType;
use half::f16;

use super::array::{Array, Numbers};

const MAGIC: &[u8] = b"\x93NUMPY";

/// Longest header that is read, in bytes; real ones have 128.
const MAX_HEADER_BYTES: usize = 1 << 16;

/// The header is padded so that the elements start at a multiple of this.
const ALIGNMENT: usize = 64;

/// A file that is no array of numbers.
#[derive(Debug, thiserror::Error)]
pub(super) enum NpyError {
    /// It cannot be read.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It does not begin like one.
    #[error("it does not begin as a .npy file does")]
    Magic,
    /// The header is not one.
    #[error("its header is not understood: {0}")]
    Header(&'static str),
    /// Elements of a type that is not read.
    #[error("its elements are `{found}`, expected floats, integers or booleans in little-endian order")]
    Elements {
        /// NumPy's name of the type.
        found: String,
    },
    /// More or fewer elements than the shape has.
    #[error("it has {found} bytes of elements, expected {expected}")]
    Length {
        /// Bytes there are.
        found: usize,
        /// Bytes that the shape has.
        expected: String,
    },
}

/// How elements are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Float,
    Signed,
    Unsigned,
    Bool,
}

/// Reads an array.
///
/// # Errors
/// It is none, or not of numbers.
pub(super) fn read(mut file: impl Read) -> Result<Array, NpyError> {
    let mut start = [0; 8];
    file.read_exact(&mut start).map_err(|_| NpyError::Magic)?;
    let [.., major, _minor] = start;
    if !start.starts_with(MAGIC) {
        return Err(NpyError::Magic);
    }
    let length = match major {
        1 => {
            let mut bytes = [0; 2];
            file.read_exact(&mut bytes)?;
            usize::from(u16::from_le_bytes(bytes))
        }
        2 | 3 => {
            let mut bytes = [0; 4];
            file.read_exact(&mut bytes)?;
            usize::try_from(u32::from_le_bytes(bytes)).unwrap_or(usize::MAX)
        }
        _ => return Err(NpyError::Header("a version other than 1 to 3")),
    };
    if length > MAX_HEADER_BYTES {
        return Err(NpyError::Header("it is too long"));
    }
    let mut header = vec![0; length];
    file.read_exact(&mut header)?;
    let header = str::from_utf8(&header).map_err(|_| NpyError::Header("it is not text"))?;
    let Header { descr, fortran_order, shape } = Header::parse(header)?;
    let unknown = || NpyError::Elements { found: descr.clone() };
    let (kind, width) = element_kind(&descr).ok_or_else(unknown)?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let expected = shape.iter().try_fold(width, |bytes, length| bytes.checked_mul(*length));
    if expected != Some(bytes.len()) {
        let expected = expected.map_or_else(|| "more than memory".to_owned(), |expected| expected.to_string());
        return Err(NpyError::Length { found: bytes.len(), expected });
    }
    let mut numbers = numbers(kind, width, &bytes).ok_or_else(unknown)?;
    if fortran_order {
        let order = row_major_order(&shape);
        numbers = match numbers {
            Numbers::Floats(values) => Numbers::Floats(reordered(&values, &order)),
            Numbers::Integers(values) => Numbers::Integers(reordered(&values, &order)),
            Numbers::Bools(values) => Numbers::Bools(reordered(&values, &order)),
        };
    }
    Ok(Array { shape, numbers })
}

/// Writes an array, whose elements have the type `dtype` of a program.
///
/// # Errors
/// It cannot be written.
pub(super) fn write(mut file: impl Write, array: &Array, dtype: DataType) -> io::Result<()> {
    let (descr, elements) = encoded(&array.numbers, dtype);
    let comma = if array.shape.len() == 1 { "," } else { "" };
    let shape = array.shape.iter().map(usize::to_string).collect::<Vec<_>>().join(", ");
    let mut header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({shape}{comma}), }}");
    let before = MAGIC.len() + 4;
    let padding = ALIGNMENT - (before + header.len() + 1) % ALIGNMENT;
    header.extend(std::iter::repeat_n(' ', padding % ALIGNMENT));
    header.push('\n');
    let length = u16::try_from(header.len()).map_err(|_| io::Error::other("a shape of too many axes"))?;
    file.write_all(MAGIC)?;
    file.write_all(&[1, 0])?;
    file.write_all(&length.to_le_bytes())?;
    file.write_all(header.as_bytes())?;
    file.write_all(&elements)
}

/// NumPy's name of an element type, and the elements.
#[expect(clippy::cast_possible_truncation, reason = "the numbers come from tensors of this type")]
fn encoded(numbers: &Numbers, dtype: DataType) -> (&'static str, Vec<u8>) {
    match numbers {
        Numbers::Bools(values) => ("|b1", values.iter().map(|value| u8::from(*value)).collect()),
        Numbers::Floats(values) if dtype == DataType::Float16 => {
            ("<f2", values.iter().flat_map(|value| f16::from_f64(*value).to_le_bytes()).collect())
        }
        Numbers::Floats(values) => ("<f4", values.iter().flat_map(|value| (*value as f32).to_le_bytes()).collect()),
        Numbers::Integers(values) => {
            let bytes = |width: usize| values.iter().flat_map(move |value| value.to_le_bytes().into_iter().take(width));
            match (dtype.bits(), dtype.text_name().starts_with('u')) {
                (..=8, true) => ("|u1", bytes(1).collect()),
                (..=8, false) => ("|i1", bytes(1).collect()),
                (9..=16, true) => ("<u2", bytes(2).collect()),
                (9..=16, false) => ("<i2", bytes(2).collect()),
                (17..=32, true) => ("<u4", bytes(4).collect()),
                (17..=32, false) => ("<i4", bytes(4).collect()),
                (_, true) => ("<u8", bytes(8).collect()),
                (_, false) => ("<i8", bytes(8).collect()),
            }
        }
    }
}

fn element_kind(descr: &str) -> Option<(Kind, usize)> {
    let mut characters = descr.chars();
    let order = characters.next()?;
    let kind = match characters.next()? {
        'f' => Kind::Float,
        'i' => Kind::Signed,
        'u' => Kind::Unsigned,
        'b' => Kind::Bool,
        _ => return None,
    };
    let width = match characters.as_str() {
        "1" => 1,
        "2" => 2,
        "4" => 4,
        "8" => 8,
        _ => return None,
    };
    let known = match kind {
        Kind::Float => width > 1,
        Kind::Bool => width == 1,
        Kind::Signed | Kind::Unsigned => true,
    };
    (known && (order == '<' || order == '|' && width == 1)).then_some((kind, width))
}

/// The numbers of little-endian elements; `None` where one is too large.
fn numbers(kind: Kind, width: usize, bytes: &[u8]) -> Option<Numbers> {
    let word = |element: &[u8]| {
        let mut word = [0; 8];
        for (to, from) in word.iter_mut().zip(element) {
            *to = *from;
        }
        u64::from_le_bytes(word)
    };
    let words = bytes.chunks_exact(width).map(word);
    #[expect(clippy::cast_possible_truncation, clippy::cast_possible_wrap, reason = "the bits are those of the type")]
    Some(match (kind, width) {
        (Kind::Bool, _) => Numbers::Bools(words.map(|word| word != 0).collect()),
        (Kind::Float, 2) => Numbers::Floats(words.map(|word| f16::from_bits(word as u16).to_f64()).collect()),
        (Kind::Float, 4) => Numbers::Floats(words.map(|word| f64::from(f32::from_bits(word as u32))).collect()),
        (Kind::Float, _) => Numbers::Floats(words.map(f64::from_bits).collect()),
        (Kind::Unsigned, _) => Numbers::Integers(words.map(|word| i64::try_from(word).ok()).collect::<Option<_>>()?),
        (Kind::Signed, 1) => Numbers::Integers(words.map(|word| i64::from(word as i8)).collect()),
        (Kind::Signed, 2) => Numbers::Integers(words.map(|word| i64::from(word as i16)).collect()),
        (Kind::Signed, 4) => Numbers::Integers(words.map(|word| i64::from(word as i32)).collect()),
        (Kind::Signed, _) => Numbers::Integers(words.map(|word| word as i64).collect()),
    })
}

/// Where each element of the row-major order stands in the order of columns.
fn row_major_order(shape: &[usize]) -> Vec<usize> {
    let count = shape.iter().product();
    let mut order = Vec::with_capacity(count);
    let mut position = vec![0; shape.len()];
    for _ in 0..count {
        let mut stride = 1;
        let mut offset = 0;
        for (index, length) in position.iter().zip(shape) {
            offset += index * stride;
            stride *= length;
        }
        order.push(offset);
        for (index, length) in position.iter_mut().zip(shape).rev() {
            *index += 1;
            if *index < *length {
                break;
            }
            *index = 0;
        }
    }
    order
}

fn reordered<T: Copy>(values: &[T], order: &[usize]) -> Vec<T> {
    order.iter().filter_map(|index| values.get(*index).copied()).collect()
}

/// What a header says.
#[derive(Debug, Default, PartialEq, Eq)]
struct Header {
    descr: String,
    fortran_order: bool,
    shape: Vec<usize>,
}

impl Header {
    /// Reads a Python dictionary of the three keys.
    fn parse(text: &str) -> Result<Self, NpyError> {
        let body = text.trim().strip_prefix('{').and_then(|text| text.strip_suffix('}'));
        let mut rest = body.ok_or(NpyError::Header("it is no dictionary"))?.trim();
        let mut header = Self::default();
        let mut keys = 0;
        while !rest.is_empty() {
            let (key, after) = quoted(rest)?;
            rest = after.trim_start().strip_prefix(':').ok_or(NpyError::Header("a key without a value"))?.trim_start();
            rest = match key {
                "descr" => {
                    let (descr, rest) = quoted(rest)?;
                    descr.clone_into(&mut header.descr);
                    rest
                }
                "fortran_order" => {
                    header.fortran_order = rest.starts_with("True");
                    let word = if header.fortran_order { "True" } else { "False" };
                    rest.strip_prefix(word).ok_or(NpyError::Header("`fortran_order` is neither True nor False"))?
                }
                "shape" => {
                    let inner = rest.strip_prefix('(').and_then(|rest| rest.split_once(')'));
                    let (lengths, rest) = inner.ok_or(NpyError::Header("`shape` is no tuple"))?;
                    let lengths = lengths.split(',').map(str::trim).filter(|length| !length.is_empty());
                    let lengths = lengths.map(str::parse).collect::<Result<_, _>>();
                    header.shape = lengths.map_err(|_| NpyError::Header("`shape` is not of lengths"))?;
                    rest
                }
                _ => return Err(NpyError::Header("a key that is not known")),
            };
            keys += 1;
            rest = rest.trim_start();
            rest = rest.strip_prefix(',').unwrap_or(rest).trim_start();
        }
        if keys == 3 { Ok(header) } else { Err(NpyError::Header("it has other keys than three")) }
    }
}

/// A string in quotes, and what follows it.
fn quoted(text: &str) -> Result<(&str, &str), NpyError> {
    let quote = text.chars().next().filter(|quote| matches!(quote, '\'' | '"'));
    let body = quote.and_then(|quote| text.strip_prefix(quote)?.split_once(quote));
    body.ok_or(NpyError::Header("a string is missing"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `numpy.save` of `numpy.arange(6, dtype="<f4").reshape(2, 3)`, and of its transpose, which is in Fortran order.
    fn of_numpy(fortran: &str, shape: &str) -> Vec<u8> {
        let mut bytes = b"\x93NUMPY\x01\x00\x76\x00".to_vec();
        let header = format!("{{'descr': '<f4', 'fortran_order': {fortran}, 'shape': {shape}, }}");
        bytes.extend(format!("{header:<117}\n").bytes());
        bytes.extend((0..6_u8).flat_map(|value| f32::from(value).to_le_bytes()));
        bytes
    }

    #[test]
    fn files_of_numpy_are_read_in_both_orders() {
        let rows = read(of_numpy("False", "(2, 3)").as_slice()).expect("an array");
        assert_eq!(rows, Array { shape: vec![2, 3], numbers: Numbers::Floats((0..6).map(f64::from).collect()) });
        let columns = read(of_numpy("True", "(3, 2)").as_slice()).expect("an array");
        let expected = [0.0, 3.0, 1.0, 4.0, 2.0, 5.0];
        assert_eq!(columns, Array { shape: vec![3, 2], numbers: Numbers::Floats(expected.to_vec()) });
    }

    #[test]
    fn what_is_written_is_what_numpy_writes_and_reads_back() {
        let array = Array { shape: vec![2, 3], numbers: Numbers::Floats((0..6).map(f64::from).collect()) };
        let mut bytes = Vec::new();
        write(&mut bytes, &array, DataType::Float32).expect("a vector");
        assert_eq!(bytes, of_numpy("False", "(2, 3)"));
        for (numbers, dtype) in [
            (Numbers::Floats(vec![1.5, -2.0]), DataType::Float16),
            (Numbers::Integers(vec![-7, 9]), DataType::Int32),
            (Numbers::Integers(vec![0, 255]), DataType::UInt8),
            (Numbers::Integers(vec![-128, 127]), DataType::Int8),
            (Numbers::Integers(vec![-300, 300]), DataType::Int16),
            (Numbers::Bools(vec![true, false]), DataType::Bool),
        ] {
            for shape in [vec![2], vec![2, 1], vec![1, 1, 2]] {
                let array = Array { shape, numbers: numbers.clone() };
                let mut bytes = Vec::new();
                write(&mut bytes, &array, dtype).expect("a vector");
                assert_eq!(bytes.len() % 2, 0);
                assert_eq!(read(bytes.as_slice()).expect("an array"), array, "{dtype}");
            }
        }
    }

    #[test]
    fn other_files_are_refused() {
        let good = of_numpy("False", "(2, 3)");
        for length in 0..good.len() {
            assert!(read(&good[..length]).is_err(), "cut to {length} bytes");
        }
        for shape in ["(2, 4)", "(99999999999, 99999999999)", "(-1, 6)", "[2, 3]"] {
            assert!(read(of_numpy("False", shape).as_slice()).is_err(), "{shape}");
        }
        assert!(read(of_numpy("Maybe", "(2, 3)").as_slice()).is_err());
        let objects = String::from_utf8_lossy(&good).replace("<f4", "|O8");
        assert!(read(objects.as_bytes()).is_err());
    }
}
