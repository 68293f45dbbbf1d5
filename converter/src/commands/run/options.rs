//! The options of sampling, and what the model's authors recommend.

use anec_runtime::generate::GenerationConfig;
use anec_runtime::sampling::SamplingOptions;
use anec_schemas::Parameters;
use clap::Args;

use super::error::RunError;
use crate::console::Console;

/// How the next token is chosen. The defaults are the model's recommendations, or else the most likely token.
#[derive(Debug, Args)]
#[command(next_help_heading = "Sampling (greedy, unless the model recommends otherwise or one of these is given)")]
pub(super) struct SamplingArguments {
    /// Always take the most likely token.
    #[arg(long, conflicts_with_all = ["temperature", "top_k", "top_p", "seed"])]
    greedy: bool,

    /// Divide the logits by this; 0 takes the most likely token.
    #[arg(long, value_name = "T")]
    temperature: Option<f64>,

    /// Choose among this many tokens; 0 for all.
    #[arg(long, value_name = "N")]
    top_k: Option<usize>,

    /// Choose among the most likely tokens that have this probability together.
    #[arg(long, value_name = "P")]
    top_p: Option<f64>,

    /// Make tokens that were there already less likely; 1 does nothing.
    #[arg(long, value_name = "R")]
    repetition_penalty: Option<f64>,

    /// Which random numbers [default: 0].
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
}

impl SamplingArguments {
    /// What the options and the recommendations say together.
    pub(super) fn resolve(
        &self,
        parameters: &Parameters,
        generation: &GenerationConfig,
        console: Console,
    ) -> Result<SamplingOptions, RunError> {
        let recommended = parameters.recommended_sampling.clone().unwrap_or_default();
        let options = self.of_sampling();
        let samples = !self.greedy && (options.is_some() || recommended.do_sample == Some(true));
        if parameters.argmax_in_model {
            if let Some(option) = options.or(self.repetition_penalty.map(|_| "--repetition-penalty")) {
                return Err(RunError::BestOnly { option });
            }
            if samples {
                console.status("note: the LM head gives the best token only, so the recommended sampling is not used");
            }
            return Ok(SamplingOptions::default());
        }
        // Who asks for the most likely token gets it, unless a penalty is asked for, too.
        let recommended_penalty = generation.repetition_penalty.filter(|_| !self.greedy);
        let repetition_penalty = self.repetition_penalty.or(recommended_penalty).unwrap_or(1.0);
        if !samples {
            return Ok(SamplingOptions { repetition_penalty, ..SamplingOptions::default() });
        }
        let recommended_top_k = recommended.top_k.map(|top_k| usize::try_from(top_k).unwrap_or(usize::MAX));
        Ok(SamplingOptions {
            temperature: self.temperature.or(recommended.temperature).unwrap_or(1.0),
            top_k: self.top_k.or(recommended_top_k).unwrap_or(0),
            top_p: self.top_p.or(recommended.top_p).unwrap_or(1.0),
            repetition_penalty,
            seed: self.seed.unwrap_or(0),
        })
    }

    /// An option that is given and asks for sampling.
    fn of_sampling(&self) -> Option<&'static str> {
        let options = [
            ("--temperature", self.temperature.is_some()),
            ("--top-k", self.top_k.is_some()),
            ("--top-p", self.top_p.is_some()),
            ("--seed", self.seed.is_some()),
        ];
        options.iter().find(|(_, given)| *given).map(|(option, _)| *option)
    }
}
