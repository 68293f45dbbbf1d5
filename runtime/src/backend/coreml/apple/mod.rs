//! Core ML itself.
//!
//! Bindings are unsafe because they promise nothing about what Apple's code does with its arguments. What makes each use
//! sound is said where it stands. All objects live on one thread, the one that calls [`Framework`].

mod array;
mod foundation;
mod plan;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::{Path, PathBuf};
use std::sync::mpsc;

use anec_mil::evaluate::Tensor;
use anec_mil::package::MAIN_FUNCTION;
use anec_mil::{NamedValueType, TensorType, ValueType};
use block2::RcBlock;
use objc2::AnyThread as _;
use objc2::rc::{Retained, autoreleasepool};
use objc2::runtime::{AnyClass, AnyObject, ProtocolObject};
use objc2_core_ml::{
    MLComputeUnits, MLDictionaryFeatureProvider, MLFeatureProvider, MLFeatureValue, MLModel, MLModelAsset,
    MLModelConfiguration, MLMultiArray, MLPredictionOptions, MLState,
};
use objc2_foundation::{NSArray, NSDictionary, NSError, NSProcessInfo, NSString};

use super::compute_plan::PlannedOperation;
use super::failure::FrameworkError;
use super::framework::{Framework, LoadRequest, Units};
use crate::backend::{Signature, Tensors};

use array::Buffer;
use foundation::{entries, error, path_of, tensor_type};

#[cfg(feature = "private-ane")]
pub(in crate::backend) use foundation::error as ns_error;
pub(in crate::backend) use foundation::file_url;

/// The Core ML of this Mac.
#[derive(Clone, Copy, Debug, Default)]
pub struct AppleFramework;

/// A function and the buffers that it predicts with.
///
/// Core ML looks at inputs for a while after a prediction has returned, so the fields are in the order in which they must
/// go: the model first, what it was given last.
pub struct AppleModel {
    model: Retained<MLModel>,
    signature: Signature,
    options: Retained<MLPredictionOptions>,
    /// By the shapes of the inputs, in the order of the signature: embeddings take one token or a batch.
    inputs: BTreeMap<Vec<Vec<usize>>, InputBuffers>,
    /// Kept for the options, which name them.
    _outputs: Vec<(String, Buffer)>,
}

/// Buffers for inputs of certain shapes, and the provider that shows them to Core ML.
struct InputBuffers {
    provider: Retained<MLDictionaryFeatureProvider>,
    buffers: Vec<(String, Buffer)>,
}

impl AppleFramework {
    /// Whether this Mac's Core ML has states, which came with macOS 15.
    pub fn has_states() -> bool {
        AnyClass::get(c"MLState").is_some()
    }
}

impl Framework for AppleFramework {
    type Model = AppleModel;
    /// `None` for functions without states.
    type State = Option<Retained<MLState>>;

    fn system(&self) -> String {
        autoreleasepool(|_| NSProcessInfo::processInfo().operatingSystemVersionString().to_string())
    }

    fn compile(&self, package: &Path) -> Result<PathBuf, FrameworkError> {
        autoreleasepool(|_| {
            let url = file_url(package)?;
            // SAFETY: the URL is of a file, and the call keeps no reference to it.
            #[expect(deprecated, reason = "the successor calls back on another thread, and we would wait for it")]
            let compiled = unsafe { MLModel::compileModelAtURL_error(&url) }.map_err(|e| error(&e))?;
            path_of(&compiled)
        })
    }

    fn function_names(&self, compiled: &Path) -> Result<Vec<String>, FrameworkError> {
        autoreleasepool(|_| {
            let url = file_url(compiled)?;
            // SAFETY: the URL is of a file.
            let asset = unsafe { MLModelAsset::modelAssetWithURL_error(&url) }.map_err(|e| error(&e))?;
            let (sender, receiver) = mpsc::channel();
            let handler = RcBlock::new(move |found: *mut NSArray<NSString>, failure: *mut NSError| {
                // SAFETY: Core ML passes null or an object that lives as long as the call of the handler.
                let (found, failure) = unsafe { (found.as_ref(), failure.as_ref()) };
                let names = found.map(|names| names.iter().map(|name| name.to_string()).collect::<Vec<_>>());
                let _ = sender.send(names.ok_or_else(|| unexplained(failure)));
            });
            // SAFETY: the handler captures a sender, which may go to another thread, and nothing else.
            unsafe { asset.functionNamesWithCompletionHandler(&handler) };
            let mut found = receiver.recv().map_err(|_| unexplained(None))??;
            if found.is_empty() {
                found.push(MAIN_FUNCTION.to_owned());
            }
            Ok(found)
        })
    }

