/tmp/h/me/repo/lb-common/fuzz/target/debug/deps/pipeline-b234e446c4009017.d: fuzz_targets/pipeline.rs

/tmp/h/me/repo/lb-common/fuzz/target/debug/deps/libpipeline-b234e446c4009017.rmeta: fuzz_targets/pipeline.rs

fuzz_targets/pipeline.rs:
