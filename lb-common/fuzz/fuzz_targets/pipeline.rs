//! Any packets one after the other through a populated data plane.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| lb_common_fuzz::pipeline::check(input));
