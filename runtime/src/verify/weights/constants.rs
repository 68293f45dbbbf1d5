//! The constants of a model with the blobs that they are stored in.

use std::collections::BTreeMap;

use anec_mil::evaluate::Tensor;
use anec_mil::ops::{constexpr_lut_to_dense, special};
use anec_mil::{DataType, Operation, Program};
use anec_schemas::provenance::ModelProvenance;

use crate::backend::{Backend as _, Model as _, ReferenceBackend};
use crate::part::ModelPart;
use crate::session::SessionError;

/// The constants of all functions of a model, by name.
pub(super) struct Constants(pub(super) BTreeMap<String, Constant>);

/// A constant.
pub(super) struct Constant {
    /// Its elements, still compressed.
    pub(super) tensor: Tensor,
    /// The narrowest element type that it is stored in, such as `uint4`; empty where that is not known.
    pub(super) encoding: String,
    /// Its blobs: as the provenance has them, else by their offsets in the weight file.
    pub(super) blobs: Vec<u64>,
}

impl Constants {
    pub(super) fn of(part: &ModelPart, provenance: &ModelProvenance) -> Result<Self, SessionError> {
        let model = ReferenceBackend::default().open(part)?;
        let stored = stored(model.program(), provenance);
        let mut constants = BTreeMap::new();
        for function in model.function_names() {
            for (name, tensor) in model.load(&function)?.constants() {
                constants.entry(name.to_owned()).or_insert_with(|| {
                    let (encoding, blobs) = stored.get(name).cloned().unwrap_or_default();
                    Constant { tensor: tensor.clone(), encoding, blobs }
                });
            }
        }
        Ok(Self(constants))
    }

    /// The constant that a blob belongs to, with its name.
    pub(super) fn holding(&self, blob: u64) -> Option<(&str, &Constant)> {
        let found = self.0.iter().find(|(_, constant)| constant.blobs.contains(&blob));
        found.map(|(name, constant)| (name.as_str(), constant))
    }
}

/// Element type and blobs of each operation that yields a constant, by its result.
fn stored(program: &Program, provenance: &ModelProvenance) -> BTreeMap<String, (String, Vec<u64>)> {
    let operations = program.functions.values().flat_map(|function| &function.block.operations);
    let constants = operations.filter(|operation| special::yields_constant(&operation.op));
    let of = |operation: &Operation| {
        let references = operation.values().filter_map(|(_, value)| value.as_blob());
        let blobs = references.map(|reference| provenance.blob(&reference.file_name, reference.offset)).collect();
        let encoding = stored_dtype(operation).map_or_else(String::new, |dtype| dtype.to_string());
        Some((operation.outputs.first()?.name.clone(), (encoding, blobs)))
    };
    constants.filter_map(of).collect()
}

/// The narrowest element type among the tensors that an operation holds.
pub(in crate::verify) fn stored_dtype(operation: &Operation) -> Option<DataType> {
    if let Some(index) = constexpr_lut_to_dense::packed_index_type(operation) {
        return Some(index);
    }
    let types = operation.values().filter_map(|(_, value)| value.tensor_type()).filter(|ty| ty.rank() > 0);
    types.map(|ty| ty.dtype).min_by_key(|dtype| dtype.bits())
}
