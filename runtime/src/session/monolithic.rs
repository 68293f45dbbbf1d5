//! Drives a model in one file over a Core ML state, the way ANEMLL's clients do: `prefill` for full batches of a prompt,
//! whose result nobody reads, and `infer` for what remains and for every new token.

use std::path::Path;

use anec_mil::evaluate::Tensor;
use anec_schemas::contract::monolithic::{CONTRACT, MODEL};
use anec_schemas::contract::stateful::{ARGMAX, ROTATE, SPLIT_CACHE, names};
use anec_schemas::contract::{Contract, Instance, Size};
use anec_schemas::{MetaYaml, Parameters};

use super::head::Head;
use super::windows::Windows;
use super::{Capabilities, Driver, Observer, Output, Session, SessionError, conformity, inputs};
use crate::backend::{Engine, LoadedFunction, LoadedState, Tensors};
use crate::part::{ModelPart, PartError, PartLabel, stem};

/// The driver.
#[derive(Debug)]
pub(super) struct Monolithic;

/// The model.
const LABEL: PartLabel = PartLabel::only(MODEL);

impl Driver for Monolithic {
    fn contract(&self) -> &'static Contract {
        &CONTRACT
    }

    fn parts(&self, root: &Path, meta: &MetaYaml) -> Result<Vec<ModelPart>, PartError> {
        let name = stem("monolithic_model", meta.model_info.parameters.monolithic_model.as_deref())?;
        Ok(vec![ModelPart::find(root, LABEL, name.to_owned())?])
    }

    fn open(
        &self,
        meta: &MetaYaml,
        parts: &[ModelPart],
        engine: &dyn Engine,
    ) -> Result<Box<dyn Session>, SessionError> {
        let missing =
            || SessionError::Meta { key: "monolithic_model", expected: "a model".to_owned(), found: "none".to_owned() };
        let part = parts.first().ok_or_else(missing)?;
        Ok(Box::new(MonolithicSession::open(&meta.model_info.parameters, part, engine)?))
    }
}

struct MonolithicSession {
    infer: LoadedFunction,
    prefill: Option<LoadedFunction>,
    /// `infer` and `prefill` once the window is full, where there are such.
    rotate: Option<[LoadedFunction; 2]>,
    windows: Windows,
    /// Positions that were written.
    written: usize,
    head: Head,
    state: LoadedState,
    capabilities: Capabilities,
}

impl MonolithicSession {
    fn open(parameters: &Parameters, part: &ModelPart, engine: &dyn Engine) -> Result<Self, SessionError> {
        let context_length = inputs::size("context_length", parameters.context_length)?;
        let batch_size = inputs::size("batch_size", parameters.batch_size)?;
        let model = engine.open_model(part)?;
        let infer = model.load(names::INFER)?;
        let head = Head::of(parameters, infer.signature())?;
        let has_rotate = model.function_names().iter().any(|name| name == names::INFER_ROTATE);
        let windows = Windows::of(parameters, has_rotate)?;
        let rotates = matches!(windows, Windows::Rotate { .. });
        let split = infer.signature().states.len() > 1;
        let instance =
            instance(parameters, head.parts()).with_variant(ROTATE, rotates).with_variant(SPLIT_CACHE, split);
        conformity::check(&CONTRACT, part, names::INFER, &infer, &instance)?;
        // Clients take prompts token by token where it is not there.
        let prefill = if parameters.prefill_dynamic_slice { Some(model.load(names::PREFILL)?) } else { None };
        if let Some(prefill) = &prefill {
            conformity::check(&CONTRACT, part, names::PREFILL, prefill, &instance)?;
        }
        let rotate = if rotates {
            let functions = [model.load(names::INFER_ROTATE)?, model.load(names::PREFILL_ROTATE)?];
            for (name, function) in [names::INFER_ROTATE, names::PREFILL_ROTATE].into_iter().zip(&functions) {
                conformity::check(&CONTRACT, part, name, function, &instance)?;
            }
            Some(functions)
        } else {
            None
        };
        let capabilities = Capabilities {
            context_length,
            vocab_size: parameters.vocab_size.and_then(|size| usize::try_from(size).ok()),
            batch_size: prefill.is_some().then_some(batch_size),
            step_size: 1,
            verify_size: 1,
            gives: head.gives(),
            rewinds: windows.rewinds(),
        };
        let state = infer.new_state()?;
        Ok(Self { infer, prefill, rotate, windows, written: 0, head, state, capabilities })
    }

    /// The inputs of a call; the context must have room for the tokens.
    fn inputs(&self, tokens: &[u32], position: usize) -> Result<Tensors, SessionError> {
        let Capabilities { context_length, vocab_size, .. } = self.capabilities;
        let last = position.saturating_add(tokens.len().saturating_sub(1));
        if last >= context_length {
            return Err(SessionError::ContextFull { position: last, context_length });
        }
        if !self.capabilities.rewinds.allow(self.written, position) {
            return Err(SessionError::Rewind { from: self.written, to: position });
        }
        let named = |name: &str, tensor: Tensor| (name.to_owned(), tensor);
        Ok(Tensors::from([
            named(names::INPUT_IDS, inputs::token_ids(tokens, vocab_size)?),
            named(names::POSITION_IDS, inputs::positions(position, tokens.len())?),
            named(names::CAUSAL_MASK, inputs::causal_mask(position, tokens.len(), context_length)?),
            named(names::CURRENT_POS, inputs::current_pos(position)?),
        ]))
    }
}

impl Session for MonolithicSession {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn reset(&mut self) -> Result<(), SessionError> {
        self.state = self.infer.new_state()?;
        self.written = 0;
        Ok(())
    }

    fn read_cache(&self) -> Result<Tensors, SessionError> {
        Ok(self.infer.read_state(&self.state)?)
    }

    fn prefill(&mut self, tokens: &[u32], position: usize) -> Result<(), SessionError> {
        let expected = self.capabilities.batch_size.unwrap_or(0);
        let Some(prefill) = self.prefill.as_ref().filter(|_| tokens.len() == expected) else {
            return Err(SessionError::BatchSize { expected, found: tokens.len() });
        };
        if self.windows.straddles(position, tokens.len()) {
            for (position, token) in (position..).zip(tokens) {
                self.step(&[*token], position, &mut |_, _| {})?;
            }
            return Ok(());
        }
        let inputs = self.inputs(tokens, position)?;
        let function = match &self.rotate {
            Some([_, rotate]) if self.windows.rotates(position) => rotate,
            _ => prefill,
        };
        function.predict(&inputs, &mut self.state)?;
        self.written = self.written.max(position + tokens.len());
        Ok(())
    }

    fn step(&mut self, tokens: &[u32], position: usize, observe: &mut Observer<'_>) -> Result<Output, SessionError> {
        if tokens.len() != 1 {
            return Err(SessionError::StepSize { most: 1, found: tokens.len() });
        }
        let inputs = self.inputs(tokens, position)?;
        let function = match &self.rotate {
            Some([rotate, _]) if self.windows.rotates(position) => rotate,
            _ => &self.infer,
        };
        let mut outputs = function.predict(&inputs, &mut self.state)?;
        self.written = self.written.max(position + 1);
        observe(&LABEL, &mut outputs);
        self.head.join((LABEL, names::INFER), &outputs, 0, 1)
    }
}

/// What the meta file says about the sizes of this contract.
fn instance(parameters: &Parameters, parts: u64) -> Instance {
    let instance = Instance::default()
        .with_size(Size::CONTEXT_LENGTH, parameters.context_length)
        .with_size(Size::BATCH_SIZE, parameters.batch_size)
        .with_size(Size::SPLIT_LM_HEAD, parts)
        .with_variant(ARGMAX, parameters.argmax_in_model);
    match &parameters.lm_head_chunk_sizes[..] {
        [] => instance,
        sizes => instance.with_sizes(Size::LM_HEAD_CHUNK_SIZES, sizes),
    }
}
