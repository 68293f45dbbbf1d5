//! The operations: one file each, one line each in [`OPS`].
//!
//! A file holds the declaration, the type inference, the builder method and the tests of its op. Code elsewhere reads
//! declarations and does not match on op names, but for the ops in [`special`].

pub mod abs;
pub mod add;
pub mod cast;
pub mod clip;
pub mod concat;
pub mod constant;
pub mod constexpr_affine_dequantize;
pub mod constexpr_blockwise_shift_scale;
pub mod constexpr_lut_to_dense;
pub mod constexpr_sparse_to_dense;
pub mod conv;
mod conv_window;
pub mod cos;
pub mod cumsum;
pub mod decl;
pub mod dequantize;
pub mod elementwise;
pub mod equal;
pub mod exp;
pub mod expand_dims;
pub mod floor_div;
pub mod gather;
pub mod gather_along_axis;
pub mod gelu;
pub mod greater;
pub mod greater_equal;
pub mod identity;
pub mod l2_norm;
pub mod layer_norm;
pub mod less;
pub mod less_equal;
pub mod linear;
pub mod lstm;
mod lstm_cell;
pub mod matmul;
pub mod maximum;
pub mod minimum;
pub mod mul;
pub mod not_equal;
pub mod pad;
mod palette;
pub mod pow;
pub mod quantization;
pub mod quantize;
pub mod read_state;
pub mod real_div;
pub mod reduce;
pub mod reduce_argmax;
pub mod reduce_argmin;
pub mod reduce_l2_norm;
pub mod reduce_log_sum_exp;
pub mod reduce_max;
pub mod reduce_mean;
pub mod reduce_min;
pub mod reduce_sum;
pub mod reduce_sum_square;
pub mod relu;
pub mod reshape;
pub mod rsqrt;
pub mod scaled_dot_product_attention;
pub mod select;
pub mod shape;
pub mod sigmoid;
pub mod silu;
pub mod sin;
pub mod slice;
pub mod slice_by_index;
pub mod slice_by_size;
pub mod slice_update;
pub mod softmax;
pub mod split;
pub mod sqrt;
pub mod square;
pub mod squeeze;
pub mod stack;
pub mod sub;
pub mod tanh;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod testing_evaluation;
pub mod tile;
pub mod topk;
pub mod transpose;
pub mod write_state;

use decl::OpDecl;

/// Every op that is understood, sorted by name.
pub static OPS: &[&OpDecl] = &[
    &abs::DECL,
    &add::DECL,
    &cast::DECL,
    &clip::DECL,
    &concat::DECL,
    &constant::DECL,
    &constexpr_affine_dequantize::DECL,
    &constexpr_blockwise_shift_scale::DECL,
    &constexpr_lut_to_dense::DECL,
    &constexpr_sparse_to_dense::DECL,
    &conv::DECL,
    &cos::DECL,
    &cumsum::DECL,
    &dequantize::DECL,
    &equal::DECL,
    &exp::DECL,
    &expand_dims::DECL,
    &floor_div::DECL,
    &gather::DECL,
    &gather_along_axis::DECL,
    &gelu::DECL,
    &greater::DECL,
    &greater_equal::DECL,
    &identity::DECL,
    &l2_norm::DECL,
    &layer_norm::DECL,
    &less::DECL,
    &less_equal::DECL,
    &linear::DECL,
    &lstm::DECL,
    &matmul::DECL,
    &maximum::DECL,
    &minimum::DECL,
    &mul::DECL,
    &not_equal::DECL,
    &pad::DECL,
    &pow::DECL,
    &quantize::DECL,
    &read_state::DECL,
    &real_div::DECL,
    &reduce_argmax::DECL,
    &reduce_argmin::DECL,
    &reduce_l2_norm::DECL,
    &reduce_log_sum_exp::DECL,
    &reduce_max::DECL,
    &reduce_mean::DECL,
    &reduce_min::DECL,
    &reduce_sum::DECL,
    &reduce_sum_square::DECL,
    &relu::DECL,
    &reshape::DECL,
    &rsqrt::DECL,
    &scaled_dot_product_attention::DECL,
    &select::DECL,
    &sigmoid::DECL,
    &silu::DECL,
    &sin::DECL,
    &slice_by_index::DECL,
    &slice_by_size::DECL,
    &slice_update::DECL,
    &softmax::DECL,
    &split::DECL,
    &sqrt::DECL,
    &square::DECL,
    &squeeze::DECL,
    &stack::DECL,
    &sub::DECL,
    &tanh::DECL,
    &tile::DECL,
    &topk::DECL,
    &transpose::DECL,
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
