//! How far a conversation can go back.

/// Whether a token may be given at an earlier position than the last one, as long as those before it stay the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rewinds {
    /// To any position.
    Anywhere,
    /// Never.
    Never,
    /// To any position while a ring has not come round, and then by the positions that it has beyond its window.
    Ring {
        /// Positions that the ring holds.
        length: usize,
        /// Positions beyond the window.
        spare: usize,
    },
}

impl Rewinds {
    /// Whether the next token may have position `to` after `written` positions were written. A position that was written and
    /// holds no token, as behind the last token of a call with fewer tokens than rows, counts.
    pub fn allow(self, written: usize, to: usize) -> bool {
        match self {
            _ if to >= written => true,
            Self::Anywhere => true,
            Self::Never => false,
            Self::Ring { length, spare } => written <= length || written - to <= spare,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_goes_back_freely_until_it_has_come_round() {
        let ring = Rewinds::Ring { length: 8, spare: 2 };
        assert!(ring.allow(8, 0) && ring.allow(9, 9) && ring.allow(9, 7));
        assert!(!ring.allow(9, 6));
        assert!(Rewinds::Anywhere.allow(9, 0) && !Rewinds::Never.allow(9, 8) && Rewinds::Never.allow(9, 9));
    }
}
