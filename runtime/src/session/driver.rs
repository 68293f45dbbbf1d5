//! Who drives the directories of a contract.

use std::fmt;
use std::path::Path;

use anec_schemas::MetaYaml;
use anec_schemas::contract::{Contract, ContractError, Count};

use super::{Session, SessionError, coreml_llm_cli, embedding, host_cache, kernels, monolithic, prefill, stateful};
use crate::backend::Engine;
use crate::part::{ModelPart, PartError, PartLabel, stem};

/// All drivers, one a contract.
static DRIVERS: &[&dyn Driver] = &[
    &stateful::Stateful,
    &monolithic::Monolithic,
    &host_cache::HostCache,
    &coreml_llm_cli::CoremlLlmCli,
    &coreml_llm_cli::sequoia::Sequoia,
    &prefill::Prefill,
    &embedding::Embedding,
    &kernels::Kernels,
];

/// Knows what the client of a contract does.
pub trait Driver: fmt::Debug + Sync {
    /// The contract.
    fn contract(&self) -> &'static Contract;

    /// The models of a directory, whose path is real, in the order in which a token passes them: those that `files` of the
    /// meta file lists, role by role as the contract has them.
    ///
    /// # Errors
    /// A model is not named, not there, or outside of the directory.
    fn parts(&self, root: &Path, meta: &MetaYaml) -> Result<Vec<ModelPart>, PartError> {
        listed(self.contract(), root, meta)
    }

    /// Opens the models with an engine, and loads their functions.
    ///
    /// # Errors
    /// A model cannot be opened, or lacks what the contract asks for.
    fn open(&self, meta: &MetaYaml, parts: &[ModelPart], engine: &dyn Engine)
    -> Result<Box<dyn Session>, SessionError>;
}

/// The models that `files` of the meta file lists, role by role as the contract has them.
pub(super) fn listed(contract: &Contract, root: &Path, meta: &MetaYaml) -> Result<Vec<ModelPart>, PartError> {
    let mut parts = Vec::new();
    for file in contract.files {
        let stems = meta.model_info.parameters.files.get(file.role.0).map_or(&[][..], Vec::as_slice);
        if stems.is_empty() || (file.count == Count::One && stems.len() > 1) {
            return Err(PartError::NotListed { role: file.role, found: stems.len() });
        }
        for (number, name) in (1..).zip(stems) {
            let label = PartLabel { role: file.role, number: (file.count == Count::Many).then_some(number) };
            parts.push(ModelPart::find(root, label, stem("files", Some(name))?.to_owned())?);
        }
    }
    Ok(parts)
}

/// The driver of a contract.
///
/// # Errors
/// There is none.
pub(crate) fn driver_of(contract: &Contract) -> Result<&'static dyn Driver, ContractError> {
    let found = DRIVERS.iter().find(|driver| driver.contract().name == contract.name);
    found.copied().ok_or_else(|| ContractError::Unknown { found: contract.name.to_owned() })
}

#[cfg(test)]
mod tests {
    use anec_schemas::contract::CONTRACTS;

    use super::*;

    #[test]
    fn every_contract_has_a_driver() {
        for contract in CONTRACTS {
            assert!(driver_of(contract).is_ok_and(|driver| std::ptr::eq(driver.contract(), *contract)));
        }
        assert_eq!(DRIVERS.len(), CONTRACTS.len());
    }
}
