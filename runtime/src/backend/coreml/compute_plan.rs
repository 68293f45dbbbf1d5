//! Where operations run, and how much of the work that is.

use std::collections::BTreeMap;
use std::fmt;

/// A processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Device {
    /// The CPU.
    Cpu,
    /// The GPU.
    Gpu,
    /// The Neural Engine.
    NeuralEngine,
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cpu => "CPU",
            Self::Gpu => "GPU",
            Self::NeuralEngine => "ANE",
        })
    }
}

/// What a plan says about one operation.
#[derive(Clone, Debug, PartialEq)]
pub struct PlannedOperation {
    /// The op, without the opset that Core ML puts before it.
    pub op: String,
    /// Its first result.
    pub result: String,
    /// Where it would run; `None` for constants and what is folded into others.
    pub preferred: Option<Device>,
    /// Where it could run.
    pub supported: Vec<Device>,
    /// Its part of the cost of the function, from 0 to 1; `None` where Core ML has no estimate.
    pub cost: Option<f64>,
}

/// The plan of one function.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ComputePlan {
    /// Its operations, in order.
    pub operations: Vec<PlannedOperation>,
}

/// How much runs on one processor.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct DeviceShare {
    /// Operations.
    pub operations: u64,
    /// Share of the operations that run anywhere.
    pub share: f64,
    /// Share of the estimated cost; 0 where there are no estimates.
    pub cost: f64,
}

/// How much runs where.
pub type Shares = BTreeMap<Device, DeviceShare>;

impl ComputePlan {
    /// How much runs on each processor that anything runs on.
    #[expect(clippy::cast_precision_loss, reason = "counts of operations")]
    pub fn shares(&self) -> Shares {
        let placed: Vec<(Device, f64)> = self
            .operations
            .iter()
            .filter_map(|operation| Some((operation.preferred?, operation.cost.filter(|cost| cost.is_finite()))))
            .map(|(device, cost)| (device, cost.unwrap_or(0.0)))
            .collect();
        let costs: f64 = placed.iter().map(|(_, cost)| cost).sum();
        let mut shares = Shares::new();
        for (device, cost) in &placed {
            let share = shares.entry(*device).or_default();
            share.operations += 1;
            share.cost += cost;
        }
        for share in shares.values_mut() {
            share.share = share.operations as f64 / placed.len() as f64;
            share.cost = if costs > 0.0 { share.cost / costs } else { 0.0 };
        }
        shares
    }

    /// The share of the Neural Engine: of operations or of estimated cost, whichever is smaller. `None` where nothing is
    /// known to run anywhere.
    pub fn neural_engine_share(&self) -> Option<f64> {
        let shares = self.shares();
        if shares.is_empty() {
            return None;
        }
        let share = shares.get(&Device::NeuralEngine).copied().unwrap_or_default();
        let has_costs = shares.values().any(|share| share.cost > 0.0);
        Some(if has_costs { share.share.min(share.cost) } else { share.share })
    }

    /// Operations that run, and not on the Neural Engine.
    pub fn elsewhere(&self) -> impl Iterator<Item = &PlannedOperation> {
        self.operations
            .iter()
            .filter(|operation| operation.preferred.is_some_and(|device| device != Device::NeuralEngine))
    }
}

impl PlannedOperation {
    /// The op of an operator name as Core ML gives it, such as `ios18.slice_update`.
    pub fn op_of(operator: &str) -> &str {
        operator.rsplit_once('.').map_or(operator, |(_, op)| op)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operation(op: &str, preferred: Option<Device>, cost: Option<f64>) -> PlannedOperation {
        PlannedOperation { op: op.to_owned(), result: format!("{op}_0"), preferred, supported: vec![Device::Cpu], cost }
    }

    #[test]
    fn constants_run_nowhere_and_do_not_count() {
        let plan = ComputePlan {
            operations: vec![
                operation("const", None, None),
                operation("conv", Some(Device::NeuralEngine), Some(0.6)),
                operation("conv", Some(Device::NeuralEngine), Some(0.2)),
                operation("constexpr_lut_to_dense", None, None),
                operation("gather", Some(Device::Cpu), Some(0.2)),
            ],
        };
        let shares = plan.shares();
        assert_eq!(shares[&Device::NeuralEngine].operations, 2);
        assert!((shares[&Device::NeuralEngine].share - 2.0 / 3.0).abs() < 1e-12);
        assert!((shares[&Device::NeuralEngine].cost - 0.8).abs() < 1e-12);
        assert!((plan.neural_engine_share().expect("known") - 2.0 / 3.0).abs() < 1e-12);
        let elsewhere: Vec<&str> = plan.elsewhere().map(|operation| operation.op.as_str()).collect();
        assert_eq!(elsewhere, ["gather"]);
    }

    #[test]
    fn without_estimates_operations_count() {
        let operations =
            vec![operation("conv", Some(Device::NeuralEngine), None), operation("add", Some(Device::Gpu), None)];
        assert_eq!(ComputePlan { operations }.neural_engine_share(), Some(0.5));
        assert_eq!(ComputePlan::default().neural_engine_share(), None);
    }

    #[test]
    fn an_expensive_operation_elsewhere_shows() {
        let mut operations = vec![operation("conv", Some(Device::NeuralEngine), Some(0.01)); 99];
        operations.push(operation("matmul", Some(Device::Gpu), Some(0.99)));
        let share = ComputePlan { operations }.neural_engine_share().expect("known");
        assert!((share - 0.5).abs() < 1e-9);
    }

    #[test]
    fn opsets_are_no_part_of_an_op() {
        assert_eq!(PlannedOperation::op_of("ios18.slice_update"), "slice_update");
        assert_eq!(PlannedOperation::op_of("conv"), "conv");
    }
}
