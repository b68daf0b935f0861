//! Any octets as a frame: what parses lies inside the packet.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| lb_common_fuzz::parser::check(input));
