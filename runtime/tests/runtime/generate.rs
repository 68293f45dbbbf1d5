//! Generating with a model that is a rule: the next token is the sum of all tokens so far, so whatever is wrong with the
//! KV cache shows.

#![expect(clippy::unwrap_used, reason = "a test that cannot set itself up has failed")]

use std::cell::Cell;
use std::fs;
use std::rc::Rc;

use anec_mil::evaluate::Tensor;
use anec_mil::{DataType, NamedValueType, TensorType};
use anec_runtime::backend::{Backend, BackendError, Function, Model, Signature, Tensors};
use anec_runtime::generate::{Finish, GenerateError, Generation, Generator, Limits};
use anec_runtime::sampling::{Sampler, SamplingError, SamplingOptions};
use anec_runtime::{ModelDirectory, ModelPart};
use anec_schemas::contract::Role;
use anec_schemas::contract::stateful::{CHUNK, EMBEDDINGS, names};

const VOCAB: usize = 50;
const CONTEXT: usize = 32;
const BATCH: usize = 4;

/// An engine whose models add up tokens. Counts the tokens that pass a chunk.
#[derive(Clone, Default)]
struct Sums {
    fed: Rc<Cell<usize>>,
    broken: bool,
}

struct SumModel(Role, Sums);

struct SumFunction {
    role: Role,
    engine: Sums,
    signature: Signature,
}

impl Backend for Sums {
    type Model = SumModel;

    fn open(&self, part: &ModelPart) -> Result<SumModel, BackendError> {
        Ok(SumModel(part.label.role, self.clone()))
    }
}

impl Model for SumModel {
    type Function = SumFunction;

    fn function_names(&self) -> Vec<String> {
        vec![names::INFER.to_owned(), names::PREFILL.to_owned()]
    }

    fn load(&self, _name: &str) -> Result<SumFunction, BackendError> {
        let (inputs, outputs): (&[&str], &str) = match self.0 {
            EMBEDDINGS => (&[names::INPUT_IDS], names::HIDDEN_STATES),
            CHUNK => (
                &[names::HIDDEN_STATES, names::POSITION_IDS, names::CAUSAL_MASK, names::CURRENT_POS],
                names::OUTPUT_HIDDEN_STATES,
            ),
            _ => (&[names::HIDDEN_STATES], "logits1"),
        };
        let value = |name: &str| NamedValueType::new(name, TensorType::fixed(DataType::Float16, &[1]));
        let inputs = inputs.iter().map(|name| value(name)).collect();
        let signature = Signature { inputs, outputs: vec![value(outputs)], states: vec![] };
        Ok(SumFunction { role: self.0, engine: self.1.clone(), signature })
    }
}

impl Function for SumFunction {
    /// The token at each position.
    type State = Vec<f32>;

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn new_state(&self) -> Result<Vec<f32>, BackendError> {
        Ok(vec![0.0; CONTEXT])
    }

    fn read_state(&self, _state: &Vec<f32>) -> Result<Tensors, BackendError> {
        Ok(Tensors::new())
    }

    fn predict(&self, inputs: &Tensors, state: &mut Vec<f32>) -> Result<Tensors, BackendError> {
        let floats = |values: Vec<f32>| Tensor::floats(DataType::Float32, &[1, values.len(), 1], values).unwrap();
        let (name, output) = match self.role {
            EMBEDDINGS => {
                let ids = inputs[names::INPUT_IDS].as_integers().unwrap();
                #[expect(clippy::cast_precision_loss, reason = "a small vocabulary")]
                let ids = ids.iter().map(|id| *id as f32).collect();
                (names::HIDDEN_STATES, floats(ids))
            }
            CHUNK => {
                let tokens = inputs[names::HIDDEN_STATES].as_floats().unwrap();
                let mut sums = Vec::new();
                for (token, position) in tokens.iter().zip(&*inputs[names::POSITION_IDS].as_integers().unwrap()) {
                    let position = usize::try_from(*position).unwrap();
                    state[position] = *token;
                    sums.push(state[..=position].iter().sum());
                }
                self.engine.fed.set(self.engine.fed.get() + tokens.len());
                (names::OUTPUT_HIDDEN_STATES, floats(sums))
            }
            _ => {
                let sum = inputs[names::HIDDEN_STATES].as_floats().unwrap()[0];
                let mut logits = vec![0.0; VOCAB];
                #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small sum of tokens")]
                let next = sum as usize % VOCAB;
                logits[next] = if self.engine.broken { f32::NAN } else { 2.0 };
                ("logits1", floats(logits))
            }
        };
        Ok([(name.to_owned(), output)].into())
    }
}

