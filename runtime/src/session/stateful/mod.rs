//! Drives embeddings, chunks over one Core ML state, and a head, the way ANEMLL's clients do.
//!
//! Tokens go through the embeddings, then through every chunk with one shared state, then through the head. Full batches of
//! a prompt go through `prefill`; what remains, and every new token, goes through `infer`.
//!
//! Where layers keep their window in order, functions of their own take over once it is full. A batch that would run over the
//! edge of a window is taken token by token where the functions do not expect it.
//!
//! Where chunks have one function of several rows, it does both. Fewer tokens than rows come first, and token 0 fills the
//! rest: what those rows leave in the cache lies behind the position, where the mask hides it until it is overwritten. At
//! the end of the context, where such rows have no place, earlier tokens are given again.

mod files;

use std::path::Path;

use anec_mil::NamedValueType;
use anec_mil::evaluate::Tensor;
use anec_schemas::contract::stateful::{ARGMAX, CHUNK, CONTRACT, EMBEDDINGS, LM_HEAD, ROTATE, SINGLE, VERIFY, names};
use anec_schemas::contract::{Contract, Instance, Size};
use anec_schemas::{MetaYaml, Parameters};

use super::head::Head;
use super::inputs::{self, size};
use super::windows::Windows;
use super::{Capabilities, Driver, Observer, Output, Session, SessionError, lacks};
use crate::backend::{Engine, LoadedFunction, LoadedModel, LoadedState, Tensors};
use crate::part::{ModelPart, PartError, PartLabel};

/// The driver.
#[derive(Debug)]
pub(super) struct Stateful;

impl Driver for Stateful {
    fn contract(&self) -> &'static Contract {
        &CONTRACT
    }

    fn parts(&self, root: &Path, meta: &MetaYaml) -> Result<Vec<ModelPart>, PartError> {
        files::find(root, meta)
    }

    fn open(
        &self,
        meta: &MetaYaml,
        parts: &[ModelPart],
        engine: &dyn Engine,
    ) -> Result<Box<dyn Session>, SessionError> {
        Ok(Box::new(StatefulSession::open(&meta.model_info.parameters, parts, engine)?))
    }
}

struct Chunk {
    label: PartLabel,
    /// The function that decodes, and its name.
    decode: (&'static str, LoadedFunction),
    prefill: Option<LoadedFunction>,
    /// The same once the window is full, where there are such.
    rotate: Option<Rotate>,
    /// The function that checks drafts, where there is one.
    verify: Option<LoadedFunction>,
}

/// Which function of the chunks a call is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Decode,
    Prefill,
    Verify,
}

/// Functions that shift the window.
struct Rotate {
    infer: LoadedFunction,
    prefill: Option<LoadedFunction>,
}

/// The functions of a part, in one model or in several.
struct Functions(Vec<LoadedModel>);

impl Functions {
    fn open(parts: &[ModelPart], engine: &dyn Engine) -> Result<Self, SessionError> {
        Ok(Self(parts.iter().map(|part| engine.open_model(part)).collect::<Result<_, _>>()?))
    }

    fn of(&self, name: &str) -> Option<&LoadedModel> {
        self.0.iter().find(|model| model.function_names().iter().any(|function| function == name))
    }

    fn has(&self, name: &str) -> bool {
        self.of(name).is_some()
    }

    /// The function, or what its absence from the first model is to the engine.
    fn load(&self, name: &str) -> Result<LoadedFunction, SessionError> {
        let model = self.of(name).or(self.0.first()).expect("a part has at least one model");
        Ok(model.load(name)?)
    }
}

impl Chunk {
    /// The function for a call, and its name.
    fn function(&self, kind: Kind, rotates: bool) -> (&'static str, &LoadedFunction) {
        if let Some(verify) = self.verify.as_ref().filter(|_| kind == Kind::Verify) {
            return (names::VERIFY, verify);
        }
        let batched = kind == Kind::Prefill;
        match (&self.rotate, &self.prefill) {
            (Some(Rotate { prefill: Some(prefill), .. }), _) if rotates && batched => (names::PREFILL_ROTATE, prefill),
            (Some(rotate), _) if rotates => (names::INFER_ROTATE, &rotate.infer),
            (_, Some(prefill)) if batched => (names::PREFILL, prefill),
            _ => (self.decode.0, &self.decode.1),
        }
    }
}

