//! The buffers of the pipeline, as the program has them: one for each name, but for caches, which are of a chunk.

use std::collections::BTreeMap;

use anec_mil::evaluate::Tensor;
use anec_mil::{DataType, NamedValueType, TensorType};
use anec_schemas::contract::ElementType;
use anec_schemas::contract::coreml_llm_cli::buffers::{Feature, Interface};

use crate::backend::{Signature, Tensors};
use crate::part::ModelPart;

/// The buffers.
#[derive(Debug, Default)]
pub(super) struct Store {
    /// Those of the whole pipeline.
    shared: Tensors,
    /// Those of each chunk.
    of_chunks: BTreeMap<usize, Tensors>,
}

impl Store {
    /// Writes results into the buffers of their names.
    pub(super) fn write(&mut self, outputs: Tensors) {
        self.shared.extend(outputs);
    }

    /// Writes a cache of a chunk.
    pub(super) fn write_cache(&mut self, chunk: usize, name: String, cache: Tensor) {
        self.of_chunks.entry(chunk).or_default().insert(name, cache);
    }

    /// A cache of a chunk.
    pub(super) fn cache(&self, chunk: usize, name: &str) -> Tensor {
        let cache = self.of_chunks.get(&chunk).and_then(|caches| caches.get(name));
        cache.cloned().expect("every layer has its caches since the session was reset")
    }

    /// All caches, by chunk and name.
    pub(super) fn caches(&self) -> Tensors {
        let of_chunk = |(chunk, caches): (&usize, &Tensors)| {
            let chunk = chunk + 1;
            let named = |(name, cache): (&String, &Tensor)| (format!("chunk_{chunk}_{name}"), cache.clone());
            caches.iter().map(named).collect::<Vec<_>>()
        };
        self.of_chunks.iter().flat_map(of_chunk).collect()
    }

    /// The inputs of a model that has no caches.
    pub(super) fn shared(&self, signature: &Signature) -> Tensors {
        let given = signature.inputs.iter();
        given.filter_map(|input| Some((input.name.clone(), self.shared.get(&input.name)?.clone()))).collect()
    }

    /// The inputs of a chunk.
    pub(super) fn of_chunk(&self, chunk: usize, signature: &Signature) -> Tensors {
        let mut inputs = self.shared(signature);
        inputs.extend(
            self.of_chunks.get(&chunk).into_iter().flatten().map(|(name, cache)| (name.clone(), cache.clone())),
        );
        inputs
    }
}

/// What the program sees of a model.
pub(super) fn interface(part: &ModelPart, signature: &Signature) -> Interface {
    let feature = |value: &NamedValueType| {
        let ty = value.ty.as_tensor();
        let dtype = [ElementType::Float16, ElementType::Float32, ElementType::Int32]
            .into_iter()
            .find(|dtype| ty.is_some_and(|ty| ty.dtype == DataType::from(*dtype)));
        Feature { name: value.name.clone(), dtype, shape: ty.and_then(TensorType::fixed_shape) }
    };
    Interface {
        file: part.stem.clone(),
        role: part.label.role,
        inputs: signature.inputs.iter().map(feature).collect(),
        outputs: signature.outputs.iter().map(feature).collect(),
    }
}
