//! Contracts: what the client of a converted directory relies on, as data.
//!
//! A contract names the roles of files, their functions, every input, output and state with element type and shape, and the
//! order in which a client calls them. Shapes are written in sizes that each conversion fixes, such as `context_length`; an
//! [`Instance`] holds those of one conversion. Graphs are built and checked by a contract, and what drives them reads the
//! same rows, so that a name or a shape stands in one place.
//!
//! A converted directory says which contract it follows by `contract` in its meta file; where there is none, it is
//! [`monolithic`] if `monolithic_model` names its file, else [`stateful`].

pub mod coreml_llm_cli;
pub mod embedding;
pub mod host_cache;
pub mod kernels;
pub mod monolithic;
pub mod prefill;
pub mod stateful;

mod condition;
mod dimension;
mod instance;
mod tensor;

use std::fmt;

use crate::meta::Parameters;

pub use condition::{Variant, When};
pub use dimension::{Axis, Dimension, Size};
pub use instance::Instance;
pub use tensor::{ElementType, ResolvedTensor, TensorContract, TensorName};

/// All contracts. The first is that of a directory whose meta file names none.
pub static CONTRACTS: &[&Contract] = &[
    &stateful::CONTRACT,
    &monolithic::CONTRACT,
    &host_cache::CONTRACT,
    &coreml_llm_cli::CONTRACT,
    &coreml_llm_cli::sequoia::CONTRACT,
    &prefill::CONTRACT,
    &embedding::CONTRACT,
    &kernels::CONTRACT,
];

/// What the client of a converted directory relies on.
#[derive(Debug)]
pub struct Contract {
    /// The name by which a meta file says it.
    pub name: &'static str,
    /// What kind of client it is for, in one sentence.
    pub summary: &'static str,
    /// Where it is known from.
    pub source: &'static str,
    /// What may differ between conversions.
    pub variants: &'static [Variant],
    /// Who keeps keys and values of earlier tokens.
    pub cache: Cache,
    /// The files by their roles, in the order in which a token passes them.
    pub files: &'static [FileContract],
    /// Who is called for what, in order.
    pub calls: &'static [Call],
    /// What a client has to keep, and rules that no shape says.
    pub rules: &'static [&'static str],
    /// The Apple systems that load its models.
    pub systems: &'static str,
    /// What has to be in the device's memory.
    pub memory: &'static str,
    /// A client in Swift, to start from.
    pub swift: &'static str,
}

/// What a file of a converted directory does, by a name such as `lm_head`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Role(pub &'static str);

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// Who keeps keys and values of earlier tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cache {
    /// Core ML, in a state.
    State,
    /// The client, which needs its sizes.
    Client,
    /// Nobody: a call is given all tokens.
    Nobody,
}

/// How many files have a role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    /// One.
    One,
    /// One or more, numbered from 1.
    Many,
}

/// The files of one role.
#[derive(Debug)]
pub struct FileContract {
    /// The role.
    pub role: Role,
    /// What they compute.
    pub meaning: &'static str,
    /// How many there are.
    pub count: Count,
    /// Their functions; no two have the same name. The first that a file has is its default.
    pub functions: &'static [FunctionContract],
}

/// A function.
#[derive(Debug)]
pub struct FunctionContract {
    /// Its name in the file.
    pub name: &'static str,
    /// Whether it is there.
    pub when: When,
    /// What it is called for.
    pub meaning: &'static str,
    /// Inputs, in the order in which the program declares them.
    pub inputs: &'static [TensorContract],
    /// States, declared after the inputs.
    pub states: &'static [TensorContract],
    /// Outputs, in the order in which the program returns them.
    pub outputs: &'static [TensorContract],
}

/// What a call is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// A full batch of the prompt.
    Prompt,
    /// What remains of the prompt, and every new token.
    Decode,
}

