//! Multi-arrays: buffers that are made once and written before every prediction, and reading what Core ML gives.

use std::cell::RefCell;
use std::ffi::c_void;
use std::ptr::{self, NonNull};
use std::slice;

use anec_mil::TensorType;
use anec_mil::evaluate::{Tensor, check_size};
use block2::RcBlock;
use objc2::AnyThread as _;
use objc2::rc::Retained;
use objc2::runtime::AnyObject;
use objc2_core_foundation::{CFDictionary, CFRetained, CFString};
use objc2_core_ml::{MLMultiArray, MLMultiArrayDataType, MLState};
use objc2_core_video::{
    CVPixelBuffer, CVPixelBufferCreate, kCVPixelBufferIOSurfacePropertiesKey, kCVPixelFormatType_OneComponent16Half,
    kCVReturnSuccess,
};
use objc2_foundation::{NSArray, NSInteger, NSNumber, NSString};

use super::super::failure::FrameworkError;
use super::super::strides::{Layout, LayoutError, NumberFormat, read_strided, write_strided};
use super::foundation::{data_type, error, numbers, sizes};

/// A multi-array of our own.
pub(super) struct Buffer {
    array: Retained<MLMultiArray>,
    format: NumberFormat,
}

impl Buffer {
    /// A buffer for tensors of a type: shared with the Neural Engine where Core ML can, else in plain memory.
    pub(super) fn new(ty: &TensorType) -> Result<Self, FrameworkError> {
        if let Some(surface) = Self::surface(ty)? {
            return Ok(surface);
        }
        let (format, shape) = parts(ty)?;
        let dtype = match format {
            NumberFormat::Float16 => MLMultiArrayDataType::Float16,
            NumberFormat::Float32 => MLMultiArrayDataType::Float32,
            NumberFormat::Int32 => MLMultiArrayDataType::Int32,
            NumberFormat::Int8 => MLMultiArrayDataType::Int8,
        };
        let array = MLMultiArray::alloc();
        // SAFETY: the shape is fixed, its count of elements was checked, and Core ML allocates the memory.
        let array = unsafe { MLMultiArray::initWithShape_dataType_error(array, &numbers(&shape), dtype) };
        Ok(Self { array: array.map_err(|e| error(&e))?, format })
    }

    /// A buffer in an IOSurface. `None` for what is not fp16, is empty, or where the system gives no surface.
    pub(super) fn surface(ty: &TensorType) -> Result<Option<Self>, FrameworkError> {
        let (format, shape) = parts(ty)?;
        let Some((width, rows)) = shape.split_last().filter(|_| format == NumberFormat::Float16) else {
            return Ok(None);
        };
        let height: usize = rows.iter().product();
        if *width == 0 || height == 0 {
            return Ok(None);
        }
        let Some(pixels) = pixel_buffer(*width, height) else { return Ok(None) };
        let array = MLMultiArray::alloc();
        // SAFETY: the pixel format is OneComponent16Half, the last axis is its width, and the others make its height.
        let array = unsafe { MLMultiArray::initWithPixelBuffer_shape(array, &pixels, &numbers(&shape)) };
        Ok(Some(Self { array, format }))
    }

    pub(super) fn array(&self) -> &MLMultiArray {
        &self.array
    }

    pub(super) fn object(&self) -> Retained<AnyObject> {
        super::object(&self.array)
    }

    /// Writes a tensor, wherever the rows of the buffer are.
    pub(super) fn write(&self, tensor: &Tensor) -> Result<(), FrameworkError> {
        // SAFETY: a getter.
        let shape = unsafe { self.array.shape() };
        let shape = sizes(&shape)?;
        let result = RefCell::new(Err(FrameworkError::own("Core ML did not give the memory of an input")));
        let handler = RcBlock::new(|bytes: NonNull<c_void>, size: NSInteger, strides: NonNull<NSArray<NSNumber>>| {
            // SAFETY: Core ML passes memory of `size` bytes, which nobody else uses while the handler runs, and an
            // array that lives as long.
            let (bytes, strides) = unsafe {
                let size = usize::try_from(size).unwrap_or_default();
                (slice::from_raw_parts_mut(bytes.cast::<u8>().as_ptr(), size), strides.as_ref())
            };
            *result.borrow_mut() = sizes(strides).and_then(|strides| {
                let layout = Layout { format: self.format, shape: shape.clone(), strides };
                write_strided(tensor, &layout, bytes).map_err(|error| layout_error(&error))
            });
        });
        // SAFETY: the handler is called before the call returns, and not kept.
        unsafe { self.array.getMutableBytesWithHandler(&handler) };
        drop(handler);
        result.into_inner()
    }
}

