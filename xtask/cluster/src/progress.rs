//! Lines for whoever waits.

use std::io::{self, Write};

/// To stderr itself: the test harness holds back what `eprintln!` prints, and minutes of silence look like a hang.
pub(crate) fn say(line: &str) {
    // Nobody may be reading, which is no reason to fail.
    let _ = writeln!(io::stderr(), "{line}");
}
