//! Conversations to prompts: the chat templates of Hugging Face, which are Jinja.
//!
//! Templates are input: they run without access to anything but the conversation, for a limited number of steps. Their
//! memory and depth are bounded where another process renders them ([`IsolatedTemplate`]), as the `anec` command has it.
//! Numbers that a template turns into text itself are written as minijinja does: a float below 1e-4 has no exponent, as
//! Python's would have. In JSON they are written as Python does.

mod isolated;
mod python_json;

use std::collections::BTreeMap;

use jiff::civil::DateTime;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Serde, Value as Jinja};
use minijinja::{AutoEscape, Environment, Error, ErrorKind};
use serde_json::{Value, json};

use crate::tokenizer::TokenizerConfig;
pub use isolated::{IsolatedTemplate, MEMORY_LIMIT, Renderer, serve};
use python_json::JsonStyle;

/// Name of the template that is used where there are no tools.
const DEFAULT: &str = "default";

/// Name of the template that is preferred where there are tools.
const TOOL_USE: &str = "tool_use";

/// Steps that a template may take; real ones take some hundreds a message.
const MAX_STEPS: u64 = 5_000_000;

/// The chat templates of a model.
#[derive(Debug)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    special_tokens: BTreeMap<String, Value>,
}

/// What becomes a prompt.
#[derive(Clone, Debug)]
pub struct Conversation<'a> {
    /// Messages as transformers takes them: objects with `role`, `content` and whatever else the template reads.
    pub messages: &'a [Value],
    /// Tools as transformers takes them: JSON schemas of functions. `None` where there are none.
    pub tools: Option<&'a [Value]>,
    /// Whether the prompt ends with the start of an answer.
    pub add_generation_prompt: bool,
    /// The date and time for templates that tell it.
    pub now: DateTime,
    /// More variables, such as `enable_thinking`.
    pub variables: &'a BTreeMap<String, Value>,
}

/// A prompt that cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum ChatError {
    /// The template is no Jinja.
    #[error("The chat template `{name}` is malformed")]
    Malformed {
        /// The template.
        name: String,
        /// Where.
        #[source]
        source: Error,
    },
    /// There are templates, but none for this.
    #[error("the chat templates are {found}, expected one named `{DEFAULT}`")]
    NoDefault {
        /// The templates that are there.
        found: String,
    },
    /// The template says that it cannot express the conversation.
    #[error("the chat template refuses the conversation: {message}")]
    Refused {
        /// What it says.
        message: String,
    },
    /// The template failed.
    #[error("the chat template `{name}` failed")]
    Failed {
        /// The template.
        name: String,
        /// Where.
        #[source]
        source: Error,
    },
    /// The template failed in its process.
    #[error("{}", .messages.join("\n  caused by: "))]
    Isolated {
        /// What the process says: the error and its causes.
        messages: Vec<String>,
    },
    /// The template needs more than templates may have.
    #[error("the chat template needs {bound}")]
    Bounds {
        /// What is too much, such as `more than 64 MiB of memory`.
        bound: String,
    },
    /// The process that renders templates.
    #[error("cannot run the process that renders chat templates")]
    Process(#[source] std::io::Error),
}

/// What a template said to `raise_exception`.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Raised(String);

/// A message of a role, as templates read it.
pub fn message(role: &str, content: &str) -> Value {
    json!({"role": role, "content": content})
}

impl ChatTemplate {
    /// Compiles the templates; `None` where there are none.
    ///
    /// # Errors
    /// A template is malformed.
    pub fn new(config: &TokenizerConfig) -> Result<Option<Self>, ChatError> {
        if config.chat_templates.is_empty() {
            return Ok(None);
        }
        Self::compile(&config.chat_templates, config.special_tokens.clone()).map(Some)
    }

