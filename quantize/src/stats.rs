//! What quantization changed.

/// The error of a quantization.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ErrorStats {
    /// Number of weights.
    pub count: u64,
    /// Sum of the squares of the weights.
    pub signal: f64,
    /// Sum of the squares of what was changed.
    pub noise: f64,
    /// The largest change.
    pub max_error: f64,
}

impl ErrorStats {
    /// Adds the error of other weights.
    pub fn merge(&mut self, other: &Self) {
        self.count += other.count;
        self.signal += other.signal;
        self.noise += other.noise;
        self.max_error = self.max_error.max(other.max_error);
    }

    /// Signal-to-noise ratio in decibels; infinite where nothing was changed.
    pub fn snr_db(&self) -> f64 {
        if self.noise == 0.0 { f64::INFINITY } else { 10.0 * (self.signal / self.noise).log10() }
    }

    /// Mean of the squares of what was changed; zero for no weights.
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
    pub fn mean_squared_error(&self) -> f64 {
        if self.count == 0 { 0.0 } else { self.noise / self.count as f64 }
    }

    /// The error of storing the second number of each pair in place of the first.
    pub fn of_pairs(pairs: impl Iterator<Item = (f32, f32)>) -> Self {
        let mut stats = Self::default();
        let mut largest = 0.0_f32;
        for (weight, stored) in pairs {
            let error = weight - stored;
            stats.count += 1;
            stats.signal += f64::from(weight) * f64::from(weight);
            stats.noise += f64::from(error) * f64::from(error);
            largest = if error.abs() > largest { error.abs() } else { largest };
        }
        stats.max_error = f64::from(largest);
        stats
    }
}
