//! Drives chunks without a Core ML state, as a client that keeps the KV cache itself: it gives every chunk the caches of its
//! layers, and copies the columns that come back to the positions of their tokens.
//!
//! A call uses the function of the fewest tokens that hold what is to be said. Ids behind the tokens are 0, and their columns
//! are not copied.

use anec_mil::DataType;
use anec_mil::evaluate::Tensor;
use anec_schemas::contract::host_cache::{CHUNK, CONTRACT, EMBEDDINGS, FUNCTIONS, LM_HEAD, MASKED, names};
use anec_schemas::contract::stateful::ARGMAX;
use anec_schemas::contract::{Contract, Instance, Size};
use anec_schemas::{MetaYaml, Parameters};

use super::head::Head;
use super::{Capabilities, Driver, Observer, Output, Rewinds, Session, SessionError, conformity, inputs, lacks};
use crate::backend::{Engine, LoadedFunction, LoadedModel, LoadedState, Tensors};
use crate::part::{ModelPart, PartLabel};

/// The driver.
#[derive(Debug)]
pub(super) struct HostCache;

impl Driver for HostCache {
    fn contract(&self) -> &'static Contract {
        &CONTRACT
    }

    fn open(
        &self,
        meta: &MetaYaml,
        parts: &[ModelPart],
        engine: &dyn Engine,
    ) -> Result<Box<dyn Session>, SessionError> {
        Ok(Box::new(HostCacheSession::open(&meta.model_info.parameters, parts, engine)?))
    }
}

/// A function with the state that its engine wants, which holds nothing.
struct Loaded {
    /// Tokens that it takes.
    tokens: usize,
    name: &'static str,
    function: LoadedFunction,
    state: LoadedState,
}

/// The functions of a model, those of the fewest tokens first.
struct Model {
    label: PartLabel,
    functions: Vec<Loaded>,
}

struct Chunk {
    model: Model,
    /// The caches of its layers, and what else the last call was given.
    inputs: Tensors,
}

struct HostCacheSession {
    embeddings: Model,
    chunks: Vec<Chunk>,
    head: Model,
    joined: Head,
    capabilities: Capabilities,
    /// How far the layers of each mask look back.
    windows: Vec<usize>,
    /// Names of what the embeddings give that chunks take.
    rotations: Vec<String>,
    /// Layers of each chunk.
    chunk_layers: Vec<usize>,
    /// Channels of a layer's keys, and of its values.
    channels: usize,
}

