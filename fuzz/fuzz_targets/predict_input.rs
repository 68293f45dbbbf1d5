#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| anec_fuzz::source_checks::predict_input(data));
