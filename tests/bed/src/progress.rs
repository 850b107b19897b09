//! What a person should see while the bed works.

use std::io::Write;

/// Writes a line to standard error, past the test harness that holds back what tests print: a build of minutes must not be silent.
pub(crate) fn say(line: &str) {
    // Nobody can be told that standard error is closed.
    drop(writeln!(std::io::stderr().lock(), "bed: {line}"));
}