impl HostCacheSession {
    fn open(parameters: &Parameters, parts: &[ModelPart], engine: &dyn Engine) -> Result<Self, SessionError> {
        let sizes = |key: &'static str, values: &[u64]| {
            values.iter().map(|value| inputs::size(key, *value)).collect::<Result<Vec<usize>, _>>()
        };
        let context_length = inputs::size("context_length", parameters.context_length)?;
        let batch_size = inputs::size("batch_size", parameters.batch_size)?;
        let longest = FUNCTIONS.iter().filter_map(|(tokens, _)| usize::try_from(*tokens).ok()).max().unwrap_or(1);
        if batch_size != longest {
            let (expected, found) = (longest.to_string(), batch_size.to_string());
            return Err(SessionError::Meta { key: "batch_size", expected, found });
        }
        let channels = inputs::size("num_key_value_heads", parameters.num_key_value_heads.unwrap_or(0))?
            .saturating_mul(inputs::size("head_dim", parameters.head_dim.unwrap_or(0))?);
        let chunk_layers = sizes("chunk_layers", &parameters.chunk_layers)?;
        let windows = sizes("attention_windows", &parameters.attention_windows)?;
        let count = parts.iter().filter(|part| part.label.role == CHUNK).count();
        if count != chunk_layers.len() || count == 0 {
            let (expected, found) = (format!("a number for each of {count} chunks"), chunk_layers.len().to_string());
            return Err(SessionError::Meta { key: "chunk_layers", expected, found });
        }
        let instance = instance(parameters);
        let (mut embeddings, mut head, mut joined, mut chunks) = (None, None, None, Vec::new());
        for part in parts {
            let model = engine.open_model(part)?;
            if part.label.role == LM_HEAD {
                let function = model.load(names::MAIN)?;
                let found = Head::of(parameters, function.signature())?;
                let instance = instance.clone().with_size(Size::SPLIT_LM_HEAD, found.parts());
                conformity::check(&CONTRACT, part, names::MAIN, &function, &instance)?;
                let state = function.new_state()?;
                let functions = vec![Loaded { tokens: 1, name: names::MAIN, function, state }];
                (head, joined) = (Some(Model { label: part.label, functions }), Some(found));
                continue;
            }
            let layers = parameters.chunk_layers.get(chunks.len()).copied().unwrap_or(0);
            let instance = instance.clone().with_size(Size::CHUNK_LAYERS, layers);
            let functions = load(part, &model, &instance)?;
            let model = Model { label: part.label, functions };
            if part.label.role == EMBEDDINGS {
                embeddings = Some(model);
            } else {
                chunks.push(Chunk { model, inputs: Tensors::new() });
            }
        }
        let missing = |role: &str| SessionError::Meta {
            key: "files",
            expected: format!("a model of the role `{role}`"),
            found: "none".to_owned(),
        };
        let joined = joined.ok_or_else(|| missing(LM_HEAD.0))?;
        let numbers = 1..=parameters.rotary_dims.len();
        let capabilities = Capabilities {
            context_length,
            vocab_size: parameters.vocab_size.and_then(|size| usize::try_from(size).ok()),
            batch_size: Some(batch_size),
            step_size: batch_size,
            verify_size: 1,
            gives: joined.gives(),
            rewinds: Rewinds::Anywhere,
        };
        let mut session = Self {
            embeddings: embeddings.ok_or_else(|| missing(EMBEDDINGS.0))?,
            chunks,
            head: head.ok_or_else(|| missing(LM_HEAD.0))?,
            joined,
            capabilities,
            windows,
            rotations: numbers
                .flat_map(|number| [names::COS, names::SIN].map(|name| format!("{name}{number}")))
                .collect(),
            chunk_layers,
            channels,
        };
        session.reset()?;
        Ok(session)
    }

    /// Takes tokens through all layers, and gives the hidden states of the call's rows.
    fn run(&mut self, tokens: &[u32], position: usize, observe: &mut Observer<'_>) -> Result<Tensor, SessionError> {
        let Capabilities { context_length, vocab_size, .. } = self.capabilities;
        let last = position.saturating_add(tokens.len().saturating_sub(1));
        if last >= context_length {
            return Err(SessionError::ContextFull { position: last, context_length });
        }
        let lookup = self.embeddings.of(tokens.len())?;
        let rows = lookup.tokens;
        let mut ids = tokens.to_vec();
        ids.resize(rows, 0);
        // Rows without a token need a position that the tables have.
        let positions = (position..position + rows).map(|position| position.min(context_length - 1));
        let positions = positions.map(|position| i32::try_from(position).unwrap_or(i32::MAX)).collect();
        let looked_up = Tensors::from([
            (names::INPUT_IDS.to_owned(), inputs::token_ids(&ids, vocab_size)?),
            (names::POSITION_IDS.to_owned(), Tensor::integers(DataType::Int32, &[rows], positions)?),
        ]);
        let mut outputs = lookup.function.predict(&looked_up, &mut lookup.state)?;
        let function = lookup.name;
        observe(&self.embeddings.label, &mut outputs);
        let mut hidden_states = take(&mut outputs, self.embeddings.label, function, names::HIDDEN_STATES)?;
        let mut shared = Vec::new();
        for name in &self.rotations {
            shared.push((name.clone(), take(&mut outputs, self.embeddings.label, function, name)?));
        }
        for (number, window) in (1..).zip(&self.windows) {
            let mask = mask(position, rows, context_length, *window)?;
            shared.push((format!("{}{number}", names::MASK), mask));
        }
        for (chunk, layers) in self.chunks.iter_mut().zip(&self.chunk_layers) {
            chunk.inputs.insert(names::HIDDEN_STATES.to_owned(), hidden_states);
            chunk.inputs.extend(shared.iter().cloned());
            let loaded = chunk.model.of(tokens.len())?;
            let mut outputs = loaded.function.predict(&chunk.inputs, &mut loaded.state)?;
            let function = loaded.name;
            observe(&chunk.model.label, &mut outputs);
            hidden_states = take(&mut outputs, chunk.model.label, function, names::OUTPUT_HIDDEN_STATES)?;
            for (new, cache) in [(names::NEW_K_CACHE, names::K_CACHE), (names::NEW_V_CACHE, names::V_CACHE)] {
                for layer in 0..*layers {
                    let columns = take(&mut outputs, chunk.model.label, function, &format!("{new}{layer}"))?;
                    let cache = chunk.inputs.get_mut(&format!("{cache}{layer}")).expect("every layer has its caches");
                    commit(cache, &columns, position, tokens.len(), context_length)?;
                }
            }
        }
        Ok(hidden_states)
    }
}

