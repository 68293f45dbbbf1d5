#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| anec_fuzz::checks::compiled_model(data));
