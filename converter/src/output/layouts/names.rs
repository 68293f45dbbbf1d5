//! File names of a converted directory. Clients find packages by these patterns, so they are part of the contract.

use crate::model::decoder_plan::DecoderPlan;
use crate::options::{Options, Runtime};
use crate::weights::storage::Storage;

/// Name stems of the packages, without extension.
#[derive(Clone, Debug)]
pub(crate) struct Names {
    runtime: Runtime,
    prefix: String,
    ffn: String,
    lm_head: String,
    embeddings: String,
}

impl Names {
    /// The names for a conversion.
    pub(crate) fn new(plan: &DecoderPlan, options: &Options) -> Self {
        let suffix = |storage: &Storage| suffix(storage, options.runtime);
        Self {
            runtime: options.runtime,
            prefix: prefix(&plan.model_type).to_owned(),
            ffn: suffix(&options.storage.ffn),
            lm_head: suffix(&options.storage.lm_head),
            embeddings: suffix(&options.storage.embeddings),
        }
    }

    /// The word that ANEMLL's names start with.
    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The embeddings package.
    pub(crate) fn embeddings(&self) -> String {
        match self.runtime {
            Runtime::Default => format!("embeddings{}", self.embeddings),
            Runtime::Anemll => format!("{}_embeddings{}", self.prefix, self.embeddings),
        }
    }

    /// The package of decoder chunk `number`, counted from 1, of `count`.
    pub(crate) fn chunk(&self, number: usize, count: usize) -> String {
        let position = format!("chunk_{number:02}of{count:02}");
        match self.runtime {
            Runtime::Default => format!("combined{}_{position}", self.ffn),
            Runtime::Anemll => format!("{}_FFN_PF{}_{position}", self.prefix, self.ffn),
        }
    }

    /// The LM head package.
    pub(crate) fn lm_head(&self) -> String {
        match self.runtime {
            Runtime::Default => format!("lm_head{}", self.lm_head),
            Runtime::Anemll => format!("{}_lm_head{}", self.prefix, self.lm_head),
        }
    }
}

/// Bits only, never the group size. ANEMLL's clients make names from the bits of palettes and know of nothing else.
fn suffix(storage: &Storage, runtime: Runtime) -> String {
    match runtime {
        Runtime::Default => storage.encoding().suffix(),
        Runtime::Anemll => storage.lut().map_or_else(String::new, |lut| format!("_lut{}", lut.bits)),
    }
}

/// # Source
/// ANEMLL 0.3.5 `convert_model.sh`: `qwen25` for Qwen2, `qwen` for later ones. It has no Mistral; its clients take any word.
fn prefix(model_type: &str) -> &str {
    match model_type {
        "qwen2" => "qwen25",
        "qwen3" => "qwen",
        other => other,
    }
}