impl Model {
    /// The function of the fewest tokens that hold so many.
    fn of(&mut self, count: usize) -> Result<&mut Loaded, SessionError> {
        let most = self.functions.last().map_or(0, |loaded| loaded.tokens);
        let found = self.functions.iter_mut().find(|loaded| loaded.tokens >= count && count > 0);
        found.ok_or(SessionError::StepSize { most, found: count })
    }
}

/// Loads the functions of embeddings or a chunk.
fn load(part: &ModelPart, model: &LoadedModel, instance: &Instance) -> Result<Vec<Loaded>, SessionError> {
    let mut functions = Vec::with_capacity(FUNCTIONS.len());
    for (tokens, name) in FUNCTIONS {
        let function = model.load(name)?;
        conformity::check(&CONTRACT, part, name, &function, instance)?;
        let state = function.new_state()?;
        functions.push(Loaded { tokens: inputs::size("batch_size", tokens)?, name, function, state });
    }
    Ok(functions)
}

/// The mask of a call whose tokens have the positions from `position` on, fp16 `[1, 1, rows, context_length + rows]`: each
/// attends to the cache before the call and to the call up to itself, as far back as the window reaches.
fn mask(position: usize, rows: usize, context_length: usize, window: usize) -> Result<Tensor, SessionError> {
    let mut mask = Vec::with_capacity(rows * (context_length + rows));
    let value = |attends: bool| if attends { 0.0 } else { MASKED };
    for row in 0..rows {
        mask.extend((0..context_length).map(|key| value(key < position && key + window > position + row)));
        mask.extend((0..rows).map(|key| value(key <= row && key + window > row)));
    }
    Ok(Tensor::floats(DataType::Float16, &[1, 1, rows, context_length + rows], mask)?)
}

/// Copies the first `count` columns of a call to their positions.
fn commit(
    cache: &mut Tensor,
    columns: &Tensor,
    position: usize,
    count: usize,
    context_length: usize,
) -> Result<(), SessionError> {
    let width = columns.shape().last().copied().unwrap_or(0).max(1);
    let columns = columns.as_floats()?;
    let channels = cache.floats_mut()?.chunks_exact_mut(context_length);
    for (kept, new) in channels.zip(columns.chunks_exact(width)) {
        for (kept, new) in kept.iter_mut().skip(position).zip(new.iter().take(count)) {
            *kept = *new;
        }
    }
    Ok(())
}

fn take(outputs: &mut Tensors, label: PartLabel, function: &str, name: &str) -> Result<Tensor, SessionError> {
    outputs.remove(name).ok_or_else(|| lacks(label, function, "output", name))
}

impl Session for HostCacheSession {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn reset(&mut self) -> Result<(), SessionError> {
        let shape = [1, self.channels, 1, self.capabilities.context_length];
        for (chunk, layers) in self.chunks.iter_mut().zip(&self.chunk_layers) {
            for name in [names::K_CACHE, names::V_CACHE] {
                for layer in 0..*layers {
                    chunk.inputs.insert(format!("{name}{layer}"), Tensor::zeros(DataType::Float16, &shape)?);
                }
            }
        }
        Ok(())
    }

