//! The rules: one file each, one line each in [`RULES`].

mod argmax;
mod axis_size;
mod blockwise_weight;
mod convolution_3d;
mod convolution_channels;
mod convolution_kernel;
mod convolution_stride;
mod cpu_op;
mod decomposed_norm;
mod deep_mask;
mod duplicate_output;
mod enumerated_layer_norm;
mod five_axes;
mod flexible_input;
mod flexible_state;
mod float32;
mod function_memory;
mod fused_attention;
mod gather_rows;
mod identity_output;
mod infinite_mask;
mod inline_weight;
mod input_channel_palette;
mod int8_palette;
mod integer_work;
mod invalid_program;
mod ios_file_size;
mod kv_copy;
mod last_axis_alignment;
mod linear_form;
mod macos_file_size;
mod op_count;
mod opset_version;
mod palette_groups;
mod palette_notch;
mod palettized_stride;
mod pool_window;
mod power;
mod quantized_activations;
mod rank;
mod runtime_gather;
mod runtime_weight;
mod scale_after_palette;
mod self_product;
mod silu;
mod small_program;
mod softmax_axis;
mod softplus;
mod sparse_weight;
mod standalone_slice_update;
mod state_axes;
mod state_count;
mod state_index;
mod state_rank;
mod state_reread;
mod state_result;
mod state_set;
mod state_shapes;
mod state_shift;
mod state_type;
mod subnormal_constant;
mod top_k;
mod trigonometry;
mod undescribed_parameter;
mod unknown_op;
mod unknown_shape;
mod weight_data;
mod weight_notch;
mod weight_size;
mod width_slice;

use super::rule::Rule;

/// Every rule, sorted by name.
pub static RULES: &[&Rule] = &[
    &argmax::RULE,
    &axis_size::RULE,
    &blockwise_weight::RULE,
    &convolution_3d::RULE,
    &convolution_channels::RULE,
    &convolution_kernel::RULE,
    &convolution_stride::RULE,
    &cpu_op::RULE,
    &decomposed_norm::RULE,
    &deep_mask::RULE,
    &duplicate_output::RULE,
    &enumerated_layer_norm::RULE,
    &five_axes::RULE,
    &flexible_input::RULE,
    &flexible_state::RULE,
    &float32::RULE,
    &function_memory::RULE,
    &fused_attention::RULE,
    &gather_rows::RULE,
    &identity_output::RULE,
    &infinite_mask::RULE,
    &inline_weight::RULE,
    &input_channel_palette::RULE,
    &int8_palette::RULE,
    &integer_work::RULE,
    &invalid_program::RULE,
    &ios_file_size::RULE,
    &kv_copy::RULE,
    &last_axis_alignment::RULE,
    &linear_form::RULE,
    &macos_file_size::RULE,
    &op_count::RULE,
    &opset_version::RULE,
    &palette_groups::RULE,
    &palette_notch::RULE,
    &palettized_stride::RULE,
    &pool_window::RULE,
    &power::RULE,
    &quantized_activations::RULE,
    &rank::RULE,
    &runtime_gather::RULE,
    &runtime_weight::RULE,
    &scale_after_palette::RULE,
    &self_product::RULE,
    &silu::RULE,
    &small_program::RULE,
    &softmax_axis::RULE,
    &softplus::RULE,
    &sparse_weight::RULE,
    &standalone_slice_update::RULE,
    &state_axes::RULE,
    &state_count::RULE,
    &state_index::RULE,
    &state_rank::RULE,
    &state_reread::RULE,
    &state_result::RULE,
    &state_set::RULE,
    &state_shapes::RULE,
    &state_shift::RULE,
    &state_type::RULE,
    &subnormal_constant::RULE,
    &top_k::RULE,
    &trigonometry::RULE,
    &undescribed_parameter::RULE,
    &unknown_op::RULE,
    &unknown_shape::RULE,
    &weight_data::RULE,
    &weight_notch::RULE,
    &weight_size::RULE,
    &width_slice::RULE,
];

/// The rule called `id`.
pub fn find(id: &str) -> Option<&'static Rule> {
    RULES.binary_search_by(|rule| rule.id.cmp(id)).ok().and_then(|index| RULES.get(index).copied())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_sorted_and_found_by_name() {
        assert!(RULES.is_sorted_by(|a, b| a.id < b.id));
        for rule in RULES {
            assert!(std::ptr::eq(find(rule.id).expect("listed"), *rule));
        }
    }

    #[test]
    fn every_rule_says_what_it_is_who_found_it_and_what_to_do() {
        for rule in RULES {
            for text in [rule.summary, rule.source, rule.fix] {
                assert!(!text.is_empty() && !text.ends_with('.') && !text.contains("  "), "{}: {text}", rule.id);
            }
            assert!(rule.id.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'), "{}", rule.id);
        }
    }
}
