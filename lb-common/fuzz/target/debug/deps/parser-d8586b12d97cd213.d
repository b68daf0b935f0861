/tmp/h/me/repo/lb-common/fuzz/target/debug/deps/parser-d8586b12d97cd213.d: fuzz_targets/parser.rs

/tmp/h/me/repo/lb-common/fuzz/target/debug/deps/libparser-d8586b12d97cd213.rmeta: fuzz_targets/parser.rs

fuzz_targets/parser.rs:
