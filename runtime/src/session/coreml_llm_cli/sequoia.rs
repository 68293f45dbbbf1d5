//! Drives the models of coreml-llm-cli's successor as that program does: the prompt at once with its own functions, then a token
//! at a time over caches that every call gives anew.

use std::path::Path;

use anec_mil::DataType;
use anec_mil::evaluate::Tensor;
use anec_schemas::contract::coreml_llm_cli::names;
use anec_schemas::contract::coreml_llm_cli::sequoia::{
    CACHE_PROCESSOR, CHUNK, CONTEXT, CONTRACT, EMBEDDINGS, GENERATION, LM_HEAD, LOGIT_PROCESSOR, PROGRAM, PROMPT,
};
use anec_schemas::contract::{Contract, Instance, Role, Size};
use anec_schemas::{MetaYaml, Parameters};

use super::files;
use super::store::Store;
use crate::backend::{Engine, LoadedFunction, LoadedState, Tensors};
use crate::part::{ModelPart, PartError, PartLabel};
use crate::session::driver::listed;
use crate::session::head::Head;
use crate::session::{
    Capabilities, Driver, Gives, Observer, Output, Rewinds, Session, SessionError, conformity, inputs, lacks,
};

/// The driver.
#[derive(Debug)]
pub(in crate::session) struct Sequoia;

impl Driver for Sequoia {
    fn contract(&self) -> &'static Contract {
        &CONTRACT
    }

    fn parts(&self, root: &Path, meta: &MetaYaml) -> Result<Vec<ModelPart>, PartError> {
        let parts = listed(&CONTRACT, root, meta)?;
        files::check(root, &parts, PROGRAM)?;
        Ok(parts)
    }

    fn open(
        &self,
        meta: &MetaYaml,
        parts: &[ModelPart],
        engine: &dyn Engine,
    ) -> Result<Box<dyn Session>, SessionError> {
        Ok(Box::new(Pipeline::open(&meta.model_info.parameters, parts, engine)?))
    }
}

/// Tokens of the context.
#[expect(clippy::cast_possible_truncation, reason = "512")]
const TOKENS: usize = CONTEXT as usize;

/// Tokens of a batch of the prompt where a caller wants batches; the program gives the prompt at once.
const BATCH: usize = 64;

/// A function with the state that its engine wants, which holds nothing.
struct Loaded {
    function: LoadedFunction,
    state: LoadedState,
}

/// A model with its functions for the prompt and for a token.
struct Model {
    label: PartLabel,
    prompt: Loaded,
    generation: Loaded,
    layers: usize,
}

struct Pipeline {
    embeddings: Model,
    chunks: Vec<Model>,
    head: Model,
    logit_processor: (PartLabel, Loaded),
    joined: Head,
    store: Store,
    capabilities: Capabilities,
    /// Tokens that were given.
    given: usize,
}

