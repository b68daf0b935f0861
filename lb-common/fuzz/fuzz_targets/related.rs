//! Any octets as an ICMP error, while the flows that it may be about are known.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| lb_common_fuzz::related::check(input));
