//! The buffers of the pipeline, which the program makes once and gives to every call: what would crash it.
//!
//! Every half-precision input and output is a pixel buffer of the shape that its model declares. Names with `cache` in them
//! are buffers of their chunk; all others are one buffer for the whole pipeline, whichever model made it first. Results are
//! written into given buffers, some of them those of inputs; the program stops where a result is anywhere else.
//!
//! # Source
//! `MultiArrayStore.swift`.

use std::collections::BTreeMap;

use super::{CACHE_PROCESSOR, CHUNK, LOGIT_PROCESSOR, names};
use crate::contract::{ElementType, Role};

/// An input or output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Feature {
    /// Its name.
    pub name: String,
    /// The type of its elements, where it is one that passes between models and clients.
    pub dtype: Option<ElementType>,
    /// Its shape; none where it is not fixed.
    pub shape: Option<Vec<u64>>,
}

/// What a model takes and gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// The model, without extension.
    pub file: String,
    /// What it does.
    pub role: Role,
    /// Inputs.
    pub inputs: Vec<Feature>,
    /// Outputs.
    pub outputs: Vec<Feature>,
}

/// An input or output that would stop the program.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("coreml-llm-cli cannot keep `{tensor}` of `{file}`: {problem}")]
pub struct BufferError {
    /// The model.
    pub file: String,
    /// The input or output.
    pub tensor: String,
    /// Why.
    pub problem: String,
}

/// Word in the names of buffers that are not shared.
const OF_A_CHUNK: &str = "cache";

/// Word in the names of keys, by which the program counts layers.
const KEYS: &str = "k_cache";

/// Which output is written over which input of the same model.
fn in_place(output: &str) -> Option<&'static str> {
    (output == names::NEW_X).then_some(names::X)
}

/// Checks the models in the order of calls, those beside the pipeline too.
///
/// # Errors
/// The first input or output that would stop the program.
pub fn check(models: &[Interface]) -> Result<(), BufferError> {
    let mut shared: BTreeMap<&str, (&str, &[u64])> = BTreeMap::new();
    let mut caches: Option<(&str, BTreeMap<&'static str, &[u64]>)> = None;
    for model in models {
        let refuse = |tensor: &str, problem: String| {
            Err(BufferError { file: model.file.clone(), tensor: tensor.to_owned(), problem })
        };
        for (feature, is_output) in
            model.inputs.iter().map(|input| (input, false)).chain(model.outputs.iter().map(|output| (output, true)))
        {
            let Some(shape) = feature.shape.as_deref() else {
                return refuse(&feature.name, "its shape is not fixed".to_owned());
            };
            match feature.dtype {
                Some(ElementType::Float16) => {}
                Some(ElementType::Int32) if !is_output || model.role == LOGIT_PROCESSOR => continue,
                _ => return refuse(&feature.name, "it is not half precision, and so is no pixel buffer".to_owned()),
            }
            if shape.is_empty() || shape.contains(&0) {
                return refuse(&feature.name, format!("{shape:?} has no rows"));
            }
            if feature.name.contains(OF_A_CHUNK) || model.role == CACHE_PROCESSOR {
                continue;
            }
            // A result in the place of an input is no buffer of its own.
            let name = in_place(&feature.name).filter(|_| is_output).unwrap_or(&feature.name);
            match shared.get(name) {
                Some((first, known)) if *known != shape => {
                    return refuse(
                        &feature.name,
                        format!("it is {shape:?}, and {known:?} in `{first}`, in one buffer"),
                    );
                }
                Some(_) => {}
                None => {
                    shared.insert(name, (&model.file, shape));
                }
            }
        }
        if model.role == CHUNK {
            let first = check_layers(model)?;
            caches.get_or_insert((&model.file, first));
        }
        if model.role == CACHE_PROCESSOR
            && let Some((chunk, shapes)) = &caches
        {
            check_processor(model, chunk, shapes)?;
        }
    }
    Ok(())
}

/// The caches of a chunk: layers counted from 0, each with keys and values that come in and go out. Gives the shapes of
/// those of the first layer by the names that the cache processor has for them.
fn check_layers(model: &Interface) -> Result<BTreeMap<&'static str, &[u64]>, BufferError> {
    let refuse = |tensor: &str, problem: &str| BufferError {
        file: model.file.clone(),
        tensor: tensor.to_owned(),
        problem: problem.to_owned(),
    };
    let layers = model.inputs.iter().filter(|input| input.name.contains(KEYS)).count();
    let mut shapes = BTreeMap::new();
    for layer in 0..layers.max(1) {
        for (old, given, new, made) in [
            (names::K_CACHE, names::OLD_KEYS, names::NEW_K_CACHE, names::NEW_KEYS),
            (names::V_CACHE, names::OLD_VALUES, names::NEW_V_CACHE, names::NEW_VALUES),
        ] {
            for (prefix, features, word) in [(old, &model.inputs, given), (new, &model.outputs, made)] {
                let name = format!("{prefix}{layer}");
                let found = features.iter().find(|feature| feature.name == name);
                let found = found.ok_or_else(|| refuse(&name, "it is not there, and layers are counted from 0"))?;
                let shape = found.shape.as_deref().unwrap_or_default();
                if *shapes.entry(word).or_insert(shape) != shape {
                    return Err(refuse(&name, "it has another shape than that of layer 0"));
                }
            }
        }
    }
    Ok(shapes)
}

