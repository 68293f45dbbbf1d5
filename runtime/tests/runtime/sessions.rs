//! What else than the stateful driver can be a session: a cache that only goes forward, a model without a head.

#![expect(clippy::unwrap_used, reason = "a test that cannot set itself up has failed")]

use std::cell::RefCell;
use std::rc::Rc;

use anec_runtime::backend::Tensors;
use anec_runtime::generate::{GenerateError, Generator, Limits};
use anec_runtime::sampling::{Sampler, SamplingError, SamplingOptions};
use anec_runtime::session::{Capabilities, Gives, Observer, Output, Rewinds, Session, SessionError};
use anec_runtime::verify::{TokenWindows, VerifyError, perplexity};

const VOCAB: usize = 50;

/// Position and tokens of each call.
type Calls = Rc<RefCell<Vec<(usize, usize)>>>;

/// Says the sum of the tokens so far.
struct Toy {
    capabilities: Capabilities,
    tokens: Vec<u32>,
    calls: Calls,
}

fn toy(gives: Gives, step_size: usize) -> (Box<dyn Session>, Calls) {
    let calls = Calls::default();
    let capabilities = Capabilities {
        context_length: 32,
        vocab_size: Some(VOCAB),
        batch_size: None,
        step_size,
        verify_size: 1,
        gives,
        rewinds: Rewinds::Never,
    };
    (Box::new(Toy { capabilities, tokens: Vec::new(), calls: Rc::clone(&calls) }), calls)
}

impl Session for Toy {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn reset(&mut self) -> Result<(), SessionError> {
        self.tokens.clear();
        Ok(())
    }

    fn read_cache(&self) -> Result<Tensors, SessionError> {
        Ok(Tensors::new())
    }

    fn prefill(&mut self, tokens: &[u32], _position: usize) -> Result<(), SessionError> {
        Err(SessionError::BatchSize { expected: 0, found: tokens.len() })
    }

    fn step(&mut self, tokens: &[u32], position: usize, _observe: &mut Observer<'_>) -> Result<Output, SessionError> {
        assert_eq!(position, self.tokens.len(), "it only goes forward");
        assert!((1..=self.capabilities.step_size).contains(&tokens.len()));
        self.tokens.extend(tokens);
        self.calls.borrow_mut().push((position, tokens.len()));
        let next = self.tokens.iter().sum::<u32>() as usize % VOCAB;
        Ok(match self.capabilities.gives {
            Gives::HiddenState => Output::HiddenState(vec![1.0; 4]),
            _ => Output::Logits((0..VOCAB).map(|token| if token == next { 9.0 } else { 0.0 }).collect()),
        })
    }
}

#[test]
fn prompts_go_in_steps_of_the_size_that_a_session_takes() {
    let (mut session, calls) = toy(Gives::Logits, 4);
    let output = session.feed(&[1; 11], 0).unwrap().unwrap();
    assert_eq!(output.best(), Some(11));
    assert_eq!(*calls.borrow(), [(0, 4), (4, 4), (8, 3)]);
}

#[test]
fn a_cache_that_only_goes_forward_starts_over_where_a_prompt_differs() {
    let (session, calls) = toy(Gives::Logits, 4);
    let mut generator = Generator::new(session);
    let mut sampler = Sampler::new(SamplingOptions::default()).unwrap();
    let limits = Limits { max_tokens: Some(1), ..Limits::default() };
    let mut answer = |prompt: &[u32]| {
        let mut generation = generator.start(prompt, &mut sampler, &limits).unwrap();
        (generation.reused_tokens(), generation.next_token().unwrap())
    };
    assert_eq!(answer(&[1, 2, 3]), (0, Some(6)));
    assert_eq!(answer(&[1, 2, 3, 4]), (3, Some(10)), "what goes on is kept");
    assert_eq!(answer(&[1, 2, 9]), (0, Some(12)), "what goes back is not");
    assert_eq!(*calls.borrow(), [(0, 3), (3, 1), (0, 3)]);
}

#[test]
fn a_model_without_a_head_is_asked_for_no_token_and_no_logits() {
    let (session, calls) = toy(Gives::HiddenState, 4);
    let mut sampler = Sampler::new(SamplingOptions::default()).unwrap();
    let mut generator = Generator::new(session);
    let error = generator.start(&[1, 2], &mut sampler, &Limits::default()).err().unwrap();
    assert!(matches!(error, GenerateError::Sampling { source: SamplingError::NoHead, .. }), "{error}");
    assert!(calls.borrow().is_empty(), "it is refused before anything is computed");
    let (mut session, _) = toy(Gives::HiddenState, 4);
    assert_eq!(session.infer(1, 0).unwrap().best(), None);
    session.reset().unwrap();
    let tokens = TokenWindows { source: String::new(), windows: vec![vec![1, 2, 3]] };
    let error = perplexity(&mut *session, &tokens, None, &mut |_| ()).unwrap_err();
    assert!(matches!(error, VerifyError::Session(SessionError::NoHead)), "{error}");
}
