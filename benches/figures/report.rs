//! Writes `docs/performance.md` and its plots from what was measured.

use std::{fmt::Write, fs, path::Path, time::Duration};

use jiff::Timestamp;

use super::{
    crowd::{Crowd, PODS},
    hardship::Hardship,
    load::{Outcome, Pace},
    process::Memory,
    words::machine,
};

mod plots;

/// All that is told.
pub(crate) struct Figures {
    /// Name and bytes of each review.
    pub(crate) sizes: [(&'static str, usize); 3],
    pub(crate) measured: Vec<Measured>,
    /// From the start of the process to ready.
    pub(crate) started: Duration,
    /// Memory before the first review, and after all.
    pub(crate) idle: Memory,
    pub(crate) after_load: Memory,
    pub(crate) hardships: Vec<Hardship>,
    pub(crate) crowd: Crowd,
}

/// One server under one load.
pub(crate) struct Measured {
    pub(crate) server: &'static str,
    pub(crate) review: &'static str,
    pub(crate) pace: Pace,
    pub(crate) per_second: f64,
    pub(crate) per_cpu_second: f64,
    /// p50, p99 and p99.9.
    pub(crate) latencies: [Duration; 3],
    /// Of one CPU, by the load generator.
    pub(crate) generator: f64,
    failed: u64,
}

impl Measured {
    pub(crate) fn new(server: &'static str, review: &'static str, pace: Pace, outcome: &Outcome) -> Self {
        Self {
            server,
            review,
            pace,
            per_second: outcome.per_second(),
            per_cpu_second: outcome.per_cpu_second(),
            latencies: [0.5, 0.99, 0.999].map(|quantile| outcome.latency(quantile)),
            generator: outcome.generator_cpu.as_secs_f64() / outcome.took.as_secs_f64(),
            failed: outcome.refused + outcome.failed,
        }
    }
}

impl Figures {
    /// Reviews for each CPU-second in the closed loop.
    pub(crate) fn efficiency(&self, server: &str, review: &str) -> f64 {
        self.closed().find(|row| row.server == server && row.review == review).map_or(0.0, |row| row.per_cpu_second)
    }

    fn closed(&self) -> impl Iterator<Item = &Measured> {
        self.measured.iter().filter(|row| row.pace == Pace::Closed)
    }

    /// Rows of the open loops.
    pub(crate) fn open(&self) -> impl Iterator<Item = (u32, &Measured)> {
        self.measured.iter().filter_map(|row| match row.pace {
            Pace::Open { per_second } => Some((per_second, row)),
            Pace::Closed => None,
        })
    }
}

/// Writes the page and the plots beside it.
pub(crate) fn write(figures: &Figures) {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    fs::create_dir_all(docs.join("performance")).unwrap();
    plots::efficiency(figures, &docs.join("performance/efficiency.svg"));
    plots::latency(figures, &docs.join("performance/latency.svg"));
    fs::write(docs.join("performance.md"), page(figures)).unwrap();
    eprintln!("wrote docs/performance.md");
}

fn page(figures: &Figures) -> String {
    let mut page = String::from("<!-- Written by `make figures`. -->\n\n# Performance\n\n");
    let sizes: Vec<String> = figures.sizes.iter().map(|(name, bytes)| format!("{name} {}", kilobytes(*bytes))).collect();
    let ratio = |other| figures.efficiency("Outrigger", "large") / figures.efficiency(other, "large");
    write!(
        page,
        "One CPU-second answers {:.0} reviews of a pod of {} that asks for all three sidecars: {:.0} times what a webhook written \
         with controller-runtime answers, and {:.0} times what the usual way costs in Rust (decode the review into types, change the pod, \
         diff both). hyper and rustls alone, which take in the same and send the same without looking at it, manage {:.0}: that is the most \
         there is on this machine, of which Outrigger reaches {:.0} %. A review costs {:.0} µs of CPU, of which {:.0} µs are transport.\n\n\
         What the desktop costs has [a page of its own](desktop-performance.md).\n\n\
         Measured {} on {}, by `make figures`. All servers add the same to the same pods, which is checked before they are measured. \
         Each is a process of its own; the load generator shares the CPUs with it, over {} TLS connections that are kept alive. Numbers \
         of other machines differ; the ratios should not by much.\n\n\
         The reviews: {}. Small is of a pod of 1.5 KB with one container, and asks for VNC; large has three containers with 25 variables each, and huge \
         one with 2,000, and both ask for all three sidecars.\n\n",
        figures.efficiency("Outrigger", "large"),
        figures.sizes.iter().find(|(name, _)| *name == "large").map(|(_, bytes)| kilobytes(*bytes)).unwrap_or_default(),
        ratio("controller-runtime"),
        ratio("typed and diffed"),
        figures.efficiency("transport alone", "large"),
        100.0 * ratio("transport alone"),
        1e6 / figures.efficiency("Outrigger", "large"),
        1e6 / figures.efficiency("transport alone", "large"),
        Timestamp::now().strftime("%F"),
        machine(),
        super::CONNECTIONS,
        sizes.join(", "),
    )
    .unwrap();
    closed_loop(figures, &mut page);
    open_loop(figures, &mut page);
    hardships(figures, &mut page);
    resources(figures, &mut page);
    page
}

fn closed_loop(figures: &Figures, page: &mut String) {
    page.push_str(
        "## As many as it can\n\n![Reviews for each CPU-second](performance/efficiency.svg)\n\nEach connection sends its next review when \
         it has the answer to the last.\n\n\
         | review | server | reviews for each CPU-second | reviews a second | p50 | p99 | p99.9 | CPUs of the load generator |\n\
         |---|---|--:|--:|--:|--:|--:|--:|\n",
    );
    for row in figures.closed() {
        let Measured { review, server, per_cpu_second, per_second, latencies: [p50, p99, p999], generator, .. } = row;
        let (p50, p99, p999) = (time(*p50), time(*p99), time(*p999));
        writeln!(
            page,
            "| {review} | {server} | {per_cpu_second:.0} | {per_second:.0} | {p50} | {p99} | {p999} | {generator:.2} |{}",
            failures(row)
        )
        .unwrap();
    }
}

fn open_loop(figures: &Figures, page: &mut String) {
    page.push_str(
        "\n## At a rate\n\n![99th percentile by rate](performance/latency.svg)\n\nReviews are due at a steady rate whatever becomes of the \
         others, and latency counts from when each was due: a server that falls behind is charged for all that waited.\n\n\
         | review | due a second | server | answered a second | p50 | p99 | p99.9 | CPUs of the load generator |\n\
         |---|--:|---|--:|--:|--:|--:|--:|\n",
    );
    for (rate, row) in figures.open() {
        let Measured { review, server, per_second, latencies: [p50, p99, p999], generator, .. } = row;
        let (p50, p99, p999) = (time(*p50), time(*p99), time(*p999));
        writeln!(page, "| {review} | {rate} | {server} | {per_second:.0} | {p50} | {p99} | {p999} | {generator:.2} |{}", failures(row))
            .unwrap();
    }
}

fn hardships(figures: &Figures, page: &mut String) {
    page.push_str(
        "\n## More than it can\n\nOne Outrigger through all of these in this order, with the large review. It takes 1,024 connections; more \
         wait, and get the places of those that have had one for two seconds. Clients give up after 5 s. Where it is sent more than it can answer, \
         reviews wait at the clients, each of which sends one at a time: the last percentile counts from when a review was sent.\n\n\
         | what it goes through | answered a second | p50 | p99 | p99 once sent | answered with an error | not answered | memory afterwards |\n\
         |---|--:|--:|--:|--:|--:|--:|--:|\n",
    );
    for Hardship { name, outcome, memory } in &figures.hardships {
        let (p50, p99) = (time(outcome.latency(0.5)), time(outcome.latency(0.99)));
        let sent = time(outcome.latency_once_sent(0.99));
        let (rate, refused, failed) = (outcome.per_second(), outcome.refused, outcome.failed);
        writeln!(page, "| {name} | {rate:.0} | {p50} | {p99} | {sent} | {refused} | {failed} | {} |", held(*memory)).unwrap();
    }
}

fn resources(figures: &Figures, page: &mut String) {
    let binary = fs::metadata(env!("CARGO_BIN_EXE_outrigger")).unwrap().len();
    let rows = [
        ("program file".to_owned(), megabytes(binary / 1024)),
        ("from exec to ready, with its watches of an API server, median".to_owned(), time(figures.started)),
        ("resident memory before the first review".to_owned(), held(figures.idle)),
        ("resident memory after the loads of the first two tables".to_owned(), held(figures.after_load)),
        ("resident memory of both roles in an empty cluster, after a look at all pods".to_owned(), held(figures.crowd.before)),
        (format!("resident memory of both roles in a cluster with {PODS} pods, after a look at all of them"), held(figures.crowd.content)),
        (format!("resident memory with {PODS} more that all lack their sidecars, whose owners are told"), held(figures.crowd.in_need)),
    ];
    page.push_str(
        "\n## What it takes\n\nOf resident memory, what is its own would be free without the process; the rest are pages of the program's \
         file, which all processes that run it share.\n\n| | |\n|---|--:|\n",
    );
    for (what, figure) in rows {
        writeln!(page, "| {what} | {figure} |").unwrap();
    }
}

/// What a process holds, and how much of that is its own: the rest are pages of its file, which the kernel maps for all who run it.
fn held(memory: Memory) -> String {
    format!("{} ({} own)", megabytes(memory.resident), megabytes(memory.own))
}

fn failures(row: &Measured) -> String {
    if row.failed == 0 { String::new() } else { format!(" {} failed |", row.failed) }
}

fn time(duration: Duration) -> String {
    let microseconds = duration.as_secs_f64() * 1e6;
    if microseconds < 1000.0 { format!("{microseconds:.0} µs") } else { format!("{:.1} ms", microseconds / 1e3) }
}

#[allow(clippy::cast_precision_loss, reason = "shown with one decimal")]
fn megabytes(kibibytes: u64) -> String {
    format!("{:.1} MB", kibibytes as f64 * 1.024e-3)
}

#[allow(clippy::cast_precision_loss, reason = "shown with one decimal")]
fn kilobytes(bytes: usize) -> String {
    format!("{:.1} KB", bytes as f64 / 1e3)
}
