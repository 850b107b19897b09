//! Writes `docs/desktop-performance.md` and its plot from what was measured.

use std::{fmt::Write, fs, path::Path, process::Command};

use jiff::Timestamp;

use super::{
    TURNS,
    table::{Figure, Table},
    words::machine,
};

mod plot;

/// Whose versions are told.
const PACKAGES: [&str; 4] = ["tigervnc-standalone-server", "xvfb", "x11vnc", "websockify"];

/// All that is told.
pub(crate) struct Figures {
    /// Processes that wanted a CPU in the minute before.
    pub(crate) load: String,
    pub(crate) desktops: Table,
    pub(crate) bridges: Table,
}

impl Figures {
    /// How many times better ours is, where that can be said.
    fn ratios(&self) -> impl Iterator<Item = (&'static Figure, f64)> {
        [&self.desktops, &self.bridges].into_iter().flat_map(Table::ratios)
    }

    fn ratio(&self, name: &str) -> String {
        self.ratios().find(|(figure, _)| figure.name == name).map(|(_, ratio)| times(ratio)).unwrap()
    }
}

/// Writes the page, and the plot beside it.
pub(crate) fn write(figures: &Figures) {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    fs::create_dir_all(docs.join("performance")).unwrap();
    plot::ratios(figures, &docs.join("performance/desktop.svg"));
    fs::write(docs.join("desktop-performance.md"), page(figures)).unwrap();
    eprintln!("wrote docs/desktop-performance.md");
}

/// Shows the tables. After so short a time they mean nothing.
pub(crate) fn print(figures: &Figures) {
    println!("{}\n{}", rows(&figures.desktops), rows(&figures.bridges));
}

fn page(figures: &Figures) -> String {
    let Figures { load, desktops, bridges } = figures;
    let mut page = String::from("<!-- Written by `make figures`. -->\n\n# The desktop's performance\n\n");
    write!(
        page,
        "Beside Xvfb, x11vnc and websockify, of which most desktops in browsers are made, a terminal that scrolls shows {} times the frames; \
         a frame takes {} times less CPU, and all of them {} times less bandwidth. A key is seen after {:.1} ms, which is {} times sooner. The \
         bridge takes {} times the bytes a second that websockify takes from a viewer, and a viewer costs {:.0} KiB, {} times less.\n\n\
         Measured {} on {}, with a load average of {load} before, by `make figures`, or `cargo bench --bench vnc` alone. All took turns, \
         {TURNS} each, and what is told are the medians of the turns. Viewers and targets share the CPUs with what is measured. Numbers of \
         other machines differ; the ratios should not by much.\n\n",
        figures.ratio("a terminal that scrolls: frames"),
        figures.ratio("a terminal that scrolls: CPU of a frame"),
        figures.ratio("a terminal that scrolls: bandwidth"),
        desktops.ours("from a key to the update, median"),
        figures.ratio("from a key to the update, median"),
        figures.ratio("upload"),
        bridges.ours("memory for each viewer"),
        figures.ratio("memory for each viewer"),
        Timestamp::now().strftime("%F"),
        machine(),
    )
    .unwrap();
    write!(
        page,
        "![How many times better](performance/desktop.svg)\n\n\
         ## The whole desktop\n\n\
         The viewer reads RFB from a WebSocket as noVNC does (its encodings, quality 6, compression 2), but doesn't paint. CPU and memory are \
         those of the X server and of all that shows it, without the apps and without a window manager. The screen is 1920x1080; the terminal \
         is an xterm of 200x60 letters that prints 50 lines a second, and the key a letter that it echoes. The others run with their \
         defaults{}.\n\n{}\n\
         ## The bridge alone\n\n\
         Between the loopback and a Unix socket whose owner sends, swallows or echoes as it is told, in messages of 64 KiB. The viewer who \
         does not read is sent as much as goes in five seconds; then it types.\n\n{}\n\
         Memory is the proportional set size: of pages that processes share, each has its part.\n",
        versions(),
        rows(desktops),
        rows(bridges),
    )
    .unwrap();
    page
}

/// A row for each figure, a column for each contender, and how the first two compare.
fn rows(table: &Table) -> String {
    let names: Vec<&str> = table.names().collect();
    let mut rows = format!("| | {} | times better |\n|---|{}\n", names.join(" | "), "--:|".repeat(names.len() + 1));
    for figure in table.figures() {
        let told = |value: f64| format!("{value:.*} {}", figure.digits.into(), figure.unit).trim_end().to_owned();
        let values: Vec<String> = table.values(figure).into_iter().map(told).collect();
        let ratio = table.ratio(figure).map(times).unwrap_or_default();
        writeln!(rows, "| {} | {} | {ratio} |", figure.name, values.join(" | ")).unwrap();
    }
    rows
}

fn times(ratio: f64) -> String {
    if ratio < 9.95 { format!("{ratio:.1}") } else { format!("{ratio:.0}") }
}

/// Of the Debian packages; nothing where the programs come from elsewhere.
fn versions() -> String {
    let told = Command::new("dpkg-query").args(["--show", "--showformat=, ${Package} ${Version}"]).args(PACKAGES).output();
    told.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default()
}
