//! Indices of less than a byte as one little-endian bit stream.
//!
//! # Source
//! MILBlob sub-byte types: element `i` takes bits `i * bits .. (i + 1) * bits` from the least significant up; 3- and 6-bit
//! elements straddle bytes.

/// Appends the packed `indices`; the last byte is filled with zero bits. Bits of an index beyond `bits` are dropped.
///
/// Only the last slice of a stream may have a length that does not fill whole bytes.
pub fn pack(indices: &[u8], bits: u8, output: &mut Vec<u8>) {
    let bits = u32::from(bits.clamp(1, 8));
    let mask = (1_u64 << bits) - 1;
    output.reserve(indices.len() * bits as usize / 8 + 1);
    // Eight indices fill exactly `bits` bytes, whatever the width.
    let (eights, rest) = indices.as_chunks::<8>();
    for eight in eights {
        let mut word = 0_u64;
        for (position, index) in (0_u32..).zip(eight) {
            word |= (u64::from(*index) & mask) << (position * bits);
        }
        output.extend_from_slice(word.to_le_bytes().get(..bits as usize).unwrap_or_default());
    }
    let mut word = 0_u64;
    for (position, index) in (0_u32..).zip(rest) {
        word |= (u64::from(*index) & mask) << (position * bits);
    }
    let bytes = (rest.len() * bits as usize).div_ceil(8);
    output.extend_from_slice(word.to_le_bytes().get(..bytes).unwrap_or_default());
}

/// The first `count` indices of a packed stream, or `None` where it is too short.
pub fn unpack(packed: &[u8], bits: u8, count: usize) -> Option<Vec<u8>> {
    let bits = usize::from(bits.clamp(1, 8));
    if packed.len() < count.checked_mul(bits)?.div_ceil(8) {
        return None;
    }
    let mask = u8::MAX >> (8 - bits);
    let index = |position: usize| {
        let bit = position * bits;
        let low = packed.get(bit / 8).copied().unwrap_or_default();
        let high = packed.get(bit / 8 + 1).copied().unwrap_or_default();
        let [byte, _] = (u16::from_le_bytes([low, high]) >> (bit % 8)).to_le_bytes();
        byte & mask
    };
    Some((0..count).map(index).collect())
}
