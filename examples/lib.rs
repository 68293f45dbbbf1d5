//! Examples of the public API, one file each; `cargo run -p anec-examples --example build_program` runs one.
//! `ci/` holds workflows to copy.