    fn load(&self, request: &LoadRequest) -> Result<AppleModel, FrameworkError> {
        autoreleasepool(|_| {
            let url = file_url(&request.compiled)?;
            let configuration = configuration(request);
            // SAFETY: the URL is of a file; Core ML copies the configuration.
            let model = unsafe { MLModel::modelWithContentsOfURL_configuration_error(&url, &configuration) };
            AppleModel::new(model.map_err(|e| error(&e))?)
        })
    }

    fn signature(&self, model: &AppleModel) -> Result<Signature, FrameworkError> {
        Ok(model.signature.clone())
    }

    fn new_state(&self, model: &AppleModel) -> Result<Self::State, FrameworkError> {
        // SAFETY: no arguments; the model outlives the state by the order in which the engine drops them.
        Ok((!model.signature.states.is_empty()).then(|| autoreleasepool(|_| unsafe { model.model.newState() })))
    }

    fn read_state(&self, model: &AppleModel, state: &Self::State) -> Result<Tensors, FrameworkError> {
        let Some(state) = state else { return Ok(Tensors::new()) };
        autoreleasepool(|_| {
            let read =
                |declared: &NamedValueType| Ok((declared.name.clone(), array::read_state(state, &declared.name)?));
            model.signature.states.iter().map(read).collect()
        })
    }

    fn predict(
        &self,
        model: &mut AppleModel,
        inputs: &Tensors,
        state: &mut Self::State,
    ) -> Result<Tensors, FrameworkError> {
        autoreleasepool(|_| model.predict(inputs, state.as_deref()))
    }

    fn compute_plan(&self, request: &LoadRequest) -> Result<Vec<PlannedOperation>, FrameworkError> {
        autoreleasepool(|_| plan::load(request))
    }
}

impl AppleModel {
    fn new(model: Retained<MLModel>) -> Result<Self, FrameworkError> {
        let signature = signature(&model)?;
        // Of outputs, only fp16 ones have a backing that every processor can write.
        let mut outputs = Vec::new();
        for (name, ty) in tensors(&signature.outputs).filter(|(_, ty)| ty.fixed_shape().is_some()) {
            outputs.extend(Buffer::surface(ty)?.map(|buffer| (name.to_owned(), buffer)));
        }
        // SAFETY: an initializer without arguments.
        let options = unsafe { MLPredictionOptions::new() };
        let backings = dictionary(outputs.iter().map(|(name, buffer)| (name.as_str(), buffer.object())));
        // SAFETY: the values are multi-arrays, which is one of the two classes that the property takes.
        unsafe { options.setOutputBackings(&backings) };
        Ok(Self { model, signature, options, inputs: BTreeMap::new(), _outputs: outputs })
    }

    fn predict(&mut self, inputs: &Tensors, state: Option<&MLState>) -> Result<Tensors, FrameworkError> {
        let mut given = Vec::new();
        for input in &self.signature.inputs {
            let missing = || FrameworkError::own(format!("the required input `{}` is not there", input.name));
            given.push((input.name.as_str(), inputs.get(&input.name).ok_or_else(missing)?));
        }
        let shapes = given.iter().map(|(_, tensor)| tensor.shape().to_vec()).collect();
        let buffers = match self.inputs.entry(shapes) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(InputBuffers::new(&given)?),
        };
        for ((_, buffer), (_, tensor)) in buffers.buffers.iter().zip(&given) {
            buffer.write(tensor)?;
        }
        let features: &ProtocolObject<dyn MLFeatureProvider> = ProtocolObject::from_ref(&*buffers.provider);
        // SAFETY: the features have the types that the model asks for; they, the state and the backings are not touched by
        // anyone else while the call is under way, because one thread makes all calls.
        let predicted = unsafe {
            match state {
                Some(state) => {
                    self.model.predictionFromFeatures_usingState_options_error(features, state, &self.options)
                }
                None => self.model.predictionFromFeatures_options_error(features, &self.options),
            }
        };
        let predicted = predicted.map_err(|e| error(&e))?;
        let mut outputs = Tensors::new();
        for output in &self.signature.outputs {
            let name = NSString::from_str(&output.name);
            // SAFETY: the provider was given by Core ML and is asked for a feature by name.
            let value = unsafe { predicted.featureValueForName(&name).and_then(|value| value.multiArrayValue()) };
            let missing = || FrameworkError::own(format!("Core ML gave no multi-array `{}`", output.name));
            outputs.insert(output.name.clone(), array::read(&*value.ok_or_else(missing)?)?);
        }
        Ok(outputs)
    }
}

