//! What the readers must hold for any input.

pub mod checks;