fn generator(engine: &Sums) -> Generator {
    let directory = tempfile::tempdir().unwrap();
    for name in ["embeddings", "layers", "head"] {
        fs::create_dir(directory.path().join(format!("{name}.mlpackage"))).unwrap();
    }
    let meta = format!(
        "model_info:\n  version: 0.3.5\n  parameters:\n    context_length: {CONTEXT}\n    batch_size: {BATCH}\n    \
         num_chunks: 1\n    embeddings: embeddings\n    lm_head: head\n    ffn: layers\n    vocab_size: {VOCAB}\n    \
         prefill_dynamic_slice: true\n"
    );
    fs::write(directory.path().join("meta.yaml"), meta).unwrap();
    let directory = ModelDirectory::open(directory.path()).unwrap();
    Generator::new(directory.session(engine).unwrap())
}

fn greedy() -> Sampler {
    Sampler::new(SamplingOptions::default()).unwrap()
}

fn all(generation: &mut Generation<'_>) -> Vec<u32> {
    while generation.next_token().unwrap().is_some() {}
    generation.tokens().to_vec()
}

/// What the rule says.
fn expected(prompt: &[u32], count: usize) -> Vec<u32> {
    let mut tokens = prompt.to_vec();
    for _ in 0..count {
        tokens.push(tokens.iter().sum::<u32>() % 50);
    }
    tokens.split_off(prompt.len())
}

#[test]
fn prompts_of_any_length_are_continued() {
    for length in 1..=CONTEXT {
        let prompt: Vec<u32> = (1..=50).take(length).collect();
        let mut generator = generator(&Sums::default());
        let (mut sampler, limits) = (greedy(), Limits::default());
        let mut generation = generator.start(&prompt, &mut sampler, &limits).unwrap();
        // The last token has a place in the answer without one in the cache.
        assert_eq!(all(&mut generation), expected(&prompt, CONTEXT - length + 1));
        assert_eq!(generation.finish(), Some(Finish::ContextFull));
    }
}

#[test]
fn a_generation_ends_at_its_limits() {
    let prompt = [3, 4];
    let answer = expected(&prompt, 6);
    let mut generator = generator(&Sums::default());
    let (mut sampler, limits) = (greedy(), Limits { stop_tokens: vec![answer[3], 49], max_tokens: Some(5) });
    let mut generation = generator.start(&prompt, &mut sampler, &limits).unwrap();
    assert_eq!(all(&mut generation), answer[..3]);
    assert_eq!(generation.finish(), Some(Finish::StopToken(answer[3])));
    let limits = Limits { stop_tokens: vec![], max_tokens: Some(5) };
    let mut generation = generator.start(&prompt, &mut sampler, &limits).unwrap();
    assert_eq!(all(&mut generation), answer[..5]);
    assert_eq!(generation.finish(), Some(Finish::MaxTokens));
}