impl Phase {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Prompt => "prompt",
            Self::Decode => "decode",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A call, once for each file of its role.
#[derive(Debug)]
pub struct Call {
    /// What for.
    pub phase: Phase,
    /// Which files.
    pub role: Role,
    /// Which function.
    pub function: &'static str,
    /// Whether it is made.
    pub when: When,
    /// What is given to it.
    pub feeds: &'static str,
}

/// A contract that is not known, or that a conversion does not fit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ContractError {
    /// The meta file names a contract that does not exist.
    #[error("`contract` of the meta file is `{found}`, expected one of {}", names())]
    Unknown {
        /// The name.
        found: String,
    },
    /// The contract has no files of this role.
    #[error("the contract `{contract}` has no role `{role}`")]
    Role {
        /// The contract.
        contract: &'static str,
        /// The role.
        role: String,
    },
    /// The files of this role have no such function in this conversion.
    #[error("the contract `{contract}` gives the {role} no function `{function}` in this conversion")]
    Function {
        /// The contract.
        contract: &'static str,
        /// The role.
        role: Role,
        /// The function.
        function: String,
    },
    /// A size that says how many tensors there are is not known.
    #[error("the number of tensors `{name}` depends on `{size}`, which is not known")]
    Size {
        /// The tensors.
        name: String,
        /// The size.
        size: Size,
    },
}

fn names() -> String {
    let names: Vec<String> = CONTRACTS.iter().map(|contract| format!("`{}`", contract.name)).collect();
    names.join(", ")
}

/// The contract of this name.
///
/// # Errors
/// There is none.
pub fn find(name: &str) -> Result<&'static Contract, ContractError> {
    let found = CONTRACTS.iter().find(|contract| contract.name == name);
    found.copied().ok_or_else(|| ContractError::Unknown { found: name.to_owned() })
}

impl Contract {
    /// The contract that a meta file names; where it names none, [`monolithic`] if it names the file of such a model, else
    /// [`stateful`].
    ///
    /// # Errors
    /// The meta file names a contract that does not exist.
    pub fn of(parameters: &Parameters) -> Result<&'static Self, ContractError> {
        match &parameters.contract {
            None if parameters.monolithic_model.is_some() => Ok(&monolithic::CONTRACT),
            None => Ok(&stateful::CONTRACT),
            Some(name) => find(name),
        }
    }

    /// Whether its models end in an LM head, in a file of its own or not.
    pub fn has_head(&self) -> bool {
        self.files.iter().any(|file| file.role == stateful::LM_HEAD || file.role == monolithic::MODEL)
    }

    /// The files of a role.
    ///
    /// # Errors
    /// The contract has no such role.
    pub fn file(&self, role: Role) -> Result<&'static FileContract, ContractError> {
        let missing = || ContractError::Role { contract: self.name, role: role.0.to_owned() };
        self.files.iter().find(|file| file.role == role).ok_or_else(missing)
    }

    /// The role of this name.
    ///
    /// # Errors
    /// The contract has no such role.
    pub fn role(&self, name: &str) -> Result<Role, ContractError> {
        let missing = || ContractError::Role { contract: self.name, role: name.to_owned() };
        self.files.iter().map(|file| file.role).find(|role| role.0 == name).ok_or_else(missing)
    }

    /// A function that the files of a role have in a conversion.
    ///
    /// # Errors
    /// The contract has no such role, or its files have no such function in this conversion.
    pub fn function(
        &self,
        role: Role,
        name: &str,
        instance: &Instance,
    ) -> Result<&'static FunctionContract, ContractError> {
        let function = self.file(role)?.functions_in(instance).find(|function| function.name == name);
        function.ok_or_else(|| ContractError::Function { contract: self.name, role, function: name.to_owned() })
    }
}

impl FileContract {
    /// The functions that the files have in a conversion.
    pub fn functions_in<'a>(
        &'static self,
        instance: &'a Instance,
    ) -> impl Iterator<Item = &'static FunctionContract> + 'a {
        self.functions.iter().filter(|function| instance.is(function.when))
    }
}

impl FunctionContract {
    /// The inputs in a conversion.
    ///
    /// # Errors
    /// It is not known how many there are.
    pub fn inputs_in(&self, instance: &Instance) -> Result<Vec<ResolvedTensor>, ContractError> {
        tensor::resolve(self.inputs, instance)
    }

    /// The states in a conversion.
    ///
    /// # Errors
    /// It is not known how many there are.
    pub fn states_in(&self, instance: &Instance) -> Result<Vec<ResolvedTensor>, ContractError> {
        tensor::resolve(self.states, instance)
    }

    /// The outputs in a conversion.
    ///
    /// # Errors
    /// It is not known how many there are.
    pub fn outputs_in(&self, instance: &Instance) -> Result<Vec<ResolvedTensor>, ContractError> {
        tensor::resolve(self.outputs, instance)
    }
}

#[cfg(test)]
mod tests;
