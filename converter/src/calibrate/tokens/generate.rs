//! Answers of the checkpoint itself: many prompts at once, one token of each at a time.
//!
//! All sequences are at the same position, so prompts need no padding: a sequence reads its prompt as long as it lasts, and
//! its own choices after that.

use anec_runtime::sampling::{Sampler, SamplingOptions};
use anec_runtime::session::Output;
use rayon::prelude::*;

use super::step::{Cache, Model};
use crate::calibrate::engine::embed;
use crate::calibrate::error::CalibrateError;
use crate::calibrate::shape::{LayerShape, Rotations};
use crate::model::decoder_plan::DecoderPlan;
use crate::source::checkpoint::Checkpoint;

/// Tokens that are chosen from; the choice is that of the most likely ones with this share of the probability.
const TOP_K: usize = 256;
const TOP_P: f64 = 0.95;

/// What to generate.
pub(super) struct Request<'a> {
    /// Tokens of each prompt, the start of the answer included.
    pub(super) prompts: &'a [Vec<u32>],
    /// Tokens that end an answer.
    pub(super) stop: &'a [u32],
    /// Tokens of prompt and answer that no sequence exceeds.
    pub(super) longest: usize,
    /// Generation ends when all sequences together have as many tokens.
    pub(super) enough: usize,
    pub(super) seed: u64,
}

/// A sequence that is not finished.
struct Sequence {
    /// Its number among the prompts.
    number: usize,
    tokens: Vec<u32>,
    sampler: Sampler,
    /// Keys and values of each layer.
    caches: Vec<[Cache; 2]>,
}

/// The prompts with the answers that the checkpoint gives, in the order of the prompts.
pub(super) fn generate(
    checkpoint: &Checkpoint,
    plan: &DecoderPlan,
    request: &Request<'_>,
    proceed: &(dyn Fn() -> Result<(), CalibrateError> + Sync),
) -> Result<Vec<Vec<u32>>, CalibrateError> {
    let layers = plan.num_hidden_layers;
    let rotations = Rotations::of(plan, request.longest);
    let model = Model::open(checkpoint, plan)?;
    let mut running = sequences(request, layers)?;
    let mut finished: Vec<Sequence> = Vec::new();
    for position in 0..request.longest.saturating_sub(1) {
        proceed()?;
        let inputs: Vec<u32> = running.iter().filter_map(|sequence| sequence.tokens.get(position)).copied().collect();
        let mut residual = embed(checkpoint, plan, &inputs)?;
        for (layer, weights) in model.layers.iter().enumerate() {
            let mut caches: Vec<&mut [Cache; 2]> =
                running.iter_mut().filter_map(|sequence| sequence.caches.get_mut(layer)).collect();
            model.step(weights, &LayerShape::of(plan, layer), &mut residual, &mut caches, position, &rotations)?;
        }
        // Only those that have read their prompts choose.
        let chooses = |sequence: &Sequence| sequence.tokens.len() == position + 1;
        let last: Vec<f32> = residual
            .chunks_exact(plan.hidden_size)
            .zip(&running)
            .filter(|(_, sequence)| chooses(sequence))
            .flat_map(|(row, _)| row.iter().copied())
            .collect();
        let logits = model.logits(&last)?;
        let choosing: Vec<&mut Sequence> = running.iter_mut().filter(|sequence| chooses(sequence)).collect();
        choosing.into_par_iter().zip(logits.par_chunks(plan.vocab_size)).try_for_each(|(sequence, logits)| {
            let token = sequence.sampler.choose(&Output::Logits(logits.to_vec()), &[]);
            sequence.tokens.push(token.map_err(|source| CalibrateError::Generate { position, source })?);
            Ok::<(), CalibrateError>(())
        })?;
        let (going, ended): (Vec<_>, Vec<_>) = running.into_iter().partition(|sequence| {
            let answered = sequence.tokens.len() == position + 2;
            !(answered && sequence.tokens.last().is_some_and(|token| request.stop.contains(token)))
        });
        finished.extend(ended);
        running = going;
        let reached: usize = running.iter().map(|sequence| sequence.tokens.len().min(position + 2)).sum();
        let enough = finished.iter().map(|sequence| sequence.tokens.len()).sum::<usize>() + reached >= request.enough;
        if running.is_empty() || enough {
            break;
        }
    }
    finished.extend(running);
    finished.sort_by_key(|sequence| sequence.number);
    Ok(finished.into_iter().map(|sequence| sequence.tokens).collect())
}

fn sequences(request: &Request<'_>, layers: usize) -> Result<Vec<Sequence>, CalibrateError> {
    let start = |(number, prompt): (usize, &Vec<u32>)| {
        let seed = request.seed.wrapping_add(number as u64);
        let options = SamplingOptions { temperature: 1.0, top_k: TOP_K, top_p: TOP_P, repetition_penalty: 1.0, seed };
        let sampler = Sampler::new(options).map_err(|source| CalibrateError::Generate { position: 0, source })?;
        let caches = vec![[Vec::new(), Vec::new()]; layers];
        Ok(Sequence { number, tokens: prompt.clone(), sampler, caches })
    };
    let usable = |(_, prompt): &(usize, &Vec<u32>)| !prompt.is_empty() && prompt.len() < request.longest;
    request.prompts.iter().enumerate().filter(usable).map(start).collect()
}
