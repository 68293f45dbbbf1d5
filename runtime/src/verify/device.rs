//! What a model does on a device: each part against the reference engine, many predictions in a row, and where it runs.

use std::collections::BTreeMap;

use anec_mil::rules::{Conditions, Subject, lint};
use anec_schemas::report::{DeviceReport, DeviceUse, FunctionPlan, OperationElsewhere, PartAgreement, Report};

use super::{Progress, Thresholds, Verification, VerifyError, concluded};
use crate::backend::coreml::{ComputePlan, CoreMlBackend, Device, Framework, Units};
use crate::backend::private_ane::{Interface, PrivateAneBackend};
use crate::backend::{Backend as _, Engine, Model as _, ReferenceBackend, ReferenceOptions, Tensors};
use crate::part::ModelPart;
use crate::session::{Session, SessionError};

/// What stands for results that cannot be compared, in decibels.
const INCOMPARABLE_DB: f64 = -1e3;

/// Tokens over which every model is compared with the reference engine.
const COMPARED: usize = 32;

/// Rules that explain an operation, at most.
const RULES: usize = 4;

/// Figures of many predictions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeviceFigures {
    /// Predictions that were made.
    pub predictions: u64,
    /// Of them, those whose logits are not all finite.
    pub not_finite: u64,
    /// Of them, those whose logits differ from those of the same tokens before.
    pub differing: u64,
}

/// How to verify on a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceOptions {
    /// Where models may run.
    pub units: Units,
    /// Predictions to make one after another.
    pub predictions: usize,
}

impl Verification<'_> {
    /// Verifies with Core ML: as with the reference engine, and what only a device can show.
    ///
    /// # Errors
    /// The directory or the checkpoint is not usable, or Core ML fails. A requirement that does not hold is no error.
    pub fn on_device<F: Framework + 'static>(
        self,
        backend: &CoreMlBackend<F>,
        device: DeviceOptions,
    ) -> Result<Report, VerifyError> {
        let (directory, options) = (self.directory, self.options);
        let system = backend.system().map_err(SessionError::from)?;
        let name = format!("coreml {}", device.units);
        let mut report = self.measured(backend, name, (system, device.units.to_string()), device.predictions)?;
        let mut plans = Vec::new();
        for part in directory.parts() {
            let model = backend.open(part).map_err(SessionError::from)?;
            for function in model.function_names() {
                let plan = model.compute_plan(&function).map_err(SessionError::from)?;
                plans.push(function_plan(part, &function, &plan));
            }
        }
        if let Some(device) = &mut report.device {
            device.plans = plans;
        }
        Ok(concluded_on_device(report, &options.thresholds))
    }

    /// Verifies with the Neural Engine's own interface, which does not say where operations run.
    ///
    /// # Errors
    /// The directory or the checkpoint is not usable, or the interface fails. A requirement that does not hold is no error.
    pub fn on_private_ane<I: Interface + 'static>(
        self,
        backend: &PrivateAneBackend<I>,
        predictions: usize,
    ) -> Result<Report, VerifyError> {
        let options = self.options;
        let name = "private-ane".to_owned();
        let report = self.measured(backend, name.clone(), (backend.system(), name), predictions)?;
        Ok(concluded_on_device(report, &options.thresholds))
    }

    /// What can be measured on any device. Nothing is checked yet.
    fn measured(
        mut self,
        engine: &dyn Engine,
        name: String,
        (system, units): (String, String),
        predictions: usize,
    ) -> Result<Report, VerifyError> {
        let mut report = self.compared(engine, name)?;
        let window = self.tokens.windows.first().ok_or(VerifyError::NoTokens)?;
        let options = ReferenceOptions { numerics: self.options.numerics, statistics: false };
        let mut on_device = self.directory.session(engine)?;
        let mut on_reference = self.directory.session(&ReferenceBackend::new(options))?;
        let first = window.get(..COMPARED.min(window.len())).unwrap_or_default();
        let agreement = agreement(&mut *on_reference, &mut *on_device, first)?;
        let figures = endurance(&mut *on_device, window, predictions, self.progress)?;
        report.device = Some(DeviceReport {
            system,
            units,
            agreement,
            predictions: figures.predictions,
            not_finite: figures.not_finite,
            differing: figures.differing,
            plans: Vec::new(),
        });
        Ok(report)
    }
}

