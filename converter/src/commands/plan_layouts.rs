//! Every layout beside the others: what a token reads, and what the device holds.

use std::fmt::Write as _;

use serde::Serialize;

use crate::options::{ByteSize, Options};
use crate::output::layouts::LAYOUTS;
use crate::plan::ConversionPlan;
use crate::plan::estimate::{Cost, Memory};

/// A layout of the model, or why there is none.
#[derive(Serialize)]
pub(super) struct Row {
    /// The layout.
    layout: &'static str,
    /// Its files and costs.
    #[serde(flatten)]
    planned: Planned,
}

/// What became of a layout.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Planned {
    /// It fits.
    Plan {
        /// Files.
        files: usize,
        /// Bytes of weights that a decoded token reads.
        weight_bytes_per_token: u64,
        /// Bytes of the cache that a decoded token reads.
        cache_bytes_per_token: u64,
        /// Bytes on the device.
        memory: Memory,
        /// Whether Core ML keeps the cache, and not the client.
        has_state: bool,
    },
    /// It does not.
    Refused(String),
}

/// The model of a plan with its options under every layout.
pub(super) fn rows(plan: &ConversionPlan) -> Vec<Row> {
    let row = |layout: &'static str| {
        let options = Options { layout, ..plan.options.clone() };
        let planned = match ConversionPlan::new(plan.decoder.clone(), options) {
            Ok(plan) => {
                let Cost { weight_bytes_per_token, cache_bytes_per_token, memory, .. } = Cost::of(&plan);
                let (files, has_state) = (plan.files.len(), plan.has_state());
                Planned::Plan { files, weight_bytes_per_token, cache_bytes_per_token, memory, has_state }
            }
            Err(error) => Planned::Refused(error.to_string()),
        };
        Row { layout, planned }
    };
    LAYOUTS.iter().map(|layout| row(layout.name())).collect()
}

/// The rows for people.
pub(super) fn table(rows: &[Row]) -> String {
    let width = rows.iter().map(|row| row.layout.len()).max().unwrap_or_default();
    let mut text = format!(
        "{:<width$}  {:>5}  {:>12}  {:>11}  {:>10}  {:>10}  {:>10}  cache kept by\n",
        "layout", "files", "weights/tok", "cache/tok", "weights", "cache", "all loaded"
    );
    for Row { layout, planned } in rows {
        // Writing to a string cannot fail.
        let _ = match planned {
            Planned::Plan { files, weight_bytes_per_token, cache_bytes_per_token, memory, has_state } => writeln!(
                text,
                "{layout:<width$}  {files:>5}  {:>12}  {:>11}  {:>10}  {:>10}  {:>10}  {}",
                ByteSize(*weight_bytes_per_token).to_string(),
                ByteSize(*cache_bytes_per_token).to_string(),
                ByteSize(memory.weights).to_string(),
                ByteSize(memory.state).to_string(),
                ByteSize(memory.loaded).to_string(),
                if *has_state { "Core ML" } else { "the client" }
            ),
            Planned::Refused(error) => writeln!(text, "{layout:<width$}  {error}"),
        };
    }
    text
}