impl Pipeline {
    fn open(parameters: &Parameters, parts: &[ModelPart], engine: &dyn Engine) -> Result<Self, SessionError> {
        if parameters.context_length != CONTEXT {
            let (expected, found) = (CONTEXT.to_string(), parameters.context_length.to_string());
            return Err(SessionError::Meta { key: "context_length", expected, found });
        }
        let positions = inputs::size("max_positions", parameters.max_positions.unwrap_or(parameters.context_length))?;
        let instance = instance(parameters);
        let (mut embeddings, mut head, mut logit_processor, mut chunks) = (None, None, None, Vec::new());
        for part in parts {
            let model = engine.open_model(part)?;
            let layers = match part.label.role {
                CHUNK => parameters.chunk_layers.get(chunks.len()).copied().unwrap_or(0),
                _ => 0,
            };
            let instance = instance.clone().with_size(Size::CHUNK_LAYERS, layers);
            let load = |name: &'static str| -> Result<Loaded, SessionError> {
                let function = model.load(name)?;
                conformity::check(&CONTRACT, part, name, &function, &instance)?;
                Ok(Loaded { state: function.new_state()?, function })
            };
            match part.label.role {
                // Loaded as the program does, which never calls it.
                CACHE_PROCESSOR => drop(load(names::MAIN)?),
                LOGIT_PROCESSOR => logit_processor = Some((part.label, load(names::MAIN)?)),
                role => {
                    let layers = usize::try_from(layers).unwrap_or(0);
                    let (prompt, generation) = (load(PROMPT)?, load(GENERATION)?);
                    let model = Model { label: part.label, prompt, generation, layers };
                    match role {
                        EMBEDDINGS => embeddings = Some(model),
                        LM_HEAD => head = Some(model),
                        _ => chunks.push(model),
                    }
                }
            }
        }
        let missing = |role: Role| SessionError::Meta {
            key: "files",
            expected: format!("a model of the role `{role}`"),
            found: "none".to_owned(),
        };
        let capabilities = Capabilities {
            context_length: positions,
            vocab_size: parameters.vocab_size.and_then(|size| usize::try_from(size).ok()),
            batch_size: Some(BATCH),
            step_size: TOKENS,
            verify_size: 1,
            gives: Gives::Logits,
            rewinds: Rewinds::Never,
        };
        Ok(Self {
            embeddings: embeddings.ok_or_else(|| missing(EMBEDDINGS))?,
            chunks,
            head: head.ok_or_else(|| missing(LM_HEAD))?,
            logit_processor: logit_processor.ok_or_else(|| missing(LOGIT_PROCESSOR))?,
            joined: Head::Logits(vec![names::WHOLE_LOGITS.to_owned()]),
            store: Store::default(),
            capabilities,
            given: 0,
        })
    }

    /// Takes tokens: the first ones at once, all others alone.
    fn run(&mut self, tokens: &[u32], position: usize, observe: &mut Observer<'_>) -> Result<Output, SessionError> {
        let context_length = self.capabilities.context_length;
        let last = position.saturating_add(tokens.len().saturating_sub(1));
        if last >= context_length {
            return Err(SessionError::ContextFull { position: last, context_length });
        }
        if position != self.given {
            return Err(SessionError::Order { expected: self.given, found: position });
        }
        let wrong = SessionError::StepSize { most: TOKENS, found: tokens.len() };
        if position == 0 {
            return if tokens.is_empty() || tokens.len() > TOKENS {
                Err(wrong)
            } else {
                self.call(tokens, true, observe)
            };
        }
        let mut output = None;
        for token in tokens {
            output = Some(self.call(&[*token], false, observe)?);
        }
        output.ok_or(wrong)
    }

    /// One pass of the pipeline.
    fn call(&mut self, tokens: &[u32], is_prompt: bool, observe: &mut Observer<'_>) -> Result<Output, SessionError> {
        let padding = if is_prompt { TOKENS - tokens.len() } else { 0 };
        let ids: Vec<u32> = std::iter::repeat_n(0, padding).chain(tokens.iter().copied()).collect();
        let length = i32::try_from(self.given + tokens.len()).unwrap_or(i32::MAX);
        let block = Tensors::from([
            (names::INPUT_IDS.to_owned(), inputs::token_ids(&ids, self.capabilities.vocab_size)?),
            (names::FULL_SEQUENCE_LENGTH.to_owned(), Tensor::integers(DataType::Int32, &[1], vec![length])?),
        ]);
        let label = self.embeddings.label;
        let lookup = self.embeddings.of(is_prompt);
        let mut outputs = lookup.function.predict(&block, &mut lookup.state)?;
        observe(&label, &mut outputs);
        self.store.write(outputs);
        for (index, chunk) in self.chunks.iter_mut().enumerate() {
            let (label, layers) = (chunk.label, chunk.layers);
            let loaded = chunk.of(is_prompt);
            let given = self.store.of_chunk(index, loaded.function.signature());
            let mut outputs = loaded.function.predict(&given, &mut loaded.state)?;
            observe(&label, &mut outputs);
            let mut take =
                |name: &str| outputs.remove(name).ok_or_else(|| lacks(label, loaded.function_name(), "output", name));
            self.store.write(Tensors::from([(names::X.to_owned(), take(names::NEW_X)?)]));
            for layer in 0..layers {
                for (new, cache) in [(names::NEW_K_CACHE, names::K_CACHE), (names::NEW_V_CACHE, names::V_CACHE)] {
                    self.store.write_cache(index, format!("{cache}{layer}"), take(&format!("{new}{layer}"))?);
                }
            }
        }
        self.given += tokens.len();
        let label = self.head.label;
        let head = self.head.of(is_prompt);
        let given = self.store.shared(head.function.signature());
        let mut outputs = head.function.predict(&given, &mut head.state)?;
        observe(&label, &mut outputs);
        let output = self.joined.join((label, head.function_name()), &outputs, 0, 1)?;
        self.store.write(outputs);
        let (label, processor) = &mut self.logit_processor;
        let given = self.store.shared(processor.function.signature());
        let picked = processor.function.predict(&given, &mut processor.state)?;
        super::check_pick(*label, &picked, &output, 0)?;
        Ok(output)
    }
}

