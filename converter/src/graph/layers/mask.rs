//! Additive attention masks: the clients' causal mask, and the band of sliding-window layers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use anec_mil::{SliceMasks, Var};
use half::f16;

use crate::graph::{Graph, GraphError, int};
use crate::model::decoder_plan::{AttentionKind, DecoderPlan, LayerKind};

/// What is added to the score of a position outside the window. Large enough that softmax gives exactly 0 in fp16 and
/// fp32, small enough that adding it to the client's own mask cannot overflow fp16.
///
/// # Source
/// Apple and ANEMLL-compatible converters use -1e4 to -4e4 where -inf is not safe on the Neural Engine.
pub(crate) const OUTSIDE_WINDOW: f16 = f16::from_f32_const(-1e4);

/// The masks of one call, by kind of attention, each `[1, 1, group * tokens, positions]`.
#[derive(Default)]
pub(crate) struct Masks(BTreeMap<AttentionKind, Var>);

impl Masks {
    /// The mask for layers of this kind.
    pub(crate) fn get(&self, kind: AttentionKind) -> &Var {
        self.0.get(&kind).expect("masks were made for the layers of this function")
    }

    /// Whether there is one for layers of this kind.
    pub(crate) fn has(&self, kind: AttentionKind) -> bool {
        self.0.contains_key(&kind)
    }

    /// Adds the mask for layers of this kind.
    pub(crate) fn add(&mut self, kind: AttentionKind, mask: Var) {
        self.0.insert(kind, mask);
    }
}

impl Graph<'_> {
    /// The masks for the kinds of attention in these layers, which keep the whole context, repeated for the queries of a KV head. Attention goes over as
    /// many positions as the causal mask has columns.
    ///
    /// # Shapes
    /// `causal_mask: [1, 1, tokens, context_length]`.
    pub(crate) fn masks(
        &mut self,
        layers: &[&LayerKind],
        causal_mask: &Var,
        positions: &Var,
    ) -> Result<Masks, GraphError> {
        let shape = causal_mask.tensor()?.fixed_shape().expect("masks have fixed shapes");
        let context_length = *shape.last().expect("masks have axes");
        let longest = self.settings.tables.positions;
        let mut masks = BTreeMap::new();
        for kind in layers.iter().map(|layer| layer.attention) {
            if masks.contains_key(&kind) {
                continue;
            }
            let mask = match window(kind, context_length) {
                None => self.per_query_group("mask", causal_mask)?,
                Some(window) => {
                    let name = format!("window_{window}_band");
                    let mut band = self.gather_rows(&name, longest, || band_table(longest, window), positions)?;
                    if context_length < longest {
                        let end = [1, 1, int(self.tokens), int(context_length)];
                        let masks = SliceMasks::end(&[true, true, true, false]);
                        band = self.ops.slice_by_index(&format!("{name}_head"), &band, &[0, 0, 0, 0], &end, &masks)?;
                    }
                    let mask = self.ops.add(&format!("window_{window}_mask"), causal_mask, &band)?;
                    self.per_query_group(&format!("window_{window}_mask_group"), &mask)?
                }
            };
            masks.insert(kind, mask);
        }
        Ok(Masks(masks))
    }

    /// The masks of these layers where a function is given one for each of [`windows`], counted from 1.
    ///
    /// # Shapes
    /// Masks are `[1, 1, tokens, columns]`, of as many columns as attention has.
    pub(crate) fn given_masks<'v>(
        &mut self,
        layers: &[LayerKind],
        mut mask: impl FnMut(usize) -> &'v Var,
    ) -> Result<Masks, GraphError> {
        let windows = windows(self.plan(), self.settings.context_length);
        let mut masks = BTreeMap::new();
        for (number, window) in (1..).zip(windows) {
            let has = |kind: &AttentionKind| reach(*kind, self.settings.context_length) == window;
            let kinds: BTreeSet<AttentionKind> = layers.iter().map(|layer| layer.attention).filter(has).collect();
            if kinds.is_empty() {
                continue;
            }
            let mask = self.per_query_group(&format!("mask{number}_group"), mask(number))?;
            masks.extend(kinds.into_iter().map(|kind| (kind, mask.clone())));
        }
        Ok(Masks(masks))
    }

    /// Repeats a mask for every query head of a KV head; their queries are stacked on the row axis.
    pub(crate) fn per_query_group(&mut self, name: &str, mask: &Var) -> Result<Var, GraphError> {
        let group = self.plan().group() as u64;
        if group == 1 {
            return Ok(mask.clone());
        }
        Ok(self.ops.tile(name, mask, &[1, 1, int(group), 1])?)
    }
}

/// How far the layers of a model look back in a context of this length, each length once, in the order of the layers.
pub(crate) fn windows(plan: &DecoderPlan, context_length: u64) -> Vec<u64> {
    let mut windows = Vec::new();
    for layer in &plan.layers {
        let window = reach(layer.attention, context_length);
        if !windows.contains(&window) {
            windows.push(window);
        }
    }
    windows
}

/// Tokens that a layer looks back over, itself included.
fn reach(kind: AttentionKind, context_length: u64) -> u64 {
    window(kind, context_length).unwrap_or(context_length)
}

/// The window, if it is smaller than the context.
fn window(kind: AttentionKind, context_length: u64) -> Option<u64> {
    match kind {
        AttentionKind::Sliding { window } if (window as u64) < context_length => Some(window as u64),
        AttentionKind::Sliding { .. } | AttentionKind::Full => None,
    }
}

/// Row `p` is 0 at the keys that a query at position `p` attends to, the last `window` up to `p`, else [`OUTSIDE_WINDOW`].
pub(crate) fn table(positions: u64, window: u64) -> Arc<[u8]> {
    let attends = |query: u64, key: u64| key <= query && key + window > query;
    let value = |attends: bool| if attends { f16::ZERO } else { OUTSIDE_WINDOW };
    let entries = (0..positions).flat_map(|query| (0..positions).map(move |key| value(attends(query, key))));
    entries.flat_map(f16::to_le_bytes).collect()
}

/// Row `p` is 0 at the keys that a query at position `p` may see, the last `window` up to `p`, and
/// [`OUTSIDE_WINDOW`] at the older ones. Keys after `p` are the causal mask's to hide.
fn band_table(context_length: u64, window: u64) -> Arc<[u8]> {
    let entries = (0..context_length).flat_map(|query| {
        (0..context_length).map(move |key| if key + window <= query { OUTSIDE_WINDOW } else { f16::ZERO })
    });
    entries.flat_map(f16::to_le_bytes).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_of_two_shows_a_query_itself_and_its_predecessor() {
        let table = band_table(4, 2);
        let visible: Vec<bool> =
            table.as_chunks::<2>().0.iter().map(|pair| f16::from_le_bytes(*pair) == f16::ZERO).collect();
        let row = |query: usize| visible[4 * query..=5 * query].to_vec();
        assert_eq!(row(0), [true]);
        assert_eq!(row(1), [true, true]);
        assert_eq!(row(2), [false, true, true]);
        assert_eq!(row(3), [false, false, true, true]);
    }
}
