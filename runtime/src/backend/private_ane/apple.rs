//! The interface itself: messages to classes of a private framework.
//!
//! Nothing declares these classes, so every message is sent by name, and its types are those that others found to work. In a
//! debug build, objc2 compares them with those that the system has. Which classes and methods there are is asked before the
//! first message.

use std::ffi::CStr;
use std::path::{Path, PathBuf};
use std::ptr;
use std::slice;

use objc2::rc::{Retained, autoreleasepool};
use objc2::runtime::{AnyClass, AnyObject, Sel};
use objc2::{msg_send, sel};
use objc2_core_foundation::{CFDictionary, CFNumber, CFRetained, CFString};
use objc2_foundation::{
    NSArray, NSBundle, NSData, NSDataReadingOptions, NSDictionary, NSError, NSNumber, NSProcessInfo, NSString,
    NSTemporaryDirectory,
};
use objc2_io_surface::{
    IOSurfaceLockOptions, IOSurfaceRef, kIOSurfaceAllocSize, kIOSurfaceBytesPerElement, kIOSurfaceBytesPerRow,
    kIOSurfaceHeight, kIOSurfacePixelFormat, kIOSurfaceWidth,
};

use super::error::PrivateAneError;
use super::interface::{Interface, ProgramFiles, SurfaceSizes, WeightFile};
use crate::backend::coreml::{FrameworkError, file_url, ns_error};

/// Where the framework is.
const FRAMEWORK: &str = "/System/Library/PrivateFrameworks/AppleNeuralEngine.framework";

/// The quality of service that public code asks for.
const QOS: u32 = 21;

/// The position in a weight file from which on the interface takes it.
const OFFSET: i32 = 0;

/// The Neural Engine's own interface on this Mac.
#[derive(Clone, Copy, Debug)]
pub struct AppleInterface {
    descriptor: &'static AnyClass,
    model: &'static AnyClass,
    request: &'static AnyClass,
    surface: &'static AnyClass,
}

/// A program.
///
/// The fields are in the order in which they must go: what the surfaces are bound to first, the surfaces last.
pub struct AppleProgram {
    request: Option<Retained<AnyObject>>,
    model: Retained<AnyObject>,
    inputs: Vec<Surface>,
    outputs: Vec<Surface>,
    is_loaded: bool,
}

/// Memory that the CPU and the Neural Engine share.
struct Surface {
    /// As the interface knows it.
    object: Retained<AnyObject>,
    memory: CFRetained<IOSurfaceRef>,
    bytes: usize,
}

impl AppleInterface {
    /// The interface of this system, with all that is asked of it.
    ///
    /// # Errors
    /// The framework cannot be loaded, or has no such class or method.
    pub fn open() -> Result<Self, PrivateAneError> {
        autoreleasepool(|_| {
            let missing = |missing: String| PrivateAneError::Changed { missing };
            let bundle = NSBundle::bundleWithPath(&NSString::from_str(FRAMEWORK));
            let bundle = bundle.ok_or_else(|| missing(format!("bundle at {FRAMEWORK}")))?;
            // SAFETY: loading runs initializers of a framework of the system, which are made to be run in any process.
            unsafe { bundle.loadAndReturnError() }
                .map_err(|e| PrivateAneError::Call { call: "loadAndReturnError:", source: ns_error(&e) })?;
            let class =
                |name: &CStr| AnyClass::get(name).ok_or_else(|| missing(format!("class `{}`", name.to_string_lossy())));
            let found = Self {
                descriptor: class(c"_ANEInMemoryModelDescriptor")?,
                model: class(c"_ANEInMemoryModel")?,
                request: class(c"_ANERequest")?,
                surface: class(c"_ANEIOSurfaceObject")?,
            };
            found.check_methods()?;
            Ok(found)
        })
    }

