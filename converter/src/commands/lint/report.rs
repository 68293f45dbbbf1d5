//! Findings as data: the JSON form, and what the other forms are written from.

use std::path::Path;

use anec_mil::rules::{Conditions, Finding, Severity};
use serde::Serialize;

/// What was found in all programs.
#[derive(Debug, Serialize)]
pub(in crate::commands) struct LintReport {
    pub(super) chip: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) target: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) os: Option<String>,
    pub(in crate::commands) errors: usize,
    pub(in crate::commands) warnings: usize,
    pub(in crate::commands) notes: usize,
    pub(super) programs: Vec<ProgramReport>,
}

/// What was found in one program.
#[derive(Debug, Serialize)]
pub(super) struct ProgramReport {
    pub(super) path: String,
    pub(super) findings: Vec<FindingReport>,
}

/// One finding.
#[derive(Debug, Serialize)]
pub(super) struct FindingReport {
    pub(super) rule: &'static str,
    #[serde(serialize_with = "as_text")]
    pub(super) severity: Severity,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) function: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) op: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) value: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) layer: Option<u32>,
    pub(super) message: String,
    pub(super) fix: &'static str,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde asks for")]
fn as_text<S: serde::Serializer>(severity: &Severity, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(severity)
}

impl LintReport {
    pub(super) fn new(conditions: &Conditions, programs: Vec<ProgramReport>) -> Self {
        let count = |severity| {
            let findings = programs.iter().flat_map(|program| &program.findings);
            findings.filter(|finding| finding.severity == severity).count()
        };
        Self {
            chip: conditions.chip.to_string(),
            target: conditions.target.map(|target| target.to_string()),
            os: conditions.os.map(|os| os.to_string()),
            errors: count(Severity::Error),
            warnings: count(Severity::Warning),
            notes: count(Severity::Note),
            programs,
        }
    }
}

impl ProgramReport {
    pub(super) fn new(path: &Path, findings: Vec<Finding>) -> Self {
        let findings = findings.into_iter().map(FindingReport::from).collect();
        Self { path: path.display().to_string(), findings }
    }
}

impl From<Finding> for FindingReport {
    fn from(finding: Finding) -> Self {
        Self {
            rule: finding.rule.id,
            severity: finding.severity,
            layer: finding.names.iter().find_map(|name| layer(name)),
            function: finding.location.function,
            op: finding.location.op,
            value: finding.location.value,
            message: finding.message,
            fix: finding.rule.fix,
        }
    }
}

impl FindingReport {
    /// Function, value, op and layer, as far as there are some.
    pub(super) fn place(&self) -> String {
        let Some(function) = &self.function else { return "program".to_owned() };
        let mut place = function.clone();
        if let Some(value) = self.value.as_ref().or(self.op.as_ref()) {
            place = format!("{place} / {value}");
        }
        if let (Some(op), true) = (&self.op, self.value.is_some()) {
            place = format!("{place} = {op}");
        }
        match self.layer {
            Some(layer) => format!("{place} (layer {layer})"),
            None => place,
        }
    }
}

/// The number of the decoder layer that a name mentions, as in `layers_3_q_proj` and `model.layers.3.mlp`.
fn layer(name: &str) -> Option<u32> {
    let mut words = name.split(|character: char| !character.is_ascii_alphanumeric());
    while let Some(word) = words.next() {
        if matches!(word, "layer" | "layers" | "block" | "blocks") {
            let mut rest = words.clone();
            if let Some(number) = rest.next().and_then(|word| word.parse().ok()) {
                return Some(number);
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_their_layer_as_converters_write_it() {
        for (name, number) in [
            ("layers_3_attention_keys", Some(3)),
            ("model_model_layers_27_mlp_up_proj_weight_palettized", Some(27)),
            ("model.layers.0.mlp", Some(0)),
            ("layers_layers_5", Some(5)),
            ("op_837", None),
            ("layers", None),
            ("final_layer_norm_1", None),
            ("layers_99999999999_x", None),
        ] {
            assert_eq!(layer(name), number, "{name}");
        }
    }
}
