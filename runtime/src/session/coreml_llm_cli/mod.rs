//! Drives the models of coreml-llm-cli as that program does: a block of 64 tokens at a time, computed anew for every token
//! until it is full, over caches that a model shifts when it is.

mod files;
pub(super) mod sequoia;
mod store;

use std::path::Path;

use anec_mil::DataType;
use anec_mil::evaluate::Tensor;
use anec_schemas::contract::coreml_llm_cli::{
    BLOCK, CACHE_PROCESSOR, CHUNK, CONTRACT, EMBEDDINGS, LM_HEAD, LOGIT_PROCESSOR, PROGRAM, WHOLE_HEAD, buffers, names,
};
use anec_schemas::contract::{Contract, Instance, Role, Size};
use anec_schemas::{MetaYaml, Parameters};

use self::store::Store;
use super::driver::listed;
use super::head::Head;
use super::stateless::Stateless;
use super::{Capabilities, Driver, Gives, Observer, Output, Rewinds, Session, SessionError, inputs, lacks};
use crate::backend::{Engine, Tensors};
use crate::part::{ModelPart, PartError, PartLabel};

/// The driver.
#[derive(Debug)]
pub(super) struct CoremlLlmCli;

impl Driver for CoremlLlmCli {
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

/// Decoder layers.
struct Chunk {
    model: Stateless,
    layers: usize,
    /// The rows of a block that is full, until the next call, before which they are put behind the caches.
    full_block: Option<Tensors>,
}

struct Pipeline {
    embeddings: Stateless,
    chunks: Vec<Chunk>,
    head: Stateless,
    cache_processor: Stateless,
    logit_processor: Stateless,
    joined: Head,
    store: Store,
    capabilities: Capabilities,
    cache_length: usize,
    channels: usize,
    /// Position of the first token of the block.
    start: usize,
    /// Tokens of the block.
    block: Vec<u32>,
}

/// Tokens of a block.
#[expect(clippy::cast_possible_truncation, reason = "64")]
const TOKENS: usize = BLOCK as usize;

impl Pipeline {
    fn open(parameters: &Parameters, parts: &[ModelPart], engine: &dyn Engine) -> Result<Self, SessionError> {
        let context_length = inputs::size("context_length", parameters.context_length)?;
        let wrong = |key, expected: String, found: u64| SessionError::Meta { key, expected, found: found.to_string() };
        if !context_length.is_multiple_of(TOKENS) || context_length < 2 * TOKENS {
            let expected = format!("a multiple of {BLOCK}, at least {}", 2 * BLOCK);
            return Err(wrong("context_length", expected, parameters.context_length));
        }
        if parameters.batch_size != BLOCK {
            return Err(wrong("batch_size", BLOCK.to_string(), parameters.batch_size));
        }
        let positions = inputs::size("max_positions", parameters.max_positions.unwrap_or(parameters.context_length))?;
        let channels = inputs::size("num_key_value_heads", parameters.num_key_value_heads.unwrap_or(0))?
            .saturating_mul(inputs::size("head_dim", parameters.head_dim.unwrap_or(0))?);
        let count = parts.iter().filter(|part| part.label.role == CHUNK).count();
        if count != parameters.chunk_layers.len() {
            let expected = format!("a number for each of {count} chunks");
            return Err(wrong("chunk_layers", expected, parameters.chunk_layers.len() as u64));
        }
        let instance = instance(parameters);
        let mut interfaces = Vec::with_capacity(parts.len());
        let mut chunks = Vec::with_capacity(count);
        let mut others = Vec::new();
        for part in parts {
            let layers = match part.label.role {
                CHUNK => parameters.chunk_layers.get(chunks.len()).copied().unwrap_or(0),
                _ => 0,
            };
            let instance = instance.clone().with_size(Size::CHUNK_LAYERS, layers);
            let model = Stateless::open(&CONTRACT, (part, names::MAIN), engine, &instance)?;
            interfaces.push(store::interface(part, model.function.signature()));
            match part.label.role {
                CHUNK => {
                    let layers = inputs::size("chunk_layers", layers)?;
                    chunks.push(Chunk { model, layers, full_block: None });
                }
                _ => others.push(model),
            }
        }
        buffers::check(&interfaces)?;
        let mut only = |role: Role| {
            let found = others.iter().position(|model| model.label.role == role).map(|index| others.remove(index));
            found.ok_or_else(|| SessionError::Meta {
                key: "files",
                expected: format!("a model of the role `{role}`"),
                found: "none".to_owned(),
            })
        };
        let head = only(LM_HEAD)?;
        let logits: Vec<String> = match head.function.signature().outputs.len() {
            1 => vec![names::WHOLE_LOGITS.to_owned()],
            parts => (0..parts).map(|number| format!("{}{number}", names::LOGITS)).collect(),
        };
        let capabilities = Capabilities {
            // The last block is given with its padding.
            context_length: positions / TOKENS * TOKENS,
            vocab_size: parameters.vocab_size.and_then(|size| usize::try_from(size).ok()),
            batch_size: Some(TOKENS),
            step_size: TOKENS,
            verify_size: 1,
            gives: Gives::Logits,
            rewinds: Rewinds::Never,
        };
        let mut pipeline = Self {
            embeddings: only(EMBEDDINGS)?,
            cache_processor: only(CACHE_PROCESSOR)?,
            logit_processor: only(LOGIT_PROCESSOR)?,
            head,
            chunks,
            joined: Head::Logits(logits),
            store: Store::default(),
            capabilities,
            cache_length: context_length - TOKENS,
            channels,
            start: 0,
            block: Vec::new(),
        };
        pipeline.reset()?;
        Ok(pipeline)
    }