/// A report with its checks. A device does not tell what its activations became.
fn concluded_on_device(report: Report, thresholds: &Thresholds) -> Report {
    concluded(report, &Thresholds { overflows: None, ..thresholds.clone() })
}

/// Compares every model of a device with the reference over tokens. Both get what the reference computed as input, so that
/// each is judged alone.
///
/// # Errors
/// An engine fails.
pub fn agreement(
    reference: &mut dyn Session,
    device: &mut dyn Session,
    tokens: &[u32],
) -> Result<Vec<PartAgreement>, SessionError> {
    reference.reset()?;
    device.reset()?;
    let mut found: Vec<PartAgreement> = Vec::new();
    for (position, token) in tokens.iter().enumerate() {
        let mut expected: BTreeMap<String, Tensors> = BTreeMap::new();
        reference.step(&[*token], position, &mut |label, outputs| {
            expected.insert(label.to_string(), outputs.clone());
        })?;
        device.step(&[*token], position, &mut |label, outputs| {
            let role = label.to_string();
            let Some(expected) = expected.get(&role) else { return };
            for (name, expected) in expected {
                let (Ok(expected), Some(given)) = (expected.as_floats(), outputs.get(name)) else { continue };
                let given = given.as_floats().unwrap_or_default();
                let (cosine, psnr_db) = (cosine(&expected, &given), psnr(&expected, &given));
                match found.iter_mut().find(|part| part.role == role && part.output == *name) {
                    Some(part) => {
                        part.cosine = part.cosine.min(cosine);
                        part.psnr_db = [part.psnr_db, psnr_db].into_iter().flatten().min_by(f64::total_cmp);
                    }
                    None => found.push(PartAgreement { role: role.clone(), output: name.clone(), cosine, psnr_db }),
                }
            }
            outputs.clone_from(expected);
        })?;
    }
    Ok(found)
}

/// Predicts so many times, the same tokens again and again from an empty state.
///
/// # Errors
/// The engine fails.
pub fn endurance(
    session: &mut dyn Session,
    tokens: &[u32],
    predictions: usize,
    progress: &mut dyn FnMut(Progress),
) -> Result<DeviceFigures, VerifyError> {
    let window = tokens.len().min(session.capabilities().context_length);
    let tokens = tokens.get(..window).filter(|tokens| !tokens.is_empty()).ok_or(VerifyError::NoTokens)?;
    let mut first: Vec<Vec<u32>> = Vec::with_capacity(tokens.len());
    let mut figures = DeviceFigures::default();
    for number in 0..predictions {
        let position = number % tokens.len();
        if position == 0 {
            session.reset()?;
        }
        let Some(token) = tokens.get(position) else { break };
        let mut bits = Vec::new();
        let mut finite = true;
        // What remains is of the model that comes last.
        session.step(&[*token], position, &mut |_, outputs| {
            (bits, finite) = (Vec::new(), true);
            for values in outputs.values().filter_map(|tensor| tensor.as_floats().ok()) {
                finite &= values.iter().all(|value| value.is_finite());
                bits.extend(values.iter().map(|value| value.to_bits()));
            }
        })?;
        figures.predictions += 1;
        figures.not_finite += u64::from(!finite);
        match first.get(position) {
            Some(first) => figures.differing += u64::from(*first != bits),
            None => first.push(bits),
        }
        progress(Progress::Predictions(number + 1, predictions));
    }
    Ok(figures)
}

/// A plan for a report, with the rules that explain what left the Neural Engine.
pub fn function_plan(part: &ModelPart, function: &str, plan: &ComputePlan) -> FunctionPlan {
    let broken = if plan.elsewhere().next().is_some() { broken_rules(part, function) } else { BTreeMap::new() };
    let elsewhere = plan.elsewhere().map(|operation| OperationElsewhere {
        op: operation.op.clone(),
        result: operation.result.clone(),
        device: operation.preferred.map(|device| device.to_string()).unwrap_or_default(),
        supported: operation.supported.contains(&Device::NeuralEngine),
        rules: broken.get(&operation.result).cloned().unwrap_or_default(),
    });
    let devices = plan.shares().into_iter().map(|(device, share)| DeviceUse {
        device: device.to_string(),
        operations: share.operations,
        share: share.share,
        cost: share.cost,
    });
    FunctionPlan {
        part: part.stem.clone(),
        function: function.to_owned(),
        devices: devices.collect(),
        neural_engine: plan.neural_engine_share(),
        elsewhere: elsewhere.collect(),
    }
}

/// The rules that operations of a function break, by result. A model that cannot be read breaks none that we know of.
fn broken_rules(part: &ModelPart, function: &str) -> BTreeMap<String, Vec<String>> {
    let mut broken: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let Some(model) = part.open().ok().and_then(|stored| stored.model().ok()) else { return broken };
    let subject = Subject {
        program: &model.program,
        description: Some(&model.description),
        weight_file_bytes: None,
        constants: None,
    };
    for finding in lint(subject, &Conditions::GENERIC) {
        if finding.location.function.as_deref() != Some(function) {
            continue;
        }
        if let Some(value) = finding.location.value {
            let rules = broken.entry(value).or_default();
            if rules.len() < RULES && !rules.iter().any(|rule| rule == finding.rule.id) {
                rules.push(finding.rule.id.to_owned());
            }
        }
    }
    broken
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    let norm = (dot(a, a) * dot(b, b)).sqrt();
    let cosine = dot(a, b) / norm;
    match () {
        () if a.len() != b.len() => -1.0,
        () if a == b => 1.0,
        () if cosine.is_finite() => cosine,
        () => -1.0,
    }
}

/// Peak signal-to-noise ratio of `b` as `a`; `None` where they are equal.
fn psnr(a: &[f32], b: &[f32]) -> Option<f64> {
    if a == b {
        return None;
    }
    let squares: f64 = a.iter().zip(b).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum();
    let peak = a.iter().fold(0.0_f64, |peak, value| peak.max(f64::from(value.abs())));
    #[expect(clippy::cast_precision_loss, reason = "a count of elements")]
    let error = (squares / a.len().max(1) as f64).sqrt();
    let decibels = 20.0 * (peak / error).log10();
    Some(if decibels.is_finite() && a.len() == b.len() { decibels } else { INCOMPARABLE_DB })
}

#[cfg(test)]
mod tests {
    use anec_schemas::contract::Role;

    use super::*;
    use crate::backend::coreml::PlannedOperation;
    use crate::part::PartLabel;

    #[test]
    fn noise_of_a_hundredth_of_the_peak_is_forty_decibels() {
        assert!((psnr(&[1.0, -1.0], &[1.01, -0.99]).expect("different") - 40.0).abs() < 1e-3);
        assert_eq!(psnr(&[1.0], &[1.0]), None);
        assert!(cosine(&[1.0, 0.0], &[0.0, 1.0]).abs() < 1e-12);
        assert!((cosine(&[1.0, 2.0], &[2.0, 4.0]) - 1.0).abs() < 1e-12, "of equal direction");
    }

    #[test]
    fn what_is_no_number_or_missing_is_the_worst() {
        assert_eq!(psnr(&[1.0], &[f32::NAN]), Some(INCOMPARABLE_DB));
        assert_eq!(psnr(&[1.0, 2.0], &[1.0]), Some(INCOMPARABLE_DB));
        assert_eq!(cosine(&[1.0], &[f32::NAN]), -1.0);
        assert_eq!(cosine(&[1.0, 2.0], &[1.0]), -1.0);
    }

    #[test]
    fn a_plan_names_what_left_the_neural_engine() {
        let operation = |op: &str, device| PlannedOperation {
            op: op.to_owned(),
            result: op.to_owned(),
            preferred: Some(device),
            supported: vec![device],
            cost: None,
        };
        let plan =
            ComputePlan { operations: vec![operation("conv", Device::NeuralEngine), operation("gather", Device::Cpu)] };
        let part = ModelPart {
            label: PartLabel::only(Role("head")),
            stem: "head".to_owned(),
            package: None,
            compiled: None,
            text: None,
        };
        let report = function_plan(&part, "main", &plan);
        assert_eq!(report.neural_engine, Some(0.5));
        assert_eq!(report.elsewhere.len(), 1);
        assert_eq!((report.elsewhere[0].op.as_str(), report.elsewhere[0].device.as_str()), ("gather", "CPU"));
    }
}
