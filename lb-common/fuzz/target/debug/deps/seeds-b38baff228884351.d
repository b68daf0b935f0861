/tmp/h/me/repo/lb-common/fuzz/target/debug/deps/seeds-b38baff228884351.d: src/seeds.rs

/tmp/h/me/repo/lb-common/fuzz/target/debug/deps/libseeds-b38baff228884351.rmeta: src/seeds.rs

src/seeds.rs:
