//! What drivers feed: token ids, positions, masks.

use anec_mil::DataType;
use anec_mil::evaluate::Tensor;

use super::SessionError;

/// A length of the meta file, which must be one that tensors can have.
pub(super) fn size(key: &'static str, value: u64) -> Result<usize, SessionError> {
    const LARGEST: u64 = 1 << 20;
    let size = usize::try_from(value).ok().filter(|_| (1..=LARGEST).contains(&value));
    size.ok_or_else(|| SessionError::Meta { key, expected: format!("1 to {LARGEST}"), found: value.to_string() })
}

/// Token ids, int32 `[1, tokens]`.
pub(super) fn token_ids(tokens: &[u32], vocab_size: Option<usize>) -> Result<Tensor, SessionError> {
    let vocab_size = vocab_size.unwrap_or(usize::MAX);
    let mut ids = Vec::with_capacity(tokens.len());
    for token in tokens {
        let id = i32::try_from(*token).ok().filter(|_| (*token as usize) < vocab_size);
        ids.push(id.ok_or(SessionError::Token { token: *token, vocab_size })?);
    }
    Ok(Tensor::integers(DataType::Int32, &[1, tokens.len()], ids)?)
}

/// The positions from `position` on, int32 `[count]`.
pub(super) fn positions(position: usize, count: usize) -> Result<Tensor, SessionError> {
    let positions: Vec<i32> = (position..position.saturating_add(count)).map(index).collect();
    Ok(Tensor::integers(DataType::Int32, &[count], positions)?)
}

/// One position, int32 `[1]`.
pub(super) fn current_pos(position: usize) -> Result<Tensor, SessionError> {
    positions(position, 1)
}

/// The mask of ANEMLL's clients, fp16 `[1, 1, count, context_length]`: minus infinity behind each token.
pub(super) fn causal_mask(position: usize, count: usize, context_length: usize) -> Result<Tensor, SessionError> {
    let mut mask = Vec::with_capacity(count * context_length);
    for row in position..position.saturating_add(count) {
        mask.extend((0..context_length).map(|key| if key > row { f32::NEG_INFINITY } else { 0.0 }));
    }
    Ok(Tensor::floats(DataType::Float16, &[1, 1, count, context_length], mask)?)
}

fn index(position: usize) -> i32 {
    i32::try_from(position).unwrap_or(i32::MAX)
}