    fn compile<'a>(
        templates: impl IntoIterator<Item = (&'a String, &'a String)>,
        special_tokens: BTreeMap<String, Value>,
    ) -> Result<Self, ChatError> {
        let mut environment = environment();
        for (name, template) in templates {
            environment
                .add_template_owned(name.clone(), without_generation_tags(template))
                .map_err(|source| ChatError::Malformed { name: name.clone(), source })?;
        }
        Ok(Self { environment, special_tokens })
    }

    /// The prompt. It has the special tokens that the model expects.
    ///
    /// # Errors
    /// The template fails, or refuses the conversation.
    pub fn render(&self, conversation: &Conversation) -> Result<String, ChatError> {
        let preferred = if conversation.tools.is_some() { TOOL_USE } else { DEFAULT };
        let find = |name| self.environment.get_template(name).ok();
        let template = find(preferred).or_else(|| find(DEFAULT)).ok_or_else(|| {
            let names: Vec<String> = self.environment.templates().map(|(name, _)| format!("`{name}`")).collect();
            ChatError::NoDefault { found: names.join(", ") }
        })?;
        let mut variables = self.special_tokens.clone();
        variables.extend(conversation.variables.clone());
        variables.insert("messages".to_owned(), Value::Array(conversation.messages.to_vec()));
        variables.insert("tools".to_owned(), conversation.tools.map_or(Value::Null, |tools| tools.to_vec().into()));
        variables.entry("documents".to_owned()).or_insert(Value::Null);
        variables.insert("add_generation_prompt".to_owned(), conversation.add_generation_prompt.into());
        let mut context: BTreeMap<String, Jinja> =
            variables.iter().map(|(name, value)| (name.clone(), Jinja::from(Serde(value)))).collect();
        let now = conversation.now;
        let strftime = move |format: &str| {
            jiff::fmt::strtime::format(format, now)
                .map_err(|error| Error::new(ErrorKind::InvalidOperation, format!("strftime_now: {error}")))
        };
        context.insert("strftime_now".to_owned(), Jinja::from_function(strftime));
        template.render(Jinja::from(context)).map_err(|error| match raised(&error) {
            Some(message) => ChatError::Refused { message },
            None => ChatError::Failed { name: template.name().to_owned(), source: error },
        })
    }
}

/// What transformers' templates can rely on.
///
/// # Source
/// `_compile_jinja_template` of transformers 4.57.
fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    if let Ok(syntax) = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build() {
        environment.set_syntax(syntax);
    }
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_fuel(Some(MAX_STEPS));
    environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    environment.add_filter("tojson", to_json);
    // Jinja asks whether a value has an iterator, which `None` has not.
    environment.add_test("iterable", |value: Jinja| !value.is_none() && value.try_iter().is_ok());
    environment.add_function("raise_exception", |message: String| -> Result<Jinja, Error> {
        Err(Error::new(ErrorKind::InvalidOperation, message.clone()).with_source(Raised(message)))
    });
    environment
}

fn raised(error: &(dyn std::error::Error + 'static)) -> Option<String> {
    match error.downcast_ref::<Raised>() {
        Some(Raised(message)) => Some(message.clone()),
        None => raised(error.source()?),
    }
}

/// JSON as Python writes it, without the escapes for HTML that Jinja adds.
#[expect(clippy::needless_pass_by_value, reason = "the form of a filter")]
fn to_json(value: &Jinja, options: Kwargs) -> Result<String, Error> {
    let invalid = |message: String| Error::new(ErrorKind::InvalidOperation, message);
    if value.is_undefined() {
        return Err(Error::new(ErrorKind::UndefinedError, "`tojson` of a value that is not defined"));
    }
    let indent = match options.get::<Option<Jinja>>("indent")?.filter(|indent| !indent.is_none()) {
        None => None,
        Some(indent) => match (indent.as_str(), usize::try_from(indent.clone())) {
            (Some(text), _) => Some(text.to_owned()),
            (None, Ok(spaces)) if spaces <= 64 => Some(" ".repeat(spaces)),
            _ => return Err(invalid(format!("`indent` of `tojson` is {indent}, expected up to 64 spaces or text"))),
        },
    };
    let separators = options.get::<Option<Vec<String>>>("separators")?;
    let separators = match separators.as_deref() {
        None => None,
        Some([comma, colon]) => Some((comma.clone(), colon.clone())),
        Some(_) => return Err(invalid("`separators` of `tojson` needs two strings".to_owned())),
    };
    let style = JsonStyle {
        indent,
        separators,
        sort_keys: options.get::<Option<bool>>("sort_keys")?.unwrap_or(false),
        ensure_ascii: options.get::<Option<bool>>("ensure_ascii")?.unwrap_or(false),
    };
    options.assert_all_used()?;
    let value = serde_json::to_value(value).map_err(|error| invalid(error.to_string()))?;
    python_json::write(&value, &style).map_err(|error| invalid(error.to_string()))
}

/// The template with `{% generation %}` and `{% endgeneration %}`, which mark answers for training, replaced by blocks that
/// do nothing. White space around them is treated as that around any block.
fn without_generation_tags(template: &str) -> String {
    let mut text = String::with_capacity(template.len());
    let mut rest = template;
    while let Some((before, tag)) = rest.split_once("{%") {
        text.push_str(before);
        text.push_str("{%");
        rest = tag;
        let Some((inside, after)) = tag.split_once("%}") else { break };
        let word = inside.trim_start_matches(['-', '+']).trim_end_matches(['-', '+']).trim();
        let replacement = match word {
            "generation" => "if true",
            "endgeneration" => "endif",
            _ => continue,
        };
        text.push_str(&inside.replace(word, replacement));
        text.push_str("%}");
        rest = after;
    }
    text + rest
}