impl InputBuffers {
    fn new(given: &[(&str, &Tensor)]) -> Result<Self, FrameworkError> {
        let buffer = |(name, tensor): &(&str, &Tensor)| Ok(((*name).to_owned(), Buffer::new(&tensor.ty())?));
        let buffers: Vec<(String, Buffer)> = given.iter().map(buffer).collect::<Result<_, FrameworkError>>()?;
        Ok(Self { provider: provider(&buffers)?, buffers })
    }
}

/// The configuration of a load.
fn configuration(request: &LoadRequest) -> Retained<MLModelConfiguration> {
    let units = match request.units {
        Units::CpuOnly => MLComputeUnits::CPUOnly,
        Units::CpuAndNeuralEngine => MLComputeUnits::CPUAndNeuralEngine,
        Units::All => MLComputeUnits::All,
    };
    // SAFETY: an initializer without arguments, and setters of plain values that Core ML copies.
    unsafe {
        let configuration = MLModelConfiguration::new();
        configuration.setComputeUnits(units);
        configuration.setFunctionName(request.function.as_deref().map(NSString::from_str).as_deref());
        configuration
    }
}

/// What a loaded model takes and gives, sorted by name: Core ML's dictionaries have no order.
fn signature(model: &MLModel) -> Result<Signature, FrameworkError> {
    // SAFETY: getters of an immutable description.
    let (inputs, outputs, states) = unsafe {
        let description = model.modelDescription();
        (
            entries(&description.inputDescriptionsByName()),
            entries(&description.outputDescriptionsByName()),
            entries(&description.stateDescriptionsByName()),
        )
    };
    let mut signature = Signature::default();
    for (name, feature) in &inputs {
        signature.inputs.push(NamedValueType::new(name, tensor_type(name, feature)?));
    }
    for (name, feature) in &outputs {
        signature.outputs.push(NamedValueType::new(name, tensor_type(name, feature)?));
    }
    for (name, feature) in &states {
        signature.states.push(NamedValueType::new(name, ValueType::State(tensor_type(name, feature)?)));
    }
    Ok(signature)
}

fn tensors(values: &[NamedValueType]) -> impl Iterator<Item = (&str, &TensorType)> {
    values.iter().filter_map(|value| Some((value.name.as_str(), value.ty.as_tensor()?)))
}

/// One provider for all predictions; its arrays are written before each.
fn provider(inputs: &[(String, Buffer)]) -> Result<Retained<MLDictionaryFeatureProvider>, FrameworkError> {
    let value = |buffer: &Buffer| {
        // SAFETY: the value retains the array.
        unsafe { MLFeatureValue::featureValueWithMultiArray(buffer.array()) }
    };
    let values = inputs.iter().map(|(name, buffer)| (name.as_str(), value(buffer)));
    let values = dictionary(values.map(|(name, value)| (name, Retained::into_super(Retained::into_super(value)))));
    let provider = MLDictionaryFeatureProvider::alloc();
    // SAFETY: the values are feature values, which is one of the classes that the initializer takes.
    unsafe { MLDictionaryFeatureProvider::initWithDictionary_error(provider, &values) }.map_err(|e| error(&e))
}

fn dictionary<'a>(
    entries: impl Iterator<Item = (&'a str, Retained<AnyObject>)>,
) -> Retained<NSDictionary<NSString, AnyObject>> {
    let (keys, values): (Vec<_>, Vec<_>) = entries.map(|(key, value)| (NSString::from_str(key), value)).unzip();
    let keys: Vec<&NSString> = keys.iter().map(|key| &**key).collect();
    NSDictionary::from_retained_objects(&keys, &values)
}

/// The failure that a handler was given, or that it was given none.
fn unexplained(failure: Option<&NSError>) -> FrameworkError {
    failure.map_or_else(|| FrameworkError::own("Core ML gave neither a result nor an error"), error)
}

/// An array as an object of a dictionary.
fn object(array: &Retained<MLMultiArray>) -> Retained<AnyObject> {
    Retained::into_super(Retained::into_super(array.clone()))
}
