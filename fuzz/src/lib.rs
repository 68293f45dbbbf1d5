//! What the readers must hold for any input.

pub mod checks;
pub mod mutations;
pub mod source_checks;
