//! The figures of `docs/desktop-performance.md`: our desktop beside Xvfb, x11vnc and websockify, which most desktops in browsers are
//! made of, in one run.
//!
//! `cargo bench --bench vnc` measures for some minutes and writes the page. All take turns, so that a busy machine harms them alike, and
//! what is told is the median of the turns. `cargo test` lets each have one short turn, without measuring: that bytes, frames and keys
//! arrive.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a bench that fails must say where")]
#![allow(clippy::cast_precision_loss, reason = "what is told has few digits")]

mod bridge;
mod desktop;
#[path = "../../tests/common/masked.rs"]
mod masked;
mod own_bridge;
mod process;
mod report;
mod rfb;
mod stand_in;
mod table;
mod terminal;
mod viewer;
mod websocket;
#[path = "../words/mod.rs"]
mod words;

use std::{fs, path::Path};

use outrigger_bed::{gaps, obtain};

use report::Figures;
use stand_in::StandIn;
use table::{Figure, Table};

/// The first argument of this program when it is to be our bridge.
const BRIDGE: &str = "bridge";
/// The first argument of this program when it is to print lines in a terminal.
const LINES: &str = "lines";
/// Turns of each.
const TURNS: usize = 5;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [BRIDGE, socket, port] => own_bridge::serve(Path::new(socket), port.parse().unwrap()),
        [LINES] => terminal::print_lines(),
        [.., "--bench"] => measure(),
        _ => check(),
    }
}

/// All that is told, measured on this machine, now.
fn measure() {
    obtain::desktop_rivals().unwrap();
    let load = load();
    let desktops = desktops(&desktop::CONTENDERS, TURNS, &desktop::Work::MEASURED);
    let bridges = bridges(&bridge::CONTENDERS, TURNS, &bridge::Work::MEASURED);
    report::write(&Figures { load, desktops, bridges });
}

/// That each does what is measured of it. Where the others can't be had, ours is alone.
fn check() {
    let obtained = obtain::desktop_rivals();
    if let Err(why) = &obtained {
        gaps::skip("Xvfb and websockify beside our desktop", why).unwrap();
    }
    let count = |all: usize| if obtained.is_ok() { all } else { 1 };
    let desktops = desktops(&desktop::CONTENDERS[..count(3)], 1, &desktop::Work::SHORT);
    let bridges = bridges(&bridge::CONTENDERS[..count(2)], 1, &bridge::Work::SHORT);
    assert!(bridges.ours(bridge::ARRIVED) > 199.0, "a viewer who does not read is not heard");
    report::print(&Figures { load: load(), desktops, bridges });
}

fn desktops(contenders: &[(&'static str, desktop::Start)], turns: usize, work: &desktop::Work) -> Table {
    obtain::desktop().unwrap();
    take_turns(desktop::FIGURES, contenders, turns, |start| desktop::measure(start, work))
}

fn bridges(contenders: &[(&'static str, bridge::Start)], turns: usize, work: &bridge::Work) -> Table {
    let stand_in = StandIn::start();
    take_turns(bridge::FIGURES, contenders, turns, |start| bridge::measure(start, &stand_in, work))
}

fn take_turns<Start: Copy>(
    figures: &'static [Figure],
    contenders: &[(&'static str, Start)],
    turns: usize,
    measure: impl Fn(Start) -> Vec<f64>,
) -> Table {
    let mut table = Table::new(figures, contenders.iter().map(|(name, _)| *name));
    for turn in 1..=turns {
        for (place, (name, start)) in contenders.iter().enumerate() {
            eprintln!("turn {turn} of {turns}: {name}");
            table.add(place, measure(*start));
        }
    }
    table
}

/// Processes that wanted a CPU, on average of the last minute.
fn load() -> String {
    fs::read_to_string("/proc/loadavg").unwrap().split(' ').next().unwrap_or_default().to_owned()
}
