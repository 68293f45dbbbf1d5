//! The operations: one file each, one line each in [`OPS`].
//!
//! A file holds the declaration, the type inference, the builder method and the tests of its op. Code elsewhere reads
//! declarations and does not match on op names, but for the ops in [`special`].

pub mod add;
pub mod cast;
pub mod concat;
pub mod constant;
pub mod constexpr_affine_dequantize;
pub mod constexpr_blockwise_shift_scale;
pub mod constexpr_lut_to_dense;
pub mod conv;
pub mod decl;
pub mod elementwise;
pub mod expand_dims;
pub mod gather;
pub mod greater_equal;
pub mod identity;
pub mod layer_norm;
pub mod matmul;
pub mod mul;
pub mod read_state;
pub mod reduce;
pub mod reduce_argmax;
pub mod reduce_max;
pub mod relu;
pub mod reshape;
pub mod select;
pub mod shape;
pub mod silu;
pub mod slice;
pub mod slice_by_index;
pub mod slice_update;
pub mod softmax;
pub mod split;
pub mod squeeze;
pub mod sub;
#[cfg(test)]
pub(crate) mod testing;
pub mod tile;
pub mod transpose;
pub mod write_state;

use decl::OpDecl;

/// Every op that is understood, sorted by name.
pub static OPS: &[&OpDecl] = &[
    &add::DECL,
    &cast::DECL,
    &concat::DECL,
    &constant::DECL,
    &constexpr_affine_dequantize::DECL,
    &constexpr_blockwise_shift_scale::DECL,
    &constexpr_lut_to_dense::DECL,
    &conv::DECL,
    &expand_dims::DECL,
    &gather::DECL,
    &greater_equal::DECL,
    &identity::DECL,
    &layer_norm::DECL,
    &matmul::DECL,
    &mul::DECL,
    &read_state::DECL,
    &reduce_argmax::DECL,
    &reduce_max::DECL,
    &relu::DECL,
    &reshape::DECL,
    &select::DECL,
    &silu::DECL,
    &slice_by_index::DECL,
    &slice_update::DECL,
    &softmax::DECL,
    &split::DECL,
    &squeeze::DECL,
    &sub::DECL,
    &tile::DECL,
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