#[test]
fn only_what_is_new_is_fed() {
    let engine = Sums::default();
    let mut generator = generator(&engine);
    let (mut sampler, limits) = (greedy(), Limits { max_tokens: Some(4), ..Limits::default() });
    let mut prompt: Vec<u32> = (1..10).collect();
    let answer = all(&mut generator.start(&prompt, &mut sampler, &limits).unwrap());
    assert_eq!(engine.fed.get(), 9 + 3, "the last token of the answer is not fed");
    prompt.extend(answer);
    prompt.extend([7, 8]);
    let mut generation = generator.start(&prompt, &mut sampler, &limits).unwrap();
    assert_eq!((generation.prompt_tokens(), generation.reused_tokens()), (15, 12));
    assert_eq!(all(&mut generation), expected(&prompt, 4));
    assert_eq!(engine.fed.get(), 12 + 3 + 3);
}

#[test]
fn a_prompt_that_differs_goes_on_where_it_differs() {
    let engine = Sums::default();
    let mut generator = generator(&engine);
    let (mut sampler, limits) = (greedy(), Limits { max_tokens: Some(4), ..Limits::default() });
    for (prompt, reused) in [
        (vec![1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11], 0),
        (vec![1, 2, 3, 9, 9, 9, 9, 9], 3),
        (vec![1, 2, 3], 2),
        (vec![1, 2, 3], 2),
        (vec![5], 0),
    ] {
        let mut generation = generator.start(&prompt, &mut sampler, &limits).unwrap();
        assert_eq!(generation.reused_tokens(), reused);
        assert_eq!(all(&mut generation), expected(&prompt, 4));
    }
    generator.reset().unwrap();
    let generation = generator.start(&[5, 5], &mut sampler, &limits).unwrap();
    assert_eq!(generation.reused_tokens(), 0);
}

#[test]
fn prompts_that_cannot_be_fed_are_refused_and_change_nothing() {
    let mut generator = generator(&Sums::default());
    let (mut sampler, limits) = (greedy(), Limits { max_tokens: Some(1), ..Limits::default() });
    all(&mut generator.start(&[1, 2, 3], &mut sampler, &limits).unwrap());
    let error = generator.start(&[], &mut sampler, &limits).err().unwrap();
    assert!(matches!(error, GenerateError::EmptyPrompt), "{error}");
    let error = generator.start(&[1; CONTEXT + 1], &mut sampler, &limits).err().unwrap();
    assert!(matches!(error, GenerateError::PromptTooLong { tokens: 33, context_length: 32 }), "{error}");
    assert_eq!(generator.start(&[1, 2, 3, 4], &mut sampler, &limits).unwrap().reused_tokens(), 3);
}

#[test]
fn a_model_that_fails_starts_over() {
    let engine = Sums { broken: true, ..Sums::default() };
    let mut generator = generator(&engine);
    let (mut sampler, limits) = (greedy(), Limits::default());
    let mut generation = generator.start(&[1, 2], &mut sampler, &limits).unwrap();
    let error = generation.next_token().unwrap_err();
    let expected = SamplingError::NotFinite { token: 3, found: f32::NAN };
    assert!(
        matches!(&error, GenerateError::Sampling { position: 2, source } if source.to_string() == expected.to_string()),
        "{error}"
    );
    assert_eq!(generator.start(&[1, 2], &mut sampler, &limits).unwrap().reused_tokens(), 0);
    let error = generator.start(&[50], &mut sampler, &limits).err().unwrap();
    assert!(error.to_string().contains("vocabulary"), "{error}");
    assert_eq!(generator.start(&[1, 2], &mut sampler, &limits).unwrap().reused_tokens(), 0);
}

#[test]
fn the_same_seed_gives_the_same_conversation() {
    let run = |seed| {
        let options = SamplingOptions { temperature: 1.5, seed, ..SamplingOptions::default() };
        let mut generator = generator(&Sums::default());
        let (mut sampler, limits) =
            (Sampler::new(options).unwrap(), Limits { max_tokens: Some(8), ..Limits::default() });
        let first = all(&mut generator.start(&[1, 2], &mut sampler, &limits).unwrap());
        let second = all(&mut generator.start(&[3, 4], &mut sampler, &limits).unwrap());
        (first, second)
    };
    assert_eq!(run(3), run(3));
    assert_ne!(run(3), run(4));
}