impl Loaded {
    /// What messages call it.
    fn function_name(&self) -> &'static str {
        if self.function.signature().inputs.iter().any(|input| input.name.starts_with(names::K_CACHE)) {
            GENERATION
        } else {
            PROMPT
        }
    }
}

impl Model {
    fn of(&mut self, is_prompt: bool) -> &mut Loaded {
        if is_prompt { &mut self.prompt } else { &mut self.generation }
    }
}

impl Session for Pipeline {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn reset(&mut self) -> Result<(), SessionError> {
        self.given = 0;
        self.store = Store::default();
        Ok(())
    }

    /// Rows before the first token are given as zeros: what padding leaves there is hidden by the mask.
    fn read_cache(&self) -> Result<Tensors, SessionError> {
        let cached = TOKENS - 1;
        let padding = cached.saturating_sub(self.given);
        let mut caches = self.store.caches();
        for cache in caches.values_mut() {
            let is_keys = cache.shape().get(1) == Some(&cached);
            let row = cache.shape().last().copied().unwrap_or(1).max(1);
            let elements = cache.floats_mut()?;
            if is_keys {
                elements.iter_mut().take(padding * row).for_each(|element| *element = 0.0);
            } else {
                let columns = elements.chunks_exact_mut(row).flat_map(|columns| columns.iter_mut().take(padding));
                columns.for_each(|element| *element = 0.0);
            }
        }
        Ok(caches)
    }

    fn prefill(&mut self, tokens: &[u32], position: usize) -> Result<(), SessionError> {
        if tokens.len() != BATCH {
            return Err(SessionError::BatchSize { expected: BATCH, found: tokens.len() });
        }
        self.run(tokens, position, &mut |_, _| {})?;
        Ok(())
    }

    fn step(&mut self, tokens: &[u32], position: usize, observe: &mut Observer<'_>) -> Result<Output, SessionError> {
        self.run(tokens, position, observe)
    }

    /// The prompt at once, as the program gives it.
    fn feed(&mut self, tokens: &[u32], position: usize) -> Result<Option<Output>, SessionError> {
        let mut output = None;
        let mut next = position;
        for tokens in tokens.chunks(TOKENS) {
            output = Some(self.run(tokens, next, &mut |_, _| {})?);
            next += tokens.len();
        }
        Ok(output)
    }
}

/// What the meta file says about the sizes of this contract, of all files.
fn instance(parameters: &Parameters) -> Instance {
    let mut instance = Instance::default().with_size(Size::CONTEXT_LENGTH, parameters.context_length);
    for (size, length) in [
        (Size::HIDDEN_SIZE, parameters.hidden_size),
        (Size::NUM_KEY_VALUE_HEADS, parameters.num_key_value_heads),
        (Size::HEAD_DIM, parameters.head_dim),
        (Size::VOCAB_SIZE, parameters.vocab_size),
    ] {
        if let Some(length) = length {
            instance = instance.with_size(size, length);
        }
    }
    instance
}
