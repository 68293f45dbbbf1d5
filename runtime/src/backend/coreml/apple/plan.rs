//! Asks Core ML where operations would run.

use std::sync::mpsc;

use anec_mil::package::MAIN_FUNCTION;
use block2::RcBlock;
use objc2::runtime::{AnyObject, ProtocolObject};
use objc2_core_ml::{
    MLCPUComputeDevice, MLComputeDeviceProtocol, MLComputePlan, MLGPUComputeDevice, MLModelStructureProgramBlock,
    MLNeuralEngineComputeDevice,
};
use objc2_foundation::NSError;

use super::super::compute_plan::{Device, PlannedOperation};
use super::super::failure::FrameworkError;
use super::super::framework::LoadRequest;
use super::foundation::{entries, file_url};
use super::{configuration, unexplained};

/// The plan of a function. It is read in the handler, because the plan must not leave its thread.
pub(super) fn load(request: &LoadRequest) -> Result<Vec<PlannedOperation>, FrameworkError> {
    let url = file_url(&request.compiled)?;
    let function = request.function.clone().unwrap_or_else(|| MAIN_FUNCTION.to_owned());
    let (sender, receiver) = mpsc::channel();
    let handler = RcBlock::new(move |plan: *mut MLComputePlan, failure: *mut NSError| {
        // SAFETY: Core ML passes null or an object that lives as long as the call of the handler.
        let (plan, failure) = unsafe { (plan.as_ref(), failure.as_ref()) };
        let operations = plan.ok_or_else(|| unexplained(failure)).and_then(|plan| read(plan, &function));
        let _ = sender.send(operations);
    });
    // SAFETY: the handler captures a sender and a string, which may go to another thread; Core ML copies the configuration.
    unsafe {
        MLComputePlan::loadContentsOfURL_configuration_completionHandler(&url, &configuration(request), &handler);
    }
    receiver.recv().map_err(|_| unexplained(None))?
}

fn read(plan: &MLComputePlan, function: &str) -> Result<Vec<PlannedOperation>, FrameworkError> {
    // SAFETY: getters of an immutable structure.
    let program = unsafe { plan.modelStructure().program() };
    let program = program.ok_or_else(|| FrameworkError::own("the model is no ML program"))?;
    // SAFETY: as above.
    let functions = unsafe { entries(&program.functions()) };
    let only = functions.values().next().filter(|_| functions.len() == 1);
    let missing = || FrameworkError::own(format!("function `{function}` not found in the compute plan"));
    let found = functions.get(function).or(only).ok_or_else(missing)?;
    let mut operations = Vec::new();
    // SAFETY: as above.
    let block = unsafe { found.block() };
    read_block(plan, &block, &mut operations);
    Ok(operations)
}

fn read_block(plan: &MLComputePlan, block: &MLModelStructureProgramBlock, operations: &mut Vec<PlannedOperation>) {
    // SAFETY: getters of an immutable structure, and questions to the plan about operations of its own structure.
    unsafe {
        for operation in &block.operations() {
            let usage = plan.computeDeviceUsageForMLProgramOperation(&operation);
            let supported = usage.as_ref().map(|usage| usage.supportedComputeDevices());
            operations.push(PlannedOperation {
                op: PlannedOperation::op_of(&operation.operatorName().to_string()).to_owned(),
                result: operation.outputs().firstObject().map_or_else(String::new, |value| value.name().to_string()),
                preferred: usage.as_ref().and_then(|usage| device(&usage.preferredComputeDevice())),
                supported: supported.iter().flat_map(|devices| devices.iter()).filter_map(|d| device(&d)).collect(),
                cost: plan.estimatedCostOfMLProgramOperation(&operation).map(|cost| cost.weight()),
            });
            for inner in &operation.blocks() {
                read_block(plan, &inner, operations);
            }
        }
    }
}

fn device(device: &ProtocolObject<dyn MLComputeDeviceProtocol>) -> Option<Device> {
    let object: &AnyObject = device.as_ref();
    if object.downcast_ref::<MLNeuralEngineComputeDevice>().is_some() {
        return Some(Device::NeuralEngine);
    }
    if object.downcast_ref::<MLGPUComputeDevice>().is_some() {
        return Some(Device::Gpu);
    }
    object.downcast_ref::<MLCPUComputeDevice>().map(|_| Device::Cpu)
}