/// Reads an array, wherever its rows are.
pub(super) fn read(array: &MLMultiArray) -> Result<Tensor, FrameworkError> {
    // SAFETY: getters.
    let (dtype, shape, strides) = unsafe { (array.dataType(), sizes(&array.shape())?, sizes(&array.strides())?) };
    let format = data_type(dtype).and_then(NumberFormat::of);
    let format =
        format.ok_or_else(|| FrameworkError::own("a multi-array has an element type that is not known here"))?;
    let layout = Layout { format, shape, strides };
    let result = RefCell::new(Err(FrameworkError::own("Core ML did not give the memory of a multi-array")));
    let handler = RcBlock::new(|bytes: NonNull<c_void>, size: NSInteger| {
        // SAFETY: Core ML passes memory of `size` bytes, which nobody writes while the handler runs.
        let bytes =
            unsafe { slice::from_raw_parts(bytes.cast::<u8>().as_ptr(), usize::try_from(size).unwrap_or_default()) };
        *result.borrow_mut() = read_strided(&layout, bytes).map_err(|error| layout_error(&error));
    });
    // SAFETY: the handler is called before the call returns, and not kept.
    unsafe { array.getBytesWithHandler(&handler) };
    drop(handler);
    result.into_inner()
}

/// Reads one tensor of a state.
pub(super) fn read_state(state: &MLState, name: &str) -> Result<Tensor, FrameworkError> {
    let result = RefCell::new(Err(FrameworkError::own(format!("Core ML did not give the state `{name}`"))));
    let handler = RcBlock::new(|array: NonNull<MLMultiArray>| {
        // SAFETY: the array lives as long as the handler runs, and no prediction is under way.
        *result.borrow_mut() = read(unsafe { array.as_ref() });
    });
    // SAFETY: the model declares a state of this name; the handler is called before the call returns, and not kept.
    unsafe { state.getMultiArrayForStateNamed_handler(&NSString::from_str(name), &handler) };
    drop(handler);
    result.into_inner()
}

/// Memory that the CPU and the Neural Engine share; `None` where the system gives none.
fn pixel_buffer(width: usize, height: usize) -> Option<CFRetained<CVPixelBuffer>> {
    let properties = CFDictionary::<CFString, CFString>::from_slices(&[], &[]);
    // SAFETY: a constant of CoreVideo, which is a string.
    let key: &CFString = unsafe { kCVPixelBufferIOSurfacePropertiesKey };
    let attributes = CFDictionary::<CFString, CFDictionary<CFString, CFString>>::from_slices(&[key], &[&properties]);
    let mut created: *mut CVPixelBuffer = ptr::null_mut();
    // SAFETY: the attribute has the type that its key asks for, and `created` may be written.
    let status = unsafe {
        CVPixelBufferCreate(
            None,
            width,
            height,
            kCVPixelFormatType_OneComponent16Half,
            Some(attributes.as_opaque()),
            NonNull::from(&mut created),
        )
    };
    let created = NonNull::new(created).filter(|_| status == kCVReturnSuccess)?;
    // SAFETY: a function that creates passes its reference on.
    Some(unsafe { CFRetained::from_raw(created) })
}

fn parts(ty: &TensorType) -> Result<(NumberFormat, Vec<usize>), FrameworkError> {
    let unknown = || FrameworkError::own(format!("Core ML has no multi-array for {ty}"));
    let shape = ty.fixed_shape().ok_or_else(unknown)?;
    let shape: Vec<usize> = shape.into_iter().filter_map(|size| usize::try_from(size).ok()).collect();
    check_size(&shape).map_err(|error| FrameworkError::own(error.to_string()))?;
    Ok((NumberFormat::of(ty.dtype).ok_or_else(unknown)?, shape))
}

fn layout_error(error: &LayoutError) -> FrameworkError {
    FrameworkError::own(error.to_string())
}
