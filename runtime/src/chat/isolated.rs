//! Chat templates in a process of their own.
//!
//! A template is a program of a stranger. Steps can be counted, but neither its memory nor the depth of its expressions
//! can be bounded from inside: one doubled string fills a machine, one long sum overflows the stack while it is compiled.
//! So the command renders in a child process that has little memory, and what happens there ends there. The child reads
//! one [`Request`] from its standard input and writes one [`Reply`]; both are JSON.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use jiff::civil::DateTime;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{ChatError, ChatTemplate, Conversation};
use crate::tokenizer::TokenizerConfig;

/// Bytes of memory that the child may have.
pub const MEMORY_LIMIT: usize = 64 << 20;

/// How long the child may take. Templates are done within milliseconds; counting steps ends those that are not long
/// before this, even on a busy machine.
const TIME_LIMIT: Duration = Duration::from_secs(10);

/// Bytes that are kept of what the child says about its end.
const LAST_WORDS_BYTES: u64 = 4096;

/// The program that renders, with the argument that makes it do so.
#[derive(Clone, Debug)]
pub struct Renderer {
    /// The program, such as the one that is running.
    pub program: PathBuf,
    /// The argument.
    pub argument: &'static str,
}

/// What the child is to do.
#[derive(Serialize, Deserialize)]
struct Request {
    templates: BTreeMap<String, String>,
    special_tokens: BTreeMap<String, Value>,
    /// Nothing to render is a question whether the templates compile.
    conversation: Option<RequestedConversation>,
}

#[derive(Serialize, Deserialize)]
struct RequestedConversation {
    messages: Vec<Value>,
    tools: Option<Vec<Value>>,
    add_generation_prompt: bool,
    now: DateTime,
    variables: BTreeMap<String, Value>,
}

/// What the child found.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Reply {
    /// The prompt; empty where none was asked for.
    Prompt(String),
    /// The template refuses the conversation.
    Refused(String),
    /// The message of any other error, with its causes.
    Failed(Vec<String>),
}

/// Chat templates that another process renders.
#[derive(Debug)]
pub struct IsolatedTemplate {
    renderer: Renderer,
    templates: BTreeMap<String, String>,
    special_tokens: BTreeMap<String, Value>,
}

impl IsolatedTemplate {
    /// Has the templates compiled once; `None` where there are none.
    ///
    /// # Errors
    /// A template is malformed or beyond the bounds, or the process cannot be started.
    pub fn new(config: &TokenizerConfig, renderer: Renderer) -> Result<Option<Self>, ChatError> {
        if config.chat_templates.is_empty() {
            return Ok(None);
        }
        let templates = config.chat_templates.iter().map(|(name, text)| (name.clone(), text.clone())).collect();
        let template = Self { renderer, templates, special_tokens: config.special_tokens.clone() };
        template.ask(None)?;
        Ok(Some(template))
    }

    /// The prompt, as [`ChatTemplate::render`] gives it.
    ///
    /// # Errors
    /// The template fails, refuses the conversation, or is beyond the bounds.
    pub fn render(&self, conversation: &Conversation) -> Result<String, ChatError> {
        self.ask(Some(RequestedConversation {
            messages: conversation.messages.to_vec(),
            tools: conversation.tools.map(<[Value]>::to_vec),
            add_generation_prompt: conversation.add_generation_prompt,
            now: conversation.now,
            variables: conversation.variables.clone(),
        }))
    }

    fn ask(&self, conversation: Option<RequestedConversation>) -> Result<String, ChatError> {
        let (templates, special_tokens) = (self.templates.clone(), self.special_tokens.clone());
        let request = serde_json::to_vec(&Request { templates, special_tokens, conversation })
            .map_err(|error| ChatError::Process(io::Error::other(error)))?;
        let reply = self.renderer.exchange(request).map_err(ChatError::Process)?;
        match reply? {
            Reply::Prompt(text) => Ok(text),
            Reply::Refused(message) => Err(ChatError::Refused { message }),
            Reply::Failed(messages) => Err(ChatError::Isolated { messages }),
        }
    }
}

