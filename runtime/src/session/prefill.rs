//! Drives models for prompts alone: as [`host_cache`](super::host_cache), with caches in rows, and hidden states in the place
//! of logits.

use anec_schemas::MetaYaml;
use anec_schemas::contract::Contract;
use anec_schemas::contract::prefill::{CONTRACT, PREFILL};

use super::host_cache::{HostCacheSession, Kind, Order};
use super::{Driver, Session, SessionError};
use crate::backend::Engine;
use crate::part::ModelPart;

/// The driver.
#[derive(Debug)]
pub(super) struct Prefill;

impl Driver for Prefill {
    fn contract(&self) -> &'static Contract {
        &CONTRACT
    }

    fn open(
        &self,
        meta: &MetaYaml,
        parts: &[ModelPart],
        engine: &dyn Engine,
    ) -> Result<Box<dyn Session>, SessionError> {
        let parameters = &meta.model_info.parameters;
        let functions = vec![(parameters.batch_size, PREFILL)];
        let kind = Kind { contract: &CONTRACT, functions, order: Order::Rows };
        Ok(Box::new(HostCacheSession::open(kind, parameters, parts, engine)?))
    }
}
