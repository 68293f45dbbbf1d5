//! Which models of a directory the program takes for the pipeline, and in which order.
//!
//! # Source
//! `ModelPipeline.swift`: names are cut at underscores; a last piece that is a number once `chunk` is taken out of it makes a
//! model one of the pipeline, what is before the piece must be the same for all, and the numbers sort them. The branch `main`
//! takes the extension off a name, the branch `sequoia` everything from the first dot on.

use super::{CHUNK_SUFFIX, FEWEST_CHUNKS, LOGIT_PROCESSOR_NAME};

/// What a branch of the program looks for.
#[derive(Clone, Copy, Debug)]
pub struct Program {
    /// The name of the model that shifts caches.
    pub cache_processor: &'static str,
    /// Whether names end at their first dot.
    pub cuts_at_dots: bool,
}

/// A directory that the program does not load.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DiscoveryError {
    /// Pipelines of two names.
    #[error(
        "the models `{first}` and `{second}` are of two pipelines to coreml-llm-cli, expected one name before `_chunk`"
    )]
    Ambiguous {
        /// A model.
        first: String,
        /// A model of another name.
        second: String,
    },
    /// Two models of one number.
    #[error("the models `{first}` and `{second}` have the same number, expected an order")]
    SameNumber {
        /// A model.
        first: String,
        /// The other.
        second: String,
    },
    /// Too few models.
    #[error(
        "coreml-llm-cli finds {found} models whose names end in `_chunk` and a number, expected at least {FEWEST_CHUNKS}"
    )]
    TooFew {
        /// How many there are.
        found: usize,
    },
    /// A model beside the pipeline is not there.
    #[error("coreml-llm-cli looks for `{name}`, which is not there")]
    Missing {
        /// Its name.
        name: &'static str,
    },
}

/// Number and name before it of a model of the pipeline; nothing of another model.
fn place(stem: &str, program: Program) -> Option<(i64, &str)> {
    let stem = if program.cuts_at_dots { stem.split('.').next().unwrap_or(stem) } else { stem };
    let (before, last) = stem.rsplit_once('_').unwrap_or(("", stem));
    let number = last.replace(CHUNK_SUFFIX, "").parse().ok()?;
    Some((number, before))
}

/// The models of the pipeline in the order of its calls, of the names of all compiled models of a directory, without
/// extension.
///
/// # Errors
/// The program would not load the directory.
pub fn pipeline<'a>(
    stems: impl IntoIterator<Item = &'a str>,
    program: Program,
) -> Result<Vec<&'a str>, DiscoveryError> {
    let stems: Vec<&str> = stems.into_iter().collect();
    let mut found: Vec<(i64, &str, &str)> =
        stems.iter().filter_map(|stem| place(stem, program).map(|(number, before)| (number, before, *stem))).collect();
    found.sort_unstable();
    if let Some((_, first, stem)) = found.first()
        && let Some((_, _, other)) = found.iter().find(|(_, before, _)| before != first)
    {
        return Err(DiscoveryError::Ambiguous { first: (*stem).to_owned(), second: (*other).to_owned() });
    }
    if let Some([first, second]) = found.array_windows().find(|[first, second]| first.0 == second.0) {
        return Err(DiscoveryError::SameNumber { first: first.2.to_owned(), second: second.2.to_owned() });
    }
    if found.len() < FEWEST_CHUNKS {
        return Err(DiscoveryError::TooFew { found: found.len() });
    }
    for name in [program.cache_processor, LOGIT_PROCESSOR_NAME] {
        if !stems.contains(&name) {
            return Err(DiscoveryError::Missing { name });
        }
    }
    Ok(found.into_iter().map(|(_, _, stem)| stem).collect())
}

#[cfg(test)]
mod tests {
    use super::super::{CACHE_PROCESSOR_NAME, PROGRAM, sequoia};
    use super::*;

    const BESIDE: [&str; 2] = [CACHE_PROCESSOR_NAME, LOGIT_PROCESSOR_NAME];

    fn found<'a>(stems: &[&'a str]) -> Result<Vec<&'a str>, DiscoveryError> {
        pipeline(stems.iter().copied(), PROGRAM)
    }

    #[test]
    fn numbers_sort_the_pipeline_wherever_they_start() {
        let stems = ["Llama_chunk10", "Llama_chunk2", BESIDE[0], "Llama_chunk0", BESIDE[1]];
        assert_eq!(found(&stems), Ok(vec!["Llama_chunk0", "Llama_chunk2", "Llama_chunk10"]));
    }

    #[test]
    fn a_dot_in_a_name_hides_a_model_from_the_branch_sequoia() {
        let beside = [sequoia::CACHE_PROCESSOR_NAME, LOGIT_PROCESSOR_NAME];
        let pipeline = |stems: [&'static str; 3]| {
            super::pipeline(stems.into_iter().chain(beside), sequoia::PROGRAM).map_err(|error| error.to_string())
        };
        let stems = ["Llama-3-2-1B_chunk1", "Llama-3-2-1B_chunk2", "Llama-3-2-1B_chunk3"];
        assert_eq!(pipeline(stems), Ok(stems.to_vec()));
        let error = pipeline(["Llama-3.2-1B_chunk1", "Llama-3.2-1B_chunk2", "Llama-3.2-1B_chunk3"]);
        let error = error.expect_err("names end at their dots");
        assert!(error.contains("finds 0 models"), "{error}");
    }

    #[test]
    fn a_directory_that_the_program_does_not_load_is_told_why() {
        let error = |stems: &[&str]| found(stems).err().map(|error| error.to_string()).unwrap_or_default();
        let two = error(&["a_chunk1", "a_chunk2", "b_chunk3", BESIDE[0], BESIDE[1]]);
        assert!(two.contains("`a_chunk1` and `b_chunk3`"), "{two}");
        let few = error(&["a_chunk1", "a_chunk2", BESIDE[0], BESIDE[1]]);
        assert!(few.contains("finds 2 models"), "{few}");
        let missing = error(&["a_chunk1", "a_chunk2", "a_chunk3", BESIDE[1]]);
        assert!(missing.contains("`cache-processor`"), "{missing}");
        let twice = error(&["a_chunk1", "a_1", "a_chunk3", BESIDE[0], BESIDE[1]]);
        assert!(twice.contains("same number"), "{twice}");
    }
}
