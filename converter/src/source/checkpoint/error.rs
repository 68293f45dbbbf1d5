//! What can be wrong with a checkpoint directory. Every variant is about the checkpoint unless its doc says otherwise.

use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};

use super::DecodeError;
use crate::error::Hint;
use crate::source::config::ConfigError;
use crate::source::gguf::{self, GgufError};
use crate::source::llama2c::Llama2cError;

/// A checkpoint that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The path is a file or something else.
    #[error("Cannot open checkpoint `{path}`: expected a directory")]
    NotADirectory {
        /// The path.
        path: PathBuf,
    },
    /// A GGUF file, or a directory of such, that cannot be used.
    #[error("Cannot open GGUF model `{path}`")]
    Gguf {
        /// The directory or file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<GgufError>,
    },
    /// A file of llama2.c that cannot be used.
    #[error("Cannot open the checkpoint of llama2.c `{path}`")]
    Llama2c {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<Llama2cError>,
    },
    /// A tensor that is packed or scaled in a way that makes no sense.
    #[error("Cannot decode `{tensor}` in `{path}`")]
    Undecodable {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// What is wrong.
        #[source]
        source: DecodeError,
    },
    /// A part of a quantized weight that does not fit the others.
    #[error("Cannot decode the quantized weight of `{tensor}`: expected {expected}, found {found}")]
    Packed {
        /// The tensor.
        tensor: String,
        /// What it should be.
        expected: String,
        /// What it is.
        found: String,
    },
    /// A prefix of names that cannot be left out.
    #[error("Cannot leave `{prefix}` out of the names of the tensors: {problem}")]
    Prefix {
        /// The prefix.
        prefix: String,
        /// Why not.
        problem: String,
    },
    /// A config that speaks of quantization, and no tensor that is quantized.
    #[error("Cannot find what config.json says, {expected}: no tensor is called *{}", .markers.join(" or *"))]
    NotQuantized {
        /// What it says.
        expected: String,
        /// Ends of the names that there should be.
        markers: &'static [&'static str],
    },
    /// Files that are made of what a weight file says cannot be kept while they are needed.
    #[error("Cannot write the tokenizer's files to a temporary directory")]
    Temporary {
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Weights that only Python's pickle reads.
    #[error("Cannot open checkpoint `{directory}`: the weights in `{file}` are pickled, expected *.safetensors")]
    Pickled {
        /// The directory.
        directory: PathBuf,
        /// A pickled file in it.
        file: String,
    },
    /// A LoRA or another adapter, which is no model by itself.
    #[error("Cannot open checkpoint `{directory}`: `{file}` makes it an adapter, expected a whole model")]
    Adapter {
        /// The directory.
        directory: PathBuf,
        /// The file that says so.
        file: String,
    },
    /// No config.json.
    #[error("Cannot open checkpoint `{directory}`: it has no config.json")]
    MissingConfig {
        /// The directory.
        directory: PathBuf,
    },
    /// No weights.
    #[error(
        "Cannot open checkpoint `{directory}`: it has neither model.safetensors nor model.safetensors.index.json{}",
        found_instead(.found)
    )]
    MissingWeights {
        /// The directory.
        directory: PathBuf,
        /// Safetensors files of other names.
        found: Vec<String>,
    },
    /// The file system.
    #[error("Cannot read `{path}`")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Not JSON, or not of the expected form.
    #[error("Cannot read `{path}`: invalid JSON")]
    Json {
        /// The file.
        path: PathBuf,
        /// Why, and at which line.
        #[source]
        source: serde_json::Error,
    },
    /// JSON of another type.
    #[error("Cannot read `{path}`: expected a JSON object, found {found}")]
    NotAnObject {
        /// The file.
        path: PathBuf,
        /// The type found.
        found: &'static str,
    },
    /// A text file beyond all reason.
    #[error("Cannot read `{path}`: it has {found} bytes, the limit is {limit}")]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its bytes.
        found: u64,
        /// The most that is read.
        limit: u64,
    },
    /// A name that leads out of the directory.
    #[error("Cannot open `{name}`: it is {}outside the checkpoint directory `{directory}`", link_to(.target.as_deref()))]
    Outside {
        /// The directory.
        directory: PathBuf,
        /// The name as the checkpoint gives it.
        name: String,
        /// Where the link leads, if it is one.
        target: Option<PathBuf>,
    },
    /// A directory, pipe or device where a file should be.
    #[error("Cannot read `{path}`: expected a regular file")]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// Another kind of file.
    #[error("Cannot read `{path}`: expected a safetensors file, found {found}")]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What it is.
        found: &'static str,
    },
    /// A header that lies or is no header.
    #[error("Cannot read `{path}`: invalid safetensors header")]
    Header {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: safetensors::SafeTensorError,
    },
    /// A file that ends early or late.
    #[error("Cannot read `{path}`: its header describes {expected} bytes, the file has {found}")]
    Length {
        /// The file.
        path: PathBuf,
        /// Bytes that the header accounts for.
        expected: u64,
        /// Bytes of the file.
        found: u64,
    },
    /// A tensor without elements.
    #[error("Cannot use `{tensor}` in `{path}`: its shape {shape:?} has no elements")]
    ZeroSize {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// Its shape.
        shape: Vec<usize>,
    },
    /// An element type that is no 16- or 32-bit float.
    #[error("Cannot use `{tensor}` in `{path}`: its dtype is {found}, expected BF16, F16 or F32")]
    Dtype {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// Its dtype, as safetensors spells it.
        found: String,
    },
    /// Shards that are not what the index says.
    #[error("Cannot open the shards of `{path}`: they are not what it says{}", listed(.problems))]
    Index {
        /// The index.
        path: PathBuf,
        /// One line each, sorted.
        problems: Vec<String>,
    },
    /// A kind of model that no adapter could read.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A bug in anec: rows of a tensor that is not there, or more rows than it has.
    #[error("Cannot read rows {start}..{end} of `{tensor}`: it has {found} rows")]
    Rows {
        /// The tensor.
        tensor: String,
        /// First row.
        start: usize,
        /// Row after the last.
        end: usize,
        /// Rows that there are; 0 for an unknown tensor.
        found: usize,
    },
    /// NaN or an infinity.
    #[error("Cannot convert `{tensor}`: element {position:?} is {value}")]
    NotFinite {
        /// The tensor.
        tensor: String,
        /// One index per axis.
        position: Vec<usize>,
        /// The value.
        value: f32,
    },
    /// A finite value that fp16 cannot hold.
    #[error("Cannot convert `{tensor}` to fp16: element {position:?} is {value}, the largest fp16 value is 65504")]
    Overflow {
        /// The tensor.
        tensor: String,
        /// One index per axis.
        position: Vec<usize>,
        /// The value.
        value: f32,
    },
}

