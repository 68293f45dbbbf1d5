//! The first op where two models part.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use anec_mil::Function;
use anec_mil::evaluate::Tensor;
use anec_runtime::backend::Tensors;

use super::array::{Array, Numbers};
use super::values::{ComputedValue, computed};

/// How far apart a value is in two models.
#[derive(Debug)]
pub(super) struct Compared {
    /// The value in the first model.
    left: ComputedValue,
    /// Its name in the second.
    right: String,
    /// The norm of the difference beside the norm of the second; `None` where the shapes differ.
    distance: Option<f64>,
}

/// What both models compute, in the order of the first.
#[derive(Debug, Default)]
pub(super) struct Comparison {
    values: Vec<Compared>,
    /// Values of the first model that have no counterpart.
    unmatched: usize,
}

impl Comparison {
    /// Compares all values that two functions computed from the same inputs.
    pub(super) fn new(left: &Function, right: &Function, left_values: &Tensors, right_values: &Tensors) -> Self {
        let mut comparison = Self::default();
        let others = computed(right);
        let counterparts = Counterparts::new(&others);
        let mut seen: BTreeMap<String, usize> = BTreeMap::new();
        for value in computed(left) {
            let occurrence = seen.entry(value.op.clone()).or_default();
            let name = counterparts.of(&value, *occurrence);
            *occurrence += 1;
            let pair = name.and_then(|name| Some((name, left_values.get(&value.name)?, right_values.get(name)?)));
            match pair {
                None => comparison.unmatched += 1,
                Some((name, a, b)) => {
                    let (right, distance) = (name.to_owned(), distance(a, b));
                    comparison.values.push(Compared { left: value, right, distance });
                }
            }
        }
        comparison
    }

    /// The first value that is farther apart than `tolerance`, with its position among the compared ones.
    fn first(&self, tolerance: f64) -> Option<(usize, &Compared)> {
        self.values.iter().enumerate().find(|(_, value)| value.parts(tolerance))
    }

    /// Whether anything is farther apart.
    pub(super) fn parts(&self, tolerance: f64) -> bool {
        self.first(tolerance).is_some()
    }

    /// What was found, for people: the first op that parts, with those before and behind it.
    pub(super) fn describe(&self, tolerance: f64) -> String {
        const CONTEXT: usize = 3;
        let mut text = String::new();
        let compared = self.values.len();
        // Writing to a string cannot fail.
        let _ = match self.first(tolerance) {
            None => writeln!(text, "The models agree within {tolerance} in {compared} values"),
            Some((_, value)) => {
                writeln!(text, "The models part at `{}` of `{}`", value.left.name, value.left.op)
            }
        };
        if let Some((position, _)) = self.first(tolerance) {
            let shown = self.values.iter().enumerate().skip(position.saturating_sub(CONTEXT)).take(2 * CONTEXT + 1);
            for (index, value) in shown {
                let mark = if index == position { ">" } else { " " };
                let _ = writeln!(text, "{mark} {value}");
            }
        }
        if let Some(worst) = self.worst() {
            let _ = writeln!(text, "farthest apart: {worst}");
        }
        if self.unmatched > 0 {
            let _ = writeln!(text, "{} values of the first model have no counterpart in the second", self.unmatched);
        }
        text
    }

    fn worst(&self) -> Option<&Compared> {
        let apart = |value: &Compared| {
            value.distance.map_or(f64::INFINITY, |distance| if distance.is_nan() { f64::INFINITY } else { distance })
        };
        self.values.iter().max_by(|a, b| apart(a).total_cmp(&apart(b)))
    }
}

impl Compared {
    fn parts(&self, tolerance: f64) -> bool {
        self.distance.is_none_or(|distance| distance.is_nan() || distance > tolerance)
    }
}

impl std::fmt::Display for Compared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:>6} {} `{}`", self.left.index, self.left.op, self.left.name)?;
        if self.right != self.left.name {
            write!(f, " (`{}`)", self.right)?;
        }
        match self.distance {
            Some(distance) => write!(f, ": {distance:.3e}"),
            None => f.write_str(": other shapes"),
        }
    }
}

/// The values of the second model, by name and by op.
struct Counterparts<'a> {
    names: BTreeSet<&'a str>,
    by_op: BTreeMap<&'a str, Vec<&'a str>>,
}

impl<'a> Counterparts<'a> {
    fn new(values: &'a [ComputedValue]) -> Self {
        let mut counterparts = Self { names: BTreeSet::new(), by_op: BTreeMap::new() };
        for value in values {
            counterparts.names.insert(&value.name);
            counterparts.by_op.entry(&value.op).or_default().push(&value.name);
        }
        counterparts
    }

    /// The value of the same name; else the result of the same op that comes as the same of its kind.
    fn of(&self, value: &ComputedValue, occurrence: usize) -> Option<&'a str> {
        let named = self.names.get(value.name.as_str()).copied();
        named.or_else(|| self.by_op.get(value.op.as_str())?.get(occurrence).copied())
    }
}

/// The norm of the difference beside the norm of the second, in f64; of equal tensors 0.
fn distance(a: &Tensor, b: &Tensor) -> Option<f64> {
    if a.shape() != b.shape() {
        return None;
    }
    let floats = |tensor: &Tensor| -> Option<Vec<f64>> {
        Some(match Array::of(tensor).ok()?.numbers {
            Numbers::Floats(values) => values,
            #[expect(clippy::cast_precision_loss, reason = "integers of up to 32 bits are exact")]
            Numbers::Integers(values) => values.into_iter().map(|value| value as f64).collect(),
            Numbers::Bools(values) => values.into_iter().map(|value| f64::from(u8::from(value))).collect(),
        })
    };
    let (a, b) = (floats(a)?, floats(b)?);
    let mut difference = 0.0;
    let mut norm = 0.0;
    for (a, b) in a.iter().zip(&b) {
        // Equal infinities, as masks hold them, do not differ.
        if a != b && !(a.is_nan() && b.is_nan()) {
            difference += (a - b) * (a - b);
        }
        if b.is_finite() {
            norm += b * b;
        }
    }
    Some(if difference == 0.0 { 0.0 } else { (difference / norm.max(f64::MIN_POSITIVE)).sqrt() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use anec_mil::DataType;

    fn tensor(values: &[f32]) -> Tensor {
        Tensor::floats(DataType::Float32, &[values.len()], values.to_vec()).expect("a vector")
    }

    #[test]
    fn distances_are_relative_and_equal_infinities_do_not_count() {
        assert_eq!(distance(&tensor(&[3.0, 4.0]), &tensor(&[3.0, 4.0])), Some(0.0));
        assert_eq!(distance(&tensor(&[6.0, 8.0]), &tensor(&[3.0, 4.0])), Some(1.0));
        let infinite = tensor(&[f32::NEG_INFINITY, 1.0]);
        assert_eq!(distance(&infinite, &infinite), Some(0.0));
        assert_eq!(distance(&tensor(&[f32::NAN]), &tensor(&[1.0])).map(f64::is_nan), Some(true));
        assert_eq!(distance(&tensor(&[1.0]), &tensor(&[1.0, 2.0])), None);
    }
}
