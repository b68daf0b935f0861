/tmp/h/me/repo/lb-common/fuzz/target/debug/deps/libfuzzer_sys-507a78bc02236f8a.d: /root/.cargo/registry/src/index.crates.io-1949cf8c6b5b557f/libfuzzer-sys-0.4.13/src/lib.rs

/tmp/h/me/repo/lb-common/fuzz/target/debug/deps/liblibfuzzer_sys-507a78bc02236f8a.rmeta: /root/.cargo/registry/src/index.crates.io-1949cf8c6b5b557f/libfuzzer-sys-0.4.13/src/lib.rs

/root/.cargo/registry/src/index.crates.io-1949cf8c6b5b557f/libfuzzer-sys-0.4.13/src/lib.rs:
