//! Drives models that give the embedding of a text: every call takes all of it, so a conversation is computed anew with each
//! token. What they say is the state of the last token, which the checkpoint's head makes logits of.

use anec_mil::DataType;
use anec_mil::evaluate::Tensor;
use anec_schemas::MetaYaml;
use anec_schemas::contract::embedding::{CONTRACT, ENCODER, names};
use anec_schemas::contract::{Contract, Instance, Size};

use super::{Capabilities, Driver, Gives, Observer, Output, Rewinds, Session, SessionError, conformity, inputs, lacks};
use crate::backend::{Engine, LoadedFunction, LoadedState, Tensors};
use crate::part::{ModelPart, PartLabel};

/// The driver.
#[derive(Debug)]
pub(super) struct Embedding;

/// The model.
const LABEL: PartLabel = PartLabel::only(ENCODER);

impl Driver for Embedding {
    fn contract(&self) -> &'static Contract {
        &CONTRACT
    }

    fn open(
        &self,
        meta: &MetaYaml,
        parts: &[ModelPart],
        engine: &dyn Engine,
    ) -> Result<Box<dyn Session>, SessionError> {
        let parameters = &meta.model_info.parameters;
        let missing = || SessionError::Meta {
            key: "files",
            expected: format!("a model of the role `{ENCODER}`"),
            found: "none".to_owned(),
        };
        let part = parts.first().ok_or_else(missing)?;
        let context_length = inputs::size("context_length", parameters.context_length)?;
        let function = engine.open_model(part)?.load(names::MAIN)?;
        let instance = Instance::default().with_size(Size::CONTEXT_LENGTH, parameters.context_length);
        let instance = match parameters.hidden_size {
            Some(hidden_size) => instance.with_size(Size::HIDDEN_SIZE, hidden_size),
            None => instance,
        };
        conformity::check(&CONTRACT, part, names::MAIN, &function, &instance)?;
        let state = function.new_state()?;
        let capabilities = Capabilities {
            context_length,
            vocab_size: parameters.vocab_size.and_then(|size| usize::try_from(size).ok()),
            batch_size: None,
            step_size: context_length,
            verify_size: 1,
            gives: Gives::HiddenState,
            rewinds: Rewinds::Anywhere,
        };
        Ok(Box::new(EmbeddingSession { function, state, text: Vec::new(), capabilities }))
    }
}

struct EmbeddingSession {
    function: LoadedFunction,
    /// Holds nothing.
    state: LoadedState,
    /// Tokens so far.
    text: Vec<u32>,
    capabilities: Capabilities,
}

impl Session for EmbeddingSession {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn reset(&mut self) -> Result<(), SessionError> {
        self.text.clear();
        Ok(())
    }

    fn read_cache(&self) -> Result<Tensors, SessionError> {
        Ok(Tensors::new())
    }

    fn prefill(&mut self, tokens: &[u32], _position: usize) -> Result<(), SessionError> {
        Err(SessionError::BatchSize { expected: 0, found: tokens.len() })
    }

    fn step(&mut self, tokens: &[u32], position: usize, observe: &mut Observer<'_>) -> Result<Output, SessionError> {
        let Capabilities { context_length, vocab_size, .. } = self.capabilities;
        if position > self.text.len() {
            return Err(SessionError::Order { expected: self.text.len(), found: position });
        }
        if tokens.is_empty() || tokens.len() > context_length {
            return Err(SessionError::StepSize { most: context_length, found: tokens.len() });
        }
        let last = position + tokens.len() - 1;
        if last >= context_length {
            return Err(SessionError::ContextFull { position: last, context_length });
        }
        // Checked before they are kept.
        inputs::token_ids(tokens, vocab_size)?;
        self.text.truncate(position);
        self.text.extend_from_slice(tokens);
        let mut ids = self.text.clone();
        ids.resize(context_length, 0);
        let pooling = (0..context_length).map(|token| if token == last { 1.0 } else { 0.0 }).collect();
        let given = Tensors::from([
            (names::INPUT_IDS.to_owned(), inputs::token_ids(&ids, vocab_size)?),
            (names::POOLING.to_owned(), Tensor::floats(DataType::Float16, &[1, 1, context_length], pooling)?),
        ]);
        let mut outputs = self.function.predict(&given, &mut self.state)?;
        observe(&LABEL, &mut outputs);
        let state = outputs.get(names::HIDDEN_STATE);
        let state = state.ok_or_else(|| lacks(LABEL, names::MAIN, "output", names::HIDDEN_STATE))?;
        Ok(Output::HiddenState(state.as_floats()?.to_vec()))
    }
}