    fn check_methods(&self) -> Result<(), PrivateAneError> {
        let of_classes: [(&AnyClass, Sel); 4] = [
            (self.descriptor, sel!(modelWithMILText:weights:optionsPlist:)),
            (self.model, sel!(inMemoryModelWithDescriptor:)),
            (self.surface, sel!(objectWithIOSurface:)),
            (
                self.request,
                sel!(requestWithInputs:inputIndices:outputs:outputIndices:weightsBuffer:perfStats:procedureIndex:),
            ),
        ];
        let of_models = [
            sel!(hexStringIdentifier),
            sel!(compiledModelExists),
            sel!(purgeCompiledModel),
            sel!(compileWithQoS:options:error:),
            sel!(loadWithQoS:options:error:),
            sel!(evaluateWithQoS:options:request:error:),
            sel!(unloadWithQoS:error:),
        ];
        let missing = |class: &AnyClass, method: Sel| PrivateAneError::Changed {
            missing: format!("method `{method}` of `{}`", class.name().to_string_lossy()),
        };
        if let Some((class, method)) = of_classes.iter().find(|(class, method)| class.class_method(*method).is_none()) {
            return Err(missing(class, *method));
        }
        match of_models.iter().find(|method| self.model.instance_method(**method).is_none()) {
            Some(method) => Err(missing(self.model, *method)),
            None => Ok(()),
        }
    }

    /// Surfaces of these sizes.
    fn surfaces(&self, sizes: &[usize]) -> Result<Vec<Surface>, FrameworkError> {
        let make = |bytes: &usize| {
            let memory = surface(*bytes)?;
            // SAFETY: the method was found; it takes a surface, which the object retains.
            let object: Option<Retained<AnyObject>> = unsafe { msg_send![self.surface, objectWithIOSurface: &*memory] };
            let object = object.ok_or_else(|| FrameworkError::own("the interface does not take a surface"))?;
            Ok(Surface { object, memory, bytes: *bytes })
        };
        sizes.iter().map(make).collect()
    }

    /// A request that binds surfaces in their order.
    fn request(&self, inputs: &[Surface], outputs: &[Surface]) -> Result<Retained<AnyObject>, FrameworkError> {
        let objects = |surfaces: &[Surface]| {
            let objects: Vec<&AnyObject> = surfaces.iter().map(|surface| &*surface.object).collect();
            NSArray::from_slice(&objects)
        };
        let indices = |surfaces: &[Surface]| {
            let numbers = (0..surfaces.len()).map(|index| NSNumber::new_i32(i32::try_from(index).unwrap_or(i32::MAX)));
            NSArray::from_retained_slice(&numbers.collect::<Vec<_>>())
        };
        let (given, made) = (objects(inputs), objects(outputs));
        let (given_indices, made_indices) = (indices(inputs), indices(outputs));
        let procedure = NSNumber::new_i32(0);
        // SAFETY: the method was found; it takes arrays of surfaces and of numbers, no buffer of weights, no statistics, and
        // the number of the only procedure. The request retains them.
        let request: Option<Retained<AnyObject>> = unsafe {
            msg_send![
                self.request,
                requestWithInputs: &*given,
                inputIndices: &*given_indices,
                outputs: &*made,
                outputIndices: &*made_indices,
                weightsBuffer: None::<&AnyObject>,
                perfStats: None::<&AnyObject>,
                procedureIndex: &*procedure,
            ]
        };
        request.ok_or_else(|| FrameworkError::own("the interface makes no request"))
    }
}

impl Interface for AppleInterface {
    type Program = AppleProgram;

    fn system(&self) -> String {
        autoreleasepool(|_| NSProcessInfo::processInfo().operatingSystemVersionString().to_string())
    }

    fn temporary(&self) -> PathBuf {
        autoreleasepool(|_| PathBuf::from(NSTemporaryDirectory().to_string()))
    }

    fn describe(&self, files: &ProgramFiles) -> Result<AppleProgram, FrameworkError> {
        autoreleasepool(|_| {
            let text = NSData::with_bytes(&files.text);
            let weights = weights(&files.weights)?;
            // SAFETY: the method was found; it takes data, a dictionary of dictionaries, and no options.
            let descriptor: Option<Retained<AnyObject>> = unsafe {
                msg_send![
                    self.descriptor,
                    modelWithMILText: &*text,
                    weights: &*weights,
                    optionsPlist: None::<&AnyObject>,
                ]
            };
            let descriptor =
                descriptor.ok_or_else(|| FrameworkError::own("the interface does not take the program"))?;
            // SAFETY: the method was found; it takes a descriptor, which the model retains.
            let model: Option<Retained<AnyObject>> =
                unsafe { msg_send![self.model, inMemoryModelWithDescriptor: &*descriptor] };
            let model = model.ok_or_else(|| FrameworkError::own("the interface makes no model of the program"))?;
            Ok(AppleProgram { request: None, model, inputs: Vec::new(), outputs: Vec::new(), is_loaded: false })
        })
    }