struct StatefulSession {
    embeddings: LoadedFunction,
    chunks: Vec<Chunk>,
    head: LoadedFunction,
    /// The head of the function that checks drafts, where there is one.
    verify_head: Option<LoadedFunction>,
    joined: Head,
    state: LoadedState,
    embeddings_state: LoadedState,
    capabilities: Capabilities,
    /// Rows of the one function that the chunks have, where they have one.
    query_length: Option<usize>,
    /// How layers with a window keep it.
    windows: Windows,
    /// Columns of masks.
    mask_length: usize,
    /// Positions that were written.
    written: usize,
    /// The token of each position, for the calls that give tokens again. A position that was skipped has token 0.
    tokens: Vec<u32>,
}

/// One call of the chunks.
struct Call {
    tokens: Vec<u32>,
    /// Position of the first token.
    position: usize,
    /// The row whose logits are wanted.
    last: usize,
}

impl StatefulSession {
    fn open(parameters: &Parameters, parts: &[ModelPart], engine: &dyn Engine) -> Result<Self, SessionError> {
        let context_length = size("context_length", parameters.context_length)?;
        let query_length = parameters.query_length.map(|rows| size("query_length", rows)).transpose()?;
        let batch_size = match query_length {
            Some(rows) => rows.min(context_length),
            None => size("batch_size", parameters.batch_size)?,
        };
        let instance = Instance::default()
            .with_variant(SINGLE, query_length.is_some())
            .with_variant(VERIFY, parameters.verify_length.is_some())
            .with_variant(ARGMAX, parameters.argmax_in_model);
        let verify_length = parameters.verify_length.map(|rows| size("verify_length", rows)).transpose()?;
        let mut windows = Windows::of(parameters, false)?;
        let mut verify_head = None;
        let (mut embeddings, mut head, mut chunks) = (None, None, Vec::new());
        for of_layers in parts.chunk_by(|part, next| part.label == next.label) {
            let Some(part) = of_layers.first() else { continue };
            let model = Functions::open(of_layers, engine)?;
            if part.label.role == CHUNK {
                // Clients run `prefill` where the meta file says that it writes wherever the position is.
                let batched = parameters.prefill_dynamic_slice && query_length.is_none() && model.has(names::PREFILL);
                let name = if query_length.is_some() { names::MAIN } else { names::INFER };
                let decode = model.load(name)?;
                check(part.label, name, &decode, &instance)?;
                let prefill = if batched { Some(model.load(names::PREFILL)?) } else { None };
                let has_rotate = model.has(names::INFER_ROTATE);
                windows = Windows::of(parameters, has_rotate)?;
                let rotate = match windows {
                    Windows::Rotate { .. } => Some(Rotate {
                        infer: model.load(names::INFER_ROTATE)?,
                        prefill: if batched { Some(model.load(names::PREFILL_ROTATE)?) } else { None },
                    }),
                    Windows::Whole | Windows::Ring { .. } => None,
                };
                if let Some(rotate) = &rotate {
                    let instance = instance.clone().with_variant(ROTATE, true);
                    check(part.label, names::INFER_ROTATE, &rotate.infer, &instance)?;
                }
                let verify = verify_length.map(|_| model.load(names::VERIFY)).transpose()?;
                if let Some(verify) = &verify {
                    check(part.label, names::VERIFY, verify, &instance)?;
                }
                chunks.push(Chunk { label: part.label, decode: (name, decode), prefill, rotate, verify });
            } else {
                let is_head = part.label.role == LM_HEAD;
                if is_head && verify_length.is_some() {
                    verify_head = Some(model.load(names::VERIFY)?);
                }
                let loaded = if is_head { &mut head } else { &mut embeddings };
                *loaded = Some(model.load(names::MAIN)?);
            }
        }
        let missing = |key| SessionError::Meta { key, expected: "a model".to_owned(), found: "none".to_owned() };
        let embeddings = embeddings.ok_or_else(|| missing("embeddings"))?;
        check(PartLabel::only(EMBEDDINGS), names::MAIN, &embeddings, &instance)?;
        let head = head.ok_or_else(|| missing("lm_head"))?;
        let joined = Head::of(parameters, head.signature())?;
        let parts = instance.with_size(Size::SPLIT_LM_HEAD, joined.parts());
        check(PartLabel::only(LM_HEAD), names::MAIN, &head, &parts)?;
        let first = chunks.first().ok_or_else(|| missing("ffn"))?;
        // One state serves all chunks and functions, as on a device.
        let state = first.decode.1.new_state()?;
        let has_prefill = query_length.is_some() || chunks.iter().all(|chunk| chunk.prefill.is_some());
        let max_positions = parameters.max_positions.map(|positions| size("max_positions", positions)).transpose()?;
        let capabilities = Capabilities {
            context_length: max_positions.map_or(context_length, |positions| positions.max(context_length)),
            vocab_size: parameters.vocab_size.and_then(|size| usize::try_from(size).ok()),
            batch_size: has_prefill.then_some(batch_size),
            step_size: query_length.map_or(1, |_| batch_size),
            verify_size: verify_length.or(query_length).unwrap_or(1),
            gives: joined.gives(),
            rewinds: windows.rewinds(),
        };
        let embeddings_state = embeddings.new_state()?;
        let tokens = Vec::new();
        Ok(Self {
            embeddings,
            chunks,
            head,
            verify_head,
            joined,
            state,
            embeddings_state,
            capabilities,
            query_length,
            windows,
            mask_length: context_length,
            written: 0,
            tokens,
        })
    }

