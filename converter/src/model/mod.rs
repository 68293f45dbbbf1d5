//! What a checkpoint's network is: architectures, their plan as plain data, RoPE.

pub mod arch;
pub mod decoder_plan;
pub mod rope;
