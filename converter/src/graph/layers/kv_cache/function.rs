//! The caches of one function, as the states of the conversion and the function's part in them say.

use std::ops::Range;
use std::rc::Rc;

use anec_mil::Var;

use super::KvCache;
use super::by_layer::ByLayer;
use super::early::Early;
use super::late::Late;
use super::mask::ByMask;
use super::shift::Shift;
use super::slice::BySlice;
use super::state::State;
use super::states::WindowState;
use super::straddle::Straddle;
use super::token_rows::token_rows;
use super::window_mask::WindowMasks;
use crate::graph::layers::mask::Masks;
use crate::graph::{Graph, GraphError};
use crate::model::decoder_plan::{AttentionKind, LayerKind};
use crate::options::{KvWrite, WindowForm};

/// What a function does with windows that are kept by shifting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// It is called while the window is not full.
    Fill,
    /// It is called once the window is full.
    Rotate,
}

/// The inputs of a function that caches and masks are made of.
pub(crate) struct CacheInputs<'v> {
    /// The state of layers that keep the whole context, where there is one.
    pub(crate) full: Option<&'v Var>,
    /// The state of layers that keep their window, where there is one.
    pub(crate) window: Option<&'v Var>,
    /// Position of the first token, int32 `[1]`.
    pub(crate) current_pos: &'v Var,
    /// The client's mask, `[1, 1, tokens, context_length]`.
    pub(crate) causal_mask: &'v Var,
    /// The positions of the tokens, to gather by.
    pub(crate) positions: &'v Var,
    /// What the function does.
    pub(crate) step: Step,
}

/// The cache of these layers, and their masks.
pub(crate) fn caches(
    graph: &mut Graph<'_>,
    inputs: &CacheInputs<'_>,
    layers: &Range<usize>,
) -> Result<(Rc<dyn KvCache>, Masks), GraphError> {
    let states = graph.settings.caches;
    let kinds = |windowed: bool| {
        let of = |layer: usize| graph.settings.plan.layers.get(layer).expect("pieces have layers of the plan");
        layers.clone().filter(|layer| states.is_windowed(*layer) == windowed).map(of).collect::<Vec<&LayerKind>>()
    };
    let (whole, windowed) = (kinds(false), kinds(true));
    let mut masks = graph.masks(&whole, inputs.causal_mask, inputs.positions)?;
    let full = inputs.full.map(|var| State { var: var.clone(), shape: states.full.clone() });
    let full: Option<Rc<dyn KvCache>> = match full {
        Some(state) if whole.is_empty() => {
            state.touch(graph, "full_cache")?;
            None
        }
        Some(state) => Some(full_cache(graph, state, inputs.current_pos)?),
        None => None,
    };
    let Some((window, var)) = states.window.as_ref().zip(inputs.window) else {
        return Ok((full.expect("a function without windows has a state for its layers"), masks));
    };
    let state = State { var: var.clone(), shape: window.shape.clone() };
    if windowed.is_empty() {
        state.touch(graph, "window_cache")?;
        return Ok((full.expect("a layer is in one of the states"), masks));
    }
    let shifted = inputs.step == Step::Rotate;
    let late = is_late(window, graph.tokens, inputs.step);
    let causal = WindowMasks::cut(graph, inputs.causal_mask, window.shape.positions)?;
    let current_pos = inputs.current_pos;
    let makes = WindowMasks { positions: window.shape.positions, early: !late, shifted, current_pos, causal };
    for kind in windowed.iter().map(|layer| layer.attention) {
        if let AttentionKind::Sliding { window } = kind
            && !masks.has(kind)
        {
            let mask = makes.mask(graph, window as u64)?;
            let mask = graph.per_query_group(&format!("window_{window}_mask_group"), &mask)?;
            masks.add(kind, mask);
        }
    }
    let cache = window_cache(graph, state, window, inputs, late)?;
    let cache = match full {
        Some(others) => Rc::new(ByLayer { layers: window.shape.layers.clone(), theirs: cache, others }),
        None => cache,
    };
    Ok((cache, masks))
}

/// Whether a function attends before it writes its window. Where its tokens take places that nothing needs any more, it
/// attends afterwards, which is one product less.
fn is_late(window: &WindowState, tokens: u64, step: Step) -> bool {
    let positions = window.shape.positions;
    match window.form {
        WindowForm::Rotate if step == Step::Fill => !positions.is_multiple_of(tokens),
        WindowForm::Ring | WindowForm::Rotate | WindowForm::Whole => tokens > 1,
    }
}

/// A cache of the whole context, written as the settings say from `current_pos` on.
fn full_cache(graph: &mut Graph<'_>, state: State, current_pos: &Var) -> Result<Rc<dyn KvCache>, GraphError> {
    Ok(match graph.settings.kv_write {
        KvWrite::Slice => Rc::new(Early { state, write: BySlice::new(graph, "current_pos", current_pos)? }),
        KvWrite::Mask => {
            let write = ByMask::new(graph, state.shape.positions, current_pos)?;
            Rc::new(Early { state, write })
        }
    })
}

/// The cache of windows.
fn window_cache(
    graph: &mut Graph<'_>,
    state: State,
    window: &WindowState,
    inputs: &CacheInputs<'_>,
    late: bool,
) -> Result<Rc<dyn KvCache>, GraphError> {
    let (positions, current_pos) = (state.shape.positions, inputs.current_pos);
    Ok(match (window.form, inputs.step, late) {
        (WindowForm::Rotate, Step::Rotate, true) => Rc::new(Late { state, write: Shift }),
        (WindowForm::Rotate, Step::Rotate, false) => Rc::new(Early { state, write: Shift }),
        (WindowForm::Rotate, Step::Fill, true) => {
            Rc::new(Late { state, write: Straddle::new(graph, positions, current_pos)? })
        }
        (WindowForm::Rotate, Step::Fill, false) => {
            let write = BySlice::new(graph, "window_start", current_pos)?;
            Rc::new(Early { state, write })
        }
        (WindowForm::Ring | WindowForm::Whole, _, true) => {
            let places = token_rows(graph, "ring_places", positions, current_pos, graph.tokens)?;
            Rc::new(Late { state, write: ByMask::at(graph, "ring", positions, &places)? })
        }
        (WindowForm::Ring | WindowForm::Whole, _, false) => {
            let place = token_rows(graph, "ring_place", positions, current_pos, 1)?;
            match graph.settings.kv_write {
                KvWrite::Slice => Rc::new(Early { state, write: BySlice::new(graph, "ring_place", &place)? }),
                KvWrite::Mask => Rc::new(Early { state, write: ByMask::at(graph, "ring", positions, &place)? }),
            }
        }
    })
}
