//! anec
fn main() {}
