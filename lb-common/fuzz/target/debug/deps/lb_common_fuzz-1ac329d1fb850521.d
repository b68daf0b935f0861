/tmp/h/me/repo/lb-common/fuzz/target/debug/deps/lb_common_fuzz-1ac329d1fb850521.d: src/lib.rs src/changes.rs src/parser.rs src/pipeline.rs src/related.rs src/script.rs src/sums.rs

/tmp/h/me/repo/lb-common/fuzz/target/debug/deps/liblb_common_fuzz-1ac329d1fb850521.rmeta: src/lib.rs src/changes.rs src/parser.rs src/pipeline.rs src/related.rs src/script.rs src/sums.rs

src/lib.rs:
src/changes.rs:
src/parser.rs:
src/pipeline.rs:
src/related.rs:
src/script.rs:
src/sums.rs:
