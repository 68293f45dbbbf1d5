//! Which figures pass.

use super::weights::CALIBRATED_QUALITY;
use anec_mil::evaluate::Numerics;
use anec_schemas::report::{Check, DeviceReport, MatchedBy, Report};

use super::perplexity_increase;

/// Limits on what a verification finds. `None` asks for nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Thresholds {
    /// Mean divergence, in nats.
    pub kl_mean: Option<f64>,
    /// Share of positions with the same most likely token.
    pub top1: Option<f64>,
    /// Largest difference of a logit.
    pub logit_error_max: Option<f64>,
    /// Share by which the perplexity may exceed that of the checkpoint.
    pub perplexity_increase: Option<f64>,
    /// Largest difference of a logit between prefill and decoding.
    pub prefill_logit_difference: Option<f64>,
    /// Largest difference of a state between prefill and decoding, as a share of its largest magnitude.
    pub prefill_state_difference: Option<f64>,
    /// Finite values that fp16 cannot hold.
    pub overflows: Option<f64>,
    /// Signal-to-noise ratio of the worst weight, in decibels.
    pub snr_db: Option<f64>,
    /// Share of the palettized elements of one row to which another entry is clearly nearer.
    pub misassigned: Option<f64>,
    /// Largest error of a RoPE table.
    pub table_error: Option<f64>,
    /// Peak signal-to-noise ratio of a model on a device against the reference engine, in decibels.
    pub device_psnr_db: Option<f64>,
    /// Share of a function that runs on the Neural Engine.
    pub neural_engine: Option<f64>,
}

/// What results of fp16 must reach on a device, in decibels.
const DEVICE_PSNR_DB: f64 = 40.0;

/// Defaults by bits of an index or integer: bits, mean divergence, share of equal best tokens, increase of perplexity,
/// decibels.
///
/// They leave several times the room that the project's fixtures need, and less than any fault that was planted. Real models
/// lose more at the same bits than the fixtures do: those of 4 bits need calibration to stay within them.
const BY_BITS: [(u32, f64, f64, f64, f64); 7] = [
    (0, 1e-3, 0.97, 0.005, 60.0),
    (8, 2e-3, 0.97, 0.01, 35.0),
    (6, 1e-2, 0.92, 0.02, 24.0),
    (4, 0.15, 0.75, 0.25, 14.0),
    (3, 0.6, 0.5, 1.0, 9.0),
    (2, 3.0, 0.1, 10.0, 4.0),
    (1, 6.0, 0.0, 1e3, 1.0),
];

impl Thresholds {
    /// Defaults for a model of so many layers, with palettes or integers of so many bits, 0 for none.
    pub fn for_model(bits: u32, num_hidden_layers: usize, numerics: Numerics) -> Self {
        let row = BY_BITS.iter().find(|row| row.0 == bits).unwrap_or(&BY_BITS[1]);
        let (_, kl_mean, top1, perplexity_increase, snr_db) = *row;
        let exact = numerics == Numerics::F32;
        Self {
            kl_mean: Some(kl_mean),
            top1: Some(top1),
            logit_error_max: (bits == 0 && exact).then_some(0.1),
            perplexity_increase: Some(perplexity_increase),
            prefill_logit_difference: Some(if exact { 1e-2 } else { 0.25 }),
            prefill_state_difference: Some(state_difference(num_hidden_layers, exact)),
            overflows: Some(0.0),
            snr_db: Some(snr_db),
            misassigned: Some(5e-3),
            table_error: Some(1e-3),
            device_psnr_db: Some(DEVICE_PSNR_DB),
            neural_engine: None,
        }
    }

    /// Checks a report.
    pub fn check(&self, report: &Report) -> Vec<Check> {
        let mut checks = Checks::default();
        let decode = &report.decode;
        checks.at_most("decode.kl_mean", "mean KL divergence of decoding, nats", Some(decode.kl_mean), self.kl_mean);
        checks.at_least("decode.top1", "positions with the same most likely token", Some(decode.top1), self.top1);
        let error = Some(decode.logit_error_max);
        checks.at_most("decode.logit_error_max", "largest difference of a logit", error, self.logit_error_max);
        let increase = perplexity_increase(decode);
        checks.at_most(
            "decode.perplexity_increase",
            "perplexity above the checkpoint's",
            increase,
            self.perplexity_increase,
        );
        if let Some(prefill) = &report.prefill {
            let agreement = &prefill.agreement;
            checks.at_most(
                "prefill.kl_mean",
                "mean KL divergence after prefill, nats",
                Some(agreement.kl_mean),
                self.kl_mean,
            );
            let (difference, limit) = (Some(prefill.logit_difference), self.prefill_logit_difference);
            checks.at_most("prefill.logit_difference", "logits after prefill against decoding", difference, limit);
            let share = prefill.state_difference / prefill.state_largest.max(f64::MIN_POSITIVE);
            let share = if prefill.state_difference == 0.0 { 0.0 } else { share };
            let limit = self.prefill_state_difference;
            checks.at_most(
                "prefill.state_difference",
                "KV cache after prefill against decoding, share",
                Some(share),
                limit,
            );
        }
        #[expect(clippy::cast_precision_loss, reason = "counts")]
        let overflows = (report.activations.overflows + report.activations.nans) as f64;
        checks.at_most("activations.overflows", "values that fp16 cannot hold", Some(overflows), self.overflows);
        let measured = report.weights.iter().filter(|weight| !weight.encoding.ends_with(CALIBRATED_QUALITY));
        let worst = measured.filter_map(|weight| weight.snr_db).min_by(f64::total_cmp);
        checks.at_least("weights.snr_db", "worst weight, dB", worst, self.snr_db);
        let misassigned = report.weights.iter().filter(|weight| weight.encoding.starts_with("uint")).map(|weight| {
            let columns = weight.shape.last().copied().unwrap_or(1).max(1);
            #[expect(clippy::cast_precision_loss, reason = "counts")]
            let share = weight.misassigned_in_row as f64 / columns as f64;
            share
        });
        let (worst, limit) = (misassigned.max_by(f64::total_cmp), self.misassigned);
        checks.at_most(
            "weights.misassigned",
            "elements of a row that are not stored as the nearest entry, share",
            worst,
            limit,
        );
        // Names are a guess, so that what they do not match may be in order.
        let known = report.origins.as_ref().filter(|origins| origins.matched_by == MatchedBy::Provenance);
        #[expect(clippy::cast_precision_loss, reason = "a count")]
        let unknown = known.map(|origins| origins.findings.len() as f64);
        let meaning = "weights without a known origin, or origins without a weight";
        checks.at_most("weights.provenance", meaning, unknown, Some(0.0));
        let worst = report.tables.iter().map(|table| table.error_max).max_by(f64::total_cmp);
        checks.at_most("tables.error_max", "largest error of a RoPE table", worst, self.table_error);
        let differences = report.parts.iter().filter_map(|part| part.differences.as_ref().map(Vec::len));
        #[expect(clippy::cast_precision_loss, reason = "a count")]
        let differences = differences.reduce(|sum, count| sum + count).map(|count| count as f64);
        let meaning = "differences of compiled models from their packages";
        checks.at_most("parts.differences", meaning, differences, Some(0.0));
        if let Some(device) = &report.device {
            self.check_device(device, &mut checks);
        }
        checks.0
    }
}

impl Thresholds {
    fn check_device(&self, device: &DeviceReport, checks: &mut Checks) {
        let worst = device.agreement.iter().filter_map(|part| part.psnr_db).min_by(f64::total_cmp);
        checks.at_least("device.psnr_db", "worst model against the reference engine, dB", worst, self.device_psnr_db);
        #[expect(clippy::cast_precision_loss, reason = "a count")]
        let not_finite = (device.predictions > 0).then_some(device.not_finite as f64);
        checks.at_most("device.not_finite", "predictions with logits that are not finite", not_finite, Some(0.0));
        // What is not known to run on the Neural Engine does not.
        let share = device.plans.iter().map(|plan| plan.neural_engine.unwrap_or(0.0)).min_by(f64::total_cmp);
        let share = share.or(Some(0.0));
        checks.at_least("device.neural_engine", "share of a function on the Neural Engine", share, self.neural_engine);
    }
}

/// How far a state may be off after prefill, as a share of its largest magnitude.
///
/// Batches sum in another order than single tokens. In fp32 that shows only where a value is rounded into the state, by one
/// step of fp16. Where every result is rounded, each layer adds errors of its own to the residual stream that the next one
/// reads. They are independent, so that their squares add up: the error grows with the square root of the depth.
fn state_difference(num_hidden_layers: usize, exact: bool) -> f64 {
    /// A step of fp16 at the largest magnitude.
    const STEP: f64 = 1.0 / 1024.0;
    /// Steps of one layer: twice what a trained model of 30 layers shows.
    const STEPS_OF_LAYER: f64 = 2.0;
    #[expect(clippy::cast_precision_loss, reason = "a count of layers")]
    let layers = num_hidden_layers.max(1) as f64;
    if exact { STEP } else { STEPS_OF_LAYER * STEP * layers.sqrt() }
}

#[derive(Default)]
struct Checks(Vec<Check>);

impl Checks {
    fn at_most(&mut self, name: &str, meaning: &str, found: Option<f64>, limit: Option<f64>) {
        self.0.extend(found.zip(limit).map(|(found, limit)| Check::at_most(name, meaning, found, limit)));
    }

    fn at_least(&mut self, name: &str, meaning: &str, found: Option<f64>, limit: Option<f64>) {
        self.0.extend(found.zip(limit).map(|(found, limit)| Check::at_least(name, meaning, found, limit)));
    }
}

#[cfg(test)]
mod tests {
    use anec_mil::evaluate::Accumulator;

    use super::*;

    fn limit(layers: usize, numerics: Numerics) -> f64 {
        Thresholds::for_model(0, layers, numerics).prefill_state_difference.expect("a limit")
    }

    #[test]
    fn what_rounding_may_do_to_a_state_grows_with_the_root_of_the_depth() {
        let fp16 = Numerics::Fp16(Accumulator::F32);
        assert!((limit(4, fp16) - 4.0 / 1024.0).abs() < 1e-12);
        assert!((limit(64, fp16) / limit(16, fp16) - 2.0).abs() < 1e-12);
        // A model of 30 layers whose logits are off by 5e-5 nats shows 0.0047.
        assert!(limit(30, fp16) > 2.0 * 0.0047);
        assert!(limit(200, fp16) < 0.03, "a fault is a share of the magnitude itself");
    }

    #[test]
    fn without_rounding_depth_adds_nothing() {
        assert_eq!(limit(4, Numerics::F32), limit(100, Numerics::F32));
    }
}
