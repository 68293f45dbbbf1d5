//! What the programs take, in both forms of weights.
//!
//! Whatever the form, a program computes with the same matrices; the form says in which input each is, and whether it lies there
//! transposed. Graphs cut their operands out of inputs by this table, and trainers fill inputs by it.

use super::{Kind, TrainingShape};

/// Where weights are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum WeightForm {
    /// In inputs of their own, as they lie in a checkpoint.
    #[default]
    Inputs,
    /// Behind the activations that they multiply, along the last axis.
    Packed,
}

/// A matrix within an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its name.
    pub name: &'static str,
    /// Its rows, as the graph computes with it.
    pub rows: usize,
    /// Its columns, as the graph computes with it.
    pub columns: usize,
    /// Whether its transpose is what lies in the input.
    pub transposed: bool,
}

/// An input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    /// Its name.
    pub name: &'static str,
    /// Its axes, outermost first.
    pub shape: [usize; 4],
    /// The matrices that it holds, one after the other along `axis`.
    pub parts: Vec<Part>,
    /// The axis along which they lie: 1, channels, or 3, columns.
    pub axis: usize,
}

impl Part {
    const fn new(name: &'static str, rows: usize, columns: usize) -> Self {
        Self { name, rows, columns, transposed: false }
    }

    const fn turned(self) -> Self {
        Self { transposed: true, ..self }
    }

    /// Rows and columns as they lie in the input.
    pub fn stored(&self) -> [usize; 2] {
        if self.transposed { [self.columns, self.rows] } else { [self.rows, self.columns] }
    }
}

impl Input {
    /// Activations: `[1, channels, 1, columns]`, one matrix after the other along the channels.
    fn channels(name: &'static str, parts: Vec<Part>) -> Self {
        let columns = parts.first().map_or(0, |part| part.columns);
        let shape = [1, parts.iter().map(|part| part.rows).sum(), 1, columns];
        Self { name, shape, parts, axis: 1 }
    }

    /// Matrices of the same number of rows as they lie, one after the other along the last axis.
    fn columns(name: &'static str, parts: Vec<Part>) -> Self {
        let rows = parts.first().map_or(0, |part| part.stored()[0]);
        let shape = [1, rows, 1, parts.iter().map(|part| part.stored()[1]).sum()];
        Self { name, shape, parts, axis: 3 }
    }

    /// A weight, `[rows, columns, 1, 1]` as a convolution would have it.
    fn weight(part: Part) -> Self {
        Self { name: part.name, shape: [part.rows, part.columns, 1, 1], parts: vec![part], axis: 1 }
    }

    /// A mask, `[1, 1, rows, columns]`.
    fn mask(name: &'static str, length: usize) -> Self {
        Self { name, shape: [1, 1, length, length], parts: vec![Part::new(name, length, length)], axis: 3 }
    }

    /// Its elements.
    pub fn count(&self) -> usize {
        self.shape.iter().product()
    }
}

/// What a kind takes, in the order of declaration.
pub fn inputs(kind: Kind, shape: &TrainingShape, form: WeightForm) -> Vec<Input> {
    let TrainingShape { dim, hidden, sequence, .. } = *shape;
    let activation = |name, channels| Part::new(name, channels, sequence);
    let square = |name| Part::new(name, dim, dim);
    let (up, down) = (|name| Part::new(name, hidden, dim), |name| Part::new(name, dim, hidden));
    let of = |part: Part| Input::channels(part.name, vec![part]);
    let norm = Part::new("rw", dim, 1);
    let scores = shape.heads * sequence;
    let mut inputs = match (kind, form) {
        (Kind::FwdAttn, WeightForm::Inputs) => {
            let weights = ["Wq", "Wk", "Wv", "Wo"].map(|name| Input::weight(square(name)));
            [of(activation("x", dim)), of(norm)].into_iter().chain(weights).collect()
        }
        (Kind::FwdAttn, WeightForm::Packed) => {
            let weights = ["Wq", "Wk", "Wv", "Wo"].map(|name| square(name).turned());
            vec![Input::columns("x", [activation("x", dim), norm].into_iter().chain(weights).collect())]
        }
        (Kind::FwdFfn, WeightForm::Inputs) => {
            let weights = [up("W1"), down("W2"), up("W3")].map(Input::weight);
            [of(activation("x", dim)), of(norm)].into_iter().chain(weights).collect()
        }
        (Kind::FwdFfn, WeightForm::Packed) => {
            let parts = vec![activation("x", dim), norm, up("W1").turned(), down("W2"), up("W3").turned()];
            vec![Input::columns("x", parts)]
        }
        (Kind::FfnBwd, WeightForm::Inputs) => {
            let given = [("dffn", dim), ("h1", hidden), ("h3", hidden)].map(|(name, rows)| activation(name, rows));
            let weights = [down("W1t"), up("W2t"), down("W3t")].map(Input::weight);
            std::iter::once(Input::channels("x", given.to_vec())).chain(weights).collect()
        }
        (Kind::FfnBwd, WeightForm::Packed) => {
            let packed = vec![activation("dffn", dim), down("W1t"), up("W2t").turned(), down("W3t")];
            let given = vec![activation("h1", hidden), activation("h3", hidden)];
            vec![Input::columns("x", packed), Input::channels("h", given)]
        }
        (Kind::SdpaBwd1, WeightForm::Inputs) => {
            let given = ["q", "k", "v", "dx2"].map(|name| activation(name, dim));
            vec![Input::channels("x", given.to_vec()), Input::weight(square("Wot"))]
        }
        (Kind::SdpaBwd1, WeightForm::Packed) => {
            let packed = vec![activation("dx2", dim), square("Wot").turned()];
            let given = ["q", "k", "v"].map(|name| activation(name, dim));
            vec![Input::columns("x", packed), Input::channels("qkv", given.to_vec())]
        }
        (Kind::SdpaBwd2, _) => {
            let given = [("probs", scores), ("dp", scores), ("q", dim), ("k", dim)];
            vec![Input::channels("x", given.map(|(name, rows)| activation(name, rows)).to_vec())]
        }
        (Kind::QkvBwd, WeightForm::Inputs) => {
            let given = ["dq", "dk", "dv"].map(|name| activation(name, dim));
            let weights = ["Wqt", "Wkt", "Wvt"].map(|name| Input::weight(square(name)));
            std::iter::once(Input::channels("x", given.to_vec())).chain(weights).collect()
        }
        (Kind::QkvBwd, WeightForm::Packed) => {
            let given = ["dq", "dk", "dv"].map(|name| activation(name, dim));
            let weights = ["Wqt", "Wkt", "Wvt"].map(|name| square(name).turned());
            vec![Input::columns("x", given.into_iter().chain(weights).collect())]
        }
    };
    if matches!(kind, Kind::FwdAttn | Kind::SdpaBwd1) {
        inputs.push(Input::mask("cm", sequence));
    }
    if shape.rope_theta.is_some() && matches!(kind, Kind::FwdAttn | Kind::QkvBwd) {
        inputs.extend(["cos", "sin"].map(|name| of(activation(name, shape.head_dim() / 2))));
    }
    inputs
}
