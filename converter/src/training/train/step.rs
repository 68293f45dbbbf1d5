//! Loss and gradients of one sequence.

use super::TrainError;
use super::kernels::{Kernels, Results};
use super::math;
use super::parameters::{Parameters, Weight, rotations};
use crate::product::{add_outer_few, multiply_few, transposed};
use crate::training::{Kind, MASKED, TrainingShape};

/// What every sequence of a training is computed with.
pub(super) struct Constants {
    /// 0 where a query attends, `[sequence, sequence]`.
    mask: Vec<f32>,
    /// Cosines and sines of the rotations, `[head_dim / 2, sequence]`, where there are any.
    rotation: Option<(Vec<f32>, Vec<f32>)>,
}

/// What a layer keeps for its backward pass.
struct Kept {
    x: Vec<f32>,
    after_attention: Vec<f32>,
    attention: Results,
    feed_forward: Results,
}

impl Constants {
    pub(super) fn new(shape: &TrainingShape) -> Self {
        let sequence = shape.sequence;
        let mask = (0..sequence).flat_map(|query| (0..sequence).map(move |key| if key > query { MASKED } else { 0.0 }));
        let rotation = shape.rope_theta.map(|theta| {
            let (cos, sin) = rotations(theta, sequence, shape.head_dim());
            let pairs = shape.head_dim() / 2;
            (transposed(&cos, pairs), transposed(&sin, pairs))
        });
        Self { mask: mask.collect(), rotation }
    }

    fn get(&self, name: &str) -> Option<&[f32]> {
        match (name, &self.rotation) {
            ("cm", _) => Some(&self.mask),
            ("cos", Some((cos, _))) => Some(cos),
            ("sin", Some((_, sin))) => Some(sin),
            _ => None,
        }
    }
}

/// Hidden states after the last layer, `[dim, sequence]`, and what each layer keeps.
fn forward(
    kernels: &mut Kernels,
    (model, constants): (&Parameters, &Constants),
    given: &[u16],
) -> Result<(Vec<f32>, Vec<Kept>), TrainError> {
    let layers = model.layout.shape.layers;
    let mut x = embedded(model, given);
    let mut kept = Vec::with_capacity(layers);
    for layer in 0..layers {
        let before = x.clone();
        let attention = kernels.call(Kind::FwdAttn, |name| match name {
            "x" => &before,
            "rw" => model.get(Weight::AttentionNorm(layer)),
            "Wq" => model.get(Weight::Wq(layer)),
            "Wk" => model.get(Weight::Wk(layer)),
            "Wv" => model.get(Weight::Wv(layer)),
            "Wo" => model.get(Weight::Wo(layer)),
            name => constants.get(name).unwrap_or_default(),
        })?;
        add(&mut x, of(&attention, "o_out"));
        let after_attention = x.clone();
        let feed_forward = kernels.call(Kind::FwdFfn, |name| match name {
            "x" => &after_attention,
            "rw" => model.get(Weight::FeedForwardNorm(layer)),
            "W1" => model.get(Weight::W1(layer)),
            "W2" => model.get(Weight::W2(layer)),
            _ => model.get(Weight::W3(layer)),
        })?;
        add(&mut x, of(&feed_forward, "y"));
        kept.push(Kept { x: before, after_attention, attention, feed_forward });
    }
    Ok((x, kept))
}

/// The logits behind tokens, of which the last that fit a sequence are looked at.
pub(super) fn logits(
    kernels: &mut Kernels,
    (model, constants): (&Parameters, &Constants),
    tokens: &[u16],
) -> Result<Vec<f32>, TrainError> {
    let TrainingShape { dim, sequence, norm_eps, .. } = model.layout.shape;
    let mut given = tokens.get(tokens.len().saturating_sub(sequence)..).unwrap_or_default().to_vec();
    let last = given.len().saturating_sub(1);
    // What stands behind a token does not change what is said after it.
    given.resize(sequence, 0);
    let (x, _) = forward(kernels, (model, constants), &given)?;
    let normed = math::normalized(&x, model.get(Weight::Norm), sequence, norm_eps);
    let hidden: Vec<f32> = normed.into_iter().skip(last).step_by(sequence).collect();
    Ok(multiply_few(model.get(Weight::Classifier), &hidden, dim))
}

/// Adds the gradients of the mean loss of a sequence, times `scale`, and gives the loss. `tokens` has one more than the sequence.
pub(super) fn accumulate(
    kernels: &mut Kernels,
    (model, constants): (&Parameters, &Constants),
    tokens: &[u16],
    scale: f32,
    gradients: &mut [f32],
) -> Result<f64, TrainError> {
    let shape = &model.layout.shape;
    let TrainingShape { dim, sequence, vocabulary, norm_eps, .. } = *shape;
    let (given, targets) = (tokens.get(..sequence).unwrap_or_default(), tokens.get(1..).unwrap_or_default());
    let (x, kept) = forward(kernels, (model, constants), given)?;
    let norm = model.get(Weight::Norm);
    let normed = math::normalized(&x, norm, sequence, norm_eps);
    let classifier = model.get(Weight::Classifier);
    // [tokens, vocabulary]: rows of logits lie together.
    let by_token = transposed(&normed, sequence);
    let mut logits = multiply_few(&by_token, &transposed(classifier, dim), dim);
    let loss = math::cross_entropy(&mut logits, targets, vocabulary, scale);
    let d_logits = transposed(&logits, vocabulary);
    let layout = &model.layout;
    add_outer_few(slot(gradients, layout.range(Weight::Classifier)), &d_logits, &normed, sequence);
    let d_normed = transposed(&multiply_few(&logits, classifier, vocabulary), dim);
    let mut dx = vec![0.0; dim * sequence];
    let of_norm = slot(gradients, layout.range(Weight::Norm));
    math::add_norm_gradient((&mut dx, of_norm), (&x, norm, &d_normed), sequence, norm_eps);
    for (layer, kept) in kept.into_iter().enumerate().rev() {
        backward(kernels, (model, constants), (layer, &kept), &mut dx, gradients)?;
    }
    let embedding = slot(gradients, layout.range(Weight::Embedding));
    for (position, token) in given.iter().enumerate() {
        let row = embedding.iter_mut().skip(usize::from(*token) * dim).take(dim);
        for (slot, dx) in row.zip(dx.iter().skip(position).step_by(sequence)) {
            *slot += dx;
        }
    }
    Ok(loss)
}

