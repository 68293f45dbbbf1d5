//! The operations: one file each, one line each in [`OPS`].
//!
//! A file holds the declaration, the type inference, the builder method and the tests of its op. Code elsewhere reads
//! declarations and does not match on op names, but for the ops in [`special`].

pub mod activation;
pub mod argsort;
pub mod batch_norm;
pub mod binary;
pub mod cast;
pub mod clip;
pub mod comparison;
pub mod concat;
pub mod constant;
pub mod constexpr_affine_dequantize;
pub mod constexpr_blockwise_shift_scale;
pub mod constexpr_lut_to_dense;
pub mod constexpr_sparse;
pub mod constexpr_sparse_to_dense;
mod context;
pub mod control_flow;
pub mod conv;
mod conv_patches;
pub mod conv_quantized;
pub mod conv_transpose;
pub mod cumsum;
pub mod decl;
pub mod dequantize;
pub mod detection;
pub mod document;
pub mod einsum;
pub mod elementwise;
mod evidence;
pub mod expand_dims;
pub mod fill;
pub mod gather;
pub mod gather_along_axis;
pub mod gelu;
pub mod gru;
pub mod identity;
pub mod l2_norm;
pub mod layer_norm;
pub mod linear;
pub mod list;
pub mod lstm;
mod lstm_cell;
pub mod matmul;
pub mod pad;
mod palette;
pub mod pool;
pub mod quantization;
pub mod quantize;
pub mod random;
pub mod read_state;
pub mod rearrange;
mod recurrent;
pub mod reduce;
pub mod reductions;
pub mod resample;
pub mod reshape;
pub mod resize;
pub mod rnn;
mod sampling;
pub mod scaled_dot_product_attention;
pub mod scatter;
pub mod select;
pub mod shape;
pub mod slice;
pub mod slice_by_index;
pub mod slice_by_size;
pub mod slice_update;
pub mod softmax;
pub mod space;
pub mod split;
pub mod squeeze;
pub mod stack;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod testing_evaluation;
pub mod tile;
pub mod topk;
pub mod transpose;
pub mod unary;
mod window;
pub mod write_state;

use decl::OpDecl;