    /// Takes tokens of the block and of those behind it, and computes every block that changes. Gives the logits after the
    /// last token where they are wanted.
    fn run(
        &mut self,
        tokens: &[u32],
        position: usize,
        wants_logits: bool,
        observe: &mut Observer<'_>,
    ) -> Result<Option<Output>, SessionError> {
        let context_length = self.capabilities.context_length;
        let last = position.saturating_add(tokens.len().saturating_sub(1));
        if last >= context_length {
            return Err(SessionError::ContextFull { position: last, context_length });
        }
        let next = self.start + self.block.len();
        if !(self.start..=next).contains(&position) {
            return Err(SessionError::Order { expected: next, found: position });
        }
        // The block is computed anew whatever it held.
        self.block.truncate(position - self.start);
        let mut rest = tokens;
        let mut output = None;
        while !rest.is_empty() {
            let (own, behind) = rest.split_at(rest.len().min(TOKENS - self.block.len()));
            rest = behind;
            self.block.extend_from_slice(own);
            let is_last = rest.is_empty();
            output = self.run_block(wants_logits && is_last, observe)?;
            if self.block.len() == TOKENS {
                self.start += TOKENS;
                self.block.clear();
            }
        }
        Ok(output)
    }

    /// One pass of the pipeline over the block.
    fn run_block(&mut self, wants_logits: bool, observe: &mut Observer<'_>) -> Result<Option<Output>, SessionError> {
        let mut ids = self.block.clone();
        ids.resize(TOKENS, 0);
        let length = i32::try_from(self.start + TOKENS).unwrap_or(i32::MAX);
        let block = Tensors::from([
            (names::INPUT_IDS.to_owned(), inputs::token_ids(&ids, self.capabilities.vocab_size)?),
            (names::FULL_SEQUENCE_LENGTH.to_owned(), Tensor::integers(DataType::Int32, &[1], vec![length])?),
        ]);
        let mut outputs = self.embeddings.predict(&block)?;
        observe(&self.embeddings.label, &mut outputs);
        self.store.write(outputs);
        for (index, chunk) in self.chunks.iter_mut().enumerate() {
            if let Some(rows) = chunk.full_block.take() {
                shift(&mut self.cache_processor, &mut self.store, index, chunk.layers, rows)?;
            }
            let mut outputs = chunk.model.predict(&self.store.of_chunk(index, chunk.model.function.signature()))?;
            observe(&chunk.model.label, &mut outputs);
            let x = outputs.remove(names::NEW_X);
            let x = x.ok_or_else(|| lacks(chunk.model.label, names::MAIN, "output", names::NEW_X))?;
            self.store.write(Tensors::from([(names::X.to_owned(), x)]));
            chunk.full_block = (self.block.len() == TOKENS).then_some(outputs);
        }
        if !wants_logits {
            return Ok(None);
        }
        let inputs = self.store.shared(self.head.function.signature());
        let mut outputs = self.head.predict(&inputs)?;
        observe(&self.head.label, &mut outputs);
        let row = self.block.len() - 1;
        let output = self.joined.join((self.head.label, names::MAIN), &outputs, row, TOKENS)?;
        self.store.write(outputs);
        self.check_token(&output, row)?;
        Ok(Some(output))
    }

