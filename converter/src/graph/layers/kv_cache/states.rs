//! Which states a conversion keeps keys and values in, and how layers with a window use theirs.

use anec_mil::rules::chip::STATES_OF_ONE_SHAPE;
use anec_mil::rules::limits::STATE_MULTIPLE;

use crate::model::decoder_plan::{AttentionKind, DecoderPlan};
use crate::options::{Functions, Options, WindowForm};

/// The states of a conversion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CacheStates {
    /// That of the layers that keep every position of the context. It has no layers where all slide.
    pub(crate) full: StateShape,
    /// That of the layers that keep their window only.
    pub(crate) window: Option<WindowState>,
    /// Why layers with a window keep the whole context, where they might not.
    pub(crate) kept_whole: Option<KeptWhole>,
}

/// A state: the layers that it is for, and the positions that it keeps of each.
///
/// # Shapes
/// `[2 * layers, num_key_value_heads, positions, head_channels]`: keys of its layer `l` in row `l`, values in row
/// `layers + l`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StateShape {
    /// Layers, ascending.
    pub(crate) layers: Vec<usize>,
    /// Positions.
    pub(crate) positions: u64,
    /// Channels of a head: `head_dim`, and zeros behind them where states do not take so few.
    pub(crate) head_channels: u64,
}

/// The state of layers with windows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WindowState {
    /// Its layers, and its positions: the window, what may be written too much, rounded up to what states allow.
    pub(crate) shape: StateShape,
    /// How it is used.
    pub(crate) form: WindowForm,
    /// The longest window of its layers.
    pub(crate) window: u64,
}

/// Why layers with a window keep the whole context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeptWhole {
    /// It was asked for.
    Asked,
    /// The chip takes states of one shape only.
    Chip,
}

impl StateShape {
    /// The rows of the keys and of the values of a layer.
    pub(super) fn rows(&self, layer: usize) -> [u64; 2] {
        let index = self.layers.binary_search(&layer).expect("a state is asked about its layers");
        [index as u64, (self.layers.len() + index) as u64]
    }

    /// The lengths of its axes.
    pub(super) fn axes(&self, plan: &DecoderPlan) -> [u64; 4] {
        let rows = 2 * self.layers.len() as u64;
        [rows, plan.num_key_value_heads as u64, self.positions, self.head_channels]
    }
}

impl CacheStates {
    /// The states for a model, where a layout's clients use windows in this form.
    pub(crate) fn new(plan: &DecoderPlan, options: &Options, form: WindowForm) -> Self {
        let context_length = u64::from(options.context_length);
        let head_channels = head_channels(plan, options);
        let mut whole = Self::whole(plan, context_length);
        whole.full.head_channels = head_channels;
        let Some(window) = window_state(plan, options, form) else { return whole };
        if options.single_cache {
            return Self { kept_whole: Some(KeptWhole::Asked), ..whole };
        }
        let layers = (0..plan.num_hidden_layers).filter(|layer| window.shape.layers.binary_search(layer).is_err());
        let full = StateShape { layers: layers.collect(), positions: context_length, head_channels };
        if !full.layers.is_empty() && STATES_OF_ONE_SHAPE.contains(&options.chip) {
            return Self { kept_whole: Some(KeptWhole::Chip), ..whole };
        }
        Self { full, window: Some(window), kept_whole: None }
    }

    /// One state that keeps the whole context of every layer.
    pub(crate) fn whole(plan: &DecoderPlan, context_length: u64) -> Self {
        let layers = (0..plan.num_hidden_layers).collect();
        let full = StateShape { layers, positions: context_length, head_channels: plan.head_dim as u64 };
        Self { full, window: None, kept_whole: None }
    }

    /// As they are where the client keeps keys and values, and nothing refuses heads of any size.
    pub(crate) fn kept_by_client(mut self, plan: &DecoderPlan) -> Self {
        self.full.head_channels = plan.head_dim as u64;
        self
    }

    /// Channels of a head in every state.
    pub(crate) fn head_channels(&self) -> u64 {
        self.full.head_channels
    }

    /// Whether there are two states.
    pub(crate) fn is_split(&self) -> bool {
        self.window.is_some() && !self.full.layers.is_empty()
    }

    /// Whether there are functions that shift the state of the windows.
    pub(crate) fn rotates(&self) -> bool {
        self.window.as_ref().is_some_and(|window| window.form == WindowForm::Rotate)
    }

    /// Whether positions may go beyond the context, because every layer forgets in a ring.
    pub(crate) fn is_endless(&self) -> bool {
        self.full.layers.is_empty() && self.window.as_ref().is_some_and(|window| window.form == WindowForm::Ring)
    }

    /// Whether a layer keeps its window only.
    pub(crate) fn is_windowed(&self, layer: usize) -> bool {
        self.window.as_ref().is_some_and(|window| window.shape.layers.binary_search(&layer).is_ok())
    }
}

impl WindowState {
    /// Positions beyond the longest window: how far a client may go back once the ring has come round.
    pub(crate) fn spare(&self) -> u64 {
        self.shape.positions - self.window
    }
}

/// The state of the windows that are shorter than the context, where that is smaller than one of the whole context.
fn window_state(plan: &DecoderPlan, options: &Options, form: WindowForm) -> Option<WindowState> {
    if form == WindowForm::Whole {
        return None;
    }
    let context_length = u64::from(options.context_length);
    let window = |kind: AttentionKind| match kind {
        AttentionKind::Sliding { window } => Some(window as u64),
        AttentionKind::Full => None,
    };
    let windows: Vec<Option<u64>> = plan.layers.iter().map(|layer| window(layer.attention)).collect();
    // A ring as long as the context is no smaller, but has no end.
    let is_endless =
        form == WindowForm::Ring && windows.iter().all(|window| window.is_some_and(|w| w <= context_length));
    let fits = |window: &u64| *window < context_length || is_endless;
    let layers: Vec<usize> =
        (0..windows.len()).filter(|layer| windows.get(*layer).copied().flatten().is_some_and(|w| fits(&w))).collect();
    let longest = windows.iter().copied().flatten().filter(|window| fits(window)).max()?;
    let multiple = if options.target.is_neural_engine() { STATE_MULTIPLE } else { 1 };
    let positions = (longest + spare(options)).next_multiple_of(multiple);
    let is_smaller = positions < context_length || (is_endless && positions == context_length);
    let shape = StateShape { layers, positions, head_channels: head_channels(plan, options) };
    is_smaller.then_some(WindowState { shape, form, window: longest })
}

/// Channels of a head as states keep it.
fn head_channels(plan: &DecoderPlan, options: &Options) -> u64 {
    let multiple = if options.target.is_neural_engine() { STATE_MULTIPLE } else { 1 };
    (plan.head_dim as u64).next_multiple_of(multiple)
}

/// Positions that a call may write beyond its tokens, and that a client may go back: rows of a single function without a
/// token are written all the same, drafted tokens that are not kept too, and at the end of the context such a function is given earlier tokens again.
fn spare(options: &Options) -> u64 {
    match options.functions {
        Functions::InferPrefill => 0,
        Functions::InferPrefillVerify(rows) => u64::from(rows.get()),
        Functions::Single => 2 * u64::from(options.batch_size),
    }
}
