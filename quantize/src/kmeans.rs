//! k-means in two to four dimensions, without random numbers.
//!
//! The optimum is out of reach in more than one dimension (the problem is NP-hard). Centers are doubled from one on, each
//! split along the axis on which its points spread most, and Lloyd's algorithm runs after each doubling (Linde, Buzo, Gray,
//! "An algorithm for vector quantizer design", 1980).

/// Points that are compared with a center at once: whole vectors of any instruction set.
const LANES: usize = 16;

/// The most iterations after the last doubling, and after those before.
const MAX_ITERATIONS: usize = 100;
const MAX_EARLY_ITERATIONS: usize = 10;

/// Iterations end when the error falls by less than this part of it.
const LEAST_GAIN: f64 = 1e-4;

/// The two halves of a normal distribution have their means this far from its mean, in standard deviations.
const HALF_MEAN: f64 = 0.798;

/// Steps of the power iteration for the axis of a split.
const AXIS_STEPS: usize = 16;

/// Points of `D` coordinates.
#[derive(Debug)]
pub(crate) struct Points<const D: usize> {
    /// Per block of points and coordinate, the values.
    values: Vec<[[f32; LANES]; D]>,
    /// The same for the importance of each value; empty where all are equally important.
    importance: Vec<[[f32; LANES]; D]>,
    count: usize,
}

/// The nearest center of each point and what it is away from it, weighed by importance.
#[derive(Debug, Default)]
struct Assignment {
    indices: Vec<u8>,
    errors: Vec<f32>,
}

impl<const D: usize> Points<D> {
    /// Values and importance by point.
    pub(crate) fn new(
        count: usize,
        value: impl Fn(usize) -> [f32; D],
        importance: Option<impl Fn(usize) -> [f32; D]>,
    ) -> Self {
        let blocks = |of: &dyn Fn(usize) -> [f32; D]| -> Vec<[[f32; LANES]; D]> {
            let block = |block: usize| {
                // Places beyond the last point repeat it, and are dropped after assignment.
                let points: [[f32; D]; LANES] = std::array::from_fn(|lane| of((block * LANES + lane).min(count - 1)));
                std::array::from_fn(|axis| points.map(|point| point[axis]))
            };
            (0..count.div_ceil(LANES)).map(block).collect()
        };
        let importance = importance.map(|importance| blocks(&importance)).unwrap_or_default();
        Self { values: blocks(&value), importance, count }
    }

    fn value(&self, point: usize) -> [f64; D] {
        self.values[point / LANES].map(|axis| f64::from(axis[point % LANES]))
    }

    fn importance(&self, point: usize) -> [f64; D] {
        match self.importance.get(point / LANES) {
            Some(block) => block.map(|axis| f64::from(axis[point % LANES])),
            None => [1.0; D],
        }
    }

    fn assign(&self, centers: &[[f32; D]], assignment: &mut Assignment) {
        assignment.indices.clear();
        assignment.errors.clear();
        for (block, values) in self.values.iter().enumerate() {
            let (nearest, errors) = nearest(values, self.importance.get(block), centers);
            let kept = LANES.min(self.count - block * LANES);
            assignment.indices.extend(nearest.iter().take(kept).map(|index| index.to_le_bytes()[0]));
            assignment.errors.extend_from_slice(&errors[..kept]);
        }
    }

    /// The index of the nearest center for each point.
    pub(crate) fn indices(&self, centers: &[[f32; D]]) -> Vec<u8> {
        let mut assignment = Assignment::default();
        self.assign(centers, &mut assignment);
        assignment.indices
    }

    /// A power of two of centers, at most 256.
    pub(crate) fn centers(&self, bits: u8) -> Vec<[f32; D]> {
        let mut assignment = Assignment { indices: vec![0; self.count], errors: vec![0.0; self.count] };
        let mut centers = vec![[0.0; D]];
        self.update(&mut centers, &assignment);
        for doubling in 1..=bits {
            self.split(&mut centers, &assignment);
            let last = doubling == bits;
            self.iterate(&mut centers, &mut assignment, if last { MAX_ITERATIONS } else { MAX_EARLY_ITERATIONS });
        }
        centers
    }

    /// Lloyd's algorithm.
    pub(crate) fn refine(&self, centers: &mut [[f32; D]], iterations: usize) {
        self.iterate(centers, &mut Assignment::default(), iterations);
    }

    fn iterate(&self, centers: &mut [[f32; D]], assignment: &mut Assignment, iterations: usize) {
        let mut before = f64::INFINITY;
        for _ in 0..iterations {
            self.assign(centers, assignment);
            let error: f64 = assignment.errors.iter().map(|error| f64::from(*error)).sum();
            self.update(centers, assignment);
            if before - error <= LEAST_GAIN * error {
                return;
            }
            before = error;
        }
        self.assign(centers, assignment);
    }

