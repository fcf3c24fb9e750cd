#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| (tsm_fuzz::target("partial").run)(bytes));
