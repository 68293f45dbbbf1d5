//! Memory for activations that is used again.
//!
//! Activations of all calibration tokens take hundreds of megabytes, and each layer has the same ones. Fresh memory is faulted in
//! and cleared page by page, which took a fifth of a calibration's time.

use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, PoisonError};

/// A vector is not used for so many times fewer numbers: what is as large as the widest activations stays for those.
const MOST_ROOM: usize = 2;

/// Numbers of the largest vector that is kept: of a large model, pages cost little beside the work on them, and memory is scarce.
const MOST_KEPT: usize = 7 << 23;

/// Whether a vector of so many numbers is kept when it is not used.
pub(super) fn is_kept(numbers: usize) -> bool {
    numbers <= MOST_KEPT
}

/// Vectors that are not used at the moment.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    spare: Mutex<Vec<Vec<f32>>>,
}

/// A vector that goes back where it is from.
#[derive(Debug)]
pub(super) struct Buffer<'a> {
    values: Vec<f32>,
    home: &'a Buffers,
}

impl Buffers {
    /// So many numbers; whatever was there before.
    pub(super) fn take(&self, count: usize) -> Buffer<'_> {
        let mut spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner);
        let is_fit = |values: &Vec<f32>| (count..=MOST_ROOM * count).contains(&values.capacity());
        let fitting = spare.iter().enumerate().filter(|(_, values)| is_fit(values));
        let smallest = fitting.min_by_key(|(_, values)| values.capacity()).map(|(at, _)| at);
        let mut values = smallest.map(|at| spare.swap_remove(at)).unwrap_or_default();
        drop(spare);
        if values.capacity() == 0 {
            values = vec![0.0; count];
        }
        values.resize(count, 0.0);
        Buffer { values, home: self }
    }

    /// A copy.
    pub(super) fn copy(&self, values: &[f32]) -> Buffer<'_> {
        let mut copy = self.take(values.len());
        copy.copy_from_slice(values);
        copy
    }

    /// Takes a vector that is not used any more.
    pub(super) fn give(&self, values: Vec<f32>) {
        if is_kept(values.capacity()) {
            self.spare.lock().unwrap_or_else(PoisonError::into_inner).push(values);
        }
    }
}

impl Buffer<'_> {
    /// The vector, which does not go back.
    pub(super) fn into_vec(mut self) -> Vec<f32> {
        std::mem::take(&mut self.values)
    }
}

impl Deref for Buffer<'_> {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.values
    }
}

impl DerefMut for Buffer<'_> {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.values
    }
}

impl Drop for Buffer<'_> {
    fn drop(&mut self) {
        if self.values.capacity() > 0 {
            self.home.give(std::mem::take(&mut self.values));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_that_fits_is_used_again() {
        let buffers = Buffers::default();
        let (large, small) = (buffers.take(20), buffers.take(10));
        let at = [large.as_ptr(), small.as_ptr()];
        drop((large, small));
        let (first, second, third) = (buffers.take(9), buffers.take(11), buffers.take(12));
        assert_eq!([second.as_ptr(), first.as_ptr()], at);
        assert_eq!([first.len(), second.len(), third.len()], [9, 11, 12]);
        let kept = third.into_vec();
        drop((first, second));
        assert_eq!(buffers.spare.lock().expect("whole").len(), 2);
        assert_eq!(kept, [0.0; 12]);
        assert_eq!(buffers.take(4).len(), 4);
        assert_eq!(buffers.spare.lock().expect("whole").len(), 3, "one of ten is not used for four");
    }
}