    /// Whether the logit processor picks a token that has no less than the best logit: it is what the program goes by.
    fn check_token(&mut self, output: &Output, row: usize) -> Result<(), SessionError> {
        let inputs = self.store.shared(self.logit_processor.function.signature());
        let picked = self.logit_processor.predict(&inputs)?;
        check_pick(self.logit_processor.label, &picked, output, row)
    }
}

/// Whether what a logit processor gave for a row has no less than the best logit.
fn check_pick(label: PartLabel, picked: &Tensors, output: &Output, row: usize) -> Result<(), SessionError> {
    let missing = || lacks(label, names::MAIN, "output", names::ARGMAX);
    let picked = picked.get(names::ARGMAX).ok_or_else(missing)?.as_integers()?.get(row).copied();
    let (Output::Logits(logits), Some(best)) = (output, output.best()) else { return Ok(()) };
    let logit = |token: usize| logits.get(token).copied();
    let token = picked.and_then(|token| usize::try_from(token).ok());
    // Logits that are no numbers compare with nothing.
    match token.and_then(logit).zip(logit(best as usize)) {
        Some((own, best)) if own < best => {}
        Some(_) => return Ok(()),
        None => {}
    }
    let found = picked.map_or_else(|| "nothing".to_owned(), |token| token.to_string());
    Err(SessionError::Processor { found, expected: best })
}

/// Puts the rows of a full block behind the caches of a chunk.
fn shift(
    processor: &mut Stateless,
    store: &mut Store,
    chunk: usize,
    layers: usize,
    mut rows: Tensors,
) -> Result<(), SessionError> {
    for layer in 0..layers {
        let mut inputs = Tensors::new();
        let caches = [(names::K_CACHE, names::OLD_KEYS), (names::V_CACHE, names::OLD_VALUES)];
        for (name, given) in caches {
            inputs.insert(given.to_owned(), store.cache(chunk, &format!("{name}{layer}")));
        }
        for (name, given) in [(names::NEW_K_CACHE, names::NEW_KEYS), (names::NEW_V_CACHE, names::NEW_VALUES)] {
            let name = format!("{name}{layer}");
            let own = rows.remove(&name).ok_or_else(|| lacks(processor.label, names::MAIN, "input", &name))?;
            inputs.insert(given.to_owned(), own);
        }
        let mut outputs = processor.predict(&inputs)?;
        for ((name, _), made) in caches.into_iter().zip([names::UPDATED_KEYS, names::UPDATED_VALUES]) {
            let updated = outputs.remove(made);
            let updated = updated.ok_or_else(|| lacks(processor.label, names::MAIN, "output", made))?;
            store.write_cache(chunk, format!("{name}{layer}"), updated);
        }
    }
    Ok(())
}

impl Session for Pipeline {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn reset(&mut self) -> Result<(), SessionError> {
        self.start = 0;
        self.block.clear();
        self.store = Store::default();
        let keys = Tensor::zeros(DataType::Float16, &[1, self.cache_length, 1, self.channels])?;
        let values = Tensor::zeros(DataType::Float16, &[1, self.channels, 1, self.cache_length])?;
        for (index, chunk) in self.chunks.iter_mut().enumerate() {
            chunk.full_block = None;
            for layer in 0..chunk.layers {
                self.store.write_cache(index, format!("{}{layer}", names::K_CACHE), keys.clone());
                self.store.write_cache(index, format!("{}{layer}", names::V_CACHE), values.clone());
            }
        }
        Ok(())
    }

    fn read_cache(&self) -> Result<Tensors, SessionError> {
        Ok(self.store.caches())
    }

    fn prefill(&mut self, tokens: &[u32], position: usize) -> Result<(), SessionError> {
        if tokens.len() != TOKENS {
            return Err(SessionError::BatchSize { expected: TOKENS, found: tokens.len() });
        }
        self.run(tokens, position, false, &mut |_, _| {})?;
        Ok(())
    }

    fn step(&mut self, tokens: &[u32], position: usize, observe: &mut Observer<'_>) -> Result<Output, SessionError> {
        let output = if tokens.len() > TOKENS { None } else { self.run(tokens, position, true, observe)? };
        output.ok_or(SessionError::StepSize { most: TOKENS, found: tokens.len() })
    }
}

/// What the meta file says about the sizes of this contract, of all files.
fn instance(parameters: &Parameters) -> Instance {
    let parts = &parameters.lm_head_chunk_sizes;
    let mut instance = Instance::default()
        .with_size(Size::CONTEXT_LENGTH, parameters.context_length)
        .with_size(Size::CACHE_LENGTH, parameters.context_length.saturating_sub(BLOCK))
        .with_size(Size::BATCH_SIZE, parameters.batch_size)
        .with_size(Size::SPLIT_LM_HEAD, parts.len() as u64)
        .with_sizes(Size::LM_HEAD_CHUNK_SIZES, parts)
        .with_variant(WHOLE_HEAD, parts.len() == 1);
    for (size, length) in [
        (Size::HIDDEN_SIZE, parameters.hidden_size),
        (Size::NUM_KEY_VALUE_HEADS, parameters.num_key_value_heads),
        (Size::HEAD_DIM, parameters.head_dim),
    ] {
        if let Some(length) = length {
            instance = instance.with_size(size, length);
        }
    }
    instance
}