    fn identifier(&self, program: &AppleProgram) -> Result<String, FrameworkError> {
        autoreleasepool(|_| {
            // SAFETY: the method was found; it takes nothing and gives a string.
            let found: Option<Retained<NSString>> = unsafe { msg_send![&*program.model, hexStringIdentifier] };
            let found = found.map(|found| found.to_string());
            // It becomes the name of a directory.
            found
                .filter(|name| !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'))
                .ok_or_else(|| FrameworkError::own("the program has no identifier"))
        })
    }

    fn is_compiled(&self, program: &AppleProgram) -> bool {
        // SAFETY: the method was found; it takes nothing and gives a truth value.
        autoreleasepool(|_| unsafe { msg_send![&*program.model, compiledModelExists] })
    }

    fn compile(&self, program: &AppleProgram) -> Result<(), FrameworkError> {
        autoreleasepool(|_| {
            let options = NSDictionary::<NSString, AnyObject>::new();
            let mut failure: *mut NSError = ptr::null_mut();
            // SAFETY: the method was found; it takes a number of 32 bits, a dictionary, and where to put an error.
            let done: bool =
                unsafe { msg_send![&*program.model, compileWithQoS: QOS, options: &*options, error: &mut failure] };
            outcome(done, failure)
        })
    }

    fn purge(&self, program: &AppleProgram) {
        autoreleasepool(|_| {
            // SAFETY: the method was found; it takes and gives nothing.
            let () = unsafe { msg_send![&*program.model, purgeCompiledModel] };
        });
    }

    fn load(&self, program: &mut AppleProgram, sizes: &SurfaceSizes) -> Result<(), FrameworkError> {
        autoreleasepool(|_| {
            let options = NSDictionary::<NSString, AnyObject>::new();
            let mut failure: *mut NSError = ptr::null_mut();
            // SAFETY: as of `compileWithQoS:options:error:`.
            let done: bool =
                unsafe { msg_send![&*program.model, loadWithQoS: QOS, options: &*options, error: &mut failure] };
            outcome(done, failure)?;
            program.is_loaded = true;
            program.inputs = self.surfaces(&sizes.inputs)?;
            program.outputs = self.surfaces(&sizes.outputs)?;
            program.request = Some(self.request(&program.inputs, &program.outputs)?);
            Ok(())
        })
    }

    fn evaluate(
        &self,
        program: &mut AppleProgram,
        inputs: &[Vec<u8>],
        outputs: &mut [Vec<u8>],
    ) -> Result<(), FrameworkError> {
        autoreleasepool(|_| {
            let request = program.request.as_ref().ok_or_else(|| FrameworkError::own("the program is not loaded"))?;
            let given = program.inputs.iter().zip(inputs.iter());
            for (surface, bytes) in given.chain(program.outputs.iter().zip(outputs.iter())) {
                surface.write(bytes)?;
            }
            let options = NSDictionary::<NSString, AnyObject>::new();
            let mut failure: *mut NSError = ptr::null_mut();
            // SAFETY: the method was found; it takes a number of 32 bits, a dictionary, a request, and where to put an error.
            // It returns when the surfaces are written, and nobody else has them.
            let done: bool = unsafe {
                msg_send![
                    &*program.model,
                    evaluateWithQoS: QOS,
                    options: &*options,
                    request: &**request,
                    error: &mut failure,
                ]
            };
            outcome(done, failure)?;
            for (surface, bytes) in program.outputs.iter().zip(outputs) {
                surface.read(bytes)?;
            }
            Ok(())
        })
    }

    fn unload(&self, program: &mut AppleProgram) -> Result<(), FrameworkError> {
        if !std::mem::take(&mut program.is_loaded) {
            return Ok(());
        }
        autoreleasepool(|_| {
            program.request = None;
            let mut failure: *mut NSError = ptr::null_mut();
            // SAFETY: the method was found; it takes a number of 32 bits and where to put an error.
            let done: bool = unsafe { msg_send![&*program.model, unloadWithQoS: QOS, error: &mut failure] };
            outcome(done, failure)
        })
    }
}

impl Surface {
    /// Writes its first bytes.
    fn write(&self, bytes: &[u8]) -> Result<(), FrameworkError> {
        self.with_memory(IOSurfaceLockOptions::empty(), bytes.len(), |memory| memory.copy_from_slice(bytes))
    }

    /// Reads its first bytes.
    fn read(&self, bytes: &mut [u8]) -> Result<(), FrameworkError> {
        self.with_memory(IOSurfaceLockOptions::ReadOnly, bytes.len(), |memory| bytes.copy_from_slice(memory))
    }

