//! The element types of GGUF files.

use candle_core::quantized::GgmlDType;

use crate::source::checkpoint::SourceDtype;

/// What an element type is to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Storage {
    /// Elements, one after the other.
    Plain(SourceDtype),
    /// Blocks that candle decodes.
    Blocks(GgmlDType),
    /// Known by name only.
    Unread,
}

/// An element type.
#[derive(Clone, Copy, Debug)]
pub(super) struct ElementType {
    /// Its number in the file.
    pub(super) number: u32,
    /// Its name, as llama.cpp prints it.
    pub(super) name: &'static str,
    pub(super) storage: Storage,
}

const fn row(number: u32, name: &'static str, storage: Storage) -> ElementType {
    ElementType { number, name, storage }
}

/// All types.
///
/// # Source
/// `enum ggml_type` of <https://github.com/ggml-org/ggml/blob/master/include/ggml.h>.
pub(super) static TYPES: &[ElementType] = &[
    row(0, "F32", Storage::Plain(SourceDtype::F32)),
    row(1, "F16", Storage::Plain(SourceDtype::F16)),
    row(2, "Q4_0", Storage::Blocks(GgmlDType::Q4_0)),
    row(3, "Q4_1", Storage::Blocks(GgmlDType::Q4_1)),
    row(6, "Q5_0", Storage::Blocks(GgmlDType::Q5_0)),
    row(7, "Q5_1", Storage::Blocks(GgmlDType::Q5_1)),
    row(8, "Q8_0", Storage::Blocks(GgmlDType::Q8_0)),
    row(9, "Q8_1", Storage::Unread),
    row(10, "Q2_K", Storage::Blocks(GgmlDType::Q2K)),
    row(11, "Q3_K", Storage::Blocks(GgmlDType::Q3K)),
    row(12, "Q4_K", Storage::Blocks(GgmlDType::Q4K)),
    row(13, "Q5_K", Storage::Blocks(GgmlDType::Q5K)),
    row(14, "Q6_K", Storage::Blocks(GgmlDType::Q6K)),
    row(15, "Q8_K", Storage::Unread),
    row(16, "IQ2_XXS", Storage::Unread),
    row(17, "IQ2_XS", Storage::Unread),
    row(18, "IQ3_XXS", Storage::Unread),
    row(19, "IQ1_S", Storage::Unread),
    row(20, "IQ4_NL", Storage::Unread),
    row(21, "IQ3_S", Storage::Unread),
    row(22, "IQ2_S", Storage::Unread),
    row(23, "IQ4_XS", Storage::Unread),
    row(24, "I8", Storage::Unread),
    row(25, "I16", Storage::Unread),
    row(26, "I32", Storage::Unread),
    row(27, "I64", Storage::Unread),
    row(28, "F64", Storage::Unread),
    row(29, "IQ1_M", Storage::Unread),
    row(30, "BF16", Storage::Plain(SourceDtype::BF16)),
    row(34, "TQ1_0", Storage::Unread),
    row(35, "TQ2_0", Storage::Unread),
    row(39, "MXFP4", Storage::Unread),
    row(40, "NVFP4", Storage::Unread),
];

/// The type of a number.
pub(super) fn find(number: u32) -> Option<&'static ElementType> {
    TYPES.iter().find(|row| row.number == number)
}

impl ElementType {
    /// Elements and bytes of a block; none of a type that is not read.
    pub(super) fn block(&self) -> Option<(usize, usize)> {
        match self.storage {
            Storage::Plain(dtype) => Some((1, dtype.size())),
            Storage::Blocks(dtype) => Some((dtype.block_size(), dtype.type_size())),
            Storage::Unread => None,
        }
    }
}