/// The cache processor takes the buffers of every chunk, and writes its results over those of the caches.
fn check_processor(model: &Interface, chunk: &str, shapes: &BTreeMap<&'static str, &[u64]>) -> Result<(), BufferError> {
    for (name, of, features) in [
        (names::OLD_KEYS, names::OLD_KEYS, &model.inputs),
        (names::NEW_KEYS, names::NEW_KEYS, &model.inputs),
        (names::OLD_VALUES, names::OLD_VALUES, &model.inputs),
        (names::NEW_VALUES, names::NEW_VALUES, &model.inputs),
        (names::UPDATED_KEYS, names::OLD_KEYS, &model.outputs),
        (names::UPDATED_VALUES, names::OLD_VALUES, &model.outputs),
    ] {
        let found = features.iter().find(|feature| feature.name == name).and_then(|feature| feature.shape.as_deref());
        let expected = shapes.get(of).copied();
        if found != expected {
            let text = |shape: Option<&[u64]>| shape.map_or_else(|| "nothing".to_owned(), |shape| format!("{shape:?}"));
            let problem = format!("it is {}, and the buffer of `{chunk}` is {}", text(found), text(expected));
            return Err(BufferError { file: model.file.clone(), tensor: name.to_owned(), problem });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::{CONTRACT, EMBEDDINGS, WHOLE_HEAD};
    use super::*;
    use crate::contract::{Instance, ResolvedTensor, Size};

    /// The models that the contract describes, with two layers.
    fn contracted() -> Vec<Interface> {
        let instance = Instance::default()
            .with_size(Size::CONTEXT_LENGTH, 512)
            .with_size(Size::CACHE_LENGTH, 448)
            .with_size(Size::BATCH_SIZE, 64)
            .with_size(Size::HIDDEN_SIZE, 32)
            .with_size(Size::NUM_KEY_VALUE_HEADS, 2)
            .with_size(Size::HEAD_DIM, 16)
            .with_size(Size::CHUNK_LAYERS, 2)
            .with_sizes(Size::LM_HEAD_CHUNK_SIZES, &[101])
            .with_size(Size::SPLIT_LM_HEAD, 1)
            .with_variant(WHOLE_HEAD, true);
        let feature = |tensor: ResolvedTensor| Feature {
            shape: tensor.shapes().map(|shapes| shapes.concat()),
            name: tensor.name,
            dtype: Some(tensor.dtype),
        };
        let interface = |file: &'static crate::contract::FileContract| {
            let function = file.functions.first().expect("each has one");
            let all = |tensors: Vec<ResolvedTensor>| tensors.into_iter().map(feature).collect();
            Interface {
                file: file.role.to_string(),
                role: file.role,
                inputs: all(function.inputs_in(&instance).expect("all sizes are known")),
                outputs: all(function.outputs_in(&instance).expect("all sizes are known")),
            }
        };
        CONTRACT.files.iter().map(interface).collect()
    }

    fn of<'a>(models: &'a mut [Interface], role: Role, name: &str) -> &'a mut Feature {
        let model = models.iter_mut().find(|model| model.role == role).expect("there");
        model.inputs.iter_mut().chain(&mut model.outputs).find(|feature| feature.name == name).expect("there")
    }

    /// What is said of the models of the contract with a change.
    fn said(change: impl FnOnce(&mut Vec<Interface>)) -> String {
        let mut models = contracted();
        change(&mut models);
        check(&models).err().map(|error| error.to_string()).unwrap_or_default()
    }

    #[test]
    fn the_contract_fits_the_programs_buffers() {
        assert_eq!(check(&contracted()), Ok(()));
    }

    #[test]
    fn a_buffer_that_the_pipeline_shares_has_one_shape() {
        let text = said(|models| of(models, CHUNK, names::MASK).shape = Some(vec![1, 448, 1, 64]));
        assert!(
            text.contains("`mask` of `chunk`: it is [1, 448, 1, 64], and [1, 512, 1, 64] in `embeddings`"),
            "{text}"
        );
        let text = said(|models| of(models, CHUNK, names::NEW_X).shape = Some(vec![1, 32, 1, 64]));
        assert!(text.contains("`new_x` of `chunk`"), "{text}");
    }

    #[test]
    fn what_is_no_pixel_buffer_is_refused() {
        let text = said(|models| of(models, EMBEDDINGS, names::COS).dtype = Some(ElementType::Float32));
        assert!(text.contains("`cos` of `embeddings`: it is not half precision"), "{text}");
        let text = said(|models| of(models, CHUNK, names::X).shape = None);
        assert!(text.contains("its shape is not fixed"), "{text}");
    }

    #[test]
    fn layers_are_counted_from_0_and_give_what_they_take() {
        let text = said(|models| "k_cache_2".clone_into(&mut of(models, CHUNK, "k_cache_0").name));
        assert!(text.contains("`k_cache_0` of `chunk`: it is not there"), "{text}");
        let text = said(|models| "new_v_caches_1".clone_into(&mut of(models, CHUNK, "new_v_cache_1").name));
        assert!(text.contains("`new_v_cache_1` of `chunk`: it is not there"), "{text}");
        let text = said(|models| of(models, CACHE_PROCESSOR, names::UPDATED_KEYS).shape = Some(vec![1, 512, 1, 32]));
        assert!(text.contains("`updated_k_cache` of `cache_processor`: it is [1, 512, 1, 32]"), "{text}");
    }
}