/// Every op that is understood, sorted by name.
pub static OPS: &[&OpDecl] = &[
    &unary::ABS,
    &unary::ACOS,
    &binary::ADD,
    &resample::AFFINE,
    &argsort::DECL,
    &unary::ASIN,
    &unary::ATAN,
    &unary::ATANH,
    &pool::AVG_POOL,
    &rearrange::BAND_PART,
    &batch_norm::BATCH_NORM,
    &space::BATCH_TO_SPACE,
    &cast::DECL,
    &unary::CEIL,
    &activation::CLAMPED_RELU,
    &detection::CLASSIFY,
    &clip::DECL,
    &concat::DECL,
    &control_flow::COND,
    &constant::DECL,
    &constexpr_affine_dequantize::DECL,
    &constexpr_blockwise_shift_scale::DECL,
    &constexpr_sparse::CONSTEXPR_CAST,
    &constexpr_lut_to_dense::DECL,
    &constexpr_sparse::CONSTEXPR_LUT_TO_SPARSE,
    &constexpr_sparse::CONSTEXPR_SPARSE_BLOCKWISE_SHIFT_SCALE,
    &constexpr_sparse_to_dense::DECL,
    &conv::DECL,
    &conv_quantized::DECL,
    &conv_transpose::DECL,
    &unary::COS,
    &unary::COSH,
    &resize::CROP,
    &resample::CROP_RESIZE,
    &cumsum::DECL,
    &space::DEPTH_TO_SPACE,
    &dequantize::DECL,
    &einsum::DECL,
    &activation::ELU,
    &comparison::EQUAL,
    &unary::ERF,
    &unary::EXP,
    &unary::EXP2,
    &expand_dims::DECL,
    &fill::FILL,
    &fill::FILL_LIKE,
    &rearrange::FLATTEN2D,
    &unary::FLOOR,
    &binary::FLOOR_DIV,
    &gather::DECL,
    &gather_along_axis::DECL,
    &scatter::GATHER_ND,
    &gelu::DECL,
    &comparison::GREATER,
    &comparison::GREATER_EQUAL,
    &gru::DECL,
    &identity::DECL,
    &batch_norm::INSTANCE_NORM,
    &unary::INVERSE,
    &l2_norm::DECL,
    &pool::L2_POOL,
    &layer_norm::DECL,
    &activation::LEAKY_RELU,
    &comparison::LESS,
    &comparison::LESS_EQUAL,
    &linear::DECL,
    &activation::LINEAR_ACTIVATION,
    &list::LIST_GATHER,
    &list::LIST_LENGTH,
    &list::LIST_READ,
    &list::LIST_SCATTER,
    &list::LIST_WRITE,
    &batch_norm::LOCAL_RESPONSE_NORM,
    &unary::LOG,
    &binary::LOGICAL_AND,
    &unary::LOGICAL_NOT,
    &binary::LOGICAL_OR,
    &binary::LOGICAL_XOR,
    &lstm::DECL,
    &list::MAKE_LIST,
    &matmul::DECL,
    &pool::MAX_POOL,
    &binary::MAXIMUM,
    &binary::MINIMUM,
    &binary::MOD,
    &binary::MUL,
    &detection::NON_MAXIMUM_SUPPRESSION,
    &detection::NON_ZERO,
    &comparison::NOT_EQUAL,
    &fill::ONE_HOT,
    &pad::DECL,
    &space::PIXEL_SHUFFLE,
    &space::PIXEL_UNSHUFFLE,
    &binary::POW,
    &activation::PRELU,
    &quantize::DECL,
    &random::RANDOM_BERNOULLI,
    &random::RANDOM_CATEGORICAL,
    &random::RANDOM_NORMAL,
    &random::RANDOM_UNIFORM,
    &fill::RANGE_1D,
    &read_state::DECL,
    &binary::REAL_DIV,
    &reductions::REDUCE_ARGMAX,
    &reductions::REDUCE_ARGMIN,
    &reductions::REDUCE_L1_NORM,
    &reductions::REDUCE_L2_NORM,
    &reductions::REDUCE_LOG_SUM,
    &reductions::REDUCE_LOG_SUM_EXP,
    &reductions::REDUCE_MAX,
    &reductions::REDUCE_MEAN,
    &reductions::REDUCE_MIN,
    &reductions::REDUCE_PROD,
    &reductions::REDUCE_SUM,
    &reductions::REDUCE_SUM_SQUARE,
    &activation::RELU,
    &activation::RELU6,
    &resample::RESAMPLE,
    &reshape::DECL,
    &rearrange::RESHAPE_LIKE,
    &resize::RESIZE,
    &resize::RESIZE_BILINEAR,
    &resize::RESIZE_NEAREST_NEIGHBOR,
    &rearrange::REVERSE,
    &rearrange::REVERSE_SEQUENCE,
    &rnn::DECL,
    &unary::ROUND,
    &unary::RSQRT,
    &scaled_dot_product_attention::DECL,
    &activation::SCALED_TANH,
    &scatter::SCATTER,
    &scatter::SCATTER_ALONG_AXIS,
    &scatter::SCATTER_ND,
    &select::DECL,
    &rearrange::SHAPE,
    &unary::SIGMOID,
    &activation::SIGMOID_HARD,
    &unary::SIGN,
    &activation::SILU,
    &unary::SIN,
    &unary::SINH,
    &slice_by_index::DECL,
    &slice_by_size::DECL,
    &slice_update::DECL,
    &rearrange::SLIDING_WINDOWS,
    &softmax::DECL,
    &activation::SOFTPLUS,
    &activation::SOFTPLUS_PARAMETRIC,
    &activation::SOFTSIGN,
    &space::SPACE_TO_BATCH,
    &space::SPACE_TO_DEPTH,
    &split::DECL,
    &unary::SQRT,
    &unary::SQUARE,
    &squeeze::DECL,
    &stack::DECL,
    &binary::SUB,
    &unary::TAN,
    &unary::TANH,
    &activation::THRESHOLD,
    &activation::THRESHOLDED_RELU,
    &tile::DECL,
    &topk::DECL,
    &transpose::DECL,
    &resize::UPSAMPLE_BILINEAR,
    &resize::UPSAMPLE_NEAREST_NEIGHBOR,
    &control_flow::WHILE_LOOP,
    &write_state::DECL,
];

/// The declaration of the op called `name`.
pub fn find(name: &str) -> Option<&'static OpDecl> {
    OPS.binary_search_by(|decl| decl.name.cmp(name)).ok().and_then(|index| OPS.get(index).copied())
}

/// The only op names that code outside the op's own file may know, each with the rule of the format behind it.
pub mod special {
    /// Its value stands in the attribute `val`, not in an input, and its result is a constant.
    pub const CONST: &str = "const";
    /// Ops of this prefix yield constants; before ios18 their parameters are attributes.
    pub const CONSTEXPR_PREFIX: &str = "constexpr_";
    /// Reads a state: the only way from a state to a tensor.
    pub const READ_STATE: &str = "read_state";
    /// Writes a state: the only op without results.
    pub const WRITE_STATE: &str = "write_state";

    /// Whether the op's result counts as a constant.
    pub fn yields_constant(op: &str) -> bool {
        op == CONST || op.starts_with(CONSTEXPR_PREFIX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ops_are_sorted_and_found_by_name() {
        assert!(OPS.is_sorted_by(|a, b| a.name < b.name));
        for decl in OPS {
            assert!(std::ptr::eq(find(decl.name).expect("listed"), *decl));
        }
    }
}
