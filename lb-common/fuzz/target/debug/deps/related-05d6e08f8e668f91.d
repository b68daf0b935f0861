/tmp/h/me/repo/lb-common/fuzz/target/debug/deps/related-05d6e08f8e668f91.d: fuzz_targets/related.rs

/tmp/h/me/repo/lb-common/fuzz/target/debug/deps/librelated-05d6e08f8e668f91.rmeta: fuzz_targets/related.rs

fuzz_targets/related.rs:
