//! A converted directory as one language model: tokens go in, logits come out.
//!
//! Directories differ in what their programs take and in who keeps the KV cache. What they and their clients agree on is a
//! [`Contract`](anec_schemas::contract::Contract); its [`Driver`] calls the programs as such a client does, and gives a
//! [`Session`], which is all that the rest of this crate knows. A driver knows no architecture and no engine.

mod conformity;
mod coreml_llm_cli;
mod driver;
mod embedding;
mod head;
mod host_cache;
mod inputs;
mod kernels;
mod monolithic;
mod output;
mod prefill;
mod rewinds;
mod stateful;
mod stateless;
mod windows;

use anec_mil::evaluate::TensorError;
use anec_schemas::contract::ContractError;
use anec_schemas::contract::coreml_llm_cli::buffers::BufferError;

use crate::backend::{BackendError, Tensors};
use crate::part::PartLabel;

pub use conformity::Breach;
pub use driver::Driver;
pub(crate) use driver::driver_of;
pub(crate) use output::argmax;
pub use output::{Gives, Output};
pub use rewinds::Rewinds;

/// Looks at the results of each model that a token passes, in that order, and may change them for the next model.
pub type Observer<'a> = dyn FnMut(&PartLabel, &mut Tensors) + 'a;

/// What a session can do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// Tokens of a conversation: positions are below it. A cache that forgets may hold fewer.
    pub context_length: usize,
    /// Tokens of the vocabulary, where the directory tells it.
    pub vocab_size: Option<usize>,
    /// Tokens of a [`prefill`](Session::prefill); `None` where prompts go in steps.
    pub batch_size: Option<usize>,
    /// Most tokens of a [`step`](Session::step).
    pub step_size: usize,
    /// Most tokens of which one call says what follows each; 1 where [`verify`](Session::verify) takes them one by one.
    pub verify_size: usize,
    /// What a step gives.
    pub gives: Gives,
    /// How far a conversation can go back.
    pub rewinds: Rewinds,
}

/// A model that is ready, with the KV cache of one conversation.
pub trait Session {
    /// What it can do.
    fn capabilities(&self) -> &Capabilities;

    /// Forgets everything.
    ///
    /// # Errors
    /// The engine cannot make a state.
    fn reset(&mut self) -> Result<(), SessionError>;

    /// The tensors of the KV cache by name, to be looked at, whoever keeps them. None where there is no cache.
    ///
    /// # Errors
    /// The engine cannot read them.
    fn read_cache(&self) -> Result<Tensors, SessionError>;

    /// Takes one full batch into the cache. The tokens get the positions from `position` on.
    ///
    /// # Errors
    /// The batch is not full, leaves the context, or the engine fails.
    fn prefill(&mut self, tokens: &[u32], position: usize) -> Result<(), SessionError>;

    /// Takes tokens, [`step_size`](Capabilities::step_size) at most, and gives what the model says after the last. Every
    /// model shows its results to `observe`.
    ///
    /// # Errors
    /// There are no tokens or too many, they leave the context, or the engine fails.
    fn step(&mut self, tokens: &[u32], position: usize, observe: &mut Observer<'_>) -> Result<Output, SessionError>;

    /// Takes one token and gives what the model says after it.
    ///
    /// # Errors
    /// The position is outside of the context, or the engine fails.
    fn infer(&mut self, token: u32, position: usize) -> Result<Output, SessionError> {
        self.step(&[token], position, &mut |_, _| {})
    }

    /// Takes tokens and gives what the model says after each: in one call where they are
    /// [`verify_size`](Capabilities::verify_size) at most and there is room for it, else in a call for each.
    ///
    /// # Errors
    /// As [`step`](Self::step).
    fn verify(&mut self, tokens: &[u32], position: usize) -> Result<Vec<Output>, SessionError> {
        (position..).zip(tokens).map(|(position, token)| self.infer(*token, position)).collect()
    }

    /// Feeds tokens from `position` on as a client feeds a prompt: full batches at once, the rest and always the last token
    /// in steps. Gives what the model says after the last; `None` where there are no tokens.
    ///
    /// # Errors
    /// The tokens leave the context, or the engine fails.
    fn feed(&mut self, tokens: &[u32], position: usize) -> Result<Option<Output>, SessionError> {
        let Capabilities { batch_size, step_size, .. } = *self.capabilities();
        let batch_size = batch_size.filter(|size| *size > 0).unwrap_or(usize::MAX);
        let batched = tokens.len().saturating_sub(1) / batch_size * batch_size;
        let (batched, rest) = tokens.split_at_checked(batched).unwrap_or((&[], tokens));
        let mut next = position;
        for batch in batched.chunks(batch_size) {
            self.prefill(batch, next)?;
            next += batch.len();
        }
        let mut output = None;
        for tokens in rest.chunks(step_size.max(1)) {
            output = Some(self.step(tokens, next, &mut |_, _| {})?);
            next += tokens.len();
        }
        Ok(output)
    }
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
    /// The directory is not what its contract allows.
    #[error(transparent)]
    Contract(#[from] ContractError),
    /// A function lacks something that clients rely on.
    #[error("the function `{function}` of the {label} has no {kind} `{name}`")]
    Lacks {
        /// What the model does.
        label: PartLabel,
        /// The function.
        function: String,
        /// Input, output or state.
        kind: &'static str,
        /// What is missing.
        name: String,
    },
    /// A function has an input, state or output that is not its contract's.
    #[error(transparent)]
    Breach(#[from] Box<Breach>),
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
    /// A token at a position to which the cache cannot go back.
    #[error("the cache cannot go back from position {from} to {to}: layers keep their window only; reset the session")]
    Rewind {
        /// The position after the last that was written.
        from: usize,
        /// The position of the token.
        to: usize,
    },
    /// No room is left for a token.
    #[error("position {position} is outside of the context of {context_length} tokens")]
    ContextFull {
        /// The position.
        position: usize,
        /// Tokens of a conversation.
        context_length: usize,
    },
    /// A token at a position that is not the next one, of a cache that cannot go back.
    #[error("a token is given at position {found}, expected the next one, {expected}")]
    Order {
        /// The next position.
        expected: usize,
        /// The position.
        found: usize,
    },
    /// Inputs or outputs that would stop the client.
    #[error(transparent)]
    Buffers(#[from] BufferError),
    /// The model that picks tokens picks others than the logits say.
    #[error("the logit processor picks the token {found}, the logits say {expected}")]
    Processor {
        /// The best token by the logits.
        expected: u32,
        /// What was picked.
        found: String,
    },
    /// A batch of the wrong size.
    #[error("a batch has {expected} tokens, got {found}")]
    BatchSize {
        /// Tokens of a batch.
        expected: usize,
        /// Tokens given.
        found: usize,
    },
    /// A step of the wrong size.
    #[error("a step has 1 to {most} tokens, got {found}")]
    StepSize {
        /// Tokens of a step at most.
        most: usize,
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
    /// Logits were asked of a model without a head.
    #[error("the model has no LM head: it gives hidden states, not logits")]
    NoHead,
}

fn lacks(label: PartLabel, function: &str, kind: &'static str, name: &str) -> SessionError {
    SessionError::Lacks { label, function: function.to_owned(), kind, name: name.to_owned() }
}
