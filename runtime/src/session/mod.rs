//! Drives a converted directory the way clients on a device do.
//!
//! Tokens go through the embeddings, then through every chunk with one shared state, then through the head. Full batches of
//! a prompt go through `prefill`; what remains, and every new token, goes through `infer`.
//!
//! Where chunks have one function of several rows, it does both. Fewer tokens than rows come first, and token 0 fills the
//! rest: what those rows leave in the cache lies behind the position, where the mask hides it until it is overwritten. At
//! the end of the context, where such rows have no place, earlier tokens are given again.

mod head;

use anec_mil::DataType;
use anec_mil::evaluate::{Tensor, TensorError};

use crate::backend::{Backend, BackendError, Function, Model, Signature, Tensors};
use crate::directory::{ModelDirectory, PartRole};

use head::Head;
pub use head::HeadOutput;
pub(crate) use head::argmax;

type FunctionOf<B> = <<B as Backend>::Model as Model>::Function;

/// What a state of the engine `B` is.
pub type StateOf<B> = <FunctionOf<B> as Function>::State;

/// Looks at the results of each model that a token passes, and may change them.
pub type Observer<'a> = dyn FnMut(PartRole, &mut Tensors) + 'a;

/// Names that models and their clients agree on.
///
/// # Source
/// ANEMLL's Python and Swift clients, 0.3.5.
pub mod names {
    /// Function of a model that has only one.
    pub const MAIN: &str = "main";
    /// Function of a chunk that takes one token.
    pub const INFER: &str = "infer";
    /// Function of a chunk that takes a batch of tokens.
    pub const PREFILL: &str = "prefill";
    /// Token ids: int32 `[1, tokens]`.
    pub const INPUT_IDS: &str = "input_ids";
    /// Activations: fp16 `[1, tokens, hidden_size]`.
    pub const HIDDEN_STATES: &str = "hidden_states";
    /// Activations that a chunk gives.
    pub const OUTPUT_HIDDEN_STATES: &str = "output_hidden_states";
    /// Positions of the tokens: int32 `[tokens]`.
    pub const POSITION_IDS: &str = "position_ids";
    /// Additive mask: fp16 `[1, 1, tokens, context_length]`.
    pub const CAUSAL_MASK: &str = "causal_mask";
    /// Position of the first token: int32 `[1]`.
    pub const CURRENT_POS: &str = "current_pos";
}

/// A model that cannot be driven.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The engine failed.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// A tensor does not fit.
    #[error(transparent)]
    Tensor(#[from] TensorError),
    /// A function lacks something that clients rely on.
    #[error("the function `{function}` of the {role} has no {kind} `{name}`")]
    Contract {
        /// What the model does.
        role: PartRole,
        /// The function.
        function: String,
        /// Input, output or state.
        kind: &'static str,
        /// What is missing.
        name: String,
    },
    /// The meta file contradicts the models.
    #[error("`{key}` of the meta file is {found}, expected {expected}")]
    Meta {
        /// The key.
        key: &'static str,
        /// What the models say.
        expected: String,
        /// What the file says.
        found: String,
    },
    /// No room is left for a token.
    #[error("position {position} is outside of the context of {context_length} tokens")]
    ContextFull {
        /// The position.
        position: usize,
        /// Tokens that the KV cache holds.
        context_length: usize,
    },
    /// A batch of the wrong size.
    #[error("a batch has {expected} tokens, got {found}")]
    BatchSize {
        /// Tokens of a batch.
        expected: usize,
        /// Tokens given.
        found: usize,
    },
    /// A token that the vocabulary does not have.
    #[error("token {token} is outside of the vocabulary of {vocab_size}")]
    Token {
        /// The token.
        token: u32,
        /// Tokens of the vocabulary.
        vocab_size: usize,
    },
    /// Logits were asked of a model that gives the best token only.
    #[error("the LM head gives the best token only (`argmax_in_model`), not the logits")]
    ArgmaxOnly,
}

struct Chunk<B: Backend> {
    infer: FunctionOf<B>,
    prefill: Option<FunctionOf<B>>,
}

/// A model that is ready, with the state of one conversation.
pub struct Session<B: Backend> {
    embeddings: FunctionOf<B>,
    chunks: Vec<Chunk<B>>,
    head: FunctionOf<B>,
    layout: Head,
    state: StateOf<B>,
    embeddings_state: StateOf<B>,
    context_length: usize,
    batch_size: usize,
    /// Rows of the one function that the chunks have, where they have one.
    query_length: Option<usize>,
    /// The token of each position, for the calls that give tokens again. A position that was skipped has token 0.
    tokens: Vec<u32>,
    vocab_size: Option<usize>,
}

impl<B: Backend> Session<B> {
    /// Opens every model of a directory and loads its functions.
    ///
    /// # Errors
    /// A model cannot be opened, or lacks what clients rely on.
    pub fn open(directory: &ModelDirectory, backend: &B) -> Result<Self, SessionError> {
        let parameters = &directory.meta().model_info.parameters;
        let context_length = size("context_length", parameters.context_length)?;
        let query_length = parameters.query_length.map(|rows| size("query_length", rows)).transpose()?;
        let batch_size = match query_length {
            Some(rows) => rows.min(context_length),
            None => size("batch_size", parameters.batch_size)?,
        };
        let (mut embeddings, mut head, mut chunks) = (None, None, Vec::<Chunk<B>>::new());
        for part in directory.parts() {
            let model = backend.open(part)?;
            match part.role {
                PartRole::Embeddings => embeddings = Some(model.load(names::MAIN)?),
                PartRole::LmHead => head = Some(model.load(names::MAIN)?),
                PartRole::Chunk(_) => {
                    // Clients run `prefill` where the meta file says that it writes wherever the position is.
                    let batched = parameters.prefill_dynamic_slice
                        && query_length.is_none()
                        && model.function_names().iter().any(|name| name == names::PREFILL);
                    let name = if query_length.is_some() { names::MAIN } else { names::INFER };
                    let infer = model.load(name)?;
                    check_chunk(part.role, name, infer.signature())?;
                    let prefill = if batched { Some(model.load(names::PREFILL)?) } else { None };
                    chunks.push(Chunk { infer, prefill });
                }
            }
        }
        let missing = |key| SessionError::Meta { key, expected: "a model".to_owned(), found: "none".to_owned() };
        let embeddings = embeddings.ok_or_else(|| missing("embeddings"))?;
        let head = head.ok_or_else(|| missing("lm_head"))?;
        require(PartRole::Embeddings, names::MAIN, "input", &embeddings.signature().inputs, names::INPUT_IDS)?;
        let layout = Head::of(parameters, head.signature())?;
        let first = chunks.first().ok_or_else(|| missing("ffn"))?;
        // One state serves all chunks and functions, as on a device.
        let state = first.infer.new_state()?;
        let embeddings_state = embeddings.new_state()?;
        let vocab_size = parameters.vocab_size.and_then(|size| usize::try_from(size).ok());
        Ok(Self {
            embeddings,
            chunks,
            head,
            layout,
            state,
            embeddings_state,
            context_length,
            batch_size,
            query_length,
            tokens: Vec::new(),
            vocab_size,
        })
    }

    /// Tokens that the KV cache holds.
    pub fn context_length(&self) -> usize {
        self.context_length
    }

    /// Tokens of the vocabulary, where `meta.yaml` tells it.
    pub fn vocab_size(&self) -> Option<usize> {
        self.vocab_size
    }

    /// Tokens that a prefill step takes.
    pub fn batch_size(&self) -> usize {
        self.batch_size
    }

    /// Whether prompts go through the chunks in batches.
    pub fn has_prefill(&self) -> bool {
        self.query_length.is_some() || self.chunks.iter().all(|chunk| chunk.prefill.is_some())
    }

    /// Whether the head gives the best token only.
    pub fn is_argmax(&self) -> bool {
        self.layout.is_argmax()
    }

    /// The tensors of the state, to be looked at.
    ///
    /// # Errors
    /// The engine cannot read them.
    pub fn read_state(&self) -> Result<Tensors, SessionError> {
        match self.chunks.first() {
            Some(chunk) => Ok(chunk.infer.read_state(&self.state)?),
            None => Ok(Tensors::new()),
        }
    }

    /// Forgets everything.
    ///
    /// # Errors
    /// The engine cannot make a state.
    pub fn reset(&mut self) -> Result<(), SessionError> {
        if let Some(chunk) = self.chunks.first() {
            self.state = chunk.infer.new_state()?;
        }
        self.tokens.clear();
        Ok(())
    }

