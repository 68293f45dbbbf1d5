//! How the weight of an operation is stored.

use super::view::{self, FunctionView, Site};
use crate::dtype::DataType;
use crate::ops::special;

/// How a weight is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// As it is.
    Plain,
    /// Integers with scales.
    Linear,
    /// Indices into palettes.
    Palette,
    /// Only what is not zero.
    Sparse,
}

/// A weight of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredWeight {
    /// How it is stored.
    pub encoding: Encoding,
    /// Bits of one stored weight.
    pub bits: u64,
}

/// Weights go through at most this many `constexpr_*` ops; real ones through two.
const MAX_STEPS: usize = 8;

/// How the constant called `name` is stored; `None` where it is no constant, or stored in a form that is not known.
pub fn stored(view: &FunctionView<'_>, name: &str) -> Option<StoredWeight> {
    let mut name = name;
    let mut encoding = Encoding::Plain;
    for _ in 0..MAX_STEPS {
        let (_, operation) = view.producer(name)?;
        if operation.op == special::CONST {
            let bits = u64::from(view.tensor(name)?.dtype.bits());
            return Some(StoredWeight { encoding, bits });
        }
        let (step, parameter) = match operation.op.as_str() {
            "constexpr_lut_to_dense" => (Encoding::Palette, "indices"),
            "constexpr_blockwise_shift_scale" => (Encoding::Linear, "data"),
            "constexpr_affine_dequantize" => (Encoding::Linear, "quantized_data"),
            "constexpr_sparse_to_dense" => (Encoding::Sparse, "nonzero_data"),
            _ => return None,
        };
        encoding = if encoding == Encoding::Sparse { encoding } else { step };
        if let Some(inner) = operation.inputs.get(parameter).and_then(view::name) {
            name = inner;
            continue;
        }
        let ty = view::tensor(view, operation, parameter)?;
        // Before ios18, indices of fewer bits are packed into bytes, and the length of the palette tells how many.
        let packed = step == Encoding::Palette && ty.dtype == DataType::UInt8 && ty.rank() == 1;
        let entries = view::tensor(view, operation, "lut").and_then(crate::TensorType::element_count);
        let bits = match entries {
            Some(entries) if packed && entries > 1 => u64::from((entries - 1).ilog2() + 1),
            _ => u64::from(ty.dtype.bits()),
        };
        return Some(StoredWeight { encoding, bits });
    }
    None
}

/// A convolution's weight, by its axes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvolutionWeight {
    /// Rows of the weight.
    pub out_channels: u64,
    /// Channels of one group.
    pub in_channels: u64,
    /// Product of the kernel's axes.
    pub kernel: u64,
    /// How it is stored.
    pub stored: StoredWeight,
}

/// The weight of a `conv` that is a constant of fixed shape.
pub fn of_convolution(site: &Site<'_>) -> Option<ConvolutionWeight> {
    if !site.is("conv") {
        return None;
    }
    let stored = stored(site.view, site.name("weight")?)?;
    let shape = site.tensor("weight")?.fixed_shape()?;
    let (out_channels, in_channels) = (*shape.first()?, *shape.get(1)?);
    let kernel = shape.iter().skip(2).fold(1_u64, |product, size| product.saturating_mul(*size));
    Some(ConvolutionWeight { out_channels, in_channels, kernel, stored })
}

/// Whether the constant that `site` yields is looked up by rows and nothing else, as embeddings are: on the CPU.
pub fn is_table(site: &Site<'_>) -> bool {
    let name = site.operation.outputs.first().map(|output| output.name.as_str()).unwrap_or_default();
    let users = site.view.users(name);
    let gathers = |user: &usize| site.view.operations().get(*user).is_some_and(|user| user.op == "gather");
    !users.is_empty() && users.iter().all(gathers)
}

/// Palettes along each axis of a palettized weight; `None` where it has a single one, in the form before ios18.
pub fn palette_groups(site: &Site<'_>) -> Option<Vec<u64>> {
    /// Axes of a palette behind those of the groups: entries, and elements of an entry.
    const OWN_AXES: usize = 2;
    let mut groups = site.tensor("lut")?.fixed_shape()?;
    let axes = groups.len().checked_sub(OWN_AXES).filter(|axes| *axes > 0)?;
    groups.truncate(axes);
    Some(groups)
}
