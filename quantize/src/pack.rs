//! Indices of less than a byte as one little-endian bit stream.
//!
//! # Source
//! MILBlob sub-byte types: element `i` takes bits `i * bits .. (i + 1) * bits` from the least significant up; 3- and 6-bit
//! elements straddle bytes.

/// Indices that fill whole bytes at any width.
const EIGHT: usize = 8;

/// Appends the packed `indices`; the last byte is filled with zero bits. Bits of an index beyond `bits` are dropped.
///
/// Only the last slice of a stream may have a length that does not fill whole bytes.
pub fn pack(indices: &[u8], bits: u8, output: &mut Vec<u8>) {
    match bits {
        0 | 1 => pack_width::<1>(indices, output),
        2 => pack_width::<2>(indices, output),
        3 => pack_width::<3>(indices, output),
        4 => pack_width::<4>(indices, output),
        5 => pack_width::<5>(indices, output),
        6 => pack_width::<6>(indices, output),
        7 => pack_width::<7>(indices, output),
        _ => output.extend_from_slice(indices),
    }
}

/// The first `count` indices of a packed stream, or `None` where it is too short.
pub fn unpack(packed: &[u8], bits: u8, count: usize) -> Option<Vec<u8>> {
    let width = usize::from(bits.clamp(1, 8));
    let packed = packed.get(..count.checked_mul(width)?.div_ceil(8))?;
    Some(match width {
        1 => unpack_width::<1>(packed, count),
        2 => unpack_width::<2>(packed, count),
        3 => unpack_width::<3>(packed, count),
        4 => unpack_width::<4>(packed, count),
        5 => unpack_width::<5>(packed, count),
        6 => unpack_width::<6>(packed, count),
        7 => unpack_width::<7>(packed, count),
        _ => packed.to_vec(),
    })
}

/// Eight indices fill exactly `BITS` bytes.
fn pack_width<const BITS: usize>(indices: &[u8], output: &mut Vec<u8>) {
    let start = output.len();
    output.resize(start + (indices.len() * BITS).div_ceil(8), 0);
    let Some(packed) = output.get_mut(start..) else { return };
    let (eights, rest) = indices.as_chunks::<EIGHT>();
    let (whole, last) = packed.split_at_mut(eights.len() * BITS);
    for (bytes, eight) in whole.as_chunks_mut::<BITS>().0.iter_mut().zip(eights) {
        bytes.copy_from_slice(&gather::<BITS>(*eight)[..BITS]);
    }
    let mut eight = [0; EIGHT];
    eight[..rest.len()].copy_from_slice(rest);
    let word = gather::<BITS>(eight);
    last.copy_from_slice(&word[..last.len()]);
}

fn unpack_width<const BITS: usize>(packed: &[u8], count: usize) -> Vec<u8> {
    let mut indices = vec![0; count];
    let (eights, rest) = indices.as_chunks_mut::<EIGHT>();
    let (whole, last) = packed.split_at(eights.len() * BITS);
    let word = |bytes: &[u8]| {
        let mut word = [0; EIGHT];
        word[..bytes.len()].copy_from_slice(bytes);
        word
    };
    for (eight, bytes) in eights.iter_mut().zip(whole.as_chunks::<BITS>().0) {
        *eight = scatter::<BITS>(word(bytes));
    }
    rest.copy_from_slice(&scatter::<BITS>(word(last))[..rest.len()]);
    indices
}

/// The lowest `BITS` bits of eight bytes, side by side: bytes become pairs, pairs fours, fours eights.
#[inline]
fn gather<const BITS: usize>(bytes: [u8; EIGHT]) -> [u8; EIGHT] {
    let ones = (1_u64 << BITS) - 1;
    let word = u64::from_le_bytes(bytes) & (ones * 0x0101_0101_0101_0101);
    let low = word & (ones * 0x0001_0001_0001_0001);
    let word = low | ((word ^ low) >> (8 - BITS));
    let low = word & 0x0000_ffff_0000_ffff;
    let word = low | ((word ^ low) >> (16 - 2 * BITS));
    let low = word & 0xffff_ffff;
    (low | ((word ^ low) >> (32 - 4 * BITS))).to_le_bytes()
}

/// The reverse of [`gather`].
#[inline]
fn scatter<const BITS: usize>(bytes: [u8; EIGHT]) -> [u8; EIGHT] {
    let ones = |count: usize| (1_u64 << count) - 1;
    let word = u64::from_le_bytes(bytes);
    let low = word & ones(4 * BITS);
    let word = low | ((word ^ low) << (32 - 4 * BITS));
    let low = word & (ones(2 * BITS) * 0x0000_0001_0000_0001);
    let word = low | ((word ^ low) << (16 - 2 * BITS));
    let low = word & (ones(BITS) * 0x0001_0001_0001_0001);
    let word = low | ((word ^ low) << (8 - BITS));
    (word & (ones(BITS) * 0x0101_0101_0101_0101)).to_le_bytes()
}