    /// Takes one full batch into the state. The tokens get the positions from `position` on.
    ///
    /// # Errors
    /// The batch is not full, leaves the context, or the engine fails.
    pub fn prefill(&mut self, tokens: &[u32], position: usize) -> Result<(), SessionError> {
        if tokens.len() != self.batch_size {
            return Err(SessionError::BatchSize { expected: self.batch_size, found: tokens.len() });
        }
        let call = self.call(tokens, position)?;
        self.decode(&call.tokens, call.position, true, &mut |_, _| {})?;
        self.remember(tokens, position);
        Ok(())
    }

    /// Takes one token and gives what the head gives for the next.
    ///
    /// # Errors
    /// The position is outside of the context, or the engine fails.
    pub fn infer(&mut self, token: u32, position: usize) -> Result<HeadOutput, SessionError> {
        self.step(&[token], position, &mut |_, _| {})
    }

    /// As [`Self::infer`], and shows what each model gives to `observe`, which may change it for the next model.
    ///
    /// # Errors
    /// The position is outside of the context, or the engine fails.
    pub fn infer_observed(
        &mut self,
        token: u32,
        position: usize,
        observe: &mut Observer<'_>,
    ) -> Result<HeadOutput, SessionError> {
        self.step(&[token], position, observe)
    }

    /// Feeds tokens from `position` on as a client feeds a prompt: full batches through `prefill`, the rest and always the
    /// last token through `infer`, or all at once where there is one function. Gives what the head gives after the last;
    /// `None` where there are no tokens.
    ///
    /// # Errors
    /// The tokens leave the context, or the engine fails.
    pub fn feed(&mut self, tokens: &[u32], position: usize) -> Result<Option<HeadOutput>, SessionError> {
        let batches = if self.has_prefill() { tokens.len().saturating_sub(1) / self.batch_size } else { 0 };
        let (batched, rest) = tokens.split_at(batches * self.batch_size);
        for (index, batch) in batched.chunks(self.batch_size).enumerate() {
            self.prefill(batch, position + index * self.batch_size)?;
        }
        let mut output = None;
        let rows = self.query_length.map_or(1, |_| self.batch_size);
        for (index, tokens) in rest.chunks(rows).enumerate() {
            output = Some(self.step(tokens, position + batched.len() + index * rows, &mut |_, _| {})?);
        }
        Ok(output)
    }

    /// Takes as many tokens as `infer` has rows, or fewer, and gives what the head gives after the last.
    fn step(
        &mut self,
        tokens: &[u32],
        position: usize,
        observe: &mut Observer<'_>,
    ) -> Result<HeadOutput, SessionError> {
        let call = self.call(tokens, position)?;
        let hidden_states = self.decode(&call.tokens, call.position, false, observe)?;
        let inputs = Tensors::from([(names::HIDDEN_STATES.to_owned(), hidden_states)]);
        let mut outputs = self.head.predict(&inputs, &mut self.head.new_state()?)?;
        observe(PartRole::LmHead, &mut outputs);
        self.remember(tokens, position);
        self.layout.join(&outputs, call.last, call.tokens.len())
    }

    /// Fills the rows of a function for these tokens.
    fn call(&self, tokens: &[u32], position: usize) -> Result<Call, SessionError> {
        let last = position.saturating_add(tokens.len().saturating_sub(1));
        if last >= self.context_length {
            return Err(SessionError::ContextFull { position: last, context_length: self.context_length });
        }
        if self.query_length.is_none() {
            return Ok(Call { tokens: tokens.to_vec(), position, last: 0 });
        }
        let start = position.min(self.context_length - self.batch_size);
        let again = (start..position).map(|position| self.tokens.get(position).copied().unwrap_or(0));
        let mut rows: Vec<u32> = again.chain(tokens.iter().copied()).collect();
        rows.resize(self.batch_size, 0);
        Ok(Call { tokens: rows, position: start, last: last - start })
    }

    fn remember(&mut self, tokens: &[u32], position: usize) {
        if self.query_length.is_some() {
            self.tokens.resize(position, 0);
            self.tokens.extend_from_slice(tokens);
        }
    }