impl Renderer {
    /// Starts the child, gives it the request, and waits for the reply or its end.
    fn exchange(&self, request: Vec<u8>) -> io::Result<Result<Reply, ChatError>> {
        let mut child = Command::new(&self.program)
            .arg(self.argument)
            // Looking for the names of functions would take more memory than the template did.
            .env("RUST_BACKTRACE", "0")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let piped = || io::Error::other("the process has no pipes");
        let (mut stdin, mut stdout) = (stdin.ok_or_else(piped)?, stdout.ok_or_else(piped)?);
        let stderr = stderr.ok_or_else(piped)?;
        // A child that ends early does not read to the end.
        let writer = std::thread::spawn(move || drop(stdin.write_all(&request)));
        let reader = std::thread::spawn(move || {
            let mut reply = Vec::new();
            (&mut stdout).take(MEMORY_LIMIT as u64).read_to_end(&mut reply).map(|_| reply)
        });
        let words = std::thread::spawn(move || {
            let mut words = Vec::new();
            stderr.take(LAST_WORDS_BYTES).read_to_end(&mut words).map(|_| words)
        });
        let ended_well = wait(&mut child)?;
        // All pipes are closed by now, so that the threads end.
        let joined = |result: std::thread::Result<io::Result<Vec<u8>>>| {
            result.map_err(|_| io::Error::other("a thread that reads a pipe panicked"))?
        };
        let (reply, words) = (joined(reader.join())?, joined(words.join())?);
        drop(writer.join());
        Ok(match ended_well {
            None => Err(ChatError::Bounds { bound: format!("more than {} seconds", TIME_LIMIT.as_secs()) }),
            Some(false) => Err(ChatError::Bounds { bound: bound_of(&String::from_utf8_lossy(&words)) }),
            Some(true) => Ok(serde_json::from_slice(&reply)?),
        })
    }
}

/// Whether the child ended well; none where it took too long and was killed.
fn wait(child: &mut Child) -> io::Result<Option<bool>> {
    let started = Instant::now();
    let mut pause = Duration::from_micros(500);
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status.success()));
        }
        if started.elapsed() > TIME_LIMIT {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(10));
    }
}

/// What a child ran out of, from its last words, which are those of Rust's runtime.
fn bound_of(words: &str) -> String {
    if words.contains("overflowed its stack") {
        return "a deeper stack than there is".to_owned();
    }
    format!("more than {} MiB of memory", MEMORY_LIMIT >> 20)
}

/// The child's side: reads one request, writes one reply.
///
/// # Errors
/// The streams fail, or the request is none.
pub fn serve(mut input: impl Read, mut output: impl Write) -> io::Result<()> {
    let mut request = Vec::new();
    input.read_to_end(&mut request)?;
    let request: Request = serde_json::from_slice(&request)?;
    let reply = match answer(request) {
        Ok(text) => Reply::Prompt(text),
        Err(ChatError::Refused { message }) => Reply::Refused(message),
        Err(error) => Reply::Failed(messages(&error)),
    };
    serde_json::to_writer(&mut output, &reply)?;
    output.flush()
}

fn answer(request: Request) -> Result<String, ChatError> {
    let Request { templates, special_tokens, conversation } = request;
    let template = ChatTemplate::compile(templates.iter(), special_tokens)?;
    let Some(RequestedConversation { messages, tools, add_generation_prompt, now, variables }) = conversation else {
        return Ok(String::new());
    };
    let (tools, variables) = (tools.as_deref(), &variables);
    template.render(&Conversation { messages: &messages, tools, add_generation_prompt, now, variables })
}

/// An error and its causes.
fn messages(error: &dyn std::error::Error) -> Vec<String> {
    std::iter::successors(Some(error), |error| error.source()).map(ToString::to_string).collect()
}
