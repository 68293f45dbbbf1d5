//! The best partition into any number of intervals, where each costs a penalty besides its error.

use crate::sums::PrefixSums;

/// Errors of intervals of values around the best fp16 center.
#[derive(Debug)]
pub(crate) struct Costs {
    /// The sums of the masses, of the first and of the second moments before each value.
    points: Vec<[f64; 3]>,
}

impl Costs {
    pub(crate) fn new(sums: &PrefixSums) -> Self {
        let moments = sums.first.iter().zip(&sums.second);
        Self { points: sums.mass.iter().zip(moments).map(|(mass, (first, second))| [*mass, *first, *second]).collect() }
    }

    /// Of some bounds only: `start` and `end` count these.
    pub(crate) fn at(sums: &PrefixSums, bounds: &[usize]) -> Self {
        Self { points: bounds.iter().map(|at| [sums.mass[*at], sums.first[*at], sums.second[*at]]).collect() }
    }

    /// Number of values.
    pub(crate) fn len(&self) -> usize {
        self.points.len() - 1
    }

    /// The error of the values `start..end`, which are not empty.
    #[inline]
    pub(crate) fn of(&self, start: usize, end: usize) -> f64 {
        let (start, end) = (self.points[start], self.points[end]);
        let (mass, first, second) = (end[0] - start[0], end[1] - start[1], end[2] - start[2]);
        let mean = first / mass;
        let rounding = round(mean) - mean;
        // Sums that lost precision must not make an error negative.
        (second - first * mean).max(0.0) + mass * rounding * rounding
    }
}

/// The nearest fp16 number, in multiples of the smallest one.
#[inline]
fn round(units: f64) -> f64 {
    const EXPONENT: u64 = 0x7ff << 52;
    /// Numbers below 2^11 units are whole multiples of one unit: 2^10 has the spacing of all below.
    const LEAST: u64 = (1023 + 10) << 52;
    /// 2^42 times the power of two at or below a number has its last place where the number's tenth bit is; 1.5 times that
    /// keeps it there for both signs.
    const TO_LAST_PLACE: u64 = (42 << 52) | (1 << 51);
    let exponent = (units.to_bits() & EXPONENT).max(LEAST);
    let shift = f64::from_bits(exponent + TO_LAST_PLACE);
    (units + shift) - shift
}

/// Shortest paths from the first value to each.
#[derive(Debug, Default)]
pub(crate) struct Paths {
    /// The least penalized error of the values before each.
    least: Vec<f64>,
    /// Where the last interval of that partition starts.
    from: Vec<u32>,
    /// Starts that are best for some ends to come, ascending, with the first end of each.
    queue: Vec<(u32, u32)>,
}

impl Paths {
    /// The least penalized error of all values.
    ///
    /// By the quadrangle inequality, once a start is better than an earlier one it stays so for all later ends. So the
    /// starts that are best for the ends to come form a queue; a new one drives out those at the back that it beats
    /// wherever they were best, and takes over from the last one left where it becomes better.
    pub(crate) fn find(&mut self, costs: &Costs, penalty: f64) -> f64 {
        let count = costs.len();
        let last = index_u32(count);
        self.least.clear();
        self.least.resize(count + 1, 0.0);
        self.from.clear();
        self.from.resize(count + 1, 0);
        self.queue.clear();
        self.queue.push((0, 1));
        let mut front = 0;
        for end in 1..=last {
            while self.queue.get(front + 1).is_some_and(|(_, first)| *first <= end) {
                front += 1;
            }
            let (start, _) = self.queue[front];
            self.least[end as usize] = self.total(costs, start, end) + penalty;
            self.from[end as usize] = start;
            if end < last {
                self.enqueue(costs, end, front, last);
            }
        }
        self.least[count]
    }

    /// Puts a new start into the queue, of which the part before `front` is done with.
    fn enqueue(&mut self, costs: &Costs, new: u32, front: usize, last: u32) {
        while self.queue.len() > front {
            let (start, first) = self.queue[self.queue.len() - 1];
            let first = first.max(new + 1);
            if self.total(costs, new, first) < self.total(costs, start, first) {
                self.queue.pop();
                continue;
            }
            // Worse at `low`, better at `high`, in steps that grow.
            let (mut low, mut step) = (first, 1);
            let mut high = loop {
                let probe = low.saturating_add(step).min(last);
                if self.total(costs, new, probe) < self.total(costs, start, probe) {
                    break probe;
                }
                if probe == last {
                    return;
                }
                (low, step) = (probe, step * 2);
            };
            while high - low > 1 {
                let probe = u32::midpoint(low, high);
                if self.total(costs, new, probe) < self.total(costs, start, probe) {
                    high = probe;
                } else {
                    low = probe;
                }
            }
            self.queue.push((new, high));
            return;
        }
        self.queue.push((new, new + 1));
    }

    #[inline]
    fn total(&self, costs: &Costs, start: u32, end: u32) -> f64 {
        self.least[start as usize] + costs.of(start as usize, end as usize)
    }

    /// The bounds of the best partition.
    pub(crate) fn bounds(&self) -> Vec<usize> {
        let mut bounds = vec![self.from.len() - 1];
        while let Some(end) = bounds.last().copied().filter(|end| *end > 0) {
            bounds.push(self.from[end] as usize);
        }
        bounds.reverse();
        bounds
    }
}

/// There are at most 65,536 values.
fn index_u32(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::float_cmp, reason = "rounding is exact")]

    use half::f16;

    use super::*;
    use crate::float::UNIT;

    #[test]
    fn rounding_is_that_of_fp16() {
        for bits in 0..0x7bff_u16 {
            let (value, next) = (f16::from_bits(bits).to_f64(), f16::from_bits(bits + 1).to_f64());
            for part in [0.0, 0.25, 0.5, 0.75] {
                let between = value + (next - value) * part;
                for number in [between, -between] {
                    assert_eq!(round(number / UNIT) * UNIT, f16::from_f64(number).to_f64(), "{number}");
                }
            }
        }
    }
}