/// Turns the gradient of what a layer gives into that of what it is given.
fn backward(
    kernels: &mut Kernels,
    (model, constants): (&Parameters, &Constants),
    (layer, kept): (usize, &Kept),
    dx: &mut Vec<f32>,
    gradients: &mut [f32],
) -> Result<(), TrainError> {
    let (layout, shape) = (&model.layout, &model.layout.shape);
    let TrainingShape { dim, sequence, norm_eps, .. } = *shape;
    let turned = |weight: Weight| transposed(model.get(weight), layout.matrix(weight)[1]);
    let Kept { x, after_attention, attention, feed_forward } = kept;
    let [w1, w2, w3] = [Weight::W1(layer), Weight::W2(layer), Weight::W3(layer)].map(turned);
    let of_mlp = kernels.call(Kind::FfnBwd, |name| match name {
        "dffn" => dx.as_slice(),
        "h1" | "h3" => of(feed_forward, name),
        "W1t" => &w1,
        "W2t" => &w2,
        _ => &w3,
    })?;
    let xnorm = of(feed_forward, "xnorm");
    add_outer_few(slot(gradients, layout.range(Weight::W2(layer))), dx, of(feed_forward, "gated"), sequence);
    add_outer_few(slot(gradients, layout.range(Weight::W1(layer))), of(&of_mlp, "dh1"), xnorm, sequence);
    add_outer_few(slot(gradients, layout.range(Weight::W3(layer))), of(&of_mlp, "dh3"), xnorm, sequence);
    let norm = Weight::FeedForwardNorm(layer);
    math::add_norm_gradient(
        (dx, slot(gradients, layout.range(norm))),
        (after_attention, model.get(norm), of(&of_mlp, "dx")),
        sequence,
        norm_eps,
    );
    let wo = turned(Weight::Wo(layer));
    let first = kernels.call(Kind::SdpaBwd1, |name| match name {
        "q" | "k" | "v" => of(attention, name),
        "dx2" => dx.as_slice(),
        "Wot" => &wo,
        name => constants.get(name).unwrap_or_default(),
    })?;
    add_outer_few(slot(gradients, layout.range(Weight::Wo(layer))), dx, of(attention, "attn_out"), sequence);
    let second = kernels.call(Kind::SdpaBwd2, |name| match name {
        "probs" | "dp" => of(&first, name),
        _ => of(attention, name),
    })?;
    let [wq, wk, wv] = [Weight::Wq(layer), Weight::Wk(layer), Weight::Wv(layer)].map(turned);
    let of_projections = kernels.call(Kind::QkvBwd, |name| match name {
        "dq" | "dk" => of(&second, name),
        "dv" => of(&first, name),
        "Wqt" => &wq,
        "Wkt" => &wk,
        "Wvt" => &wv,
        name => constants.get(name).unwrap_or_default(),
    })?;
    let [mut query, mut key] = ["dq", "dk"].map(|name| of(&second, name).to_vec());
    if let Some((cos, sin)) = &constants.rotation {
        math::rotate_back(&mut query, (cos, sin), shape.head_dim(), sequence);
        math::rotate_back(&mut key, (cos, sin), shape.head_dim(), sequence);
    }
    let xnorm = of(attention, "xnorm");
    add_outer_few(slot(gradients, layout.range(Weight::Wq(layer))), &query, xnorm, sequence);
    add_outer_few(slot(gradients, layout.range(Weight::Wk(layer))), &key, xnorm, sequence);
    add_outer_few(slot(gradients, layout.range(Weight::Wv(layer))), of(&first, "dv"), xnorm, sequence);
    let norm = Weight::AttentionNorm(layer);
    math::add_norm_gradient(
        (dx, slot(gradients, layout.range(norm))),
        (x, model.get(norm), of(&of_projections, "dx")),
        sequence,
        norm_eps,
    );
    debug_assert_eq!(dx.len(), dim * sequence);
    Ok(())
}

/// The embeddings of tokens, `[dim, sequence]`.
fn embedded(model: &Parameters, tokens: &[u16]) -> Vec<f32> {
    let (dim, table) = (model.layout.shape.dim, model.get(Weight::Embedding));
    let row = |token: &u16| table.iter().skip(usize::from(*token) * dim).take(dim).copied();
    let rows: Vec<f32> = tokens.iter().flat_map(row).collect();
    transposed(&rows, dim)
}

fn of<'r>(results: &'r Results, name: &str) -> &'r [f32] {
    results.get(name).map_or(&[], Vec::as_slice)
}

fn slot(gradients: &mut [f32], range: std::ops::Range<usize>) -> &mut [f32] {
    gradients.get_mut(range).expect("there is a gradient for every weight")
}

fn add(x: &mut [f32], branch: &[f32]) {
    for (x, branch) in x.iter_mut().zip(branch) {
        *x += branch;
    }
}
