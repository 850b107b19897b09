//! Terminals: one that scrolls, and one that echoes what is typed.

use std::{
    io::Write,
    thread,
    time::{Duration, Instant},
};

/// From one line to the next.
const INTERVAL: Duration = Duration::from_millis(20);
/// Letters of a line.
const LENGTH: usize = 120;

/// What an xterm with an echo runs.
pub(crate) const ECHO: &[&str] = &["cat"];
/// As large as a terminal gets that shares the screen with little else.
pub(crate) const GEOMETRY: &str = "200x60+0+0";

/// Prints a line each 20 ms, as a compiler might, until the terminal goes.
pub(crate) fn print_lines() {
    let begun = Instant::now();
    let mut random: u32 = 1;
    for count in 1.. {
        let letters = (0..LENGTH).map(|_| {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            b' ' + u8::try_from((random >> 16) % 95).unwrap()
        });
        let line: Vec<u8> = letters.chain(*b"\n").collect();
        if std::io::stdout().write_all(&line).is_err() {
            return;
        }
        thread::sleep((begun + INTERVAL * count).saturating_duration_since(Instant::now()));
    }
}
