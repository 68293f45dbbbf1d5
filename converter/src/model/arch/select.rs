//! From the `--arch` flag and a config's `model_type` to an adapter.

use std::sync::LazyLock;

use clap::ValueEnum;
use clap::builder::PossibleValue;
use serde_json::{Map, Value};
use strsim::levenshtein;

use super::{ARCHS, Arch};
use crate::source::config::{ConfigError, shortened};

/// What `--arch` takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArchChoice {
    /// Whatever config.json says.
    Auto,
    /// The adapters of this [family](Arch::family), whichever config.json says.
    Family(&'static str),
}

/// All of them: `auto`, then every family once, in the order of [`ARCHS`].
static CHOICES: LazyLock<Vec<ArchChoice>> = LazyLock::new(|| {
    let mut choices = vec![ArchChoice::Auto];
    for arch in ARCHS {
        let choice = ArchChoice::Family(arch.family());
        if !choices.contains(&choice) {
            choices.push(choice);
        }
    }
    choices
});

impl ArchChoice {
    /// The word on the command line.
    pub fn word(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Family(family) => family,
        }
    }
}

impl ValueEnum for ArchChoice {
    fn value_variants<'a>() -> &'a [Self] {
        &CHOICES
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        let value = PossibleValue::new(self.word());
        let of_family = ARCHS.iter().filter(|arch| arch.family() == self.word());
        let names: Vec<&str> = of_family.map(|arch| arch.name()).collect();
        Some(value.help(if names.is_empty() { "Whatever config.json says".to_owned() } else { names.join(", ") }))
    }
}

/// The adapter for a config.
///
/// # Errors
/// The config has no `model_type`, none that is supported, or one that the choice rules out.
pub fn select(choice: ArchChoice, config: &Map<String, Value>) -> Result<&'static dyn Arch, ConfigError> {
    let value = config.get("model_type").filter(|value| !value.is_null()).ok_or(ConfigError::MissingModelType)?;
    let Some(model_type) = value.as_str() else {
        return Err(unknown(shortened(value)));
    };
    let Some(arch) = ARCHS.iter().find(|arch| arch.model_types().contains(&model_type)) else {
        return Err(unknown(model_type.chars().take(64).collect()));
    };
    if choice == ArchChoice::Auto || choice.word() == arch.family() {
        return Ok(*arch);
    }
    let fitting = arch.family();
    Err(ConfigError::Flag { flag: choice.word(), model_type: model_type.to_owned(), fitting })
}

fn unknown(found: String) -> ConfigError {
    let mut supported: Vec<&str> = ARCHS.iter().flat_map(|arch| arch.model_types().iter().copied()).collect();
    supported.sort_unstable();
    let distances = supported.iter().map(|known| (levenshtein(&found, known), *known));
    // More than half of the letters changed is another word.
    let nearest = distances.min().filter(|(distance, known)| 2 * distance <= known.len()).map(|(_, known)| known);
    ConfigError::UnknownModelType { found, nearest, supported }
}