    /// Fills the rows of a function for these tokens.
    fn call(&self, tokens: &[u32], position: usize) -> Result<Call, SessionError> {
        let Capabilities { context_length, step_size, .. } = self.capabilities;
        let last = position.saturating_add(tokens.len().saturating_sub(1));
        if last >= context_length {
            return Err(SessionError::ContextFull { position: last, context_length });
        }
        if !self.capabilities.rewinds.allow(self.written, position) {
            return Err(SessionError::Rewind { from: self.written, to: position });
        }
        if self.query_length.is_none() {
            return Ok(Call { tokens: tokens.to_vec(), position, last: 0 });
        }
        let start = position.min(context_length - step_size);
        let again = (start..position).map(|position| self.tokens.get(position).copied().unwrap_or(0));
        let mut rows: Vec<u32> = again.chain(tokens.iter().copied()).collect();
        rows.resize(step_size, 0);
        Ok(Call { tokens: rows, position: start, last: last - start })
    }

    fn remember(&mut self, call: &Call, tokens: &[u32], position: usize) {
        self.written = self.written.max(call.position + call.tokens.len());
        if self.query_length.is_some() {
            self.tokens.resize(position, 0);
            self.tokens.extend_from_slice(tokens);
        }
    }

    /// Runs the embeddings and the chunks, and gives the hidden states behind the last.
    fn run(&mut self, call: &Call, kind: Kind, observe: &mut Observer<'_>) -> Result<Tensor, SessionError> {
        let mut hidden_states = self.embed(&call.tokens, observe)?;
        let count = call.tokens.len();
        let positions = inputs::positions(call.position, count)?;
        let mask = inputs::causal_mask(call.position, count, self.mask_length)?;
        let current = inputs::current_pos(call.position)?;
        let rotates = self.windows.rotates(call.position);
        for chunk in &self.chunks {
            let (name, function) = chunk.function(kind, rotates);
            let inputs = Tensors::from([
                (names::HIDDEN_STATES.to_owned(), hidden_states),
                (names::POSITION_IDS.to_owned(), positions.clone()),
                (names::CAUSAL_MASK.to_owned(), mask.clone()),
                (names::CURRENT_POS.to_owned(), current.clone()),
            ]);
            let mut outputs = function.predict(&inputs, &mut self.state)?;
            observe(&chunk.label, &mut outputs);
            hidden_states = outputs
                .remove(names::OUTPUT_HIDDEN_STATES)
                .ok_or_else(|| lacks(chunk.label, name, "output", names::OUTPUT_HIDDEN_STATES))?;
        }
        Ok(hidden_states)
    }

    fn embed(&mut self, tokens: &[u32], observe: &mut Observer<'_>) -> Result<Tensor, SessionError> {
        let ids = inputs::token_ids(tokens, self.capabilities.vocab_size)?;
        let inputs = Tensors::from([(names::INPUT_IDS.to_owned(), ids)]);
        let mut outputs = self.embeddings.predict(&inputs, &mut self.embeddings_state)?;
        let label = PartLabel::only(EMBEDDINGS);
        observe(&label, &mut outputs);
        outputs.remove(names::HIDDEN_STATES).ok_or_else(|| lacks(label, names::MAIN, "output", names::HIDDEN_STATES))
    }
}