    /// Moves each center to the mean of its points; one without points to the point that is farthest from its center.
    fn update(&self, centers: &mut [[f32; D]], assignment: &Assignment) {
        let mut sums = vec![[0.0; D]; centers.len()];
        let mut masses = vec![[0.0; D]; centers.len()];
        let mut counts = vec![0_usize; centers.len()];
        for (point, index) in assignment.indices.iter().enumerate() {
            let (value, importance) = (self.value(point), self.importance(point));
            let index = usize::from(*index);
            counts[index] += 1;
            for axis in 0..D {
                sums[index][axis] += importance[axis] * value[axis];
                masses[index][axis] += importance[axis];
            }
        }
        let empty = counts.iter().filter(|count| **count == 0).count();
        let mut farthest = self.farthest(assignment, empty).into_iter();
        for (center, (count, (sum, mass))) in centers.iter_mut().zip(counts.iter().zip(sums.iter().zip(&masses))) {
            if *count == 0 {
                if let Some(point) = farthest.next() {
                    *center = narrow(self.value(point));
                }
                continue;
            }
            for axis in 0..D {
                // Without importance there is no better place than the old one.
                if mass[axis] > 0.0 {
                    center[axis] = narrow([sum[axis] / mass[axis]])[0];
                }
            }
        }
    }

    fn farthest(&self, assignment: &Assignment, number: usize) -> Vec<usize> {
        if number == 0 {
            return Vec::new();
        }
        let mut points: Vec<usize> = (0..self.count).filter(|point| assignment.errors[*point] > 0.0).collect();
        points.sort_by(|a, b| assignment.errors[*b].total_cmp(&assignment.errors[*a]).then(a.cmp(b)));
        points.truncate(number);
        points
    }

    /// Two centers for each, apart on the axis on which its points spread most.
    fn split(&self, centers: &mut Vec<[f32; D]>, assignment: &Assignment) {
        let mut spreads = vec![[[0.0; D]; D]; centers.len()];
        let mut masses = vec![0.0; centers.len()];
        for (point, index) in assignment.indices.iter().enumerate() {
            let (value, importance) = (self.value(point), self.importance(point));
            let index = usize::from(*index);
            let center = centers[index];
            let mass: f64 = importance.iter().sum();
            masses[index] += mass;
            for row in 0..D {
                for column in 0..D {
                    let product = (value[row] - f64::from(center[row])) * (value[column] - f64::from(center[column]));
                    spreads[index][row][column] += mass * product;
                }
            }
        }
        let halves = centers.iter().zip(spreads.iter().zip(&masses)).flat_map(|(center, (spread, mass))| {
            let offset =
                principal_axis(spread).map(|axis| if *mass > 0.0 { HALF_MEAN * axis / mass.sqrt() } else { 0.0 });
            let moved = |sign: f64| narrow(std::array::from_fn(|axis| f64::from(center[axis]) + sign * offset[axis]));
            [moved(-1.0), moved(1.0)]
        });
        *centers = halves.collect();
    }
}

/// The nearest center of each point of a block, the first among equals, and the squared distance.
#[inline]
fn nearest<const D: usize>(
    values: &[[f32; LANES]; D],
    importance: Option<&[[f32; LANES]; D]>,
    centers: &[[f32; D]],
) -> ([u32; LANES], [f32; LANES]) {
    let mut best = [f32::INFINITY; LANES];
    let mut nearest = [0_u32; LANES];
    for (index, center) in (0_u32..).zip(centers) {
        let mut error = [0.0_f32; LANES];
        for axis in 0..D {
            for lane in 0..LANES {
                let difference = values[axis][lane] - center[axis];
                let square = difference * difference;
                error[lane] += match importance {
                    Some(importance) => importance[axis][lane] * square,
                    None => square,
                };
            }
        }
        for lane in 0..LANES {
            let nearer = error[lane] < best[lane];
            best[lane] = if nearer { error[lane] } else { best[lane] };
            nearest[lane] = if nearer { index } else { nearest[lane] };
        }
    }
    (nearest, best)
}

/// The eigenvector of the largest eigenvalue, as long as its square root.
fn principal_axis<const D: usize>(spread: &[[f64; D]; D]) -> [f64; D] {
    // The row of the largest variance is not orthogonal to it.
    let widest = (0..D).max_by(|a, b| spread[*a][*a].total_cmp(&spread[*b][*b]).then(b.cmp(a))).unwrap_or_default();
    let mut axis = spread[widest];
    let mut length = 0.0;
    for _ in 0..AXIS_STEPS {
        let norm = axis.iter().map(|part| part * part).sum::<f64>().sqrt();
        if norm == 0.0 {
            return [0.0; D];
        }
        let unit = axis.map(|part| part / norm);
        axis = spread.map(|row| row.iter().zip(&unit).map(|(a, b)| a * b).sum());
        length = axis.iter().map(|part| part * part).sum::<f64>().sqrt();
    }
    if length > 0.0 { axis.map(|part| part / length.sqrt()) } else { [0.0; D] }
}

#[expect(clippy::cast_possible_truncation, reason = "means of fp16 numbers")]
fn narrow<const D: usize>(values: [f64; D]) -> [f32; D] {
    values.map(|value| value as f32)
}