    fn read_cache(&self) -> Result<Tensors, SessionError> {
        let mut caches = Tensors::new();
        for (number, (chunk, layers)) in (1..).zip(self.chunks.iter().zip(&self.chunk_layers)) {
            for name in [names::K_CACHE, names::V_CACHE] {
                for layer in 0..*layers {
                    let cache = chunk.inputs.get(&format!("{name}{layer}")).expect("every layer has its caches");
                    caches.insert(format!("chunk_{number}_{name}{layer}"), cache.clone());
                }
            }
        }
        Ok(caches)
    }

    fn prefill(&mut self, tokens: &[u32], position: usize) -> Result<(), SessionError> {
        let expected = self.capabilities.batch_size.unwrap_or(0);
        if tokens.len() != expected {
            return Err(SessionError::BatchSize { expected, found: tokens.len() });
        }
        self.run(tokens, position, &mut |_, _| {})?;
        Ok(())
    }

    fn step(&mut self, tokens: &[u32], position: usize, observe: &mut Observer<'_>) -> Result<Output, SessionError> {
        let hidden_states = self.run(tokens, position, observe)?;
        let channels = hidden_states.shape().last().copied().unwrap_or(0);
        let row =
            hidden_states.as_floats()?.chunks_exact(channels.max(1)).nth(tokens.len() - 1).unwrap_or_default().to_vec();
        let row = Tensor::floats(DataType::Float16, &[1, 1, channels], row)?;
        let label = self.head.label;
        let head = self.head.of(1)?;
        let mut outputs =
            head.function.predict(&Tensors::from([(names::HIDDEN_STATES.to_owned(), row)]), &mut head.state)?;
        observe(&label, &mut outputs);
        self.joined.join((label, names::MAIN), &outputs, 0, 1)
    }
}

/// What the meta file says about the sizes of this contract, of all files.
fn instance(parameters: &Parameters) -> Instance {
    let numbers = |sizes: &[u64]| sizes.len() as u64;
    let mut instance = Instance::default()
        .with_size(Size::CONTEXT_LENGTH, parameters.context_length)
        .with_size(Size::ATTENTION_MASKS, numbers(&parameters.attention_windows))
        .with_size(Size::ROTARY_EMBEDDINGS, numbers(&parameters.rotary_dims))
        .with_sizes(Size::ROTARY_DIMS, &parameters.rotary_dims)
        .with_variant(ARGMAX, parameters.argmax_in_model);
    if !parameters.lm_head_chunk_sizes.is_empty() {
        instance = instance.with_sizes(Size::LM_HEAD_CHUNK_SIZES, &parameters.lm_head_chunk_sizes);
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_attends_to_the_cache_before_the_call_and_to_the_call_up_to_itself() {
        let mask = mask(2, 2, 4, 4).expect("a small mask");
        assert_eq!(mask.shape(), [1, 1, 2, 6]);
        let attends: Vec<bool> = mask.as_floats().expect("floats").iter().map(|value| *value == 0.0).collect();
        assert_eq!(attends[..6], [true, true, false, false, true, false]);
        assert_eq!(attends[6..], [true, true, false, false, true, true]);
    }

    #[test]
    fn a_window_of_two_shows_a_token_itself_and_its_predecessor() {
        let mask = mask(2, 2, 4, 2).expect("a small mask");
        let attends: Vec<bool> = mask.as_floats().expect("floats").iter().map(|value| *value == 0.0).collect();
        assert_eq!(attends[..6], [false, true, false, false, true, false]);
        assert_eq!(attends[6..], [false, false, false, false, true, true]);
    }

    #[test]
    fn columns_of_tokens_are_copied_and_those_behind_them_are_not() {
        let floats = |shape: &[usize], values: &[f32]| {
            Tensor::floats(DataType::Float16, shape, values.to_vec()).expect("as many as the shape has")
        };
        let mut cache = floats(&[1, 2, 1, 4], &[0.0; 8]);
        let columns = floats(&[1, 2, 1, 2], &[1.0, 2.0, 3.0, 4.0]);
        commit(&mut cache, &columns, 2, 1, 4).expect("floats");
        assert_eq!(*cache.as_floats().expect("floats"), [0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 3.0, 0.0]);
    }
}
