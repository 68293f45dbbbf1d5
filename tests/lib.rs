//! Tests that cross crates, through the public API only. `conformance/` holds those that need coremltools, and `data/` a
//! small trained checkpoint.
