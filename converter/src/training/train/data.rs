//! Tokens to train on: flat little-endian uint16, as llama2.c and nanoGPT keep them.

use std::path::{Path, PathBuf};

use fs_err as fs;

use super::TrainError;

/// Bytes of a token.
const TOKEN_BYTES: usize = 2;

/// What sequences are taken by: coprime to any number of them that it does not divide.
const STRIDE: u64 = 1_000_003;

/// Tokens, cut into sequences.
#[derive(Debug)]
pub(super) struct Data {
    tokens: Vec<u16>,
    sequence: usize,
    sequences: u64,
}

impl Data {
    /// Reads tokens of a vocabulary.
    pub(super) fn read(path: &Path, sequence: usize, vocabulary: usize) -> Result<Self, TrainError> {
        let refuse = |problem: String| TrainError::Data { path: PathBuf::from(path), problem };
        let bytes = fs::read(path)?;
        if !bytes.len().is_multiple_of(TOKEN_BYTES) {
            return Err(refuse(format!("has {} bytes, no whole number of 16-bit tokens", bytes.len())));
        }
        let tokens: Vec<u16> = bytes
            .chunks_exact(TOKEN_BYTES)
            .map(|bytes| u16::from_le_bytes(bytes.try_into().unwrap_or_default()))
            .collect();
        if let Some((position, token)) = tokens.iter().enumerate().find(|(_, token)| usize::from(**token) >= vocabulary)
        {
            return Err(refuse(format!("has token {token} at {position}, outside of the vocabulary of {vocabulary}")));
        }
        let sequences = (tokens.len().saturating_sub(1) / sequence.max(1)) as u64;
        if sequences == 0 {
            return Err(refuse(format!("has {} tokens, expected more than a sequence of {sequence}", tokens.len())));
        }
        Ok(Self { tokens, sequence, sequences })
    }

    /// The tokens of the sequence of this number, and the token behind them. Numbers go through all sequences before one comes
    /// again, in an order that mixes them.
    pub(super) fn sequence(&self, number: u64) -> &[u16] {
        let stride = if STRIDE.is_multiple_of(self.sequences) { 1 } else { STRIDE };
        let place = (number % self.sequences).wrapping_mul(stride % self.sequences) % self.sequences;
        let start = usize::try_from(place).unwrap_or(0) * self.sequence;
        self.tokens.get(start..=start + self.sequence).expect("sequences are within the tokens")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sequence_comes_once_before_one_comes_again() {
        for sequences in [1, 2, 7, 100] {
            let tokens: Vec<u16> = (0..=sequences * 3).map(|token| u16::try_from(token).expect("small")).collect();
            let data = Data { tokens, sequence: 3, sequences };
            let mut firsts: Vec<u16> = (0..sequences).map(|number| data.sequence(number)[0]).collect();
            firsts.sort_unstable();
            let expected: Vec<u16> = (0..sequences).map(|place| u16::try_from(place * 3).expect("small")).collect();
            assert_eq!(firsts, expected, "{sequences}");
        }
    }
}