    fn decode(
        &mut self,
        tokens: &[u32],
        position: usize,
        batched: bool,
        observe: &mut Observer<'_>,
    ) -> Result<Tensor, SessionError> {
        let mut hidden_states = self.embed(tokens, observe)?;
        let (positions, mask) = self.positions_and_mask(position, tokens.len())?;
        let current = Tensor::integers(DataType::Int32, &[1], vec![index(position)])?;
        for (number, chunk) in (1..).zip(&self.chunks) {
            let function = if batched { chunk.prefill.as_ref().unwrap_or(&chunk.infer) } else { &chunk.infer };
            let inputs = Tensors::from([
                (names::HIDDEN_STATES.to_owned(), hidden_states),
                (names::POSITION_IDS.to_owned(), positions.clone()),
                (names::CAUSAL_MASK.to_owned(), mask.clone()),
                (names::CURRENT_POS.to_owned(), current.clone()),
            ]);
            let mut outputs = function.predict(&inputs, &mut self.state)?;
            observe(PartRole::Chunk(number), &mut outputs);
            hidden_states = outputs.remove(names::OUTPUT_HIDDEN_STATES).ok_or_else(|| SessionError::Contract {
                role: PartRole::Chunk(number),
                function: match self.query_length {
                    Some(_) => names::MAIN,
                    None if batched => names::PREFILL,
                    None => names::INFER,
                }
                .to_owned(),
                kind: "output",
                name: names::OUTPUT_HIDDEN_STATES.to_owned(),
            })?;
        }
        Ok(hidden_states)
    }

    fn embed(&mut self, tokens: &[u32], observe: &mut Observer<'_>) -> Result<Tensor, SessionError> {
        let mut ids = Vec::with_capacity(tokens.len());
        for token in tokens {
            let vocab_size = self.vocab_size.unwrap_or(usize::MAX);
            let id = i32::try_from(*token).ok().filter(|_| (*token as usize) < vocab_size);
            ids.push(id.ok_or(SessionError::Token { token: *token, vocab_size })?);
        }
        let ids = Tensor::integers(DataType::Int32, &[1, tokens.len()], ids)?;
        let inputs = Tensors::from([(names::INPUT_IDS.to_owned(), ids)]);
        let mut outputs = self.embeddings.predict(&inputs, &mut self.embeddings_state)?;
        observe(PartRole::Embeddings, &mut outputs);
        outputs.remove(names::HIDDEN_STATES).ok_or_else(|| SessionError::Contract {
            role: PartRole::Embeddings,
            function: names::MAIN.to_owned(),
            kind: "output",
            name: names::HIDDEN_STATES.to_owned(),
        })
    }

    fn positions_and_mask(&self, position: usize, count: usize) -> Result<(Tensor, Tensor), SessionError> {
        let positions: Vec<i32> = (position..position + count).map(index).collect();
        let mut mask = Vec::with_capacity(count * self.context_length);
        for row in position..position + count {
            mask.extend((0..self.context_length).map(|key| if key > row { f32::NEG_INFINITY } else { 0.0 }));
        }
        let positions = Tensor::integers(DataType::Int32, &[count], positions)?;
        let mask = Tensor::floats(DataType::Float16, &[1, 1, count, self.context_length], mask)?;
        Ok((positions, mask))
    }
}

/// One call of the chunks.
struct Call {
    tokens: Vec<u32>,
    /// Position of the first token.
    position: usize,
    /// The row whose logits are wanted.
    last: usize,
}

fn index(position: usize) -> i32 {
    i32::try_from(position).unwrap_or(i32::MAX)
}

/// A length of the meta file, which must be one that tensors can have.
fn size(key: &'static str, value: u64) -> Result<usize, SessionError> {
    const LARGEST: u64 = 1 << 20;
    let size = usize::try_from(value).ok().filter(|_| (1..=LARGEST).contains(&value));
    size.ok_or_else(|| SessionError::Meta { key, expected: format!("1 to {LARGEST}"), found: value.to_string() })
}

fn check_chunk(role: PartRole, function: &str, signature: &Signature) -> Result<(), SessionError> {
    for name in [names::HIDDEN_STATES, names::POSITION_IDS, names::CAUSAL_MASK, names::CURRENT_POS] {
        require(role, function, "input", &signature.inputs, name)?;
    }
    require(role, function, "output", &signature.outputs, names::OUTPUT_HIDDEN_STATES)
}

fn require(
    role: PartRole,
    function: &str,
    kind: &'static str,
    values: &[anec_mil::NamedValueType],
    name: &str,
) -> Result<(), SessionError> {
    if values.iter().any(|value| value.name == name) {
        return Ok(());
    }
    Err(SessionError::Contract { role, function: function.to_owned(), kind, name: name.to_owned() })
}