impl Session for StatefulSession {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn reset(&mut self) -> Result<(), SessionError> {
        if let Some(chunk) = self.chunks.first() {
            self.state = chunk.decode.1.new_state()?;
        }
        self.tokens.clear();
        self.written = 0;
        Ok(())
    }

    fn read_cache(&self) -> Result<Tensors, SessionError> {
        match self.chunks.first() {
            Some(chunk) => Ok(chunk.decode.1.read_state(&self.state)?),
            None => Ok(Tensors::new()),
        }
    }

    fn prefill(&mut self, tokens: &[u32], position: usize) -> Result<(), SessionError> {
        let expected = self.capabilities.batch_size.unwrap_or(0);
        if tokens.len() != expected || tokens.is_empty() {
            return Err(SessionError::BatchSize { expected, found: tokens.len() });
        }
        if self.windows.straddles(position, tokens.len()) {
            for (position, token) in (position..).zip(tokens) {
                let call = self.call(&[*token], position)?;
                self.run(&call, Kind::Decode, &mut |_, _| {})?;
                self.remember(&call, &[*token], position);
            }
            return Ok(());
        }
        let call = self.call(tokens, position)?;
        self.run(&call, Kind::Prefill, &mut |_, _| {})?;
        self.remember(&call, tokens, position);
        Ok(())
    }

    fn verify(&mut self, tokens: &[u32], position: usize) -> Result<Vec<Output>, SessionError> {
        let Capabilities { context_length, verify_size: rows, .. } = self.capabilities;
        let fits = tokens.len() <= rows && (self.query_length.is_some() || position + rows <= context_length);
        if tokens.len() < 2 || !fits {
            return (position..).zip(tokens).map(|(position, token)| self.infer(*token, position)).collect();
        }
        let mut call = self.call(tokens, position)?;
        if self.query_length.is_none() {
            // Rows behind the tokens are hidden by the mask, and overwritten later.
            (call.last, call.tokens) = (tokens.len() - 1, padded(tokens, rows));
        }
        let first = call.last + 1 - tokens.len();
        let hidden_states = self.run(&call, Kind::Verify, &mut |_, _| {})?;
        let inputs = Tensors::from([(names::HIDDEN_STATES.to_owned(), hidden_states)]);
        let (name, head) = match &self.verify_head {
            Some(head) => (names::VERIFY, head),
            None => (names::MAIN, &self.head),
        };
        let outputs = head.predict(&inputs, &mut head.new_state()?)?;
        self.remember(&call, tokens, position);
        let label = (PartLabel::only(LM_HEAD), name);
        (first..=call.last).map(|row| self.joined.join(label, &outputs, row, call.tokens.len())).collect()
    }

    fn step(&mut self, tokens: &[u32], position: usize, observe: &mut Observer<'_>) -> Result<Output, SessionError> {
        let most = self.capabilities.step_size;
        if !(1..=most).contains(&tokens.len()) {
            return Err(SessionError::StepSize { most, found: tokens.len() });
        }
        let call = self.call(tokens, position)?;
        let hidden_states = self.run(&call, Kind::Decode, observe)?;
        let inputs = Tensors::from([(names::HIDDEN_STATES.to_owned(), hidden_states)]);
        let mut outputs = self.head.predict(&inputs, &mut self.head.new_state()?)?;
        observe(&PartLabel::only(LM_HEAD), &mut outputs);
        self.remember(&call, tokens, position);
        self.joined.join((PartLabel::only(LM_HEAD), names::MAIN), &outputs, call.last, call.tokens.len())
    }
}

/// Tokens with token 0 behind them, `rows` in all.
fn padded(tokens: &[u32], rows: usize) -> Vec<u32> {
    let mut padded = tokens.to_vec();
    padded.resize(rows, 0);
    padded
}

/// Whether a function has the inputs and outputs of the contract.
fn check(
    label: PartLabel,
    function: &'static str,
    loaded: &LoadedFunction,
    instance: &Instance,
) -> Result<(), SessionError> {
    let (contract, signature) = (CONTRACT.function(label.role, function, instance)?, loaded.signature());
    let has = |values: &[NamedValueType], name: &str| values.iter().any(|value| value.name == name);
    for input in contract.inputs_in(instance)? {
        if !has(&signature.inputs, &input.name) {
            return Err(lacks(label, function, "input", &input.name));
        }
    }
    for output in contract.outputs_in(instance)? {
        if !has(&signature.outputs, &output.name) {
            return Err(lacks(label, function, "output", &output.name));
        }
    }
    Ok(())
}