    /// Does something with its first `count` bytes while nobody else may.
    fn with_memory(
        &self,
        options: IOSurfaceLockOptions,
        count: usize,
        act: impl FnOnce(&mut [u8]),
    ) -> Result<(), FrameworkError> {
        if count > self.bytes {
            return Err(FrameworkError::own(format!("a surface has {} bytes, expected {count}", self.bytes)));
        }
        // SAFETY: the pointer that the lock may write through is null.
        let status = unsafe { self.memory.lock(options, ptr::null_mut()) };
        if status != 0 {
            return Err(FrameworkError::own(format!("IOSurfaceLock failed with {status:#x}")));
        }
        // SAFETY: the surface has at least `self.bytes` bytes, which was checked when it was made, and is locked: it is at
        // this address, and neither the Neural Engine nor another thread has it.
        act(unsafe { slice::from_raw_parts_mut(self.memory.base_address().cast::<u8>().as_ptr(), count) });
        // SAFETY: as of the lock.
        let status = unsafe { self.memory.unlock(options, ptr::null_mut()) };
        if status == 0 { Ok(()) } else { Err(FrameworkError::own(format!("IOSurfaceUnlock failed with {status:#x}"))) }
    }
}

/// A surface of one row of bytes.
fn surface(bytes: usize) -> Result<CFRetained<IOSurfaceRef>, FrameworkError> {
    let failed = || FrameworkError::own(format!("the system gives no surface of {bytes} bytes"));
    let (size, one, none) =
        (CFNumber::new_i64(i64::try_from(bytes).map_err(|_| failed())?), CFNumber::new_i32(1), CFNumber::new_i32(0));
    // SAFETY: constants of IOSurface, which are strings.
    let keys: [&CFString; 6] = unsafe {
        [
            kIOSurfaceWidth,
            kIOSurfaceHeight,
            kIOSurfaceBytesPerElement,
            kIOSurfaceBytesPerRow,
            kIOSurfaceAllocSize,
            kIOSurfacePixelFormat,
        ]
    };
    let values: [&CFNumber; 6] = [&size, &one, &one, &size, &size, &none];
    let properties = CFDictionary::<CFString, CFNumber>::from_slices(&keys, &values);
    // SAFETY: every property is the number that its key asks for.
    let made = unsafe { IOSurfaceRef::new(properties.as_opaque()) };
    made.filter(|surface| surface.alloc_size() >= bytes).ok_or_else(failed)
}

/// Weight files by name: the position from which on they are taken, and their bytes.
type WeightDictionary = NSDictionary<NSString, NSDictionary<NSString, AnyObject>>;

/// Weight files by the names that the text has for them. They are mapped, not read.
fn weights(files: &[WeightFile]) -> Result<Retained<WeightDictionary>, FrameworkError> {
    let entry = |file: &WeightFile| {
        let data = mapped(&file.path)?;
        let (offset, content) = (NSString::from_str("offset"), NSString::from_str("data"));
        // The number must be of type int: one of eight bits was reported to be ignored.
        let values: [Retained<AnyObject>; 2] = [NSNumber::new_i32(OFFSET).into(), data.into()];
        Ok(NSDictionary::from_retained_objects(&[&*offset, &*content], &values))
    };
    let entries = files.iter().map(entry).collect::<Result<Vec<_>, FrameworkError>>()?;
    let names: Vec<_> = files.iter().map(|file| NSString::from_str(&file.name)).collect();
    let names: Vec<&NSString> = names.iter().map(|name| &**name).collect();
    Ok(NSDictionary::from_retained_objects(&names, &entries))
}

fn mapped(path: &Path) -> Result<Retained<NSData>, FrameworkError> {
    let url = file_url(path)?;
    let data = NSData::dataWithContentsOfURL_options_error(&url, NSDataReadingOptions::MappedIfSafe);
    data.map_err(|e| ns_error(&e))
}

/// What a call that gives a truth value and an error came to.
fn outcome(done: bool, failure: *mut NSError) -> Result<(), FrameworkError> {
    if done {
        return Ok(());
    }
    // SAFETY: a call that fails leaves null, or an error that lives until the pool around it is drained.
    let failure = unsafe { failure.as_ref() };
    Err(failure.map_or_else(|| FrameworkError::own("the call failed without an error"), ns_error))
}