/// What a link out of a directory is, before the directory is named.
fn link_to(target: Option<&Path>) -> String {
    target.map_or_else(String::new, |target| format!("a link to `{}`, ", target.display()))
}

impl Hint for CheckpointError {
    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::NotADirectory { .. } => {
                "give the directory that holds config.json and the *.safetensors files, or a .gguf file"
            }
            Self::Gguf { source, .. } => return source.hint(),
            Self::Llama2c { source, .. } => return source.hint(),
            Self::Packed { .. } => "the file is damaged, or quantized in a form that anec does not know",
            Self::NotQuantized { .. } => {
                "if the weights are not quantized, remove the key from config.json; else download the files of one model"
            }
            Self::Prefix { .. } => "`anec inspect CHECKPOINT --json` lists the names of its tensors",
            Self::Temporary { .. } => "free some room, or name another directory in TMPDIR",
            Self::Pickled { .. } => {
                "load the model in Python and save it with `save_pretrained(directory, safe_serialization=True)`"
            }
            Self::Adapter { .. } => {
                "merge it into its base model with PEFT's `merge_and_unload()` and save the result; if this already is the \
                 merged model, remove the adapter's files"
            }
            Self::MissingConfig { .. } => {
                "give the directory that `save_pretrained` wrote, or the snapshot that the Hugging Face client downloaded"
            }
            Self::MissingWeights { found, .. } if !found.is_empty() => {
                "shards need their model.safetensors.index.json; download it too, or save the model again with \
                 `save_pretrained`"
            }
            Self::MissingWeights { .. } => "download the *.safetensors files of the model too",
            Self::Length { expected, found, .. } if found < expected => "the file is incomplete; download it again",
            Self::Foreign { found, .. } => match *found {
                "a Git LFS pointer" => "run `git lfs pull` in the clone, or download the file itself",
                "a zip archive" => {
                    "weights that PyTorch saved are pickled; save the model with `safe_serialization=True`"
                }
                _ => "give the file the extension .gguf, and its path to anec",
            },
            Self::Undecodable { .. } | Self::Header { .. } | Self::Length { .. } => {
                "the file is damaged; download it again"
            }
            Self::Outside { target: Some(target), .. } => {
                let parent = target.parent().unwrap_or(target).display();
                return Some(format!(
                    "`--follow-links {parent}` follows links into that directory, if you trust what is there; or put the files \
                     themselves into the checkpoint"
                ));
            }
            Self::Outside { .. } => {
                "put the files themselves into the directory; links are followed only from a Hugging Face cache snapshot to \
                 its blobs"
            }
            Self::Dtype { found, .. } if gguf::has_type(found) => {
                "anec reads F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1 and Q2_K to Q6_K; take a GGUF of one of these types"
            }
            Self::Dtype { found, .. }
                if found.starts_with("F8") || found.starts_with('I') || found.starts_with('U') =>
            {
                "quantized weights cannot be converted; use the unquantized original of this model"
            }
            Self::Dtype { .. } => "save the model as bfloat16, float16 or float32",
            Self::Index { .. } => "the download is incomplete or mixes two models; download it again",
            Self::NotFinite { .. } => "the checkpoint is damaged, or its training diverged",
            Self::Overflow { .. } => "the Neural Engine computes in fp16; this weight cannot be represented there",
            Self::Rows { .. } => "this is a bug in anec; please report it with the model's config.json",
            Self::Config(error) => return error.hint(),
            Self::Io { .. }
            | Self::Json { .. }
            | Self::NotAnObject { .. }
            | Self::TooLarge { .. }
            | Self::NotAFile { .. }
            | Self::ZeroSize { .. } => return None,
        };
        Some(hint.to_owned())
    }
}

/// Lines that a list under a message has at most.
const LISTED_LINES: usize = 100;

/// The lines under a message.
pub(crate) fn listed<T: std::fmt::Display>(items: &[T]) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    for item in items.iter().take(LISTED_LINES) {
        let _ = write!(text, "\n  {item}");
    }
    if let Some(more) = items.len().checked_sub(LISTED_LINES).filter(|more| *more > 0) {
        let _ = write!(text, "\n  and {more} more");
    }
    text
}

fn found_instead(found: &[String]) -> String {
    if found.is_empty() { String::new() } else { format!(", only {}", found.join(", ")) }
}
